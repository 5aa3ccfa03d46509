"""UDP: datagrams between programs. IP with ports and a checksum, and nothing else (RFC 768, RFC 1122 §4.1).

A datagram arrives whole or not at all, once or twice, in any order. What a program does not read in time
waits in a queue with a bound. Chapter 16 of the book.
"""

from __future__ import annotations

import errno
from collections import deque
from enum import IntEnum
from zlib import crc32

from labstack.core.addresses import ANY, LIMITED_BROADCAST, IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.headers import udp as header_of
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import PROTO_UDP
from labstack.headers.udp import UDP as Header
from labstack.internet.layer import ERRNO, PASSING, NetworkLayer, Trouble
from labstack.transport.ports import apart, pick_ephemeral

NO_PORT = Rule("udp.no_port", "no program on this host has that port", "RFC 1122 §4.1.3.1")
QUEUE_FULL = Rule(
    "udp.queue_full", "the program does not read: its queue is full, and the datagram is dropped"
)
UNHEARD = Rule(
    "udp.unheard_error", "an ICMP error, and no connected program to hear of it", "RFC 1122 §4.1.3.3"
)
SENT = Rule("udp.sent", "a program sends a datagram", "RFC 768")
DELIVERED = Rule("udp.delivered", "a datagram is queued for the program with that port", "RFC 768")

MAX_PAYLOAD = 65507
"""65,535 less the headers of IPv4 and UDP, in bytes."""
QUEUE = 212_992
"""Bytes that may wait for a program to read them, 64 a datagram counted for its bookkeeping."""
OVERHEAD = 64

Address = tuple[IPAddress, int]


class Discover(IntEnum):
    """IP_MTU_DISCOVER, numbered as by Linux: which datagrams must not be cut on their way (DF)?"""

    DONT = 0
    """None; and this host cuts those that its link does not carry."""
    WANT = 1
    """Those that the path carries, as far as is known; longer ones are cut here."""
    DO = 2
    """All; longer ones are an error."""


class Endpoint:
    """What a datagram socket stands on: its address, its peer if it is connected, what the program has set,
    and its receive queue."""

    def __init__(self, local: Address) -> None:
        self.local = local
        self.peer: Address | None = None
        self.queue: deque[tuple[bytes, Address]] = deque()
        self.queued = 0
        self.queue_limit = QUEUE
        self.broadcast = False
        self.ttl = 64
        self.group_ttl = 1
        """To a group: it does not leave the link unless told to (RFC 1112 §6.1)."""
        self.group_source: IPAddress = ANY
        """Of the interface over which it sends to a group, unless it is bound to an address."""
        self.loop = True
        """What it sends to a group comes back to this host, if it is a member there."""
        self.tos = 0
        """DSCP and ECN, as they stand in the header's second byte (RFC 2474 §3)."""
        self.discover = Discover.DONT
        self.hears_all = False
        """It wants to hear of all errors, connected or not."""
        self.error = 0
        self.closed = False
        self.readable = Waiters()

    def take(self) -> tuple[bytes, Address]:
        """The oldest datagram and who sent it. Raises IndexError when none waits."""
        data, sender = self.queue.popleft()
        self.queued -= len(data) + OVERHEAD
        return data, sender

    def send(self, data: Buffer, to: Address) -> None:
        """Send one datagram. Raises OSError."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class UdpEndpoint(Endpoint):
    """One program's port."""

    def __init__(self, udp: Udp, local: Address) -> None:
        super().__init__(local)
        self._udp = udp
        self.reuse = False
        self.share = False
        """It is one of several of which the newest has the port, or which divide between them what comes."""

    def send(self, data: Buffer, to: Address) -> None:
        """Send one datagram. Raises OSError (EMSGSIZE, ENETUNREACH, EACCES)."""
        udp = self._udp
        if len(data) > MAX_PAYLOAD:
            raise OSError(errno.EMSGSIZE, f"{len(data)} bytes are no UDP datagram: at most {MAX_PAYLOAD} fit")
        dst, port = to
        if dst == LIMITED_BROADCAST and not self.broadcast:
            raise OSError(errno.EACCES, f"{dst} is a broadcast address: set SO_BROADCAST to send to everyone")
        ttl, src = self.ttl, self.local[0]
        if dst.is_multicast:
            ttl, src = self.group_ttl, self.group_source if src == ANY else src
        if not udp.network.is_own(src):  # it is bound to all addresses, or to one of many hosts
            src = udp.network.source_for(dst)
        if udp.node.events:
            udp.node.events.cause = udp.node.events.emit(
                SENT, src=f"{src}:{self.local[1]}", dst=f"{dst}:{port}", length=len(data)
            )
        total = udp.network.pseudo_sum(src, dst, PROTO_UDP, header_of.LENGTH + len(data))
        header = Header(self.local[1], port).pack(total, data)
        cut = self.discover is Discover.DONT
        if self.discover is Discover.WANT:
            cut = header_of.LENGTH + len(data) > udp.network.mtu(dst)
        udp.network.send(
            dst, PROTO_UDP, header, data, src=src, ecn=self.tos & 3, ttl=ttl, dscp=self.tos >> 2,
            may_fragment=cut, broadcast=self.broadcast, loop=self.loop,
        )  # fmt: skip

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._udp.endpoints[self.local[1]].remove(self)
            if not self._udp.endpoints[self.local[1]]:
                del self._udp.endpoints[self.local[1]]
            self.readable.wake()


