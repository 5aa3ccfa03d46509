"""The thread behind the real-time driver: it waits for descriptors and time, and lets the driver do the work.

It holds on to the driver only while that works, so that a driver which everybody forgot can go, and the
thread after it.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import threading
import weakref
from typing import Protocol

SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes has to let others run. Every system call of ours hands the
interpreter to whoever computes in a notebook cell, and we have it back only after this time: at Python's 5
ms, a ping through the stack took 7 to 30 ms while a cell computed; at 0.5 ms, one to three."""


class Stack(Protocol):
    """What the thread asks of the driver."""

    def turn(self, ready: list[int]) -> tuple[list[int], float | None] | None:
        """Handle what is ready and what is due. Returns the descriptors to wait for, and for how long in
        seconds (None: for ever), or None to end."""

    def forget_closed(self) -> None:
        """A descriptor was closed that is still watched: find out which."""

    def die(self, error: BaseException) -> None:
        """The thread cannot go on."""


class Background(threading.Thread):
    """The thread that owns a stack."""

    def __init__(self, driver: weakref.ref[Stack]) -> None:
        super().__init__(name="labstack", daemon=True)
        self._driver = driver
        self._stopping = False
        # Not bare descriptors: once closed, their numbers could be those of somebody else's file.
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        others = [t for t in threading.enumerate() if isinstance(t, Background)]
        self._interval_before: float = others[0]._interval_before if others else sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)

    def wake(self) -> None:
        try:
            self._waking.send(b"\0")
        except OSError:
            pass  # so full that it will wake without us, or ended in this moment

    def stop(self) -> None:
        self._stopping = True
        if self.is_alive():
            self.wake()
            if threading.current_thread() is not self:
                self.join()

    def run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            driver = self._driver()
            if driver is not None:
                driver.die(error)
        finally:
            if not any(isinstance(t, Background) and t is not self for t in threading.enumerate()):
                sys.setswitchinterval(self._interval_before)
            self._woken.close()
            self._waking.close()

    def _serve(self) -> None:
        ready: list[int] = []
        while not self._stopping:
            driver = self._driver()
            wait_for = driver.turn(ready) if driver is not None else None
            del driver
            if wait_for is None:
                return
            descriptors, seconds = wait_for
            descriptors.append(self._woken.fileno())
            try:
                ready = wait(descriptors, seconds)
            except OSError as error:
                driver = self._driver()
                if error.errno != errno.EBADF or driver is None:
                    raise
                driver.forget_closed()
                ready = []
                del driver
            if self._woken.fileno() in ready:
                self._woken.recv(4096)


def wait(descriptors: list[int], seconds: float | None) -> list[int]:
    """Which of the descriptors can be read, at the latest after so many seconds."""
    try:
        return select.select(descriptors, (), (), seconds)[0]
    except ValueError:
        # select knows microseconds, but no descriptor above 1,023. poll knows any, but only whole
        # milliseconds.
        poll = select.poll()
        for fileno in descriptors:
            poll.register(fileno, select.POLLIN)
        return [fileno for fileno, _ in poll.poll(None if seconds is None else seconds * 1000 + 0.999)]
