"""Time as the stack sees it: what the hour is, and "call me then". Nothing below `drivers/` knows more.

Two drivers implement it: the simulator, where time jumps from event to event, and the real-time driver, where
it passes. The layers cannot tell which one they run on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from labstack.core.events import Events, Rule


class Timer(Protocol):
    """A call that is to come. Cancelling one that already ran, or was cancelled, does nothing."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The time, and calls to come. Times are integer nanoseconds."""

    @property
    def now(self) -> int: ...

    def call_at(self, when: int, fn: Callable[[], None], daemon: bool = False) -> Timer:
        """Call `fn` at the time `when`, or at once after the present event if that has passed.

        Calls due at the same time run in the order in which they were asked for. A `daemon` call is
        housekeeping: it does not keep a network from being idle.
        """


class Deadlock(RuntimeError):
    """Nothing is left that could wake anyone. The message names who waits for what."""


class Waiters(list[Callable[[], None]]):
    """Who is to be woken when something becomes ready. Waking empties the list: whoever still waits asks
    again."""

    __slots__ = ()

    def wake(self) -> None:
        if self:
            waiting = self[:]
            self.clear()
            for wake in waiting:
                wake()


class Program(Protocol):
    """A blocking function that runs beside the caller, such as a server. `join` raises what it raised."""

    name: str

    @property
    def done(self) -> bool: ...

    def join(self, timeout: float | None = None) -> object: ...


class Driver(Clock, Protocol):
    """A clock that can also wait. Sockets and programs stand on these.

    `virtual` says that its time is not the time on the wall.
    """

    @property
    def virtual(self) -> bool: ...

    def block(
        self, ready: Callable[[], bool], waiters: list[Waiters], timeout: int | None = None, what: str = ""
    ) -> bool:
        """Wait until `ready()`; False if `timeout` nanoseconds passed first. `waiters` are those whose waking
        may make it ready; `what` says, for `Deadlock`, what is being waited for."""

    def spawn(
        self, fn: Callable[..., object], *args: object, name: str = "", daemon: bool = True
    ) -> Program: ...

    def carry_on(self, much: bool) -> None:
        """The caller, who owns the stack, has sent something, or `much`: a driver in real time may handle
        here what has come meanwhile, so that no other thread need do it."""

    def __enter__(self) -> object:
        """Own the stack: no frame or timer is handled by another thread until `__exit__`. May be nested."""

    def __exit__(self, *exc: object) -> None: ...


class Alarm:
    """A timer with a name that is set and stopped often, such as TCP's retransmission timer.

    Moving it to a later time costs one assignment: the call that is already under way finds, when it comes,
    that the deadline has moved, and asks for another. When it fires, it becomes the cause of what follows
    from it.
    """

    __slots__ = ("_clock", "_due", "_events", "_fn", "_set_by", "_timer", "daemon", "deadline", "rule")

    def __init__(
        self, clock: Clock, events: Events, rule: Rule, fn: Callable[[], None], daemon: bool = False
    ) -> None:
        self._clock = clock
        self._events = events
        self._fn = fn
        self._timer: Timer | None = None
        self._due = 0
        self._set_by = 0
        self.rule = rule
        self.daemon = daemon
        self.deadline: int | None = None

    def set(self, deadline: int) -> None:
        """Fire at `deadline` (nanoseconds), in place of whatever was set before."""
        self.deadline = deadline
        if self._events:
            self._set_by = self._events.cause
        if self._timer is not None:
            if self._due <= deadline:
                return
            self._timer.cancel()
        self._due = deadline
        self._timer = self._clock.call_at(deadline, self._fire, self.daemon)

    def stop(self) -> None:
        """Do not fire. Stopping a stopped alarm does nothing."""
        self.deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        deadline = self.deadline
        if deadline is None:
            return
        if deadline > self._clock.now:
            self._due = deadline
            self._timer = self._clock.call_at(deadline, self._fire, self.daemon)
            return
        self.deadline = None
        events = self._events
        if events:
            events.cause = self._set_by
            events.cause = events.emit(self.rule)
            self._fn()
            events.cause = 0
        else:
            self._fn()
