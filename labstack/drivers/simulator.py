"""The simulator: virtual time, one heap of events, and programs that take turns.

Everything that happens is a call in a heap, ordered by its time and, for the same time, by when it was asked
for. Time does not pass; it jumps to the next call. So a simulated year costs what happens in it, and the same
run gives the same trace for ever.

A *program* is a blocking function. It runs on a thread of its own, but only one thread runs at a time:
whoever holds the baton. A program that has to wait hands the baton back and gets it again when what it waits
for is ready. Threads are then as deterministic as everything else. In a notebook cell the main thread has no
baton to hand back: while it waits, it turns the world itself, call by call.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush

from labstack.core.clock import Deadlock, Waiters
from labstack.core.units import SECOND, show_time
from labstack.drivers.interrupt import GRACE, interruptible, raise_later
from labstack.drivers.program import BlockingProgram, Killed

PATIENCE = 3600 * SECOND
"""How long, in virtual time, a blocking call without a time-out waits in a world that never falls idle."""

_COMPACT_ABOVE = 64
_NEVER = 1 << 63


class Timer:
    """A call that is to come. Without a function it is done with."""

    __slots__ = ("daemon", "fn", "simulator")
    fn: Callable[[], None] | None
    daemon: bool
    simulator: Simulator

    def cancel(self) -> None:
        if self.fn is not None:
            self.fn = None
            self.simulator._cancelled(self.daemon)


def _closed_gate() -> threading.Lock:
    """A lock that is taken: whoever acquires it waits until another thread releases it. That is the baton; a
    plain lock changes hands several times faster than the semaphores and events made from it."""
    gate = threading.Lock()
    gate.acquire()
    return gate


class Program(BlockingProgram):
    """A blocking function in virtual time, as `spawn` returns it."""

    def __init__(self, simulator: Simulator, fn: Callable[[], object], name: str) -> None:
        super().__init__(simulator, fn, name)
        self.waits_for = ""
        self.killed = False
        self._simulator = simulator
        self._baton = _closed_gate()
        # A fresh context: a copy of the caller's would send what the program prints to a cell that ended long
        # ago.
        self._thread = threading.Thread(
            target=contextvars.Context().run, args=(self._main,), name=name, daemon=True
        )

    def _main(self) -> None:
        self._baton.acquire()
        if not self.killed:
            self._call()
        self._done = True
        self._finished.wake()
        self._simulator._handed_back = True
        self._simulator._baton.release()

    def _yield(self) -> None:
        """Hand the baton back, and wait to be given it again."""
        self._simulator._handed_back = True
        self._simulator._baton.release()
        self._baton.acquire()
        if self.killed:
            raise Killed

    def __repr__(self) -> str:
        state = "ended" if self._done else f"waits for {self.waits_for}" if self.waits_for else "ready"
        return f"<program {self.name}: {state}>"


class Simulator:
    """A `Driver` (see `core/clock`) whose time is virtual. `now` is in nanoseconds from the start of the
    run."""

    virtual = True

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Timer]] = []  # when; how many had been asked for before; what
        self._asked = 0
        self._dead = 0  # calls in the heap that were cancelled
        self._daemons = 0  # and those that are housekeeping
        self._programs: list[Program] = []
        self._running: Program | None = None
        self._baton = _closed_gate()
        self._turning = False
        self._turn = _Turn(self)
        self._closed = False
        self._handed_back = True

    # --- the clock
    def call_at(self, when: int, fn: Callable[[], None], daemon: bool = False) -> Timer:
        self._asked += 1
        if when < self.now:
            when = self.now
        timer = Timer()  # no constructor of its own: a call of one would cost as much as all of this
        timer.fn, timer.daemon, timer.simulator = fn, daemon, self
        heappush(self._heap, (when, self._asked, timer))
        if daemon:
            self._daemons += 1
        return timer

    def _cancelled(self, daemon: bool) -> None:
        if daemon:
            self._daemons -= 1
        self._dead += 1
        # Cancelled calls stay in the heap until their time. When they are most of it, leave them out.
        if self._dead > _COMPACT_ABOVE and self._dead * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].fn is not None]
            heapify(self._heap)
            self._dead = 0

    @property
    def idle(self) -> bool:
        """Nothing is to come but housekeeping."""
        return len(self._heap) == self._dead + self._daemons

    # --- turning the world
    def run(self, until: int | None = None) -> None:
        """Run until nothing but housekeeping is to come; with `until`, up to that time, which then is
        `now`."""
        with self._turn:
            if until is None:
                self._run_calls(_NEVER, (), until_idle=True)
            else:
                self._run_calls(until, (), until_idle=False)
                self.now = max(self.now, until)

    def _run_calls(self, until: int, woken: Sequence[object], until_idle: bool) -> None:
        """Run the calls that are due up to the time `until`, one after the other. Stop earlier when there is
        something in `woken`, and with `until_idle` when nothing but housekeeping is to come."""
        heap = self._heap
        while heap and not woken:
            when, _, timer = heap[0]
            if when > until:
                break
            fn = timer.fn
            if fn is None or timer.daemon:
                if until_idle and self.idle:
                    break
                if fn is None:
                    heappop(heap)
                    self._dead -= 1
                    continue
                self._daemons -= 1
            heappop(heap)
            timer.fn = None
            self.now = when
            fn()

    # --- waiting
    def block(
        self, ready: Callable[[], bool], waiters: list[Waiters], timeout: int | None = None, what: str = ""
    ) -> bool:
        """Wait, in virtual time, until one of `waiters` wakes and `ready()` is true. False when `timeout`
        nanoseconds passed first.

        On the main thread this turns the world. It raises Deadlock when nothing but housekeeping is to come,
        and TimeoutError when an hour of virtual time passed without a time-out having been asked for.
        """
        program = self._running
        if program is not None and program.killed:
            raise Killed
        if ready():
            return True
        if timeout is not None and timeout <= 0:
            return False
        deadline = None if timeout is None else self.now + timeout
        if program is not None:
            return self._wait(program, ready, waiters, deadline, what)
        return self._turn_until(ready, waiters, deadline, what)

    def _turn_until(
        self, ready: Callable[[], bool], waiters: list[Waiters], deadline: int | None, what: str
    ) -> bool:
        """The main thread waits by turning the world."""
        end = self.now + PATIENCE if deadline is None else deadline
        woken: list[bool] = []

        def wake() -> None:
            woken.append(True)

        with self._turn:
            while True:
                for waiter in waiters:
                    waiter.append(wake)
                try:
                    self._run_calls(end, woken, until_idle=deadline is None)
                finally:
                    _wait_no_more(waiters, wake)
                if woken:
                    if ready():
                        return True
                    woken.clear()
                elif deadline is not None:
                    self.now = max(self.now, end)
                    return ready()
                elif not self.idle:
                    self.now = max(self.now, end)
                    raise TimeoutError(f"nothing came of waiting for {what} in {show_time(PATIENCE)}")
                else:
                    raise Deadlock(self._who_waits(what))

    def _wait(
        self,
        program: Program,
        ready: Callable[[], bool],
        waiters: list[Waiters],
        deadline: int | None,
        what: str,
    ) -> bool:
        """A program waits by handing the baton back."""
        woken = False

        def wake() -> None:
            nonlocal woken
            if not woken:
                woken = True
                self.call_at(self.now, lambda: self._resume(program))

        alarm = None if deadline is None else self.call_at(deadline, wake)
        program.waits_for = what or "something"
        try:
            while not ready():
                if deadline is not None and self.now >= deadline:
                    return False
                woken = False
                for waiter in waiters:
                    waiter.append(wake)
                try:
                    program._yield()
                finally:
                    _wait_no_more(waiters, wake)
            return True
        finally:
            program.waits_for = ""
            if alarm is not None:
                alarm.cancel()

    def _who_waits(self, what: str) -> str:
        lines = [f"the caller waits for {what or 'something'}"]
        lines += [f"{p.name} waits for {p.waits_for}" for p in self._programs if not p.done and p.waits_for]
        return "nothing is left that could wake anyone: " + "; ".join(lines)

    # --- programs
    def spawn(self, fn: Callable[..., object], *args: object, name: str = "", daemon: bool = True) -> Program:
        """Run `fn(*args)` as a program of its own, beginning at the present time."""
        program = Program(self, lambda: fn(*args), name or getattr(fn, "__name__", "program"))
        self._programs = [p for p in self._programs if not p.done]
        self._programs.append(program)
        program._thread.start()
        self.call_at(self.now, lambda: self._resume(program))
        return program

    def _resume(self, program: Program) -> None:
        """Give the baton to a program until it waits or ends."""
        if program.done:
            return
        self._running = program
        self._handed_back = False
        try:
            program._baton.release()
            # Not for ever at once: a signal that comes just before the waiting begins does not end it.
            while not self._baton.acquire(timeout=GRACE):
                pass
        except KeyboardInterrupt:
            self._take_back(program)
            raise
        finally:
            self._running = None

    def _take_back(self, program: Program) -> None:
        """Ctrl-C came while a program has the baton: have it back, even if that has to be interrupted for
        it."""
        waiting = True
        raise_later(program._thread, KeyboardInterrupt, lambda: waiting)
        while waiting:
            try:
                # Once it is handed back, it is either free, or ours already.
                self._baton.acquire(blocking=not self._handed_back)
                waiting = False
            except KeyboardInterrupt:
                continue

    def carry_on(self, much: bool) -> None:
        """Nothing comes while a program has its turn."""

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def close(self) -> None:
        """End every program, and forget every call. Nothing runs afterwards."""
        if self._closed or self._running is not None:
            return
        self._closed = True
        for program in self._programs:
            if not program.done:
                program.killed = True
                self._resume(program)
                program._thread.join(5)
        self._programs.clear()
        self._heap.clear()
        self._dead = self._daemons = 0


def _wait_no_more(waiters: list[Waiters], wake: Callable[[], None]) -> None:
    for waiter in waiters:
        if wake in waiter:
            waiter.remove(wake)


class _Turn:
    """The main thread turns the world; nobody else may, and Ctrl-C ends it."""

    __slots__ = ("_interruptible", "_simulator")

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._interruptible = interruptible()

    def __enter__(self) -> None:
        simulator = self._simulator
        if simulator._closed:
            raise RuntimeError("this network is closed: make a new one")
        if simulator._running is not None or simulator._turning:
            raise RuntimeError(
                "this call would run the world from inside it: use host.spawn for a program that blocks"
            )
        simulator._turning = True
        self._interruptible.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._simulator._turning = False
        self._interruptible.__exit__()
