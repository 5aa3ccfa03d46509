"""Pacing: spread what may be sent over the round trip, in place of sending it as acknowledgements allow.

A bucket of tokens, kept as one time: what has been sent is paid for at `pacing_rate` bytes a second, and
`_paid` is when the last byte will be. Up to a small burst may run ahead of that; who has used it up waits for
the pacing timer, which comes when all is paid. A controller without a pacing rate (Reno, CUBIC) never comes
here. RFC 9002 §7.7 says why, draft-cardwell-iccrg-bbr-congestion-control-00 §4.2 how fast; chapter 22 of the
book.
"""

from __future__ import annotations

from collections.abc import Callable

from labstack.core.node import Node
from labstack.core.units import SECOND
from labstack.transport.tcp import rules

BURSTS = 1000
"""A burst is what the rate allows in one such part of a second, a millisecond …"""
LARGEST_BURST = 1 << 16
SMALLEST_BURST = 2
"""… but no more than so many bytes, and no less than so many segments."""


class Pacer:
    """When the next segment of a connection may leave. `send` is called when one may that had to wait."""

    def __init__(self, node: Node, send: Callable[[], None]) -> None:
        self.alarm = node.alarm(rules.PACING, send)
        self._clock = node.clock
        self._paid = 0

    @staticmethod
    def burst(rate: int, mss: int) -> int:
        """Bytes that may leave at once."""
        return max(min(rate // BURSTS, LARGEST_BURST), SMALLEST_BURST * mss)

    def allows(self, rate: int, mss: int) -> bool:
        """Whether a segment may leave now, at `rate` bytes a second; if not, the timer is set."""
        ahead = self._paid - self._clock.now
        if ahead * rate < self.burst(rate, mss) * SECOND:
            return True
        self.alarm.set(self._paid)
        return False

    def sent(self, size: int, rate: int) -> None:
        """So many bytes have left."""
        self._paid = max(self._paid, self._clock.now) + size * SECOND // rate
