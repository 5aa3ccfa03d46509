"""Hindsight: was anything lost at all? A packet that is late, or was overtaken, looks lost until it arrives.

Then the window was cut, and bytes were sent again, for nothing. Three ways to find out, for one episode of
loss; whoever learns it first gives the cut back:

    F-RTO    after a time-out, something arrives that had been taken for lost, and was sent only once
    Eifel    the first answer echoes a time before that of the first repair: it answers the original
    D-SACK   the peer reports that all that was sent again came twice

RFC 5682 §3.1, RFC 3522 §3.2, RFC 3708. Chapter 20 of the book.
"""

from __future__ import annotations

from labstack.core.seq import seq_le, seq_lt
from labstack.transport.tcp.scoreboard import Ack, Sent
from labstack.transport.tcp.timestamps import TICK


class Hindsight:
    """What is known of the last episode of loss of one connection."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, end: int | None, timed_out: int = 0) -> None:
        """What was sent up to `end` belongs to an episode; of that, up to the transmission numbered
        `timed_out`, a time-out took it for lost."""
        self._end = end
        self._timed_out = timed_out
        self._repairs = 0  # sent again, and not reported to have come twice
        self._first: tuple[int, int] | None = None  # the first repair: what it began with, and when it left
        self._answered = False

    def sent_again(self, seq: int, now: int) -> None:
        if self._end is not None and seq_lt(seq, self._end):
            self._repairs += 1
            self._first = self._first or (seq, now)

    def shows(self, ack: Ack, newly: list[Sent]) -> bool:
        """Whether this acknowledgement, by which `newly` has arrived, shows that the episode was for
        nothing."""
        if self._end is None:
            return False
        late = any(not sent.retransmitted and sent.number <= self._timed_out for sent in newly)
        if self._repairs and ack.tells_twice and seq_le(ack.blocks[0][1], self._end):
            self._repairs -= 1
            late = late or not self._repairs
        if self._first is not None and not self._answered and seq_lt(self._first[0], ack.number):
            self._answered = True
            late = late or (ack.echoed_at is not None and ack.echoed_at + TICK <= self._first[1])
        if late:
            self._end = None
        return late
