"""How large a buffer? As large as the path and the program need, and not known before they are used.

The window that is offered bounds what is under way. A buffer smaller than what the path holds (its rate times
its round trip) slows it down; a larger one only costs memory. So each round trip it is measured how much the
program has read, and the receive buffer becomes twice that: then a sender whose window doubles in a round
trip does not meet the edge. (Dynamic right-sizing, Fisk and Feng 2001.) What is sent is kept until it is
acknowledged: the send buffer becomes twice the congestion window, one for what is under way, and one to be
written meanwhile. Neither shrinks. Linux does so too.

A connection begins with its first 64 KiB, whatever the others have. To grow, all of a host share two pools,
one for what they offer and one for what they may keep to send: what overflows a TAP's queue is lost without a
word. Chapter 21 of the book.
"""

from __future__ import annotations

from labstack.core.clock import Clock
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.receiver import Receiver
from labstack.transport.tcp.rtt import RttEstimator
from labstack.transport.tcp.sender import Sender


class Pool:
    """What the connections of one host share: their buffers may grow by `room` bytes more. What each begins
    with counts too: with many connections `room` is below 0, and none grows."""

    def __init__(self, room: int) -> None:
        self.room = room


class Tuning:
    """The size of one buffer of a connection, which `half` of it keeps: from `first` bytes to `most`."""

    def __init__(self, on: bool, half: Receiver | Sender, first: int, most: int, pool: Pool) -> None:
        self.on = on
        self._half, self._most, self._pool, self._taken = half, most, pool, 0
        if on:
            half.limit = self._taken = min(first, most)
            pool.room -= self._taken

    def grow(self, size: int) -> None:
        """`size` bytes would be enough."""
        more = min(min(size, self._most) - self._half.limit, self._pool.room)
        if more > 0:
            self._half.limit += more
            self._taken += more
            self._pool.room -= more

    def stop(self) -> None:
        """The connection is over, or the program has said itself how large the buffer is."""
        self.on = False
        self._pool.room += self._taken
        self._taken = 0


class ReceiveTuning(Tuning):
    """Of the receive buffer: it follows what the program reads."""

    def __init__(self, clock: Clock, config: TcpConfig, receiver: Receiver, rtt: RttEstimator,
            pool: Pool) -> None:  # fmt: skip
        super().__init__(config.auto_tuning, receiver, config.first_buffer, config.receive_buffer, pool)
        self._clock, self._rtt = clock, rtt
        self._read = self._round_began = 0

    def read(self, size: int) -> None:
        """The program has taken so many bytes."""
        self._read += size
        now, rtt = self._clock.now, self._rtt.srtt
        if rtt is None or now - self._round_began < rtt:
            return
        if self._round_began:
            self.grow(2 * self._read)
        self._read, self._round_began = 0, now