def _fit(endpoint: UdpEndpoint) -> int:
    """How well an endpoint fits that may have a datagram."""
    return 2 * (endpoint.peer is not None) + (endpoint.local[0] != ANY)


class Udp:
    """UDP of one host."""

    def __init__(self, node: Node, network: NetworkLayer) -> None:
        self.node = node
        self.network = network
        self.endpoints: dict[int, list[UdpEndpoint]] = {}
        self._random = node.random("udp.port")
        network.register(PROTO_UDP, self)

    def bind(
        self, address: IPAddress = ANY, port: int = 0, reuse: bool = False, share: bool = False
    ) -> UdpEndpoint:
        """An endpoint at this address and port; port 0 picks one. `reuse`: others may have them that reuse
        them too; the newest gets what comes. `share`: others that share them too; each gets a part. The
        address may be a broadcast address, to hear nothing else.

        Raises OSError (EADDRINUSE, EADDRNOTAVAIL)."""
        if address != ANY and not self.network.is_own(address) and self.network.is_unicast(address):
            raise OSError(errno.EADDRNOTAVAIL, f"{address} is no address of {self.node.name}")
        if port == 0:
            port = pick_ephemeral(self._random, lambda p: p not in self.endpoints)
        for other in self.endpoints.get(port, ()):
            allowed = (reuse and other.reuse) or (share and other.share)
            if not apart(address, other.local[0]) and not allowed:
                raise OSError(errno.EADDRINUSE, f"UDP port {port} of {self.node.name} is in use")
        endpoint = UdpEndpoint(self, (address, port))
        endpoint.reuse, endpoint.share = reuse, share
        self.endpoints.setdefault(port, []).append(endpoint)
        return endpoint

    def receive(
        self, src: IPAddress, dst: IPAddress, ecn: int, hop_limit: int, payload: Buffer, checked: bool
    ) -> Trouble | None:
        try:
            header = Header.parse(payload)
        except HeaderError as error:
            self.node.drop(error.rule, src=str(src))
            return None
        if not checked and not header.verify(
            self.network.pseudo_sum(src, dst, PROTO_UDP, header.length), payload
        ):
            self.node.drop(header_of.BAD_CHECKSUM, src=str(src))
            return None
        found = self._find(src, header.src_port, dst, header.dst_port)
        if not found:
            self.node.drop(NO_PORT, port=header.dst_port, src=str(src))
            return Trouble.PORT_UNREACHABLE
        data = bytes(payload[header_of.LENGTH : header.length])
        # What is for many hosts is for all programs that have the port, too (RFC 1122 §4.1.3.3 is silent;
        # BSD began it).
        for endpoint in found[:1] if self.network.is_unicast(dst) else found:
            self._queue(endpoint, data, (src, header.src_port))
        return None

    def _queue(self, endpoint: UdpEndpoint, data: bytes, sender: Address) -> None:
        port, size = endpoint.local[1], len(data)
        if endpoint.queued + size + OVERHEAD > endpoint.queue_limit:
            self.node.drop(QUEUE_FULL, port=port, length=size)
            return
        endpoint.queue.append((data, sender))
        endpoint.queued += size + OVERHEAD
        if self.node.events:
            self.node.events.emit(DELIVERED, port=port, src=f"{sender[0]}:{sender[1]}", length=size)
        endpoint.readable.wake()

    def error(self, kind: Trouble, src: IPAddress, dst: IPAddress, quoted: Buffer, mtu: int = 0) -> None:
        """Only a connected endpoint hears of it, unless another asks: it cannot tell which of its datagrams
        it was (RFC 1122 §4.1.3.3)."""
        try:
            header = Header.parse_quoted(quoted)
        except HeaderError as error:
            self.node.drop(error.rule)
            return
        for endpoint in self.endpoints.get(header.src_port, ()):
            connected = endpoint.peer == (dst, header.dst_port)
            if kind is Trouble.TOO_BIG and endpoint.discover and (connected or not endpoint.peer):
                self.network.narrow(dst, mtu)
            if endpoint.hears_all or (connected and kind not in PASSING):
                endpoint.error = ERRNO[kind]
                endpoint.readable.wake()
                return
        self.node.drop(UNHEARD, port=header.src_port, trouble=kind.name)

    def _find(self, src: IPAddress, src_port: int, dst: IPAddress, dst_port: int) -> list[UdpEndpoint]:
        """The endpoints that may have it, the one that fits best first: one connected to the sender, then one
        bound to the address, then a wildcard; of equals the newest."""
        fitting = [
            endpoint
            for endpoint in self.endpoints.get(dst_port, ())
            if endpoint.local[0] in (ANY, dst) and endpoint.peer in (None, (src, src_port))
        ]
        if len(fitting) > 1:
            fitting.reverse()
            fitting.sort(key=_fit, reverse=True)
            sharing = [each for each in fitting if each.share and _fit(each) == _fit(fitting[0])]
            if len(sharing) > 1 and fitting[0].share:
                mine = sharing[crc32(src + src_port.to_bytes(2, "big")) % len(sharing)]
                fitting.remove(mine)
                fitting.insert(0, mine)
        return fitting

    def close(self) -> None:
        for endpoints in list(self.endpoints.values()):
            for endpoint in list(endpoints):
                endpoint.close()
