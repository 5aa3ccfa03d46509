"""A clock that somebody turns by hand: the pull view of time.

Scenario tests, fuzzers and other people's suites do not want to be run; they want to hand a stack one packet,
look at what it does, ask when it will do something by itself, and go there:

    clock.next_due        when the next call is due, or None
    clock.advance()       let that one call come
    clock.run(until)      let all come that are due up to then

Nothing happens in between. There are no programs and no threads: a blocking call turns the clock itself.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NoReturn

from labstack.core.clock import Deadlock, Waiters


class Timer:
    """A call that is to come: a slot in the clock's heap."""

    __slots__ = ("daemon", "fn")

    def __init__(self, fn: Callable[[], None], daemon: bool) -> None:
        self.fn: Callable[[], None] | None = fn
        self.daemon = daemon

    def cancel(self) -> None:
        self.fn = None


class ManualClock:
    """A `Driver` (see `core/clock`) whose time moves only when it is told to. `now` is in nanoseconds from
    its making."""

    virtual = True

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Timer]] = []
        self._asked = 0

    # --- the clock
    def call_at(self, when: int, fn: Callable[[], None], daemon: bool = False) -> Timer:
        timer = Timer(fn, daemon)
        self._asked += 1
        heapq.heappush(self._heap, (max(when, self.now), self._asked, timer))
        return timer

    # --- by hand
    @property
    def next_due(self) -> int | None:
        """When the next call is due, in nanoseconds; None when there is none."""
        while self._heap and self._heap[0][2].fn is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def idle(self) -> bool:
        """Nothing is to come but housekeeping."""
        return all(timer.fn is None or timer.daemon for _, _, timer in self._heap)

    def advance(self) -> bool:
        """Go to the next call, and let it come; False if there is none."""
        due = self.next_due
        if due is None:
            return False
        _, _, timer = heapq.heappop(self._heap)
        self.now = due
        fn, timer.fn = timer.fn, None
        assert fn is not None
        fn()
        return True

    def run(self, until: int) -> None:
        """Let all calls come that are due up to the time `until`, which then is `now`."""
        while (due := self.next_due) is not None and due <= until:
            self.advance()
        self.now = max(self.now, until)

    # --- a Driver
    def block(
        self, ready: Callable[[], bool], waiters: list[Waiters], timeout: int | None = None, what: str = ""
    ) -> bool:
        """Turn the clock until `ready()`; False when `timeout` nanoseconds passed first. Raises Deadlock when
        nothing is to come that could make it ready."""
        deadline = None if timeout is None else self.now + timeout
        while not ready():
            due = self.next_due
            if deadline is not None and (due is None or due > deadline):
                self.now = deadline
                return ready()
            if due is None:
                raise Deadlock(f"the caller waits for {what or 'something'}, and no call is to come")
            self.advance()
        return True

    def spawn(
        self, fn: Callable[..., object], *args: object, name: str = "", daemon: bool = True
    ) -> NoReturn:
        raise RuntimeError("a clock turned by hand runs no programs: use Network, or non-blocking sockets")

    def carry_on(self, much: bool) -> None:
        """Nothing comes but by `advance`."""

    def __enter__(self) -> ManualClock:
        return self

    def __exit__(self, *exc: object) -> None:
        return None
