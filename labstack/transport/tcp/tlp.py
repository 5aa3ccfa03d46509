"""Tail loss probe: when the last segments of a flight are lost, nothing comes behind them that could show it.

So after two round trips without an acknowledgement one segment is sent, new or the last one again. The answer
to it tells what is missing, and `rack` repairs it within a round trip, where the retransmission time-out
would have taken a second and begun with a window of one segment. RFC 8985 §7. Chapter 20 of the book.
"""

from __future__ import annotations

from labstack.core.seq import seq_lt
from labstack.core.units import SECOND
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.recovery import Recovery
from labstack.transport.tcp.rtt import RttEstimator
from labstack.transport.tcp.scoreboard import Ack


class TailLossProbe:
    """The probes of one connection: at most one is under way."""

    def __init__(self, config: TcpConfig) -> None:
        self._config = config
        self._end: int | None = None  # TLP.end_seq
        self._again = False

    def may_ask(self, recovery: Recovery) -> bool:
        """Nothing is known to be missing, and no probe is under way: only then (§7.2)."""
        if self._end is not None or not recovery.selective or not self._config.tail_loss_probe:
            return False
        repairing = recovery.in_recovery or recovery.after_timeout
        return not repairing and recovery.in_flight == recovery.outstanding > 0

    def patience(self, rtt: RttEstimator, single: bool) -> int:
        """PTO, in nanoseconds: two round trips; for a `single` segment also what the peer may take to
        acknowledge it (§7.2)."""
        if rtt.srtt is None:
            return SECOND
        wait = 2 * max(rtt.srtt, self._config.clock_granularity)
        return wait + self._config.max_ack_delay if single else wait

    def sent(self, end: int, again: bool) -> None:
        """A probe is sent, with all sent up to `end`; `again`: it is the last segment once more."""
        self._end, self._again = end, again

    def stop(self) -> None:
        """A time-out came first."""
        self._end = None

    def on_ack(self, ack: Ack) -> bool:
        """An acknowledgement came. True if the probe has repaired the only loss: nothing else will show it,
        and the window is to be cut all the same (§7.4.2)."""
        end = self._end
        if end is None or seq_lt(ack.number, end):
            return False
        twice = (ack.tells_twice and ack.blocks[0][1] == end) or (ack.duplicate and not ack.blocks)
        if twice or not self._again or ack.number != end:
            self._end = None  # what came twice, or was answered twice, was not lost
        return self._again and not twice and ack.number != end
