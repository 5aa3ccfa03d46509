"""Timestamps: every segment says when it was sent, and which such time it answers (RFC 7323 §3 to §5).

    TSval   the sender's clock, in milliseconds, when the segment left
    TSecr   the TSval that it answers: of the segment that the last acknowledgement was caused by

Two uses. A round trip can be measured on every acknowledgement, also of what was sent twice (RTTM). And a
segment whose time lies before one that has arrived already is a leftover of an earlier round of the sequence
numbers, and is thrown away (PAWS). Chapter 20 of the book.
"""

from __future__ import annotations

import struct

from labstack.core.clock import Clock
from labstack.core.seq import MASK, seq_le, seq_lt
from labstack.core.units import MILLISECOND, SECOND
from labstack.headers.tcp import NOP, TIMESTAMPS

LENGTH = 12
"""Bytes that the option takes in each segment, with the two NOPs in front of it (RFC 7323 appendix A)."""
TICK = MILLISECOND
"""One step of the clock (RFC 7323 §5.4: between 1 ms and 1 s)."""
VALID = 24 * 24 * 3600 * SECOND
"""After so long without a segment the peer's clock may have come round: its last time means nothing (RFC 7323
§5.5)."""

_OPTION = struct.Struct(">4BII")


class Timestamps:
    """The timestamps of one connection. `offset` is where its clock begins: another one for each connection,
    so that nobody learns how long this host has been up (RFC 7323 §7.1)."""

    def __init__(self, clock: Clock, offset: int) -> None:
        self.on = False
        """Both ends have agreed to use them."""
        self.recent = 0
        """TS.Recent: what the next segment echoes."""
        self.last_ack_sent = 0
        self._recent_at = 0
        self._clock = clock
        self._offset = offset

    def value(self) -> int:
        """The time now, as TSval has it."""
        return (self._clock.now // TICK + self._offset) & MASK

    def option(self, ack: int) -> bytes:
        """The option for a segment that acknowledges up to `ack`."""
        self.last_ack_sent = ack
        return _OPTION.pack(NOP, NOP, TIMESTAMPS, 10, self.value(), self.recent)

    def start(self, tsval: int) -> None:
        """The peer's SYN carried this time."""
        self.on = True
        self.recent, self._recent_at = tsval, self._clock.now

    def is_old(self, tsval: int) -> bool:
        """PAWS, rule R1 (RFC 7323 §5.3): it left before something that has arrived already."""
        return seq_lt(tsval, self.recent) and self._clock.now - self._recent_at < VALID

    def learn(self, tsval: int, seq: int) -> None:
        """Rule R3: an acceptable segment numbered `seq` came. Of those that one acknowledgement answers, the
        first counts: so a round trip includes the time that the acknowledgement waited (RFC 7323 §4.3)."""
        if seq_le(seq, self.last_ack_sent) and not self.is_old(tsval):
            self.recent, self._recent_at = tsval, self._clock.now

    def sent_at(self, tsecr: int) -> int | None:
        """When the segment that `tsecr` echoes was sent, in nanoseconds by this host's clock; None if it
        cannot be: a peer may echo anything."""
        now = self._clock.now
        ago = (now // TICK + self._offset - tsecr) & MASK
        return (now // TICK - ago) * TICK if ago <= now // TICK else None
