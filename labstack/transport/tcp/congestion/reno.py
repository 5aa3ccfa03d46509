"""Reno: double the window each round trip until something is lost, then halve it and feel the way up again.

    slow start             cwnd < ssthresh: every byte acknowledged adds a byte    ×2 a round trip
    congestion avoidance   a window acknowledged adds a segment                    +1 MSS a round trip
    a loss                 ssthresh = half of what was under way; cwnd = ssthresh
    a time-out             the same ssthresh; cwnd = 1 segment

RFC 5681, with byte counting (RFC 3465): growth follows the bytes acknowledged, not the number of
acknowledgements, so that a receiver which delays or splits them changes little. Chapter 22 of the book.
"""

from __future__ import annotations

from labstack.transport.tcp.congestion import INFINITE, AckSample, LossEvent


class Reno:
    """A `CongestionControl`."""

    name = "reno"

    def __init__(self, mss: int, initial_window: int) -> None:
        self.mss = mss
        self.cwnd = initial_window
        self.ssthresh = INFINITE
        self.pacing_rate: int | None = None
        self._limit = 2 * mss
        self._acked = 0
        self._before = self.cwnd, self.ssthresh, self._limit, self._acked

    def on_ack(self, sample: AckSample) -> None:
        # A window that is not used proves nothing: it does not grow (RFC 7661 §3).
        if sample.in_recovery or not sample.cwnd_limited:
            return
        if self.cwnd < self.ssthresh:
            self.cwnd += min(sample.acked, self._limit)
            return
        self._limit = 2 * self.mss
        self._acked += sample.acked
        if self._acked >= self.cwnd:
            self._acked -= self.cwnd
            self.cwnd += self.mss

    def on_loss(self, event: LossEvent) -> None:
        self._cut(event)
        self.cwnd = self.ssthresh

    def on_timeout(self, event: LossEvent) -> None:
        self._cut(event)
        self.cwnd = self.mss
        self._limit = self.mss  # L = 1 after a time-out (RFC 3465 §2.3)

    def on_ecn(self, event: LossEvent) -> None:
        self.on_loss(event)

    def on_spurious(self) -> None:
        cwnd, self.ssthresh, self._limit, self._acked = self._before
        self.cwnd = max(self.cwnd, cwnd)

    def _cut(self, event: LossEvent) -> None:
        self._before = self.cwnd, self.ssthresh, self._limit, self._acked
        # Half of FlightSize and not of cwnd, which may never have been filled (RFC 5681 §3.1, equation 4).
        # But when one recovery follows another, FlightSize counts what was received behind gaps, and is
        # larger.
        self.ssthresh = max(min(event.in_flight, self.cwnd) // 2, 2 * self.mss)
        self._acked = 0
