"""A raw endpoint: all datagrams of one IP protocol, as bytes, in place of the host's own transport.

    with host.raw(6) as mine:                      # TCP segments come to me now
        mine.send("10.0.0.2", segment)
        src, segment = mine.receive(timeout=5)

A BSD raw socket gets copies, and the kernel's own TCP goes on answering. Here the host's transport is set
aside: two TCPs on one host would reset each other's connections (RFC 9293 §3.5.2). Chapter 01 of the book.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.events import Rule
from labstack.core.units import duration
from labstack.internet.layer import Trouble

if TYPE_CHECKING:
    from labstack.sockets.stack import Stack

INBOX = 256
INBOX_FULL = Rule(
    "raw.inbox_full", "nobody takes the datagrams out of the raw endpoint: the newest is dropped"
)

UNHEARD = Rule("raw.unheard_error", "an ICMP error about a raw datagram: its owner does not hear of it")


class Raw:
    """Made by `host.raw(protocol)`; `close` gives the protocol back to the host's own transport."""

    def __init__(self, stack: Stack, protocol: int) -> None:
        self.protocol = protocol
        self._stack = stack
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._arrived = Waiters()
        with stack.driver:
            self._before = stack.ip.transport(protocol)
            stack.ip.register(protocol, _Inbox(self))

    def send(self, dst: str, segment: bytes) -> None:
        """Send these bytes, transport header first, to the host `dst`. Raises OSError without a route."""
        target = self._stack.resolve(dst)
        with self._stack.driver:
            self._stack.ip.send(target, self.protocol, segment)

    def receive(self, timeout: str | float | None = None) -> tuple[str, bytes]:
        """The next datagram: its source, and its bytes from the transport header on. TimeoutError if none
        comes."""
        wait = None if timeout is None else duration(timeout)
        what = f"a datagram of protocol {self.protocol}"
        if not self._stack.driver.block(lambda: bool(self._inbox), [self._arrived], wait, what):
            raise TimeoutError(f"{what} did not come within {timeout} s")
        with self._stack.driver:
            return self._inbox.popleft()

    def pseudo_sum(self, dst: str, length: int) -> int:
        """What the checksum of a segment of `length` bytes to `dst` begins with (RFC 9293 §3.1)."""
        target = self._stack.resolve(dst)
        ip = self._stack.ip
        return ip.pseudo_sum(ip.source_for(target), target, self.protocol, length)

    def close(self) -> None:
        """Give the protocol back. Closing twice does nothing."""
        before, self._before = self._before, None
        if before is not None:
            with self._stack.driver:
                self._stack.ip.register(self.protocol, before)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Inbox:
    """The endpoint as the network layer sees it (`internet/layer.Transport`)."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def receive(
        self, src: IPAddress, dst: IPAddress, ecn: int, hop_limit: int, payload: Buffer, checked: bool
    ) -> Trouble | None:
        raw = self._raw
        if len(raw._inbox) >= INBOX:
            raw._stack.node.drop(INBOX_FULL, protocol=raw.protocol)
        else:
            raw._inbox.append((str(src), bytes(payload)))
            raw._arrived.wake()
        return None

    def error(self, kind: Trouble, src: IPAddress, dst: IPAddress, quoted: Buffer, mtu: int = 0) -> None:
        """Raw is raw: its owner waits until it loses patience."""
        self._raw._stack.node.drop(UNHEARD, protocol=self._raw.protocol, trouble=kind.name)
