"""What is lost? What was sent before something that has arrived, and has not arrived itself, in spite of the
time that overtaking takes: RACK, from SACK and the times at which segments were sent (RFC 8985).

    sent          1   2   3   4   5        now
    arrived           ✓   ✓       ✓
    1 and 4 left before 5, which took `rtt`: they are lost when rtt + reo_wnd has passed since they left

The reordering window `reo_wnd` is nothing while no segment has ever overtaken another and three have arrived
behind the gap (so this is no slower than three duplicate ACKs), and a quarter of the shortest round trip at
first otherwise. It grows each time that the peer reports something twice (D-SACK): then a repair was for
nothing. Retransmissions that are lost again are found in the same way. Chapter 20 of the book.
"""

from __future__ import annotations

from collections import deque

from labstack.core.seq import HALF, MASK, seq_le, seq_lt, seq_sub
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion import LossEvent
from labstack.transport.tcp.hindsight import Hindsight
from labstack.transport.tcp.recovery import Found
from labstack.transport.tcp.scoreboard import LOST, UNDER_WAY, Ack, Scoreboard, Sent
from labstack.transport.tcp.timestamps import TICK

PERSISTENCE = 16
"""Recoveries without a D-SACK after which the reordering window is small again (RFC 8985 §6.2, step 4)."""


