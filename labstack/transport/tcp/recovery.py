"""What is lost? The role, and NewReno's way of reading duplicate acknowledgements.

A duplicate acknowledgement says: something arrived, but not what I wait for. So one more segment has left the
network, and after three of them the one waited for is taken for lost and sent again (fast retransmit). While
that is repaired (fast recovery), an acknowledgement that covers some of what was sent before, but not all,
shows the next loss.

RFC 5681 §3.2, RFC 6582. In place of inflating cwnd for each duplicate, this counts what is in flight, as RFC
6675 does: the same segments leave at the same time, and cwnd stays what it says it is. It is what a
connection gets whose peer does not speak of SACK; with SACK it is `rack`. Chapter 20 of the book.
"""

from __future__ import annotations

from typing import Protocol

from labstack.core.events import Rule
from labstack.core.seq import MASK, seq_le, seq_sub
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion import AckSample, LossEvent
from labstack.transport.tcp.scoreboard import LOST, Ack, Scoreboard, Sent

Found = tuple[AckSample | None, LossEvent | None]
"""What an acknowledgement told: a sample if something new, a loss if it is the first sign of an episode."""


class Recovery(Protocol):
    """Replaceable: `net.host("a", …, recovery=Mine)`; made as `Mine(mss, config)` for each connection.
    `Scoreboard` keeps the books for those who like."""

    selective: bool
    """It reads selective acknowledgements; without them the connection takes `NewReno`."""
    in_recovery: bool
    """A loss that acknowledgements showed is being repaired."""
    after_timeout: bool
    """What a time-out took for lost is being sent again."""
    outstanding: int
    """Bytes sent and not acknowledged: FlightSize."""
    min_rtt: int | None
    """The shortest round trip; the handshake's at first. What is answered sooner was answered before."""
    reason: Rule
    """Why the stretch that `next_lost` names is taken for lost."""
    spurious: bool
    """The last acknowledgement shows that the last time-out, or the last episode, was for nothing."""
    mss: int
    """Bytes that a segment carries at most; when it is lowered, what was longer is lost."""
    reordering_deadline: int | None
    """When `on_reordering_timeout` is to be called: something may be lost, or only be late."""

    @property
    def in_flight(self) -> int:
        """Bytes believed to be under way: sent, and neither acknowledged, nor lost, nor known to have left
        the network."""

    def on_sent(self, seq: int, size: int, now: int, app_limited: bool) -> None:
        """A stretch goes out, for the first time or again; `app_limited`: just before, the program had no
        more to send."""

    def on_ack(self, ack: Ack) -> Found:
        """An acknowledgement came that is new, or says the same number again (as a duplicate, or with another
        window), or has blocks."""

    def on_reordering_timeout(self, now: int) -> LossEvent | None:
        """The time for overtaking is over. The beginning of a new episode of loss, if it is one."""

    def on_timeout(self, now: int) -> LossEvent:
        """The retransmission timer expired: everything is lost, or all but what was sent just now."""

    def next_lost(self) -> tuple[int, int] | None:
        """The first stretch to be sent again, as (seq, size); it remains until `on_sent` hears of it."""


class NewReno(Scoreboard):
    """A `Recovery` from cumulative acknowledgements alone."""

    selective = False

    def __init__(self, mss: int, config: TcpConfig) -> None:
        super().__init__(mss)
        self.duplicates = 0
        """Duplicate acknowledgements that stand for segments received behind the gap."""
        self._threshold = config.duplicates
        self._flight_at_first_duplicate = 0

    @property
    def in_flight(self) -> int:
        return max(self.outstanding - self._lost_bytes - self.duplicates * self._mss, 0)

    def on_ack(self, ack: Ack) -> Found:
        if ack.duplicate:
            return None, self._on_duplicate(ack.now)
        in_flight, before, was_in_recovery = self.in_flight, self._delivered, self.in_recovery
        newly = self._deliver(ack.number, ())
        if not newly:
            return None, None
        sample = self._sample(ack, newly, self._delivered - before, in_flight, was_in_recovery)
        sample.lost = self._on_progress(ack.number, newly)
        return sample, None

    def _on_progress(self, ack: int, newly: list[Sent]) -> int:
        """The acknowledgement moves on: end the recovery, or find the next gap. Bytes newly lost."""
        if self._recover is not None and seq_le(self._recover, ack):
            self.in_recovery = self.after_timeout = False
            self._recover = None
        if not self.in_recovery:
            self.duplicates = 0
            return 0
        # A partial acknowledgement: one of the segments it covers filled the gap, the others were the
        # duplicates.
        segments = sum(max(1, seq_sub(sent.end, sent.seq) // self._mss) for sent in newly)
        self.duplicates = max(self.duplicates - (segments - 1), 0)
        self.reason = rules.PARTIAL_ACK
        return self._lose_first()

    def _on_duplicate(self, now: int) -> LossEvent | None:
        if not self._sent:
            return None
        if self.duplicates == 0:
            self._flight_at_first_duplicate = self.outstanding
        self.duplicates += 1
        if self.in_recovery or self.after_timeout or self.duplicates < self._threshold:
            return None
        self.in_recovery = True
        self._recover = self._sent[-1].end
        self.reason = rules.FAST_RETRANSMIT
        # What limited transmit sent meanwhile (RFC 3042) does not count.
        return LossEvent(now, self._lose_first(), self._flight_at_first_duplicate)

    def _lose_first(self) -> int:
        first = self._sent[0]
        if first.fate is LOST:
            return 0
        if seq_sub(first.end, first.seq) > self._mss:
            self._split(0, (first.seq + self._mss) & MASK)
        return self._lose(first)

    def on_reordering_timeout(self, now: int) -> LossEvent | None:
        return None

    def on_timeout(self, now: int) -> LossEvent:
        event = super().on_timeout(now)
        self.duplicates = 0
        return event
