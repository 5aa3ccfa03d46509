"""The receiving half: put the stream together, decide what to acknowledge and when, and say how much more may
come.

           what the program      what has          what came            the right edge:
           has not read          not come yet      out of order         never moved to the left
    ──────┬───────────────────┬──────────────────┬─────────────────┬────────────────────┬──────
          head of the ring    rcv_nxt            a piece           its end              rcv_nxt + rcv_wnd

RFC 9293 §3.8.6 (the window), §3.10.7.4 (seventh and eighth check); RFC 1122 §4.2.3.2 and RFC 5681 §4.2 (when
to acknowledge); RFC 2018 and RFC 2883 (to say which pieces are here, and what came twice). Chapters 19 to 21
of the book.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from enum import Enum
from operator import itemgetter
from typing import Protocol

from labstack.core.checksum import Buffer
from labstack.core.ring import Ring
from labstack.core.seq import MASK, seq_add, seq_le, seq_sub
from labstack.transport.tcp.config import TcpConfig

MAX_SHIFT = 14
MAX_FIELD = 65535
MAX_BLOCKS = 4
"""Pieces that one acknowledgement can name: 34 bytes of options (RFC 2018 §3)."""

Block = tuple[int, int]
"""A piece of the stream: its first sequence number, and the first behind it."""

_BEGIN, _END = itemgetter(0), itemgetter(1)


class Acknowledge(Enum):
    """How soon a segment wants its acknowledgement."""

    NO = "it brought nothing"
    LATER = "one may wait for company, but not long"
    SOON = "a second full segment is due one, with whatever else has just arrived"
    NOW = "a gap opened, closed or was seen again: the sender has to know of each segment"
    REFUSED = "it lies behind one gap too many, and is not kept"


NO, LATER, SOON, NOW, REFUSED = Acknowledge


class Receiver(Protocol):
    """Replaceable: `net.host("a", …, receiver=Mine)`; made as `Mine(config)` for each connection."""

    rcv_nxt: int
    """The next sequence number expected."""
    rcv_wnd: int
    """Bytes from `rcv_nxt` on that the peer was last told it may send."""
    available: int
    """Bytes that the program can read now."""
    finished: bool
    """All bytes up to the peer's FIN, and the FIN, have arrived."""
    blocks: tuple[Block, ...]
    """What the ACK that goes with the last `offer` reports: first what came twice, then the pieces behind a
    gap, the latest first (RFC 2018 §4, RFC 2883 §4). Empty while all is in order."""
    limit: int
    """Bytes that it keeps; the program may change it."""

    def start(self, irs: int, mss: int, shift: int) -> None:
        """The peer's first sequence number is `irs`, its segments carry up to `mss` bytes, and the windows
        that it is told are scaled by `shift` bits."""

    def accept(self, seq: int, data: Buffer, fin: bool) -> Acknowledge:
        """Take a segment whose beginning may be old, and whose end is not beyond the window; `data` is
        borrowed."""

    def peek(self, size: int) -> Buffer:
        """Up to `size` bytes for the program, which stay here: a view, borrowed."""

    def consume(self, size: int) -> None:
        """The program has taken so many."""

    def offer(self) -> int:
        """The window to offer now, in bytes; it becomes `rcv_wnd`. The caller sends it, and with it an
        ACK."""

    def wants_update(self) -> bool:
        """The program has read so much that the peer should be told of the larger window unasked."""


def scale_for(buffer: int) -> int:
    """The window shift to offer for a receive buffer of so many bytes: the smallest with which the field can
    say it all, except that 65,536 counts as 65,535 (RFC 7323 §2.3)."""
    return min(max((buffer - 1).bit_length() - 16, 0), MAX_SHIFT)


