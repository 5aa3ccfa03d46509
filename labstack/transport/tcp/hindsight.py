"""Hindsight: was anything lost at all? A packet that is late, or was overtaken, looks lost until it arrives.

Then the window was cut, and bytes were sent again, for nothing. Three ways to find out, for one episode of
loss; whoever learns it first gives the cut back:

    F-RTO    after a time-out and the answer to its repair, something arrives that was sent before, and once
    Eifel    the first answer echoes a time before that of the first repair: it answers the original
    D-SACK   the peer reports that all that was sent again came twice

F-RTO goes by RFC 5682 §3.1: the first acknowledgement that moves on proves nothing, for it may answer the
repair, and cover what the peer had behind the gap. So new bytes follow it, in place of more repairs (2b), and
the next one decides: was all that it brings sent before the time-out, and some of it once (3b)? Without new
bytes to send, repairs go on. In two things this differs. What SACK told before the time-out still counts, as
RFC 6675 §5.1 would have it; from a peer without SACK a time-out is believed (§2.1 is not done): there are few
of those, and NewReno is to stay short. RFC 3522 §3.2 and RFC 3708 are the other two. Chapter 20 of the book.
"""

from __future__ import annotations

from labstack.core.seq import seq_le, seq_lt
from labstack.transport.tcp.scoreboard import Ack, Sent
from labstack.transport.tcp.timestamps import TICK


class Hindsight:
    """What is known of the last episode of loss of one connection."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, end: int | None, step: int = 0) -> None:
        """What was sent up to `end` belongs to an episode. `step` is F-RTO's: 2 after a time-out."""
        self._end = end
        self.step = step
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
        end, late = self._end, False
        if end is None:
            return False
        if self.step == 3 and (newly or ack.advanced or ack.duplicate):
            self.step = 0
            once = any(not sent.retransmitted for sent in newly)
            late = once and all(seq_le(sent.end, end) for sent in newly)
        elif self.step == 2 and ack.advanced:
            self.step = 3 if ack.more and seq_lt(ack.number, end) else 0
        if self._repairs and ack.tells_twice and seq_le(ack.blocks[0][1], end):
            self._repairs -= 1
            late = late or not self._repairs
        if self._first is not None and not self._answered and seq_lt(self._first[0], ack.number):
            self._answered = True
            late = late or (ack.echoed_at is not None and ack.echoed_at + TICK <= self._first[1])
        if late:
            self.begin(None)
        return late
