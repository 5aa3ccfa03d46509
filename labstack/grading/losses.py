"""Lab 09's part in a running sender: what acknowledgements and the clock tell of losses and of time.

The package's `Recovery` also keeps the books for congestion control. A student's `LossFinder` answers two
questions only, and `recovery_with` puts it where a `Recovery` goes:

    net.host("a", …, recovery=recovery_with(Mine))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion import LossEvent
from labstack.transport.tcp.recovery import Found, NewReno, Recovery
from labstack.transport.tcp.scoreboard import UNDER_WAY, Ack

NEVER = 1 << 62


class LossFinder(Protocol):
    """What lab 09 asks for; made as `Mine(mss, config)` for each connection. Times are in nanoseconds."""

    def on_sent(self, seq: int, size: int, now: int) -> None:
        """`size` sequence numbers from `seq` on leave, for the first time or again."""

    def on_ack(self, ack: int, duplicate: bool, now: int) -> tuple[int | None, int | None]:
        """An acknowledgement came; `duplicate`: as RFC 5681 §2 defines it. How long a round trip took, if
        this tells; and the first number of a segment that is lost, if this shows one."""

    def on_timeout(self) -> None:
        """The timer expired: all that is under way will be sent again."""


def recovery_with(part: Callable[[int, TcpConfig], LossFinder]) -> Callable[[int, TcpConfig], Recovery]:
    """A `Recovery` in which `part` says what is lost."""
    return lambda mss, config: _Told(mss, config, part(mss, config))


class _Told(NewReno):
    """It keeps the books, and counts what duplicates say of the bytes in flight. It finds no loss itself."""

    def __init__(self, mss: int, config: TcpConfig, part: LossFinder) -> None:
        super().__init__(mss, replace(config, duplicates=NEVER))
        self._part = part

    def on_sent(self, seq: int, size: int, now: int, app_limited: bool) -> None:
        super().on_sent(seq, size, now, app_limited)
        self._part.on_sent(seq, size, now)

    def on_ack(self, ack: Ack) -> Found:
        rtt, lost = self._part.on_ack(ack.number, ack.duplicate, ack.now)
        sample, _ = super().on_ack(ack)
        if sample is not None:
            sample.rtt = rtt
        if lost is None or self.after_timeout:
            return sample, None
        size = self._lose_at(lost)
        self.reason = rules.PARTIAL_ACK if self.in_recovery else rules.FAST_RETRANSMIT
        if not self.in_recovery:
            self.in_recovery, self._recover = True, self._sent[-1].end
            return sample, LossEvent(ack.now, size, self._flight_at_first_duplicate or self.outstanding)
        if sample is not None:
            sample.lost = size
        return sample, None

    def _lose_at(self, seq: int) -> int:
        at = self._find(seq) if self._sent else 0
        if at >= len(self._sent) or self._sent[at].seq != seq:
            raise ValueError(f"on_ack says that {seq} is lost, and no segment that is under way begins there")
        stretch = self._sent[at]
        return self._lose(stretch) if stretch.fate is UNDER_WAY else 0

    def _lose_first(self) -> int:
        return 0

    def on_timeout(self, now: int) -> LossEvent:
        self._part.on_timeout()
        return super().on_timeout(now)
