"""asyncio over labstack: an event loop is a loop around `select`, and ours selects among a host's sockets.

    async def echo(reader, writer): …
    server = b.run(asyncio.start_server(echo, port=7))     # in a script or a notebook cell, no `await` needed
    page = a.run(fetch_with_aiohttp("http://b/"))

asyncio needs three things of the world, and `HostLoop` gives it those of a host: the time (`time`), sockets
with a selector (`Selector`), and a way to be woken from outside (`LoopSelector.poke`). All the rest, the
transports, flow control, TLS, `start_tls`, is Python's own and does not know where it runs.

asyncio is a passenger, not the driver. The loop of a host, `host.loop`, is a program of that host like any
other: it blocks in `select`, in virtual time under the simulator and on a thread of its own in real time. So
a coroutine may even make a blocking call: as everywhere, that holds up its own loop, and nobody else.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
import threading
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from labstack.core.clock import Program, Waiters
from labstack.core.units import SECOND
from labstack.sockets import compat
from labstack.sockets.compat import Machine
from labstack.sockets.selector import Selector
from labstack.sockets.socket import Socket

T = TypeVar("T")

RESOLUTION = 1e-6
"""Seconds that the loop takes for the same instant. asyncio's usual 1e-9 is less than the distance of two
floats after seven months of virtual time, and the loop would spin there for ever, waiting for a time that it
cannot express."""

LAST_STEPS = 100
"""How many rounds the tasks of a closed loop get to clean up. None of them may wait any more."""


class LoopSelector(Selector):
    """A selector that another thread can wake."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._poked = False
        self.ending = False
        self.cut_short = False
        """What ended the last wait was no event: the network is closed, or Ctrl-C was hit."""

    def poke(self) -> None:
        """End the `select` that is under way, or else the next."""
        with compat.outside(), self._driver:
            self._poked = True
            self.woken.wake()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = []

        def ready() -> bool:
            nonlocal found
            found = self._look()
            return bool(found) or self._poked

        self.cut_short = True
        with self._driver:
            if not ready() and not self.ending and (timeout is None or timeout > 0):
                limit = None if timeout is None else math.ceil(timeout * SECOND)
                self._driver.block(ready, [self.woken], limit, self._what())
            self._poked = False
        self.cut_short = False
        return found

    def _what(self) -> str:
        return super()._what() if self._entries else "something to do"


class nested:
    """Inside of this, no loop is running in this thread."""

    def __enter__(self) -> None:
        self._outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)

    def __exit__(self, *exc: object) -> None:
        asyncio._set_running_loop(self._outer)


def run_nested(run: Callable[..., T], *args: Any, **options: Any) -> T:
    """`asyncio.run` under a host, also in a notebook cell."""
    with nested():
        return run(*args, **options)


class HostLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop over the stack of one host."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._wakeups = LoopSelector(machine)
        # asyncio itself holds on to no task; one that waits for what nobody else knows of would vanish.
        self.running: set[Running] = set()
        super().__init__(self._wakeups)
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        """Seconds on the host's clock."""
        return self.machine.driver.now / SECOND

    def is_in_own_thread(self) -> bool:
        """Whether it is this loop that runs the caller."""
        return bool(self._thread_id == threading.get_ident())  # type: ignore[attr-defined]

    # In a notebook cell the kernel's own loop is running already, which asyncio takes for a mistake: no loop
    # can run inside another without stopping it. Here that is what is wanted, as for any call that blocks.
    def run_forever(self) -> None:
        with nested():
            super().run_forever()

    def _check_running(self) -> None:
        if self.is_running():
            raise RuntimeError("This event loop is already running")

    # A stock loop wakes itself through a pair of the system's sockets, of which our selector knows nothing.
    def _make_self_pipe(self) -> None:
        pass

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        if not self.is_closed():
            self._wakeups.poke()

    def add_signal_handler(self, sig: int, *args: Any) -> None:  # type: ignore[override]
        """Signals are the process's, and no host's."""
        raise NotImplementedError

    def remove_signal_handler(self, sig: int) -> bool:
        raise NotImplementedError

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
        """`socket.getaddrinfo` with the names that the host knows."""
        return compat.getaddrinfo(self.machine, host, port, **options)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return compat.getnameinfo(self.machine, sockaddr, flags)

    async def _sock_sendfile_native(self, *args: Any) -> int:
        # sendfile(2) would write into a descriptor of the system's. asyncio then reads and sends.
        raise asyncio.SendfileNotAvailableError("a host's socket has no descriptor")

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run `func(*args)` beside the loop, as a program of the host: in virtual time, in a simulation.

        A real thread would be outside of virtual time: nobody could say at which instant it ends.
        """
        future: asyncio.Future[T] = self.create_future()

        def tell(how: Callable[[Any], None], what: object) -> None:
            if not future.done():
                how(what)

        def job() -> None:
            try:
                result = func(*args)
            except Exception as error:
                self._tell_later(tell, future.set_exception, error)
            else:
                self._tell_later(tell, future.set_result, result)

        self.machine.spawn(job, name=f"{self.machine.name}.executor")
        return future

    def _tell_later(self, tell: Callable[..., None], *args: object) -> None:
        if not self.is_closed():
            self.call_soon_threadsafe(tell, *args)

    # --- the end
    def close(self) -> None:
        if self._wakeups.cut_short:  # some tasks could not end: no news to whoever closed the network
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        super().close()

    def run_service(self) -> None:
        """Run until the loop is stopped, or the network closed; then end every task."""
        asyncio.set_event_loop(self)
        try:
            self.run_forever()
        finally:
            self.end()

    def end(self) -> None:
        """Cancel what still runs, let it clean up, but wait for nothing; close."""
        self._wakeups.ending = True
        # What a cancelled task leaves undone is no news to whoever closed the network.
        self.set_exception_handler(lambda loop, context: None)
        try:
            self._last_steps()
            for transport in list(self._transports.values()):  # type: ignore[attr-defined]
                transport.abort()
            for entry in list(self._wakeups._entries.values()):
                if isinstance(entry.socket, Socket):
                    entry.socket.close()
            self._last_steps()
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it would not end: so be it
        finally:
            self.close()

    def _last_steps(self) -> None:
        seen: set[asyncio.Task[Any]] = set()
        for _ in range(LAST_STEPS):
            self.call_soon(self.stop)
            self.run_forever()
            left = asyncio.all_tasks(self)
            for task in left - seen:
                task.cancel()
            seen |= left
            if not left and not self._ready:  # type: ignore[attr-defined]
                break
        for task in seen:
            if task.done() and not task.cancelled():
                task.exception()  # asked for, so that nobody complains that it never was


class Running:
    """A coroutine that runs on a host's loop, as `host.start` returns it. The same face as a `Program`."""

    def __init__(
        self, machine: Machine, loop: HostLoop, coroutine: Coroutine[Any, Any, Any], awaited: bool = False
    ) -> None:
        if loop.is_closed():
            coroutine.close()
            raise RuntimeError(f"{machine.name} is closed: make a new host")
        self.name = f"{machine.name}.{getattr(coroutine, '__name__', 'coroutine')}"
        self._driver = machine.driver
        self._loop = loop
        self._coroutine = coroutine
        self._finished = Waiters()
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False
        self._awaited = awaited
        loop.running.add(self)
        # A fresh context: a copy of the caller's would send what the coroutine prints to a cell that ended
        # long ago.
        context = contextvars.Context()
        context.run(compat.select_here, machine)
        loop.call_soon_threadsafe(self._begin, context, context=context)

    @property
    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def cancel(self) -> None:
        """Raise `asyncio.CancelledError` inside the coroutine."""
        self._cancelled = True
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def join(self, timeout: float | None = None) -> Any:
        """Wait until the coroutine ended; return what it returned, or raise what it raised.

        Raises TimeoutError when `timeout` seconds pass first.
        """
        if self._loop.is_in_own_thread():
            raise RuntimeError(f"{self.name} runs on this very loop: await it")
        self._awaited = True
        limit = None if timeout is None else round(timeout * SECOND)
        if not self._driver.block(lambda: self.done, [self._finished], limit, f"the end of {self.name}"):
            raise TimeoutError(f"{self.name} is still running after {timeout} s")
        assert self._task is not None
        return self._task.result()

    def _begin(self, context: contextvars.Context) -> None:
        coroutine = self._coroutine if asyncio.iscoroutine(self._coroutine) else _awaiting(self._coroutine)
        self._task = self._loop.create_task(coroutine, name=self.name, context=context)
        if self._cancelled:
            self._task.cancel()
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._loop.running.discard(self)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._awaited:
            # At once, where the reader sees it; and again at `join`. A silent loss hides bugs.
            traceback.print_exception(error)
        with self._driver:
            self._finished.wake()

    def __repr__(self) -> str:
        return f"<coroutine {self.name}: {'ended' if self.done else 'runs'}>"


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


class Service:
    """The loop of one host, and the program that runs it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.loop = HostLoop(machine)
        self._program: Program = machine.spawn(self.loop.run_service, name=f"{machine.name}.loop")

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Running:
        return Running(self._machine, self.loop, coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        if self.loop.is_in_own_thread():
            coroutine.close()
            raise RuntimeError(f"{self._machine.name}.run from a coroutine of the same host: await it")
        running = Running(self._machine, self.loop, coroutine, awaited=True)
        try:
            result: T = running.join()
        except BaseException:
            if not running.done:  # Ctrl-C, or a deadlock: nobody will ever ask for it
                running.cancel()
            raise
        return result

    def close(self) -> None:
        """Cancel all tasks and end the loop. Closing twice does nothing."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._program.join()
        if not self.loop.is_closed():
            self.loop.end()  # the program was ended before it began
