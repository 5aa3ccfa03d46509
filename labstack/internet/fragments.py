"""Fragments: a datagram that is longer than a link's frames travels in pieces, each a datagram of its own.

    one datagram    | header | 0 ················ 1479 | 1480 ··········· 2959 | 2960 ··· 3007 |
    three pieces    | header | 0 ················ 1479 |           offset   0, more to come
                    | header |                    1480 ··········· 2959 |        185, more to come
                    | header |                                     2960 ··· 3007 |   370, the last

Whoever meets the narrow link cuts, the sender or a router; only the destination joins (RFC 791 §2.3). One
piece that is lost loses them all: what came of the others is kept for a while, within bounds, and then given
up. Joining keeps a list of the holes that are still to be filled (RFC 815). Chapter 07 of the book.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Alarm
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.units import SECOND
from labstack.headers.ipv4 import CE, FRAGMENT_UNIT, LENGTH, MAX_LENGTH, NOT_ECT, IPv4 as Header

CUT = Rule("ipv4.cut", "it is longer than the link's frames: send it in pieces", "RFC 791 §3.2")
JOINED = Rule("ipv4.joined", "the last missing piece of a datagram is here: join them", "RFC 791 §3.2")
WAITED = Rule("ipv4.reassembly_timer", "the pieces of a datagram have had their time", "RFC 1122 §3.3.2")
INCOMPLETE = Rule(
    "ipv4.incomplete", "pieces are missing still: those that came are given up", "RFC 1122 §3.3.2"
)
DUPLICATE = Rule("ipv4.duplicate_fragment", "this piece has come before", "RFC 791 §3.2")
OVERLAP = Rule(
    "ipv4.overlapping_fragment",
    "it says otherwise what another piece has said, as no honest sender does: the datagram is refused",
    "RFC 5722 §4",
)
BAD_FRAGMENT = Rule(
    "ipv4.bad_fragment",
    "a piece with an impossible length, or that no datagram is long enough for",
    "RFC 791 §3.2",
)
TABLE_FULL = Rule("ipv4.fragments_full", "too much waits for its missing pieces: the oldest is given up")

LIFETIME = 60 * SECOND
"""How long the pieces that came wait for the others: 60 to 120 seconds (RFC 1122 §3.3.2)."""
DATAGRAMS = 256
BYTES = 1 << 20
OVERHEAD = 256
"""Bytes counted for the bookkeeping of each piece, so that many small ones fill the table too."""
_OPEN_END = MAX_LENGTH + 1
_COPIED = 0x80
"""The bit of an option's type that says that every piece carries it (RFC 791 §3.1)."""


def cut(header: Header, body: Buffer, mtu: int) -> Iterator[tuple[bytes, Buffer]]:
    """The pieces, of at most `mtu` bytes, of the datagram with that header and payload: header and payload of
    each. It may be a piece itself, which a router cuts once more."""
    rest, offset, options = memoryview(body), header.fragment_offset, header.options
    while True:
        front = LENGTH + len(options) + -len(options) % 4
        room = mtu - front
        size = len(rest) if len(rest) <= room else room - room % FRAGMENT_UNIT
        piece, rest = rest[:size], rest[size:]
        more = len(rest) > 0 or header.more_fragments
        yield replace(
            header, total_length=front + size, more_fragments=more, fragment_offset=offset, options=options
        ).pack(), piece  # fmt: skip
        if not rest:
            return
        offset += size // FRAGMENT_UNIT
        options = _copied(options)


def _copied(options: bytes) -> bytes:
    """The options that all pieces carry; the others stand in the first only."""
    kept, at = b"", 0
    while at < len(options) and options[at]:
        size = 1 if options[at] == 1 else max(options[at + 1 : at + 2], default=0)
        if size < 1:
            break
        if options[at] & _COPIED:
            kept += options[at : at + size]
        at += size
    return kept


class Reassembler(Protocol):
    """Replaceable: `net.host("a", …, fragments=Mine)`, made as `Mine(node, give_up)`."""

    def add(self, header: Header, datagram: Buffer) -> tuple[Header, bytes] | None:
        """A piece has come (borrowed). The whole datagram and its header, if it was the last one missing.

        Whoever waits too long is given up: `give_up(piece)` is told the first piece, if that has come."""

    def close(self) -> None:
        """Forget all pieces, and stop all timers."""


Name = tuple[IPAddress, IPAddress, int, int]
"""Source, destination, protocol, identification: what all pieces of one datagram share (RFC 791 §3.2)."""


@dataclass(slots=True)
class _Partial:
    """A datagram of which pieces are missing. All places are in bytes from the payload's beginning."""

    alarm: Alarm
    pieces: dict[int, bytes] = field(default_factory=dict)
    holes: list[tuple[int, int]] = field(default_factory=lambda: [(0, _OPEN_END)])
    first: Header | None = None
    marks: set[int] = field(default_factory=set)
    cost: int = OVERHEAD
    refused: bool = False


