"""BBR: measure the path, and send at its rate, in place of filling its queue until something is lost.

Two things describe a path: the bandwidth of its bottleneck (the best delivery rate of ten round trips) and
its round-trip time without queues (the shortest of ten seconds). Their product is what fits on the way. Both
cannot be measured at once, for whoever fills the path makes a queue; so BBR takes turns:

    startup          double each round, until the delivery rate grows no more
    drain            send slower than the bottleneck, until what startup queued is gone
    probe bandwidth  eight round trips: one a quarter faster, one a quarter slower, six at the rate measured
    probe RTT        every ten seconds, for 200 ms: next to nothing under way

A loss says nothing about the path, but that for one round trip no more may leave than has been delivered.
This is BBR version 1, draft-cardwell-iccrg-bbr-congestion-control-00, without its restart from idle; a
congestion mark, which the draft says nothing of, counts as a loss. Sending is paced. Chapter 23 of the book.
"""

from __future__ import annotations

from collections import deque

from labstack.core.units import MILLISECOND, SECOND
from labstack.transport.tcp.congestion import INFINITE, AckSample, LossEvent

HIGH_GAIN = 2885
"""2 / ln 2, in thousandths: the least that doubles the delivery rate each round (§4.3.2.1)."""
CYCLE = (1250, 750, 1000, 1000, 1000, 1000, 1000, 1000)
"""The pacing gains of probe bandwidth, each for one round trip."""
CWND_GAIN = 2000
BANDWIDTH_ROUNDS = 10
RTT_LIFE = 10 * SECOND
PROBE_RTT_TIME = 200 * MILLISECOND
LEAST = 4
"""Segments: enough that delayed acknowledgements do not stop the flow (BBRMinPipeCwnd)."""

STARTUP, DRAIN, PROBE_BANDWIDTH, PROBE_RTT = "startup", "drain", "probe bandwidth", "probe RTT"


