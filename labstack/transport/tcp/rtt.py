"""How long does an answer take, and how long shall we wait for it? (RFC 6298)

    RTTVAR ← 3/4 RTTVAR + 1/4 |SRTT − R|
    SRTT   ← 7/8 SRTT + 1/8 R
    RTO    ← SRTT + max(G, 4 RTTVAR)

Segments that were sent twice give no sample, for nobody knows which of the two was answered (Karn's rule);
`recovery` sees to that. Chapter 20 of the book.
"""

from __future__ import annotations

from typing import Protocol

from labstack.transport.tcp.config import TcpConfig


class RttEstimator(Protocol):
    """Replaceable: `net.host("a", …, rtt=Mine)`; made as `Mine(config)` for each connection. Nanoseconds."""

    srtt: int | None
    """The smoothed round-trip time; None before the first sample."""
    rttvar: int
    rto: int
    """The retransmission time-out."""

    def sample(self, rtt: int) -> None:
        """A round trip took so long."""

    def back_off(self) -> None:
        """The time-out came: wait twice as long for the next answer (RFC 6298 §5.5)."""


class Rfc6298:
    """The standard's estimator, in integers, in the standard's order."""

    def __init__(self, config: TcpConfig) -> None:
        self.srtt: int | None = None
        self.rttvar = 0
        self.rto = config.initial_rto
        self._config = config

    def sample(self, rtt: int) -> None:
        if self.srtt is None:
            self.srtt, self.rttvar = rtt, rtt // 2
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) // 4
            self.srtt += (rtt - self.srtt) // 8
        rto = self.srtt + max(self._config.clock_granularity, self._config.rto_margin, 4 * self.rttvar)
        self.rto = min(max(rto, self._config.min_rto), self._config.max_rto)

    def back_off(self) -> None:
        self.rto = min(self.rto * 2, self._config.max_rto)