class Reassembly:
    """A `Receiver` that keeps what comes out of order, in place, in the ring."""

    def __init__(self, config: TcpConfig) -> None:
        self.rcv_nxt = 0
        self.rcv_wnd = 0
        self.available = 0
        self.finished = False
        self._limit = config.receive_buffer
        self._max_holes = config.max_holes
        self._ring = Ring(config.receive_buffer)
        self._mss = 536
        self._shift = 0
        self._largest = MAX_FIELD
        self.blocks: tuple[Block, ...] = ()
        self._at = 0  # bytes of the stream in front of rcv_nxt: the next three count from the stream's begin
        self._pieces: list[Block] = []  # out of order, sorted: (begin, end)
        self._latest: list[int] = []  # where what came out of order begins, the latest first
        self._twice: Block | None = None
        self._fin_at: int | None = None
        self._unacknowledged = 0

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, size: int) -> None:
        self._limit = size
        self._ring.limit = max(size, self._ring.limit)  # what was offered may still come

    def start(self, irs: int, mss: int, shift: int) -> None:
        self.rcv_nxt = seq_add(irs, 1)
        self._mss = mss
        self._shift = shift
        self._largest = MAX_FIELD << shift

    def _numbers(self, piece: Block) -> Block:
        begin, end = piece
        return seq_add(self.rcv_nxt, begin - self._at), seq_add(self.rcv_nxt, end - self._at)

    def accept(self, seq: int, data: Buffer, fin: bool) -> Acknowledge:
        size = len(data)
        begin = 0 if seq == self.rcv_nxt else seq_sub(seq, self.rcv_nxt)
        if fin and self._fin_at is None:
            # A FIN takes a number behind the last byte, and may come before the bytes in front of it.
            self._fin_at = seq_add(seq, size)
        if begin < 0:
            if size:
                self._twice = self._at + begin, self._at + min(begin + size, 0)
            if begin + size + fin <= 0:
                return NOW if size or fin else NO  # all is old: our ACK was lost
            data, begin = memoryview(data)[-begin:], 0
            size = len(data)
        if begin == 0 and not self._pieces:
            if size:
                self._ring.put(self.available, data)
            return self._advance(size)
        return self._out_of_order(begin, data, size)

    def _advance(self, size: int) -> Acknowledge:
        """`size` more bytes are in order. Acknowledge every second full segment at once (RFC 5681 §4.2)."""
        self.rcv_nxt = (self.rcv_nxt + size) & MASK
        self.rcv_wnd = self.rcv_wnd - size if self.rcv_wnd > size else 0
        self._at += size
        self.available += size
        self._unacknowledged += size
        if self._fin_at is not None and seq_le(self._fin_at, self.rcv_nxt):
            # The stream ends with the FIN: bytes that came for behind it are none of its own.
            self.available -= seq_sub(self.rcv_nxt, self._fin_at)
            self.rcv_nxt = seq_add(self._fin_at, 1)
            self.finished = True
            return NOW
        if self._unacknowledged >= 2 * self._mss:
            return SOON
        return LATER if size else NO

    def _out_of_order(self, begin: int, data: Buffer, size: int) -> Acknowledge:
        if not size:
            return NOW
        pieces, at = self._pieces, self._at
        begin += at
        end = begin + size
        # Those that it touches: from the first that ends at its beginning or later, up to the first that
        # begins behind its end.
        first = bisect_left(pieces, begin, key=_END)
        last = bisect_right(pieces, end, key=_BEGIN)
        touched = pieces[first:last]
        if not touched and begin > at and len(pieces) >= self._max_holes:
            return REFUSED
        self._ring.put(self.available + begin - at, data)
        self._latest.insert(0, begin)
        for piece in touched:
            again = max(begin, piece[0]), min(end, piece[1])
            if again[0] < again[1]:
                self._twice = self._twice or again
        if touched:
            begin, end = min(begin, touched[0][0]), max(end, touched[-1][1])
        if begin == at:
            # The gap is closed: what waited behind it is in order now.
            del pieces[first:last]
            self._advance(end - at)
        else:
            pieces[first:last] = [(begin, end)]
        return NOW

    def _report(self) -> tuple[Block, ...]:
        """The blocks for one acknowledgement. What came twice is told once; the latest pieces are told again
        and again, so that each is named in several acknowledgements, should some be lost."""
        pieces = self._pieces
        named: list[Block] = []
        begins: list[int] = []
        for begin in self._latest:
            at = bisect_right(pieces, begin, key=_BEGIN) - 1
            if at >= 0 and begin < pieces[at][1] and pieces[at] not in named:
                named.append(pieces[at])
                begins.append(begin)
        self._latest = begins[:MAX_BLOCKS]
        if self._twice:
            named.insert(0, self._twice)
            self._twice = None
        blocks = [self._numbers(piece) for piece in named]
        fin = self._fin_at
        if fin is not None and not self.finished:
            # A FIN that has come takes a number too: behind a piece, or alone.
            whole = [(left, seq_add(fin, 1) if right == fin else right) for left, right in blocks]
            blocks = whole if whole != blocks else [*blocks, (fin, seq_add(fin, 1))]
        return tuple(blocks[:MAX_BLOCKS])

    def peek(self, size: int) -> Buffer:
        return self._ring.view(0, min(size, self.available))

    def consume(self, size: int) -> None:
        self._ring.advance(size)
        self.available -= size

    def _possible(self) -> int:
        """What the window could be now, without silly small steps of its edge (RFC 9293 §3.8.6.2.2)."""
        free = self._limit - self.available
        free = free if free < self._largest else self._largest
        more = free - self.rcv_wnd
        if more < self._mss and more < self._limit // 2:
            return self.rcv_wnd
        return free >> self._shift << self._shift

    def offer(self) -> int:
        self._unacknowledged = 0
        self.rcv_wnd = self._possible()
        if self._pieces or self._twice or self.blocks or self._fin_at is not None:
            self.blocks = self._report()
        return self.rcv_wnd

    def wants_update(self) -> bool:
        # While the peer has half of it left, the next ordinary ACK says it in time.
        few = 2 * self.rcv_wnd
        return few < self._limit and not self.finished and self._possible() > few
