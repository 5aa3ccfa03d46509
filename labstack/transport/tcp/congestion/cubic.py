"""CUBIC: the window is a curve over time, flat where the last loss happened, steep far from it (RFC 9438).

        W_cubic(t) = C (t − K)³ + W_max         K = ∛((W_max − cwnd_epoch) / C)

    cwnd │                    ╱          t       seconds since congestion avoidance began
         │  W_max ─ ─ ─____──╱           W_max   where the last loss happened
         │        ╱‾                     K       when the curve is back there
         │       ╱                       C       0.4 segments a second³
         └──────┴──────K──────▶ t        a loss leaves 0.7 of the window

How long a round trip takes does not matter to the curve, so that long paths fill as fast as short ones. Where
Reno would have more (short paths, small windows), CUBIC follows Reno's line. The first slow start is
HyStart++'s. Bytes and nanoseconds, in integers: no cube root of a machine's own making. Chapter 22 of the
book.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from labstack.core.units import SECOND
from labstack.transport.tcp.congestion import INFINITE, AckSample, LossEvent
from labstack.transport.tcp.congestion.hystart import HyStart


@dataclass(slots=True)
class Curve:
    """What CUBIC knows of the last loss, and of the avoidance that followed it. Bytes and nanoseconds."""

    w_max: int = 0
    """The window at the last loss, or less: fast convergence."""
    cwnd_prior: int = 0
    """The window at the last loss."""
    k: int = 0
    epoch: int | None = None
    """When this congestion avoidance began, less the time in which the window was not used."""
    w_est: int = 0
    """What Reno would have, in 1/1024 of a byte."""


class Cubic:
    """A `CongestionControl`. `curve` is what its window follows."""

    name = "cubic"

    def __init__(self, mss: int, initial_window: int) -> None:
        self.mss = mss
        self.cwnd = initial_window
        self.ssthresh = INFINITE
        self.pacing_rate: int | None = None
        self.curve = Curve()
        self.hystart: HyStart | None = HyStart(mss)
        self._rtt = 0
        self._heard_at = 0
        self._after_timeout = False
        self._before: tuple[int, int, Curve, HyStart | None] = self.cwnd, self.ssthresh, self.curve, None

    @property
    def phase(self) -> str:
        """The phase that is CUBIC's own, or nothing."""
        return "conservative slow start" if self.hystart is not None and self.hystart.conservative else ""

    # --- growing
    def on_ack(self, sample: AckSample) -> None:
        if sample.rtt is not None:
            self._rtt += (sample.rtt - self._rtt) // 8 if self._rtt else sample.rtt
        idle, self._heard_at = sample.now - self._heard_at, sample.now
        if sample.in_recovery:
            return
        if self.cwnd < self.ssthresh:
            self._slow_start(sample)
        elif sample.cwnd_limited:
            self._avoid(sample)
        elif self.curve.epoch is not None:
            # A window that is not used proves nothing: the curve's time stands still (RFC 9438 §5.8).
            self.curve.epoch += idle

    def _slow_start(self, sample: AckSample) -> None:
        if self.hystart is None:
            # After a time-out: a segment for each acknowledgement at most (RFC 3465 §2.3, L = 1).
            self.cwnd += min(sample.acked, self.mss) if sample.cwnd_limited else 0
            return
        self.cwnd += self.hystart.grow(sample)
        if self.hystart.done:
            self.hystart = None
            self.ssthresh = self.cwnd

    def _avoid(self, sample: AckSample) -> None:
        curve, cwnd = self.curve, self.cwnd
        if curve.epoch is None:
            self._begin(sample.now)
        assert curve.epoch is not None
        t = sample.now - curve.epoch
        # §4.3: Reno with CUBIC's smaller cut needs 3 (1 − 0.7) / (1 + 0.7) segments a round trip to be as
        # fast as Reno; once it is back at the old window, one.
        alpha = 1024 if curve.w_est >> 10 >= curve.cwnd_prior else 1024 * 9 // 17
        curve.w_est += alpha * self.mss * sample.acked // cwnd
        if self.w_cubic(t) < curve.w_est >> 10:
            self.cwnd = max(cwnd, curve.w_est >> 10)
            return
        # §4.4, §4.5: in a round trip's time, be where the curve is then.
        target = min(max(self.w_cubic(t + self._rtt), cwnd), cwnd * 3 // 2)
        self.cwnd += (target - cwnd) * sample.acked // cwnd

    def w_cubic(self, t: int) -> int:
        """The curve `t` nanoseconds after its beginning, in bytes (RFC 9438 §4.2, equation 1)."""
        return 2 * self.mss * (t - self.curve.k) ** 3 // (5 * SECOND**3) + self.curve.w_max

    def _begin(self, now: int) -> None:
        """Congestion avoidance begins (§4.2); after a time-out, or without a loss before, at the plateau
        (§4.8, §4.10)."""
        curve = self.curve
        curve.epoch, curve.w_est = now, self.cwnd << 10
        if self._after_timeout or curve.w_max <= self.cwnd:
            curve.w_max, curve.k = self.cwnd, 0
        else:
            curve.k = cube_root((curve.w_max - self.cwnd) * 5 * SECOND**3 // (2 * self.mss))
        self._after_timeout = False

    # --- shrinking
    def on_loss(self, event: LossEvent) -> None:
        self._reduce(event)
        self.cwnd = self.ssthresh

    def on_timeout(self, event: LossEvent) -> None:
        self._reduce(event)
        self.cwnd = self.mss
        self._after_timeout = True

    def on_ecn(self, event: LossEvent) -> None:
        self.on_loss(event)

    def on_spurious(self) -> None:
        cwnd, self.ssthresh, self.curve, self.hystart = self._before
        self.cwnd = max(self.cwnd, cwnd)
        self._after_timeout = False

    def _reduce(self, event: LossEvent) -> None:
        curve, cwnd = self.curve, self.cwnd
        self._before = (cwnd, self.ssthresh, curve, self.hystart)
        # §4.7, fast convergence: who loses below the last loss has a new neighbour, and makes room.
        w_max = cwnd * 17 // 20 if cwnd < curve.w_max else cwnd
        self.curve = replace(curve, w_max=w_max, cwnd_prior=cwnd, epoch=None)
        # §4.6: β = 0.7 of FlightSize, and not of cwnd, which may never have been filled. But in a recovery
        # right behind another, FlightSize counts what was received behind gaps, and is larger.
        self.ssthresh = max(min(event.in_flight, cwnd) * 7 // 10, 2 * self.mss)
        self.hystart = None


def cube_root(x: int) -> int:
    """The largest whole number whose cube is no more than `x` (at least 1), by Newton's method."""
    root = 1 << -(-x.bit_length() // 3)
    while True:
        closer = (2 * root + x // (root * root)) // 3
        if closer >= root:
            return root
        root = closer
