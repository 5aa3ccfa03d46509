"""How large a receive buffer? As large as the path and the program need, and not known before they are used.

The window that is offered bounds what is under way. A buffer smaller than what the path holds (its rate times
its round trip) slows it down; a larger one only costs memory. So each round trip it is measured how much the
program has read, and the buffer becomes twice that: then a sender whose window doubles in a round trip does
not meet the edge. It never shrinks. (Dynamic right-sizing, Fisk and Feng 2001; Linux does so too.)

What all connections of a host offer together stops at one bound: what overflows a TAP's queue is lost
without a word. Chapter 21 of the book.
"""

from __future__ import annotations

from labstack.core.clock import Clock
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.receiver import Receiver
from labstack.transport.tcp.rtt import RttEstimator


class Pool:
    """What the connections of one host share: `room` bytes of window may still be promised."""

    def __init__(self, room: int) -> None:
        self.room = room


class Tuning:
    """The size of one connection's receive buffer."""

    def __init__(self, clock: Clock, config: TcpConfig, receiver: Receiver, rtt: RttEstimator,
            pool: Pool) -> None:  # fmt: skip
        self.on = config.auto_tuning
        self._clock = clock
        self._most = config.receive_buffer
        self._receiver = receiver
        self._rtt = rtt
        self._pool = pool
        self._read = self._round_began = self._taken = 0
        if self.on:
            receiver.limit = self._taken = min(config.first_buffer, self._most)
            pool.room -= self._taken

    def read(self, size: int) -> None:
        """The program has taken so many bytes."""
        self._read += size
        now, rtt = self._clock.now, self._rtt.srtt
        if rtt is None or now - self._round_began < rtt:
            return
        more = min(min(2 * self._read, self._most) - self._receiver.limit, self._pool.room)
        if more > 0 and self._round_began:
            self._receiver.limit += more
            self._taken += more
            self._pool.room -= more
        self._read, self._round_began = 0, now

    def stop(self) -> None:
        """The connection is over, or the program has said itself how large the buffer is."""
        self.on = False
        self._pool.room += self._taken
        self._taken = 0
