"""What `compat` puts in place of waiting and threads: `select`, `poll`, `time.sleep`, `Thread`, `Lock`.

In simulation a thread is a program on the host's clock, and a lock that is taken lets the world go on until
it is free. Events, conditions, semaphores and queues are made of locks by Python itself, so they follow. In
real time a thread is a thread, and only carries its host along.
"""

from __future__ import annotations

import functools
import math
from _thread import allocate_lock, start_new_thread as os_start_new_thread
from collections.abc import Callable, Iterable
from select import POLLIN, POLLNVAL, POLLOUT, POLLPRI, poll as os_poll, select as os_select
from selectors import EVENT_READ, EVENT_WRITE
from types import ModuleType
from typing import Any

from labstack.core.clock import Program, Waiters
from labstack.core.units import SECOND
from labstack.sockets import compat
from labstack.sockets.compat import Machine

# --- waiting ------------------------------------------------------------------------------------------------


def sleep(host: Machine, seconds: float) -> None:
    """`time.sleep` in virtual time."""
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    host.driver.block(lambda: False, [], math.ceil(seconds * SECOND), "time to pass")


def number(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def select(
    host: Machine,
    reading: Iterable[Any],
    writing: Iterable[Any],
    failing: Iterable[Any],
    timeout: float | None = None,
) -> tuple[list[Any], list[Any], list[Any]]:
    """`select.select` over sockets of the host and, in real time, files of the machine; over files alone when
    none of the host's sockets is among them."""
    asked = [list(reading), list(writing), list(failing)]
    files = [file for files in asked for file in files]
    if any(number(file) < 0 for file in files):
        raise ValueError("file descriptor cannot be a negative integer (-1)")
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    if files and not any(number(file) in host.sockets for file in files):
        return os_select(asked[0], asked[1], asked[2], timeout)
    kinds = (EVENT_READ, EVENT_WRITE)
    events: dict[int, int] = {}
    for files, event in zip(asked, kinds, strict=False):
        for file in files:
            events[number(file)] = events.get(number(file), 0) | event
    ready = _wait(host, events, timeout)
    found = [
        [file for file in files if ready.get(number(file), 0) & event]
        for files, event in zip(asked, kinds, strict=False)
    ]
    return found[0], found[1], []


def _wait(host: Machine, events: dict[int, int], timeout: float | None) -> dict[int, int]:
    """Which of the events asked for have come, by the files' numbers."""
    with host.selector() as selector:
        for fd, event in events.items():
            if event:
                selector.register(fd, event)
        return {key.fd: event for key, event in selector.select(timeout)}


class Poll:
    """`select.poll()` under a host. Files of the machine may be in it as well; in virtual time they cannot be
    waited for together with the host's sockets."""

    def __init__(self, host: Machine) -> None:
        self._host = host
        self._ours: dict[int, int] = {}
        self._theirs: dict[int, int] = {}
        self._os = os_poll()

    def register(self, file: Any, mask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        fd = number(file)
        if fd in self._host.sockets:
            self._ours[fd] = mask
        else:
            self._os.register(fd, mask)
            self._theirs[fd] = mask

    def modify(self, file: Any, mask: int) -> None:
        fd = number(file)
        if fd not in self._ours and fd not in self._theirs:
            raise FileNotFoundError(2, "No such file or directory")
        self.register(fd, mask)

    def unregister(self, file: Any) -> None:
        fd = number(file)
        if fd in self._theirs:
            del self._theirs[fd]
            self._os.unregister(fd)
        else:
            del self._ours[fd]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """`timeout` in milliseconds; None or less than 0: for ever."""
        if self._theirs and not self._ours:
            return self._os.poll(timeout)
        gone = [(fd, POLLNVAL) for fd in self._ours if fd not in self._host.sockets]
        if gone:
            return gone
        both = (self._ours | self._theirs).items()
        events = {
            fd: bool(mask & POLLIN) * EVENT_READ | bool(mask & POLLOUT) * EVENT_WRITE for fd, mask in both
        }
        ready = _wait(self._host, events, None if timeout is None or timeout < 0 else timeout / 1000)
        return [
            (fd, bool(event & EVENT_READ) * POLLIN | bool(event & EVENT_WRITE) * POLLOUT)
            for fd, event in ready.items()
        ]


# --- threads ------------------------------------------------------------------------------------------------


class Lock:
    """`threading.Lock` in virtual time: who waits for it lets the world go on.

    The lock underneath is a real one, so that it also holds between threads outside of the simulation, which
    wait in the ordinary way. Locks outlive networks: a module that is first imported under a host keeps its
    own for good.
    """

    def __init__(self, host: Machine) -> None:
        self._real = allocate_lock()
        self._driver = host.driver
        self._waiters = Waiters()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        if self._real.acquire(False):
            return True
        if not blocking:
            return False
        if compat.selected_virtual() is None:
            return self._real.acquire(True, timeout)
        wait = None if timeout == -1 else math.ceil(timeout * SECOND)
        return self._driver.block(lambda: self._real.acquire(False), [self._waiters], wait, "a lock")

    def release(self) -> None:
        self._real.release()
        self._waiters.wake()

    def locked(self) -> bool:
        return self._real.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._real = allocate_lock()


class _Beside:
    """What a `Thread` under a host is, besides what it says: a program, in simulation."""

    def __init__(self, threading: ModuleType) -> None:
        thread = threading.Thread
        self._start, self._join, self._is_alive = thread.start, thread.join, thread.is_alive

    def start(self, thread: Any) -> None:
        host = compat.selected()
        if host is None:
            self._start(thread)
        elif not host.driver.virtual:
            thread.run = compat.on(host, thread.run)
            with compat.outside():
                self._start(thread)
        else:
            if thread._started.is_set():
                raise RuntimeError("threads can only be started once")
            thread._started.set()
            thread._program = host.spawn(thread.run, name=thread.name)

    def join(self, thread: Any, timeout: float | None = None) -> None:
        program: Program | None = getattr(thread, "_program", None)
        if program is None:
            self._join(thread, timeout)
            return
        try:
            program.join(None if timeout is None else max(timeout, 0))
        except Exception:
            pass  # of the program's, which has been printed; a Thread's `join` keeps quiet, also in time-out

    def is_alive(self, thread: Any) -> bool:
        program: Program | None = getattr(thread, "_program", None)
        return not program.done if program is not None else self._is_alive(thread)


def start_new_thread(host: Machine, function: Callable[..., object], args: Any, kwargs: Any = None) -> int:
    """`_thread.start_new_thread`, of which `threading` is made, and which some programs call themselves."""
    run = functools.partial(function, *args, **(kwargs or {}))
    if not host.driver.virtual:
        return os_start_new_thread(compat.on(host, run), ())
    program: Any = host.spawn(_until_exit, run, name=getattr(function, "__name__", "thread"))
    return int(program._thread.ident)


def _until_exit(run: Callable[[], object]) -> None:
    try:
        run()
    except SystemExit:
        pass  # how such a thread ends itself


def replacements(threading: ModuleType, queue: ModuleType) -> list[tuple[Any, str, object]]:
    """What `compat` replaces of `threading` and `queue`."""
    beside = _Beside(threading)
    python_rlock: Callable[[], Any] = threading._RLock
    rlock, simple = threading.RLock, queue.SimpleQueue

    def make_lock() -> Any:
        host = compat.selected_virtual()
        return allocate_lock() if host is None else Lock(host)

    def make_rlock() -> Any:
        return rlock() if compat.selected_virtual() is None else python_rlock()

    def make_simple_queue() -> Any:
        return simple() if compat.selected_virtual() is None else queue._PySimpleQueue()

    return [
        (threading, "Lock", make_lock),
        (threading, "_allocate_lock", make_lock),
        (threading, "RLock", make_rlock),
        (queue, "SimpleQueue", make_simple_queue),
        (threading.Thread, "start", lambda thread: beside.start(thread)),
        (threading.Thread, "join", lambda thread, timeout=None: beside.join(thread, timeout)),
        (threading.Thread, "is_alive", lambda thread: beside.is_alive(thread)),
    ]
