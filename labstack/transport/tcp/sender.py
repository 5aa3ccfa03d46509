"""The sending half: keep what is not acknowledged, cut it into segments, and say which one may be sent now.

          sent, not acknowledged       not sent
    ─────┬──────────────────────────┬───────────────────┬───────────────┬─────
         snd_una                    snd_nxt             end of data     snd_una + snd_wnd

RFC 9293 §3.7.4 (Nagle), §3.8.6.2.1 (silly windows), §3.10.7.4 (the window's update). Chapters 19 and 21 of
the book.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from labstack.core.checksum import Buffer
from labstack.core.ring import Ring
from labstack.core.seq import HALF, MASK, seq_add, seq_le, seq_lt, seq_sub
from labstack.transport.tcp.config import TcpConfig


@dataclass(slots=True)
class Segment:
    """Something to send: the stream's bytes from `seq` on (a borrowed view), and whether the FIN comes behind
    them."""

    seq: int
    data: Buffer
    fin: bool
    push: bool


class Sender(Protocol):
    """Replaceable: `net.host("a", …, sender=Mine)`; made as `Mine(config)` for each connection."""

    snd_una: int
    """The oldest sequence number that is not acknowledged."""
    snd_nxt: int
    """The next one to send."""
    snd_wnd: int
    """Bytes from `snd_una` on that the peer allows."""
    free: int
    """Bytes that `write` would take now."""
    limit: int
    """Bytes that it keeps, sent or not; the program may change it."""
    nagle: bool
    mss: int
    """Bytes that a segment carries at most; lowered when the path turns out to carry less."""

    @property
    def unsent(self) -> int:
        """Bytes written and never sent, the FIN counted as one."""

    def start(self, iss: int, mss: int) -> None:
        """The first byte has the number `iss` + 1; segments carry up to `mss` bytes."""

    def write(self, data: Buffer) -> int:
        """Queue as much of `data` as there is room for; how much that was."""

    def finish(self) -> None:
        """The program has no more: a FIN follows the last byte."""

    def next_segment(self, room: int, limit: int) -> Segment | None:
        """The next new segment, if one may be sent now; it counts as sent. `room`: bytes that congestion
        control allows beside those in flight; `limit`: the longest piece that may be sent at once, at least
        an MSS."""

    def force(self) -> Segment:
        """The next new byte, or the FIN, although the peer's window has no room: a probe (RFC 9293 §3.8.6.1);
        or as much as there is room for, although it is little: the silly window's override (§3.8.6.2.1)."""

    def again(self, seq: int, size: int) -> Segment:
        """What was sent from `seq` on, `size` sequence numbers of it, to be sent once more."""

    def acknowledge(self, seq: int, ack: int, window: int) -> int:
        """A segment numbered `seq` acknowledges up to `ack` and allows `window` bytes from there; how many
        bytes are acknowledged for the first time, the FIN counted as one."""


class Segmentation:
    """A `Sender` that keeps the stream in a ring."""

    def __init__(self, config: TcpConfig) -> None:
        self.snd_una = self.snd_nxt = self.snd_wnd = 0
        self.free = config.send_buffer
        self.nagle = config.nagle
        self.mss = 536
        self._limit = config.send_buffer
        self._ring = Ring(config.send_buffer)
        self._end = 0  # the number behind the last byte written
        self._finishing = False
        self._wl1 = self._wl2 = self._max_wnd = 0
        self._fresh = True

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, size: int) -> None:
        self.free += size - self._limit
        self._limit = size
        self._ring.limit = max(size, self._ring.limit)

    def start(self, iss: int, mss: int) -> None:
        self.snd_una = self.snd_nxt = seq_add(iss, 1)
        self._end = seq_add(self.snd_nxt, self._end)  # what was written before the handshake was through
        self.mss = mss

    @property
    def unsent(self) -> int:
        """Bytes written and never sent, and the FIN."""
        waiting = (self._end - self.snd_nxt) & MASK
        return waiting + self._finishing if waiting < HALF else 0

    def write(self, data: Buffer) -> int:
        size = max(min(len(data), self.free), 0)
        if size:
            self._ring.put(self._limit - self.free, memoryview(data)[:size])
            self.free -= size
            self._end = seq_add(self._end, size)
        return size

    def finish(self) -> None:
        self._finishing = True

    def next_segment(self, room: int, limit: int) -> Segment | None:
        nxt, mss = self.snd_nxt, self.mss
        waiting = (self._end - nxt) & MASK
        if waiting >= HALF or (waiting == 0 and not self._finishing):
            return None
        sent = (nxt - self.snd_una) & MASK
        usable = self.snd_wnd - sent
        most = usable if usable < limit else limit
        size = waiting if waiting < most else most
        if size > mss:
            # Whole segments only, as many as the congestion window has room for. Where not even one fits,
            # wait.
            size = min(size, room)
            size -= size % mss
            if not size:
                return None
        fin = self._finishing and size == waiting and usable > size  # a FIN takes a number of the window too
        if size <= 0 and not fin:
            return None
        if size > room and sent:
            return None
        unanswered = sent if self.nagle else 0
        if size < mss and not fin and not self.worth_sending(size, waiting, unanswered, self._max_wnd):
            return None
        segment = Segment(nxt, self._ring.view(sent, size) if size else b"", fin, size == waiting)
        self.snd_nxt = (nxt + size + fin) & MASK
        return segment

    def force(self) -> Segment:
        nxt = self.snd_nxt
        sent = seq_sub(nxt, self.snd_una)
        waiting = seq_sub(self._end, nxt)
        size = min(waiting, max(self.snd_wnd - sent, 1), self.mss)
        fin = self._finishing and size == waiting == 0
        self.snd_nxt = seq_add(nxt, size + fin)
        return Segment(nxt, self._ring.view(sent, size) if size else b"", fin, True)

    def worth_sending(self, size: int, waiting: int, unanswered: int, largest: int) -> bool:
        """Whether a segment that is shorter than the MSS goes out now. All sizes are in bytes.

        It carries all that is `waiting`: not while anything is `unanswered` (Nagle; RFC 9293 §3.7.4). Or the
        peer's window has room for no more: not unless that is half of the `largest` that the peer ever
        offered (silly window; §3.8.6.2.1). With TCP_NODELAY, nothing counts as unanswered."""
        if size == waiting:
            return not unanswered
        return size * 2 >= largest

    def again(self, seq: int, size: int) -> Segment:
        offset = seq_sub(seq, self.snd_una)
        length = min(size, seq_sub(self._end, seq))
        data = self._ring.view(offset, length) if length > 0 else b""
        return Segment(seq, data, self._finishing and size > length, True)

    def acknowledge(self, seq: int, ack: int, window: int) -> int:
        acked = seq_sub(ack, self.snd_una)
        if acked > 0:
            data = min(acked, seq_sub(self._end, self.snd_una))
            self._ring.advance(data)
            self.free += data
            self.snd_una = ack
        # A window counts if it is no older than the last: RFC 9293 §3.10.7.4, SND.WL1 and SND.WL2.
        newer = seq_le(self._wl2, ack) if seq == self._wl1 else seq_lt(self._wl1, seq)
        if self._fresh or (acked >= 0 and newer):
            self.snd_wnd, self._wl1, self._wl2, self._fresh = window, seq, ack, False
            self._max_wnd = max(self._max_wnd, window)
        elif acked > 0:
            self.snd_wnd = max(self.snd_wnd - acked, 0)  # the same right edge, seen from the new left one
        return acked if acked > 0 else 0