class BBR:
    """A `CongestionControl`. `bandwidth` (bytes a second) and `rtprop` (nanoseconds) are its model of the
    path."""

    name = "bbr"

    def __init__(self, mss: int, initial_window: int) -> None:
        self.mss = mss
        self.cwnd = initial_window
        self.ssthresh = INFINITE
        self.pacing_rate: int | None = None
        self.phase = STARTUP
        self.bandwidth = 0
        self.rtprop: int | None = None
        self._pacing_gain = self._cwnd_gain = HIGH_GAIN
        self._initial_window = initial_window
        self._rates: deque[tuple[int, int]] = deque()  # (round, best delivery rate), falling; at most ten
        self._round = 0
        self._round_ends_at = self._delivered = 0  # bytes delivered since the connection began
        self._round_starts = self._filled = self._conserving = self._repairing = False
        self._full = 0  # the bandwidth at which startup last saw growth
        self._rounds_without_growth = 0
        self._cycle = self._cycle_began = self._rtprop_at = 0
        self._probe_rtt_until: int | None = None
        self._probe_rtt_round = self._prior_cwnd = 0

    # --- what the network tells
    def on_ack(self, sample: AckSample) -> None:
        in_flight = max(sample.in_flight - sample.acked - sample.lost, 0)
        self._count_rounds(sample)
        self._measure_bandwidth(sample)
        self._go_round_the_cycle(sample, in_flight)
        self._look_whether_full(sample)
        if self.phase == DRAIN and in_flight <= self.fitting(1000):
            self._probe_bandwidth(sample.now)
        self._measure_rtprop(sample, in_flight)
        self._set_pacing_rate(sample)
        self._set_cwnd(sample, in_flight)

    def on_loss(self, event: LossEvent) -> None:
        self._prior_cwnd = max(self.cwnd, self._prior_cwnd if self._repairing else 0)
        self._conserving = self._repairing = True
        self._round_ends_at = self._delivered  # conserve for the round trip that begins now
        self.cwnd = max(min(self.cwnd, event.in_flight), self.mss)

    def on_timeout(self, event: LossEvent) -> None:
        self._prior_cwnd = self.cwnd
        self.cwnd = self.mss

    def on_ecn(self, event: LossEvent) -> None:
        self.on_loss(event)

    def on_spurious(self) -> None:
        self.cwnd = max(self.cwnd, self._prior_cwnd)
        self._conserving = self._repairing = False

    # --- the model of the path: §4.1
    def fitting(self, gain: int) -> int:
        """Bytes that are on the way when the path is used without a queue, times `gain` thousandths."""
        if self.rtprop is None or not self.bandwidth:
            return self._initial_window
        return self.bandwidth * self.rtprop * gain // (1000 * SECOND)

    def _count_rounds(self, sample: AckSample) -> None:
        """A round is over when something is acknowledged that was sent after it began."""
        self._delivered = sample.delivered
        self._round_starts = sample.prior_delivered >= self._round_ends_at
        if self._round_starts:
            self._round_ends_at = sample.delivered
            self._round += 1
            self._conserving = False

    def _measure_bandwidth(self, sample: AckSample) -> None:
        """The best delivery rate of ten rounds. While the program had too little to send, the rate tells how
        much that was; it counts only where it is better."""
        rate, rates = sample.delivery_rate, self._rates
        if rate and (rate >= self.bandwidth or not sample.app_limited):
            while rates and rates[-1][1] <= rate:
                rates.pop()
            if not rates or rates[-1][0] != self._round:
                rates.append((self._round, rate))
        while len(rates) > 1 and rates[0][0] <= self._round - BANDWIDTH_ROUNDS:
            rates.popleft()
        self.bandwidth = rates[0][1] if rates else 0

    def _measure_rtprop(self, sample: AckSample, in_flight: int) -> None:
        """The shortest round trip of ten seconds; one that is older is measured anew (§4.3.5)."""
        expired = sample.now > self._rtprop_at + RTT_LIFE
        if sample.rtt is not None and (self.rtprop is None or sample.rtt <= self.rtprop or expired):
            self.rtprop, self._rtprop_at = sample.rtt, sample.now
        if expired and self.phase != PROBE_RTT:
            self._prior_cwnd = max(self.cwnd, self._prior_cwnd if self._repairing else 0)
            self.phase, self._pacing_gain, self._cwnd_gain = PROBE_RTT, 1000, 1000
            self._probe_rtt_until = None
        elif self.phase == PROBE_RTT:
            self._go_on_probing_rtt(sample, in_flight)

    # --- the phases: §4.3
    def _look_whether_full(self, sample: AckSample) -> None:
        """Startup ends when three rounds brought less than a quarter more."""
        if self._filled or not self._round_starts or sample.app_limited:
            return
        if self.bandwidth * 4 >= self._full * 5:
            self._full, self._rounds_without_growth = self.bandwidth, 0
            return
        self._rounds_without_growth += 1
        if self._rounds_without_growth >= 3:
            self._filled = True
            self.phase, self._pacing_gain = DRAIN, 1_000_000 // HIGH_GAIN

    def _probe_bandwidth(self, now: int) -> None:
        """Begin the cycle anywhere but in its slow phase, so that flows which share a path do not all probe
        at once: where, the last digits of the time decide, which are as good as dice."""
        self.phase, self._cwnd_gain = PROBE_BANDWIDTH, CWND_GAIN
        self._turn(now, -(now // 1000 % (len(CYCLE) - 1)))

    def _turn(self, now: int, cycle: int) -> None:
        self._cycle, self._cycle_began = cycle % len(CYCLE), now
        self._pacing_gain = CYCLE[self._cycle]

    def _go_round_the_cycle(self, sample: AckSample, in_flight: int) -> None:
        if self.phase != PROBE_BANDWIDTH or self.rtprop is None:
            return
        over = sample.now - self._cycle_began > self.rtprop
        if self._pacing_gain > 1000:
            # Go on until the quarter more is really under way, or something is lost.
            over = over and (sample.lost > 0 or sample.in_flight >= self.fitting(self._pacing_gain))
        elif self._pacing_gain < 1000:
            over = over or in_flight <= self.fitting(1000)
        if over:
            self._turn(sample.now, self._cycle + 1)

    def _go_on_probing_rtt(self, sample: AckSample, in_flight: int) -> None:
        if self._probe_rtt_until is None:
            if in_flight <= LEAST * self.mss:
                self._probe_rtt_until = sample.now + PROBE_RTT_TIME
                self._round_ends_at = sample.delivered
                self._probe_rtt_round = self._round
        elif self._round > self._probe_rtt_round and sample.now > self._probe_rtt_until:
            self._rtprop_at = sample.now
            self.cwnd = max(self.cwnd, self._prior_cwnd)
            if self._filled:
                self._probe_bandwidth(sample.now)
            else:
                self.phase, self._pacing_gain, self._cwnd_gain = STARTUP, HIGH_GAIN, HIGH_GAIN

    # --- what follows: §4.2
    def _set_pacing_rate(self, sample: AckSample) -> None:
        rate = self.bandwidth * self._pacing_gain // 1000
        if not self.bandwidth and self.rtprop:
            rate = self._initial_window * SECOND * HIGH_GAIN // (1000 * self.rtprop)
        if rate and (self._filled or self.pacing_rate is None or rate > self.pacing_rate):
            self.pacing_rate = rate

    def _set_cwnd(self, sample: AckSample, in_flight: int) -> None:
        if self._repairing and not sample.in_recovery:
            self._repairing = self._conserving = False
            self.cwnd = max(self.cwnd, self._prior_cwnd)
        self.cwnd -= sample.lost
        if self._conserving:
            self.cwnd = max(self.cwnd, in_flight + sample.acked, self.mss)
            return
        # A few segments more than fit: acknowledgements come in lumps.
        target = self.fitting(self._cwnd_gain) + 3 * 2 * self.mss
        if self._filled:
            self.cwnd = min(self.cwnd + sample.acked, target)
        elif self.cwnd < target or sample.delivered < self._initial_window:
            self.cwnd += sample.acked
        self.cwnd = max(self.cwnd, LEAST * self.mss)
        if self.phase == PROBE_RTT:
            self.cwnd = min(self.cwnd, LEAST * self.mss)
