"""What is lost? A scoreboard of all that is under way, and NewReno's way of reading duplicate
acknowledgements.

A duplicate acknowledgement says: something arrived, but not what I wait for. So one more segment has left the
network, and after three of them the one waited for is taken for lost and sent again (fast retransmit). While
that is repaired (fast recovery), an acknowledgement that covers some of what was sent before, but not all,
shows the next loss.

RFC 5681 §3.2, RFC 6582. In place of inflating cwnd for each duplicate, this counts what is in flight, as RFC
6675 does: the same segments leave at the same time, and cwnd stays what it says it is. Chapter 20 of the
book.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from labstack.core.seq import seq_le, seq_lt, seq_sub
from labstack.core.units import SECOND
from labstack.transport.tcp.congestion import AckSample, LossEvent

DUPLICATES = 3


@dataclass(slots=True, eq=False)
class Sent:
    """A stretch of the stream that is under way: sequence numbers from `seq` up to, not including, `end`."""

    seq: int
    end: int
    sent_at: int
    retransmitted: bool = False
    lost: bool = False
    acknowledged: bool = False
    # What had been delivered when this was sent: the delivery rate is measured between then and its
    # acknowledgement (draft-ietf-ccwg-bbr §4.1).
    delivered: int = 0
    delivered_at: int = 0
    first_sent_at: int = 0
    app_limited: bool = False


class Recovery(Protocol):
    """Replaceable: `net.host("a", …, recovery=Mine)`; made as `Mine(mss)` for each connection."""

    in_recovery: bool
    """A loss that duplicate acknowledgements showed is being repaired."""
    after_timeout: bool
    """What a time-out took for lost is being sent again."""
    outstanding: int
    """Bytes sent and not acknowledged: FlightSize."""

    @property
    def in_flight(self) -> int:
        """Bytes believed to be under way: sent, and neither acknowledged, nor lost, nor known to have left
        the network."""
        ...

    def on_sent(self, seq: int, size: int, now: int, app_limited: bool) -> None:
        """A stretch goes out, for the first time or again."""
        ...

    def on_ack(
        self, ack: int, duplicate: bool, now: int, cwnd_limited: bool
    ) -> tuple[AckSample | None, LossEvent | None]:
        """An acknowledgement came; `duplicate` as RFC 5681 §2 defines it. A sample if it tells something new,
        and a loss if it is the first sign of a new episode."""
        ...

    def on_timeout(self, now: int) -> LossEvent:
        """The retransmission timer expired: everything is lost."""
        ...

    def next_lost(self) -> tuple[int, int] | None:
        """The first stretch to be sent again, as (seq, size); it remains until `on_sent` hears of it."""
        ...


class NewReno:
    """A `Recovery` from cumulative acknowledgements alone."""

    def __init__(self, mss: int) -> None:
        self.in_recovery = False
        self.outstanding = 0
        self.after_timeout = False
        self._mss = mss
        self._sent: deque[Sent] = deque()
        self._lost: deque[Sent] = deque()
        self._lost_bytes = 0
        self._duplicates = 0
        self._flight_at_first_duplicate = 0
        self._recover: int | None = None
        self._delivered = 0
        self._delivered_at = 0
        self._first_sent_at = 0

    @property
    def in_flight(self) -> int:
        return max(self.outstanding - self._lost_bytes - self._duplicates * self._mss, 0)

    @property
    def duplicates(self) -> int:
        """Duplicate acknowledgements that stand for segments received behind the gap."""
        return self._duplicates

    # --- going out
    def on_sent(self, seq: int, size: int, now: int, app_limited: bool) -> None:
        if self._lost and self._lost[0].seq == seq:
            self._sent_again(self._lost.popleft(), size, now)
            return
        if self._sent and seq_lt(seq, self._sent[-1].end):
            # An old stretch once more, such as a window probe. It is on the board already, but tells no time
            # now.
            self._sent[0].retransmitted = True
            return
        if not self._sent:
            self._first_sent_at = self._delivered_at = now
        self._sent.append(
            Sent(
                seq, (seq + size) & 0xFFFFFFFF, now,
                delivered=self._delivered, delivered_at=self._delivered_at,
                first_sent_at=self._first_sent_at, app_limited=app_limited,
            )
        )  # fmt: skip
        self.outstanding += size

    def _sent_again(self, sent: Sent, size: int, now: int) -> None:
        rest = self._split(sent, size)
        if rest is not None:
            self._lost.appendleft(rest)
        self._lost_bytes -= seq_sub(sent.end, sent.seq)
        sent.lost = False
        sent.retransmitted = True
        sent.sent_at = now
        sent.delivered, sent.delivered_at, sent.first_sent_at = (
            self._delivered,
            self._delivered_at,
            self._first_sent_at,
        )

    def _split(self, sent: Sent, size: int) -> Sent | None:
        """Cut a stretch in two, `size` bytes behind its beginning; the second part, if there is one."""
        if seq_sub(sent.end, sent.seq) <= size:
            return None
        cut = (sent.seq + size) & 0xFFFFFFFF
        rest = Sent(
            cut, sent.end, sent.sent_at, sent.retransmitted, sent.lost, False,
            sent.delivered, sent.delivered_at, sent.first_sent_at, sent.app_limited,
        )  # fmt: skip
        sent.end = cut
        self._sent.insert(self._sent.index(sent) + 1, rest)
        return rest

    # --- coming in
    def on_ack(
        self, ack: int, duplicate: bool, now: int, cwnd_limited: bool
    ) -> tuple[AckSample | None, LossEvent | None]:
        if duplicate:
            return None, self._on_duplicate(ack, now)
        if not self._sent or seq_le(ack, self._sent[0].seq):
            return None, None
        in_flight = self.in_flight
        was_in_recovery = self.in_recovery
        acked, segments, newest, rtt = self._take_off(ack, now)
        self._delivered += acked
        self._delivered_at = now
        lost = self._on_progress(ack, segments)
        interval = rate = prior = 0
        if newest is not None:
            self._first_sent_at, prior = newest.sent_at, newest.delivered
            interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
            if interval > 0:
                rate = (self._delivered - newest.delivered) * SECOND // interval
        sample = AckSample(
            now, acked, lost, rtt, in_flight, self._delivered, prior, interval, rate,
            newest is not None and newest.app_limited, was_in_recovery, cwnd_limited,
        )  # fmt: skip
        return sample, None

    def _take_off(self, ack: int, now: int) -> tuple[int, int, Sent | None, int | None]:
        """Strike out what `ack` covers: bytes, segments, the newest of them, and a round-trip time if it
        tells one."""
        acked, segments, newest, ambiguous = 0, 0, None, False
        sent_list = self._sent
        while sent_list and seq_lt(sent_list[0].seq, ack):
            sent = sent_list[0]
            if seq_le(sent.end, ack):
                sent_list.popleft()
                size = (sent.end - sent.seq) & 0xFFFFFFFF
                sent.acknowledged = True
                newest = sent
            else:
                size = (ack - sent.seq) & 0xFFFFFFFF
                sent.seq = ack
            if sent.lost:
                self._lost_bytes -= size
                if sent.acknowledged and self._lost and self._lost[0] is sent:
                    self._lost.popleft()
            ambiguous = ambiguous or sent.retransmitted
            acked += size
            segments += max(1, size // self._mss)
        self.outstanding -= acked
        # Karn: what was sent twice tells no time. Neither does what waited behind it at the receiver.
        rtt = now - newest.sent_at if newest is not None and not ambiguous else None
        return acked, segments, newest, rtt

    def _on_progress(self, ack: int, segments: int) -> int:
        """The acknowledgement moves on: end the recovery, or find the next gap. Bytes newly lost."""
        if self._recover is not None and seq_le(self._recover, ack):
            self.in_recovery = self.after_timeout = False
            self._recover = None
        if not self.in_recovery:
            self._duplicates = 0
            return 0
        # A partial acknowledgement: one of the segments it covers filled the gap, the others were the
        # duplicates.
        self._duplicates = max(self._duplicates - (segments - 1), 0)
        return self._lose_first()

    def _on_duplicate(self, ack: int, now: int) -> LossEvent | None:
        if not self._sent:
            return None
        if self._duplicates == 0:
            self._flight_at_first_duplicate = self.outstanding
        self._duplicates += 1
        if self.in_recovery or self.after_timeout or self._duplicates < DUPLICATES:
            return None
        self.in_recovery = True
        self._recover = self._sent[-1].end
        # What limited transmit sent meanwhile (RFC 3042) does not count.
        return LossEvent(now, self._lose_first(), self._flight_at_first_duplicate)

    def _lose_first(self) -> int:
        first = self._sent[0]
        if first.lost:
            return 0
        self._split(first, self._mss)
        first.lost = True
        size = seq_sub(first.end, first.seq)
        self._lost_bytes += size
        self._lost.appendleft(first)
        return size

    def on_timeout(self, now: int) -> LossEvent:
        in_flight = self.in_flight  # "in the network" (RFC 5681 §2): not what duplicates say has left it
        self.in_recovery = False
        self.after_timeout = True
        self._duplicates = 0
        # Duplicates of what was sent before the time-out must not start a fast retransmit (RFC 6582 §4).
        self._recover = self._sent[-1].end if self._sent else None
        self._lost.clear()
        self._lost_bytes = 0
        for sent in self._sent:
            sent.lost = True
            self._lost.append(sent)
            self._lost_bytes += seq_sub(sent.end, sent.seq)
        return LossEvent(now, self._lost_bytes, in_flight)

    def next_lost(self) -> tuple[int, int] | None:
        while self._lost and self._lost[0].acknowledged:
            self._lost.popleft()
        if not self._lost:
            return None
        first = self._lost[0]
        return first.seq, min(seq_sub(first.end, first.seq), self._mss)