class Fragments:
    """A `Reassembler`: at most `DATAGRAMS` incomplete datagrams and `BYTES`; the oldest makes way.

    A piece may only fill a hole. One that repeats another, byte for byte, is a copy that the network made;
    one that overlaps differently has been put together by someone who wants this host and a firewall on the
    way to read two different datagrams (RFC 1858 §4), and its datagram is refused, also what comes of it
    later.
    """

    def __init__(self, node: Node, give_up: Callable[[bytes], None]) -> None:
        self.node = node
        self.waiting: OrderedDict[Name, _Partial] = OrderedDict()
        self.held = 0
        """Bytes that the table counts."""
        self._give_up = give_up

    def add(self, header: Header, datagram: Buffer) -> tuple[Header, bytes] | None:
        data = bytes(datagram[header.header_length :])
        begin = header.fragment_offset * FRAGMENT_UNIT
        end = begin + len(data)
        if (
            not data
            or (header.more_fragments and len(data) % FRAGMENT_UNIT)
            or header.header_length + end > MAX_LENGTH
        ):
            self.node.drop(BAD_FRAGMENT, src=str(header.src), offset=begin, length=len(data))
            return None
        name = header.src, header.dst, header.protocol, header.identification
        partial = self.waiting.get(name) or self._begin(name)
        if partial.pieces.get(begin) == data:
            self.node.drop(DUPLICATE, src=str(header.src), offset=begin)
            return None
        if partial.refused or not self._fill(partial, begin, end, header.more_fragments):
            self.node.drop(OVERLAP, src=str(header.src), offset=begin, length=len(data))
            self._refuse(partial)
            return None
        partial.pieces[begin] = data
        partial.marks.add(header.ecn)
        if not begin:
            partial.first = header
        partial.cost += len(data) + OVERHEAD
        self.held += len(data) + OVERHEAD
        if not partial.holes:
            return self._join(name)
        while self.held > BYTES:
            self._evict()
        return None

    def close(self) -> None:
        for name in list(self.waiting):
            self._forget(name)

    def _begin(self, name: Name) -> _Partial:
        if len(self.waiting) >= DATAGRAMS:
            self._evict()
        partial = _Partial(self.node.alarm(WAITED, lambda: self._expire(name)))
        partial.alarm.set(self.node.clock.now + LIFETIME)
        self.waiting[name] = partial
        self.held += partial.cost
        return partial

    def _fill(self, partial: _Partial, begin: int, end: int, more: bool) -> bool:
        """Take the piece out of the hole in which it lies; whether it lies in one (RFC 815 §3)."""
        at = bisect_right(partial.holes, (begin, _OPEN_END)) - 1
        if at < 0:
            return False
        left, right = partial.holes[at]
        if end > right or not (more or right == _OPEN_END):
            return False  # outside of the hole; or it says that it is the last, and there are some behind it
        del partial.holes[at]
        if begin > left:
            insort(partial.holes, (left, begin))
        if more and end < right:
            insort(partial.holes, (end, right))
        return True

    def _join(self, name: Name) -> tuple[Header, bytes] | None:
        """All pieces are here. A mark of congestion on one of them is one on the whole (RFC 3168 §5.3)."""
        partial = self._forget(name)
        first, marks = partial.first, partial.marks
        assert first is not None, "without the first piece there is a hole"
        payload = b"".join(partial.pieces[at] for at in sorted(partial.pieces))
        length = first.header_length + len(payload)
        if length > MAX_LENGTH or {CE, NOT_ECT} <= marks:
            self.node.drop(BAD_FRAGMENT, src=str(first.src), offset=0, length=length)
            return None
        ecn = CE if CE in marks else first.ecn
        whole = replace(first, total_length=length, more_fragments=False, ecn=ecn)
        if self.node.events:
            self.node.events.cause = self.node.events.emit(
                JOINED, src=str(first.src), pieces=len(partial.pieces), length=length
            )
        return whole, whole.pack() + payload

    def _refuse(self, partial: _Partial) -> None:
        """Keep the name until its time is over, so that what comes later does not begin anew."""
        self.held -= partial.cost - OVERHEAD
        partial.pieces, partial.first, partial.cost, partial.refused = {}, None, OVERHEAD, True

    def _forget(self, name: Name) -> _Partial:
        partial = self.waiting.pop(name)
        partial.alarm.stop()
        self.held -= partial.cost
        return partial

    def _evict(self) -> None:
        name = next(iter(self.waiting))
        self.node.drop(TABLE_FULL, src=str(name[0]), pieces=len(self._forget(name).pieces))

    def _expire(self, name: Name) -> None:
        partial = self._forget(name)
        if partial.refused:
            return
        self.node.drop(INCOMPLETE, src=str(name[0]), pieces=len(partial.pieces))
        if partial.first is not None:
            self._give_up(partial.first.pack() + partial.pieces[0])


__all__ = ["CUT", "Fragments", "Reassembler", "cut"]
