"""The receiving half: put the stream together, decide what to acknowledge and when, and say how much more may
come.

           what the program      what has          what came            the right edge:
           has not read          not come yet      out of order         never moved to the left
    ──────┬───────────────────┬──────────────────┬─────────────────┬────────────────────┬──────
          head of the ring    rcv_nxt            a piece           its end              rcv_nxt + rcv_wnd

RFC 9293 §3.8.6 (the window), §3.10.7.4 (seventh and eighth check); RFC 1122 §4.2.3.2 and RFC 5681 §4.2 (when
to acknowledge). Chapters 19 and 21 of the book.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from labstack.core.checksum import Buffer
from labstack.core.seq import seq_add, seq_le, seq_sub
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.ring import Ring

MAX_SHIFT = 14
MAX_FIELD = 65535


class Acknowledge(Enum):
    """How soon a segment wants its acknowledgement."""

    NO = "it brought nothing"
    LATER = "one may wait for company, but not long"
    SOON = "a second full segment is due one, with whatever else has just arrived"
    NOW = "a gap opened, closed or was seen again: the sender has to know of each segment"
    REFUSED = "it lies behind one gap too many, and is not kept"


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

    def start(self, irs: int, mss: int, shift: int) -> None:
        """The peer's first sequence number is `irs`, its segments carry up to `mss` bytes, and the windows
        that it is told are scaled by `shift` bits."""
        ...

    def accept(self, seq: int, data: Buffer, fin: bool) -> Acknowledge:
        """Take a segment whose beginning may be old, and whose end is not beyond the window; `data` is
        borrowed."""
        ...

    def peek(self, size: int) -> Buffer:
        """Up to `size` bytes for the program, which stay here: a view, borrowed."""
        ...

    def consume(self, size: int) -> None:
        """The program has taken so many."""
        ...

    def offer(self) -> int:
        """The window to offer now, in bytes; it becomes `rcv_wnd`. The caller sends it, and with it an
        ACK."""
        ...

    def wants_update(self) -> bool:
        """The program has read so much that the peer should be told of the larger window unasked."""
        ...


def scale_for(buffer: int) -> int:
    """The window shift to offer for a receive buffer of so many bytes: the smallest with which the field can
    say it all, except that 65,536 counts as 65,535 (RFC 7323 §2.3)."""
    shift = 0
    while buffer > (MAX_FIELD + 1) << shift and shift < MAX_SHIFT:
        shift += 1
    return shift


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
        self._pieces: list[
            tuple[int, int]
        ] = []  # out of order, sorted: (begin, end) as distances from rcv_nxt
        self._fin_at: int | None = None
        self._unacknowledged = 0

    def start(self, irs: int, mss: int, shift: int) -> None:
        self.rcv_nxt = seq_add(irs, 1)
        self._mss = mss
        self._shift = shift
        self._largest = MAX_FIELD << shift

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """What waits behind a gap: (first, first behind) sequence numbers of each piece."""
        return [(seq_add(self.rcv_nxt, begin), seq_add(self.rcv_nxt, end)) for begin, end in self._pieces]

    def accept(self, seq: int, data: Buffer, fin: bool) -> Acknowledge:
        size = len(data)
        begin = seq_sub(seq, self.rcv_nxt)
        if fin and self._fin_at is None:
            # A FIN takes a number behind the last byte, and may come before the bytes in front of it.
            self._fin_at = seq_add(seq, size)
        if begin < 0:
            if begin + size + fin <= 0:
                return (
                    Acknowledge.NOW if size or fin else Acknowledge.NO
                )  # all of it is old: our ACK was lost
            data, begin = memoryview(data)[-begin:], 0
            size = len(data)
        if begin == 0 and not self._pieces:
            if size:
                self._ring.put(self.available, data)
            return self._advance(size)
        return self._out_of_order(begin, data, size)

    def _advance(self, size: int) -> Acknowledge:
        """`size` more bytes are in order. Acknowledge every second full segment at once (RFC 5681 §4.2)."""
        self.rcv_nxt = (self.rcv_nxt + size) & 0xFFFFFFFF
        self.rcv_wnd = max(self.rcv_wnd - size, 0)
        self.available += size
        self._unacknowledged += size
        if self._fin_at is not None and seq_le(self._fin_at, self.rcv_nxt):
            # The stream ends with the FIN: bytes that came for behind it are none of its own.
            self.available -= seq_sub(self.rcv_nxt, self._fin_at)
            self.rcv_nxt = seq_add(self._fin_at, 1)
            self.finished = True
            return Acknowledge.NOW
        if self._unacknowledged >= 2 * self._mss:
            return Acknowledge.SOON
        return Acknowledge.LATER if size else Acknowledge.NO

    def _out_of_order(self, begin: int, data: Buffer, size: int) -> Acknowledge:
        end = begin + size
        if size:
            if begin and len(self._pieces) >= self._max_holes:
                return Acknowledge.REFUSED
            self._ring.put(self.available + begin, data)
            merged = []
            for other_begin, other_end in self._pieces:
                if other_end < begin or other_begin > end:
                    merged.append((other_begin, other_end))
                else:
                    begin, end = min(begin, other_begin), max(end, other_end)
            merged.append((begin, end))
            merged.sort()
            self._pieces = merged
            if begin == 0:
                # The gap is closed: what waited behind it is in order now.
                self._pieces = [(b - end, e - end) for b, e in merged if b > end]
                self._advance(end)
        return Acknowledge.NOW

    def peek(self, size: int) -> Buffer:
        return self._ring.view(0, min(size, self.available))

    def consume(self, size: int) -> None:
        self._ring.advance(size)
        self.available -= size

    def _possible(self) -> int:
        """What the window could be now, without silly small steps of its edge (RFC 9293 §3.8.6.2.2)."""
        free = min(self._limit - self.available, self._largest)
        if free - self.rcv_wnd < min(self._limit // 2, self._mss):
            return self.rcv_wnd
        return free >> self._shift << self._shift

    def offer(self) -> int:
        self._unacknowledged = 0
        self.rcv_wnd = self._possible()
        return self.rcv_wnd

    def wants_update(self) -> bool:
        # While the peer has half of it left, the next ordinary ACK says it in time.
        return not self.finished and self._possible() > 2 * self.rcv_wnd