class Rack(Scoreboard):
    """A `Recovery` for peers that send selective acknowledgements."""

    selective = True
    _round_ends: int | None = None  # RACK.dsack_round; see `Scoreboard.reason`

    def __init__(self, mss: int, config: TcpConfig) -> None:
        super().__init__(mss)
        self.reordering_seen = False
        self._threshold = config.duplicates
        self._before_gap = 0  # what was in flight when the acknowledgements last moved on
        self._newest: Sent | None = None  # RACK.segment: of those that have arrived, the one sent last
        self._rtt = 0  # RACK.rtt: how long it took
        self._highest: int | None = None  # RACK.fack: the highest number that has arrived
        self._multiplier = 1
        self._persistence = 0
        self._hindsight = Hindsight()

    # --- an acknowledgement: RFC 8985 §6.2, steps 1 to 5
    def on_ack(self, ack: Ack) -> Found:
        in_flight, before, was_in_recovery = self.in_flight, self._delivered, self.in_recovery
        if not self._arrived:
            self._before_gap = in_flight
        newly = self._deliver(ack.number, ack.blocks)
        self.spurious = self._hindsight.shows(ack, newly)
        if self.spurious:
            self._take_back()
        if ack.blocks and ack.tells_twice:
            self._widen(ack.number)
        # While a gap is open, the window does not grow (RFC 5681 §3.2, RFC 3042).
        held = was_in_recovery or self._arrived > 0
        sample = self._sample(ack, newly, self._delivered - before, in_flight, held) if newly else None
        self._note(ack, newly)
        if self._recover is not None and seq_le(self._recover, ack.number):
            self._end_recovery()
        lost = self._detect(ack.now)
        if sample is not None:
            sample.lost = lost
        return sample, self._begin_recovery(lost, ack.now) if lost else None

    def _note(self, ack: Ack, newly: list[Sent]) -> None:
        """Steps 1 to 3: the newest that has arrived, its round trip, and whether one came late."""
        highest, newest = self._highest, self._newest
        for sent in newly:
            if highest is None or (highest - sent.end) & MASK >= HALF:
                highest = sent.end
            elif not sent.retransmitted:
                self.reordering_seen = True
            newer = newest is None or sent.number > newest.number
            if newer and not (sent.retransmitted and self._answers_the_first(ack, sent)):
                newest, self._rtt = sent, ack.now - sent.sent_at
        self._highest, self._newest = highest, newest

    def _answers_the_first(self, ack: Ack, sent: Sent) -> bool:
        """What was sent twice may have arrived the first time."""
        stamped = ack.echoed_at is not None and ack.echoed_at + TICK <= sent.sent_at
        return stamped or self.spurious or ack.now - sent.sent_at < (self.min_rtt or 0)

    def _detect(self, now: int) -> int:
        """Step 5: lose what was sent before the newest that has arrived, and had its time. In bytes."""
        self.reordering_deadline = None
        by_time, newest = self._by_time, self._newest
        if newest is None or not by_time or by_time[0].number > newest.number:
            return 0
        patience = self._rtt + self._reordering_window()
        lost = 0
        while by_time and by_time[0].number < newest.number:
            sent = by_time[0]
            if sent.fate is UNDER_WAY:
                if sent.sent_at + patience > now:
                    # By then, all that was sent before the newest has had its time.
                    self.reordering_deadline = newest.sent_at + patience
                    break
                lost += self._lose(sent)
            by_time.popleft()
        return lost

    def _reordering_window(self) -> int:
        """Step 4. Nanoseconds."""
        repairing = self.in_recovery or self.after_timeout
        if not self.reordering_seen and (repairing or self._arrived >= self._threshold):
            return 0
        return min(self._multiplier * (self.min_rtt or 0) // 4, self._rtt)

    def _widen(self, ack: int) -> None:
        """A repair was for nothing. Once a round trip, the reordering window grows by a quarter."""
        if self._round_ends is not None and seq_lt(ack, self._round_ends):
            return
        self._round_ends = self._sent[-1].end if self._sent else ack
        self._multiplier += 1
        self._persistence = PERSISTENCE

    # --- episodes
    def _begin_recovery(self, lost: int, now: int) -> LossEvent | None:
        """The first loss of an episode; the others of the same window belong to it (RFC 6675 §5)."""
        if self.in_recovery or self.after_timeout:
            self.reason = rules.SENT_LATER_ARRIVED
            return None
        enough = self._arrived >= self._threshold
        self.reason = rules.FAST_RETRANSMIT if enough else rules.SENT_LATER_ARRIVED
        self.in_recovery = True
        self._recover = self._sent[-1].end
        self._hindsight.begin(self._recover)
        return LossEvent(now, lost, self._before_gap)

    def _end_recovery(self) -> None:
        self.in_recovery = self.after_timeout = False
        self._recover = None
        self._persistence -= 1
        if self._persistence <= 0:
            self._multiplier = 1

    def _take_back(self) -> None:
        """Nothing was lost, but late or overtaken: what has not been sent again is under way, as before."""
        self.reordering_seen = self.reordering_seen or not self.after_timeout
        self.in_recovery = self.after_timeout = False
        self._recover = self._newest = None  # what passed for the repair's answer was another's
        self._before_gap = self.outstanding
        for sent in self._sent:
            if sent.fate is LOST:
                sent.fate = UNDER_WAY
                self._lost_bytes -= seq_sub(sent.end, sent.seq)
        under_way = (sent for sent in self._sent if sent.fate is UNDER_WAY)
        self._by_time = deque(sorted(under_way, key=lambda sent: sent.number))

    def _send_again(self, seq: int, end: int, now: int) -> int:
        self._hindsight.sent_again(seq, now)
        return super()._send_again(seq, end, now)

    def on_timeout(self, now: int) -> LossEvent:
        fresh = not (self.in_recovery or self.after_timeout)
        event = super().on_timeout(now)
        if self._hindsight.step != 2:  # or else it is the same repair once more, and the same question
            self._hindsight.begin(self._recover, 2 if fresh else 0)
        return event

    def next_lost(self) -> tuple[int, int] | None:
        return None if self._hindsight.step == 3 else super().next_lost()  # new bytes first

    def on_reordering_timeout(self, now: int) -> LossEvent | None:
        lost = self._detect(now)
        return self._begin_recovery(lost, now) if lost else None

    def _had_its_time(self, sent: Sent, now: int) -> bool:
        """RFC 8985 §6.3: what was sent so lately that it may still arrive is not lost by a time-out."""
        return sent.sent_at + self._rtt + self._reordering_window() <= now
