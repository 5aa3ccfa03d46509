"""HyStart++: leave slow start when the path begins to queue, and not only when it drops (RFC 9406).

Each round trip, the smallest of the first round-trip times is compared with that of the round before. When it
has grown by an eighth, a queue is building. Perhaps: so growth first slows to a quarter (conservative slow
start), for five rounds. If the delay falls back meanwhile, it was a false alarm, and slow start goes on;
otherwise it ends, with nothing lost. Chapter 22 of the book.
"""

from __future__ import annotations

from labstack.core.units import MILLISECOND
from labstack.transport.tcp.congestion import AckSample

MIN_THRESHOLD = 4 * MILLISECOND
MAX_THRESHOLD = 16 * MILLISECOND
DIVISOR = 8
SAMPLES = 8
"""Round-trip times that a round needs before it says anything (N_RTT_SAMPLE)."""
GROWTH_DIVISOR = 4
CONSERVATIVE_ROUNDS = 5
LIMIT = 8
"""Segments that one acknowledgement may add to cwnd, where nothing paces (L of §4.3)."""


class HyStart:
    """The first slow start of one connection. `done`: it is time for congestion avoidance."""

    def __init__(self, mss: int) -> None:
        self.done = False
        self.conservative = False
        self._limit = LIMIT * mss
        self._round_end = 0
        self._rounds = 0
        """Rounds of conservative slow start so far."""
        self._samples = 0
        self._min_rtt: int | None = None
        self._last_min: int | None = None
        self._baseline = 0

    def grow(self, sample: AckSample) -> int:
        """By how many bytes cwnd grows for this acknowledgement."""
        if sample.delivered > self._round_end:
            self._next_round(sample)
        if sample.rtt is not None:
            self._samples += 1
            if self._min_rtt is None or sample.rtt < self._min_rtt:
                self._min_rtt = sample.rtt
        if self._min_rtt is not None and self._samples >= SAMPLES:
            self._look(self._min_rtt)
        if not sample.cwnd_limited:
            return 0
        growth = min(sample.acked, self._limit)
        return growth // GROWTH_DIVISOR if self.conservative else growth

    def _next_round(self, sample: AckSample) -> None:
        """All that was under way when the round began is acknowledged."""
        self._round_end = sample.delivered - sample.acked + sample.in_flight
        self._last_min, self._min_rtt, self._samples = self._min_rtt, None, 0
        if self.conservative:
            self._rounds += 1
            self.done = self._rounds > CONSERVATIVE_ROUNDS

    def _look(self, min_rtt: int) -> None:
        if self.conservative:
            if min_rtt < self._baseline:
                self.conservative = False  # it was jitter
        elif self._last_min is not None:
            threshold = min(max(self._last_min // DIVISOR, MIN_THRESHOLD), MAX_THRESHOLD)
            if min_rtt >= self._last_min + threshold:
                self.conservative, self._baseline, self._rounds = True, min_rtt, 0
