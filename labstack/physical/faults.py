"""Faults on purpose: which frame, and what is to happen to it.

    wire.drop(data_segment(3))
    wire.delay(ack(7), by="300 ms")

A match looks at the frames in the order in which they leave, and counts. Loss by chance is the wire's own
(`loss=`). Wires read headers, not layers: what they know is what stands in the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from labstack.core.addresses import IPAddress
from labstack.headers.ethernet import ETHERTYPE_IPV4, LENGTH, Ethernet
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import PROTO_TCP, IPv4
from labstack.headers.tcp import ACK, FIN, RST, SYN, TCP

Flow = tuple[IPAddress, int, IPAddress, int]
"""Source address and port, destination address and port."""


class Seen:
    """A frame as a wire sees it: its number, the name of the machine that sent it, and its bytes, read on
    demand."""

    def __init__(self, number: int, sender: str, frame: bytes) -> None:
        self.number = number
        self.sender = sender
        self.frame = frame

    @cached_property
    def ip(self) -> IPv4 | None:
        try:
            if Ethernet.parse(self.frame).ethertype != ETHERTYPE_IPV4:
                return None
            return IPv4.parse(self.frame, LENGTH)
        except HeaderError:
            return None

    @cached_property
    def tcp(self) -> TCP | None:
        ip = self.ip
        if ip is None or ip.protocol != PROTO_TCP or ip.fragment_offset:
            return None
        try:
            return TCP.parse(self.frame, LENGTH + ip.header_length)
        except HeaderError:
            return None

    @property
    def payload_length(self) -> int:
        """Bytes of TCP payload."""
        if self.ip is None or self.tcp is None:
            return 0
        return self.ip.total_length - self.ip.header_length - self.tcp.header_length

    @property
    def flow(self) -> Flow | None:
        if self.ip is None or self.tcp is None:
            return None
        return (self.ip.src, self.tcp.src_port, self.ip.dst, self.tcp.dst_port)


Match = Callable[[Seen], bool]


@dataclass(slots=True)
class Fault:
    """What happens to the frames that `match` picks. `hits` counts them."""

    action: str
    match: Match
    by: int = 0
    bit: int = 0
    hits: int = field(default=0)


class Nth:
    """The `n`-th frame of a kind in one direction of one flow, and if `last` is given, all up to that one.

    The flow is the first TCP flow that the wire carries. The direction is that of the machine that opened it,
    or (`reverse`) of the other one; `sender`, the name of a machine at the wire's end or an IP address,
    decides otherwise.
    """

    def __init__(
        self,
        n: int,
        kind: Callable[[Seen], bool],
        what: str,
        sender: str | None,
        reverse: bool = False,
        last: int = 0,
    ) -> None:
        if n < 1:
            raise ValueError(f"{what}({n}) is no frame: they are counted from 1")
        self._first, self._last = n, last or n
        self._kind = kind
        self._sender = sender
        self._reverse = reverse
        self._flow: Flow | None = None
        self._count = 0
        self._what = what

    def __call__(self, seen: Seen) -> bool:
        flow = seen.flow
        if flow is None:
            return False
        if self._sender is not None:
            if self._sender not in (seen.sender, str(flow[0])):
                return False
        else:
            if self._flow is None:
                self._flow = flow[2:] + flow[:2] if self._reverse else flow
            if flow != self._flow:
                return False
        if not self._kind(seen):
            return False
        self._count += 1
        return self._first <= self._count <= self._last

    def __repr__(self) -> str:
        return f"{self._what}({self._first})"


def data_segment(n: int, sender: str | None = None, last: int = 0) -> Nth:
    """The n-th frame that carries TCP payload, retransmissions counted; by default of the first flow's
    opener."""
    return Nth(n, lambda seen: seen.payload_length > 0, "data_segment", sender, last=last)


def ack(n: int, sender: str | None = None, last: int = 0) -> Nth:
    """The n-th ACK that carries nothing else; by default of the machine that did not open the first flow."""
    return Nth(n, _is_pure_ack, "ack", sender, reverse=True, last=last)


def syn(n: int = 1, sender: str | None = None) -> Nth:
    """The n-th SYN; by default of the first flow's opener."""
    return Nth(n, lambda seen: _has(seen, SYN), "syn", sender)


def fin(n: int = 1, sender: str | None = None) -> Nth:
    """The n-th FIN; by default of the first flow's opener."""
    return Nth(n, lambda seen: _has(seen, FIN), "fin", sender)


def frame(n: int) -> Match:
    """The n-th frame of any kind that enters the wire, in either direction."""
    counter = 0

    def match(_seen: Seen) -> bool:
        nonlocal counter
        counter += 1
        return counter == n

    return match


def _has(seen: Seen, flag: int) -> bool:
    return seen.tcp is not None and bool(seen.tcp.flags & flag)


def _is_pure_ack(seen: Seen) -> bool:
    tcp = seen.tcp
    return tcp is not None and tcp.flags & (SYN | FIN | RST | ACK) == ACK and seen.payload_length == 0
