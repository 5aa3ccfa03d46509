"""The real-time driver: the same stack, on the clock on the wall.

One background thread owns the stack. It sleeps until a device has a frame, a timer is due, or somebody calls;
then it handles up to 64 frames of each device, the timers that are due, and sleeps again:

    select ──► frames ──► timers ──► select ──► …          all under one lock

Other threads (a notebook cell, a server) take the same lock for the length of a call, and wait without it.
Handing work to the background thread instead would cost a change of threads, some 50 µs, for every call.

A thread that waits, and would only sleep, turns the stack itself meanwhile: it *leads*, and the background
thread stands back. So the frames it waits for are handled on the processor where they are used, and a
download runs half as fast again. One thread leads at a time; others that wait sleep.

An exception in a handler costs the frame or the timer that was being handled; the stack goes on. It is raised
in whoever waits at that moment, or else in whoever calls next.
"""

from __future__ import annotations

import contextvars
import errno
import heapq
import os
import socket
import threading
import traceback
import weakref
from collections.abc import Callable
from functools import partial
from threading import get_ident
from time import monotonic_ns

from labstack.core.clock import Waiters
from labstack.core.units import SECOND
from labstack.drivers.background import Background, wait
from labstack.drivers.interrupt import interruptible
from labstack.drivers.lock import FairLock
from labstack.drivers.program import BlockingProgram, Killed

_COMPACT_ABOVE = 1024
_NEVER = 1 << 63
GRACE = 2_000_000
"""Nanoseconds for which the background thread leaves the stack alone after somebody led: a program that reads
comes back at once, and two threads that take turns cost more than one."""

_GONE = {errno.EBADF, errno.ENODEV, errno.ENXIO, getattr(errno, "EBADFD", errno.EBADF)}


def _after_fork(driver: weakref.ref[RealTime]) -> None:
    found = driver()
    if found is not None:
        found.stay_behind()


class Timer:
    """A call that is to come: a slot in the driver's heap."""

    __slots__ = ("_driver", "_fn")

    def __init__(self, driver: RealTime, fn: Callable[[], None]) -> None:
        self._driver = driver
        self._fn: Callable[[], None] | None = fn

    def cancel(self) -> None:
        if self._fn is not None:
            self._fn = None
            self._driver._cancelled()


class Program(BlockingProgram):
    """A blocking function on a thread of its own, as `spawn` returns it."""

    def __init__(self, driver: RealTime, fn: Callable[[], object], name: str, daemon: bool) -> None:
        super().__init__(driver, fn, name)
        self._driver = driver
        # A fresh context: a copy of the caller's would send what the program prints to a cell that ended long
        # ago.
        run = contextvars.Context().run
        self._thread = threading.Thread(target=run, args=(self._main,), name=name, daemon=daemon)

    def _main(self) -> None:
        try:
            self._call()
        finally:
            self._driver._ended(self)

    def __repr__(self) -> str:
        return f"<program {self.name}: {'ended' if self._done else 'runs'}>"


class _Sleeper:
    """One thread that waits in `block`, and what wakes it."""

    __slots__ = ("_driver", "error", "signal", "woken")

    def __init__(self, driver: RealTime) -> None:
        self._driver = driver
        self.error: BaseException | None = None
        self.woken = False
        self.signal = threading.Lock()
        self.signal.acquire()

    def wake(self) -> None:
        """The caller holds the lock, without which the thread can do nothing: at work, it wakes it when
        done."""
        if self.woken:
            return
        self.woken = True
        if self._driver._worker:
            self._driver._woken.append(self)
        else:
            self.signal.release()

    def wait(self, seconds: float) -> None:
        with interruptible():
            self.signal.acquire(timeout=seconds)


class _Leader(_Sleeper):
    """A thread that waits by turning the stack itself."""

    __slots__ = ()

    def wake(self) -> None:
        self.woken = True
        self._driver._wake()


