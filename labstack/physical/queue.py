"""What happens to frames that wait for the line: who goes next, and who is told to slow down.

    net.wire(a, r, rate="10 Mbit/s", queue="64 KiB", discipline=CoDel)

A full queue drops, and a sender that fills it hears of that a whole queue too late. A discipline may say so
earlier: by dropping a frame although there is room (RFC 7567), or, where the frame says that its sender
understands it, by marking it (ECN, RFC 3168 §5). A queue reads headers, not layers. Chapters 06 and 23 of the
book.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import isqrt
from typing import Protocol

from labstack.core import units
from labstack.core.units import SECOND
from labstack.headers.ethernet import ETHERTYPE_IPV4, FCS_LENGTH, LENGTH, fcs
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import CE, NOT_ECT, IPv4

FULL_FRAME = 1518
"""A queue of one full frame is no queue (MAXPACKET of RFC 8289 §5.4)."""


@dataclass(slots=True)
class Waiting:
    """A frame in a queue: its number, its bytes with check sequence, the event that sent it, and since when
    it waits (nanoseconds)."""

    number: int
    frame: bytes
    cause: int
    since: int


class Verdict(Enum):
    """What becomes of the frame whose turn it is."""

    SEND = "it goes"
    MARK = "it goes with a mark; without one, if its sender understands none, it is dropped"
    DROP = "it is dropped"


SEND, MARK, DROP = Verdict


class Discipline(Protocol):
    """Replaceable: `net.wire(…, discipline=Mine)`; made as `Mine(limit)` for each end, in bytes."""

    queued: int
    """Bytes that wait."""

    def put(self, waiting: Waiting) -> bool:
        """Take a frame; False if there is no room for it."""

    def take(self, now: int) -> tuple[Waiting, Verdict] | None:
        """The next frame, and what becomes of it; None if none waits. After one that is dropped, the wire
        asks again."""


class DropTail:
    """First come, first served; what finds the queue full is dropped."""

    def __init__(self, limit: int) -> None:
        self.queued = 0
        self._limit = limit
        self._queue: deque[Waiting] = deque()

    def put(self, waiting: Waiting) -> bool:
        if self.queued + len(waiting.frame) > self._limit:
            return False
        self._queue.append(waiting)
        self.queued += len(waiting.frame)
        return True

    def take(self, now: int) -> tuple[Waiting, Verdict] | None:
        if not self._queue:
            return None
        waiting = self._queue.popleft()
        self.queued -= len(waiting.frame)
        return waiting, SEND


class CoDel(DropTail):
    """Controlled delay (RFC 8289): a queue is for bursts. It looks at how long frames have waited. If that
    was more than `target` for all of an `interval`, it drops one, and the next ever sooner, until the wait is
    short again: after interval / √1, interval / √2, …, for that is how Reno's rate falls with losses.

    `ecn`: mark in place of dropping, where the sender understands that. `partial(CoDel, target="1 ms")` makes
    another one. The limit is the drop tail's, for what CoDel does not hold.
    """

    def __init__(
        self,
        limit: int,
        target: str | float = "5 ms",
        interval: str | float = "100 ms",
        ecn: bool = True,
    ) -> None:
        super().__init__(limit)
        self._target = units.duration(target)
        self._interval = units.duration(interval)
        self._signal = MARK if ecn else DROP
        self._long_at: int | None = None
        """When the wait will have been long for a whole interval; None while it is short."""
        self._dropping = False
        self._drop_next = 0
        self._count = 0
        self._last_count = 0

    def take(self, now: int) -> tuple[Waiting, Verdict] | None:
        found = super().take(now)
        if found is None:
            self._long_at, self._dropping = None, False
            return None
        waiting = found[0]
        too_long = self._has_been_too_long(waiting, now)
        if self._dropping:
            if not too_long:
                self._dropping = False
            elif now >= self._drop_next:
                self._count += 1
                self._drop_next += self._step()
                return waiting, self._signal
        elif too_long:
            self._begin(now)
            return waiting, self._signal
        return found

    def _has_been_too_long(self, waiting: Waiting, now: int) -> bool:
        """`dodeque` of §5.6."""
        if now - waiting.since < self._target or self.queued <= FULL_FRAME:
            self._long_at = None
        elif self._long_at is None:
            self._long_at = now + self._interval
        else:
            return now >= self._long_at
        return False

    def _begin(self, now: int) -> None:
        """Start to drop; if it was not long ago that this ended, nearly as fast as it was then (§5.5)."""
        recent = self._count - self._last_count
        again = recent > 1 and now - self._drop_next < 16 * self._interval
        self._dropping = True
        self._count = self._last_count = recent if again else 1
        self._drop_next = now + self._step()

    def _step(self) -> int:
        """interval / √count, in whole nanoseconds (`control_law` of §5.5)."""
        return self._interval * SECOND // isqrt(self._count * SECOND * SECOND)


def marked(frame: bytes) -> bytes | None:
    """The frame, with its check sequence, saying that it met congestion; None if its sender would not
    understand that."""
    if int.from_bytes(frame[LENGTH - 2 : LENGTH], "big") != ETHERTYPE_IPV4:
        return None
    try:
        header = IPv4.parse(frame, LENGTH)
    except HeaderError:
        return None
    if header.ecn == NOT_ECT:
        return None
    header.ecn = CE
    changed = frame[:LENGTH] + header.pack() + frame[LENGTH + header.header_length : -FCS_LENGTH]
    return changed + fcs(changed)
