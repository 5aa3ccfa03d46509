"""Path MTUs: how long may a datagram be that must not be cut, on the way to this destination?

Nobody knows before one was too long. Datagrams are sent with DF, as long as the first link carries them; the
router in front of a narrower one drops them and says how much that carries; from then on they are shorter
(RFC 1191). What was learned is forgotten after ten minutes: the way may have become wider.

An error is easily forged, so two things are asked of it: that a transport knows the quoted datagram for its
own (`internet/layer`), and that the MTU is not absurd. Below `floor` this host goes on sending 552 bytes,
and lets routers cut those. Chapter 08 of the book.
"""

from __future__ import annotations

from collections import OrderedDict

from labstack.core.addresses import IPAddress
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.units import SECOND

NARROWER = Rule(
    "ipv4.path_mtu", "a link on the way to that destination is narrower than was known", "RFC 1191 §3"
)
NO_NEWS = Rule("ipv4.no_news", "it asks for datagrams no shorter than those that are sent", "RFC 1191 §3")
EVICTED = Rule("ipv4.path_mtu_evicted", "too many path MTUs are known: the oldest is forgotten")

FLOOR = 552
"""The least that is believed, in bytes, as by Linux: a forged error makes segments no shorter than that."""
LIFETIME = 600 * SECOND
"""RFC 1191 §6.3."""
LIMIT = 1024
PLATEAUS = 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68
"""MTUs of links that there were: where a router does not say its own, it is the next one below the length of
what it dropped (RFC 1191 §7)."""


class PathMtus:
    """The narrowest link on the way to each destination of which one was heard."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.floor = FLOOR
        self.known: OrderedDict[IPAddress, tuple[int, int]] = OrderedDict()
        """MTU, and until when it is believed."""

    def get(self, dst: IPAddress, first_link: int) -> int:
        """The path MTU to `dst`, over a first link of this MTU."""
        mtu, until = self.known.get(dst, (first_link, 0))
        if until and until <= self.node.clock.now:
            del self.known[dst]
            return first_link
        return min(mtu, first_link)

    def may_be_cut(self, dst: IPAddress, length: int) -> bool:
        """Whether the way is narrower than this host believes, and so it is for routers to cut a datagram
        that is no longer than what it believes."""
        return length <= self.floor == self.known.get(dst, (0, 0))[0]

    def learn(self, dst: IPAddress, mtu: int, first_link: int) -> None:
        """A datagram to `dst` was too long for a link with this MTU. An error makes no path wider."""
        mtu = max(mtu, self.floor)
        if mtu >= self.get(dst, first_link):
            self.node.drop(NO_NEWS, dst=str(dst), mtu=mtu)
            return
        self.known[dst] = mtu, self.node.clock.now + LIFETIME
        self.known.move_to_end(dst)
        if self.node.events:
            self.node.events.emit(NARROWER, dst=str(dst), mtu=mtu)
        if len(self.known) > LIMIT:
            self.node.drop(EVICTED, dst=str(self.known.popitem(last=False)[0]))


def plateau(length: int) -> int:
    """The MTU to try after a datagram of `length` bytes was too long, and nobody said for what."""
    return next((mtu for mtu in PLATEAUS if mtu < length), PLATEAUS[-1])