class RealTime:
    """A `Driver` (see `core/clock`) in real time. `now` is in nanoseconds, from a start that the system
    chose."""

    virtual = False

    def __init__(self) -> None:
        self._lock = FairLock()
        self._worker = 0  # the thread that is in the middle of a turn, if one is
        self._heap: list[tuple[int, int, Timer]] = []
        self._asked = 0
        self._dead = 0
        self._devices: dict[int, Callable[[], object]] = {}
        self._sleepers: set[_Sleeper] = set()
        self._woken: list[_Sleeper] = []
        self._programs: dict[int, Program] = {}
        self._error: BaseException | None = None
        self._died: BaseException | None = None
        self._closed = False
        self._asleep_until = 0  # when the background thread wakes by itself; 0 while it is awake
        self._leading = False
        self._leader_asleep_until = 0
        self._led_until = 0  # until then the background thread leaves the stack to the last leader
        self._interrupted = False
        # Wakes the leader. Not bare descriptors: once closed, their numbers could be somebody else's.
        self._told, self._telling = socket.socketpair()
        self._told.setblocking(False)
        self._telling.setblocking(False)
        self._thread = Background(weakref.ref(self))
        self._stop = weakref.finalize(self, Background.stop, self._thread)  # also at the interpreter's exit
        self._thread.start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_after_fork, weakref.ref(self)))

    # --- the clock ------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        return monotonic_ns()

    def call_at(self, when: int, fn: Callable[[], None], daemon: bool = False) -> Timer:
        timer = Timer(self, fn)
        with self._lock:
            if not self._closed:
                now = monotonic_ns()
                when = when if when > now else now
                self._asked += 1
                heapq.heappush(self._heap, (when, self._asked, timer))
                # In the middle of a turn nobody sleeps: at its end the timers are looked at anyway.
                asleep_until = self._leader_asleep_until if self._leading else self._asleep_until
                if not self._worker and self._heap[0][0] < asleep_until:
                    self._wake()
        return timer

    def _cancelled(self) -> None:
        self._dead += 1
        # Cancelled calls stay in the heap until their time. When they are most of it, leave them out.
        if self._dead > _COMPACT_ABOVE and self._dead * 2 > len(self._heap):
            with self._lock:
                self._heap[:] = [entry for entry in self._heap if entry[2]._fn is not None]
                heapq.heapify(self._heap)
                self._dead = 0

    # --- devices --------------------------------------------------------------------------------------------

    def watch(self, fileno: int, drain: Callable[[], object]) -> None:
        """Call `drain` on the background thread whenever the descriptor can be read."""
        with self._lock:
            self._devices[fileno] = drain
            self._wake()

    def unwatch(self, fileno: int) -> None:
        """Watch the descriptor no more: to be said before it is closed."""
        with self._lock:
            if self._devices.pop(fileno, None) is not None:
                self._wake()

    def _wake(self) -> None:
        """Wake whoever turns the stack, if they sleep."""
        if self._leading:
            if self._leader_asleep_until:
                self._leader_asleep_until = 0
                try:
                    self._telling.send(b"\0")
                except OSError:
                    pass  # so full that it will wake without us
        elif self._asleep_until and not self._closed and self._died is None:
            self._thread.wake()
            self._asleep_until = 0

    # --- the lock -------------------------------------------------------------------------------------------

    def __enter__(self) -> RealTime:
        """Begin a call: whoever comes finds done what is due by now. So what a host sends to itself has
        arrived when the sender looks again, as on any machine."""
        held = self._lock.__enter__()
        try:  # at once: Ctrl-C may strike at the next call of anything
            if self._error or self._died or self._closed:
                self._raise_what_happened()
            if not held and self._heap and self._heap[0][0] <= monotonic_ns():
                self._turn_between(self._turn, [])
        except BaseException:
            self._lock.__exit__()
            raise
        return self

    @property
    def __exit__(self) -> Callable[..., None]:
        return self._lock.__exit__

    # --- waiting --------------------------------------------------------------------------------------------

    def block(
        self, ready: Callable[[], bool], waiters: list[Waiters], timeout: int | None = None, what: str = ""
    ) -> bool:
        """Wait until `ready()`; False when `timeout` nanoseconds passed first. The lock, if held, is let go
        meanwhile.

        Raises what went wrong on the background thread, and RuntimeError when the driver is closed.
        """
        if get_ident() == self._worker:
            raise RuntimeError(
                f"waiting for {what or 'something'} inside the stack would stop the stack: use host.spawn"
            )
        deadline = None if timeout is None else monotonic_ns() + timeout
        with self._lock:
            while not ready():
                self._raise_what_happened(waiting=what or "something")
                left = -1.0 if deadline is None else (deadline - monotonic_ns()) / SECOND
                if deadline is not None and left <= 0:
                    return False
                if self._leading:
                    self._sleep(waiters, min(left, threading.TIMEOUT_MAX))
                else:
                    self._lead(waiters, deadline)
            return True

    def _lead(self, waiters: list[Waiters], deadline: int | None) -> None:
        """Turn the stack on this thread until somebody wakes one of `waiters`, or the time is over."""
        leader = _Leader(self)
        wake = leader.wake
        self._leading = True
        self._interrupted = False
        try:
            self._sleepers.add(leader)
            for waiter in waiters:
                waiter.append(wake)
            with interruptible(self._on_interrupt):
                while not leader.woken and not self._closed and self._died is None:
                    if self._interrupted:
                        raise KeyboardInterrupt
                    now = monotonic_ns()
                    if deadline is not None and now >= deadline:
                        break
                    self._turn_here(self._wait_for_something(now, deadline))
        finally:
            self._leading = False
            self._leader_asleep_until = 0
            self._led_until = monotonic_ns() + GRACE
            self._forget_channel()
            self._sleepers.discard(leader)
            for waiter in waiters:
                if wake in waiter:
                    waiter.remove(wake)
            if self._sleepers:
                self._led_until = 0
                self._wake()  # others wait for frames too: the background thread turns at once
            else:
                self._tell_of_timers()
        if leader.error is not None:
            raise leader.error

    def carry_on(self, much: bool) -> None:
        """The caller, who has the lock, has just sent `much`, or little and led a moment ago: it handles what
        has come since, and the background thread stands back. So a program that only sends does not leave the
        acknowledgements to another thread."""
        if self._leading or self._worker or self._closed or not (much or monotonic_ns() < self._led_until):
            return
        self._turn_between(self._turn_here, list(self._devices))
        if not self._sleepers:  # who waits for frames should not wait for the caller to come again
            self._led_until = monotonic_ns() + GRACE
        self._tell_of_timers()

    def _turn_between(self, turn: Callable[[list[int]], None], ready: list[int]) -> None:
        """A turn in between the calls of a program. Ctrl-C comes after it."""
        self._interrupted = False
        with interruptible(self._on_interrupt):
            turn(ready)
        if self._interrupted:
            raise KeyboardInterrupt

    def _turn_here(self, ready: list[int]) -> None:
        """A turn on the thread of a program."""
        try:
            self._turn(ready)
        except BaseException as error:
            self.die(error)  # as on the background thread: what is half done cannot go on
            raise

    def _tell_of_timers(self) -> None:
        """The background thread does not know of those that were set while another thread turned."""
        if self._heap and self._heap[0][0] < self._asleep_until:
            self._wake()

    def _forget_channel(self) -> None:
        """Once the driver is closed, and nobody leads any more, nobody is to be told."""
        if self._closed and not self._leading:
            self._told.close()
            self._telling.close()

    def _wait_for_something(self, now: int, deadline: int | None) -> list[int]:
        """Let go of the lock until a device is ready, a timer or the deadline is due, or somebody tells
        us."""
        until = min(self._heap[0][0] if self._heap else _NEVER, _NEVER if deadline is None else deadline)
        seconds = None if until == _NEVER else max(until - now, 0) / SECOND
        told = self._told.fileno()
        descriptors = [*self._devices, told]
        ready: list[int] = []
        self._leader_asleep_until = until
        self._lock.without(lambda: ready.extend(self._select(descriptors, seconds)))
        self._leader_asleep_until = 0
        if told in ready:
            self._told.recv(4096)
        return ready

    def _select(self, descriptors: list[int], seconds: float | None) -> list[int]:
        try:
            return wait(descriptors, seconds)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            self.forget_closed()
            return []

    def _on_interrupt(self, *of: object) -> None:
        """Ctrl-C while this thread leads: not in the middle of a frame."""
        if self._worker:
            self._interrupted = True
        else:
            raise KeyboardInterrupt

    def _sleep(self, waiters: list[Waiters], seconds: float) -> None:
        """Let go of the lock until somebody wakes one of `waiters`."""
        sleeper = _Sleeper(self)
        wake = sleeper.wake
        try:
            self._sleepers.add(sleeper)
            for waiter in waiters:
                waiter.append(wake)
            self._lock.without(lambda: sleeper.wait(seconds))
        finally:
            self._sleepers.discard(sleeper)
            for waiter in waiters:
                if wake in waiter:
                    waiter.remove(wake)
        if sleeper.error is not None:
            raise sleeper.error

    def _raise_what_happened(self, waiting: str = "") -> None:
        if self._died is not None:
            raise self._died
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._closed and get_ident() in self._programs:
            raise Killed
        if self._closed and waiting:
            raise RuntimeError(f"waiting for {waiting}, but this host is closed: make a new one")

    # --- programs -------------------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., object], *args: object, name: str = "", daemon: bool = True) -> Program:
        """Run `fn(*args)` as a program, on a thread of its own. Closing the driver ends it at its next call.

        Python waits, when it exits, for programs that are not `daemon`.
        """
        program = Program(self, lambda: fn(*args), name or getattr(fn, "__name__", "program"), daemon)
        with self._lock:
            program._thread.start()
            assert program._thread.ident is not None
            self._programs[program._thread.ident] = program
        return program

    def _ended(self, program: Program) -> None:
        with self._lock:
            program._done = True
            self._programs.pop(get_ident(), None)
            program._finished.wake()

    # --- the background thread ------------------------------------------------------------------------------

    def turn(self, ready: list[int]) -> tuple[list[int], float | None] | None:
        """Handle what is ready and what is due. Returns the descriptors to wait for, and for how long in
        seconds."""
        with self._lock:
            if self._closed or self._died is not None:
                return None
            now = monotonic_ns()
            if self._leading:
                self._asleep_until = now + GRACE
                return [], GRACE / SECOND
            # Shortly after somebody led, only timers are our business: who reads the frames will be back.
            led = now < self._led_until
            self._turn([] if led else ready)
            when = self._heap[0][0] if self._heap else _NEVER
            if led:
                when = min(when, self._led_until)
            self._asleep_until = when
            seconds = None if when == _NEVER else max(0, when - monotonic_ns()) / SECOND
            return [] if led else list(self._devices), seconds

    def _turn(self, ready: list[int]) -> None:
        """Handle what is ready, then what is due; then let those go on who waited for it."""
        self._worker = get_ident()
        try:
            for fileno in ready:
                drain = self._devices.get(fileno)
                if drain is not None:
                    try:
                        drain()
                    except Exception as error:
                        self._drain_failed(fileno, error)
            self._run_due()
        finally:
            self._worker = 0
            while self._woken:
                self._woken.pop().signal.release()

    def _run_due(self) -> None:
        """Run the timers due by now; those that they set for "at once" wait for the next turn, after new
        frames."""
        heap, now = self._heap, monotonic_ns()
        while heap and heap[0][0] <= now:
            timer = heapq.heappop(heap)[2]
            fn = timer._fn
            if fn is None:
                self._dead -= 1
                continue
            timer._fn = None
            try:
                fn()
            except Exception as error:
                self._failed(error)

    def _drain_failed(self, fileno: int, error: Exception) -> None:
        code = error.errno if isinstance(error, OSError) else None
        if code in _GONE:
            self._devices.pop(fileno, None)
        if code != errno.EBADF:  # a descriptor that somebody here closed is no news
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """Whoever waits now may wait for what this error has undone: raise it there, or else at the next
        call."""
        for sleeper in self._sleepers:
            sleeper.error = error
            sleeper.wake()
        if not self._sleepers and self._error is None:
            self._error = error
            traceback.print_exception(error)

    def forget_closed(self) -> None:
        """A descriptor was closed that is still watched: find out which."""
        with self._lock:
            for fileno in list(self._devices):
                try:
                    os.fstat(fileno)
                except OSError:
                    del self._devices[fileno]

    def die(self, error: BaseException) -> None:
        with self._lock:
            self._worker = 0
            self._died = error
            self._thread.wake()  # a leader may have died: the thread is not needed any more
            self._failed(error)
            self._error = None
            while self._woken:
                self._woken.pop().signal.release()

    def stay_behind(self) -> None:
        """In a process that was forked: the stack stays with the parent. The thread that turned it is not
        here, and two stacks would take each other's frames."""
        self._lock = FairLock()  # somebody who is not here may hold the other
        self._devices.clear()
        self._heap.clear()
        self._sleepers.clear()
        self._leading, self._worker = False, 0
        self._died = RuntimeError(
            "this process was forked, and its parent has kept the host: make a new one, or use threads"
        )

    def close(self) -> None:
        """Stop the thread, end every program, forget every call. Raises an error that nobody has been told
        yet."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._devices.clear()
            for sleeper in self._sleepers:
                sleeper.wake()
            programs = [program for ident, program in self._programs.items() if ident != get_ident()]
        self._stop()
        for program in programs:
            program._thread.join(1)
        with self._lock:
            self._forget_channel()
        error, self._error = self._error, None
        if error is not None:
            raise error
