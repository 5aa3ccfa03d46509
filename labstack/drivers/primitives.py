"""Locks, events and queues for programs, on the driver's clock: `net.lock()`, `net.event()`, `net.queue()`.

Those of `threading` would stop the world in a simulation: whoever waits in them keeps the baton, and nobody
can run to wake it. These wait by the driver's `block`, as sockets do. So they take virtual time, turns are
taken in the order of asking, and a `Deadlock` names what is waited for, and who has it. Chapter 26 of the
book.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import Generic, TypeVar

from labstack.core.clock import Driver, Waiters
from labstack.core.units import duration

T = TypeVar("T")


def _limit(timeout: str | float | None) -> int | None:
    return None if timeout is None else duration(timeout)


def _who() -> str:
    """The program that runs now."""
    thread = threading.current_thread()
    return "the caller" if thread is threading.main_thread() else thread.name


class Lock:
    """One program at a time. `with lock:` waits until it is free; who has waited longest is next."""

    def __init__(self, driver: Driver, name: str = "a lock") -> None:
        self.name = name
        self.holder: str | None = None
        """The name of the program that has it."""
        self._driver = driver
        self._turn: object | None = None  # whose turn it is; None: it is free
        self._queue: deque[object] = deque()
        self._waiters = Waiters()

    def acquire(self, timeout: str | float | None = None) -> bool:
        """Take it, waiting at most `timeout` (seconds, or "20 ms"; None: for ever). False if that passed."""
        ticket = object()
        with self._driver:
            if self._turn is None:
                self._turn, self.holder = ticket, _who()
                return True
            self._queue.append(ticket)
        what = f"{self.name}, which {self.holder} has"
        try:
            taken = self._driver.block(lambda: self._turn is ticket, [self._waiters], _limit(timeout), what)
        except BaseException:
            self._forget(ticket)
            raise
        if taken:
            self.holder = _who()
            return True
        self._forget(ticket)
        return False

    def _forget(self, ticket: object) -> None:
        with self._driver:
            if self._turn is ticket:
                self._next()
            elif ticket in self._queue:
                self._queue.remove(ticket)

    def release(self) -> None:
        """Give it to who has waited longest. Raises RuntimeError if nobody has it."""
        with self._driver:
            if self._turn is None:
                raise RuntimeError(f"{self.name} is released, but nobody has it")
            self._next()

    def _next(self) -> None:
        self._turn = self._queue.popleft() if self._queue else None
        self.holder = None
        self._waiters.wake()

    @property
    def locked(self) -> bool:
        return self._turn is not None

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class Event:
    """Something that happens once, until it is cleared: programs wait for it, another one sets it."""

    def __init__(self, driver: Driver, name: str = "an event") -> None:
        self.name = name
        self._driver = driver
        self._set = False
        self._waiters = Waiters()

    @property
    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        """It has happened: everyone who waits goes on."""
        with self._driver:
            self._set = True
            self._waiters.wake()

    def clear(self) -> None:
        """It has not happened yet."""
        self._set = False

    def wait(self, timeout: str | float | None = None) -> bool:
        """Wait until it is set; False if `timeout` passed first."""
        return self._driver.block(lambda: self._set, [self._waiters], _limit(timeout), self.name)


class Queue(Generic[T]):
    """Things that one program hands to another, in order; at most `size` of them wait (0: any number)."""

    def __init__(self, driver: Driver, size: int = 0, name: str = "a queue") -> None:
        self.name = name
        self.size = size
        self._driver = driver
        self._items: deque[T] = deque()
        self._filled = Waiters()
        self._emptied = Waiters()

    def put(self, item: T, timeout: str | float | None = None) -> None:
        """Add it at the end, waiting for room. Raises queue.Full if `timeout` passed first."""
        while True:
            with self._driver:
                if self._has_room():
                    self._items.append(item)
                    self._filled.wake()
                    return
            what = f"room in {self.name}"
            if not self._driver.block(self._has_room, [self._emptied], _limit(timeout), what):
                raise queue.Full

    def get(self, timeout: str | float | None = None) -> T:
        """Take the first, waiting for one. Raises queue.Empty if `timeout` passed first."""
        while True:
            with self._driver:
                if self._items:
                    self._emptied.wake()
                    return self._items.popleft()
            what = f"something in {self.name}"
            if not self._driver.block(lambda: bool(self._items), [self._filled], _limit(timeout), what):
                raise queue.Empty

    def _has_room(self) -> bool:
        return not self.size or len(self._items) < self.size

    def __len__(self) -> int:
        return len(self._items)
