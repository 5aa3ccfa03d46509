"""A program: a blocking function that runs beside its caller. What both drivers' programs have in common."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Protocol

from labstack.core.clock import Waiters
from labstack.core.units import SECOND


class Killed(BaseException):
    """Raised inside a program whose network or host is closed, so that it unwinds and its thread ends."""


class Waits(Protocol):
    """What a program needs of its driver."""

    def block(
        self, ready: Callable[[], bool], waiters: list[Waiters], timeout: int | None = None, what: str = ""
    ) -> bool: ...


class BlockingProgram:
    """The function, what became of it, and who waits for its end. On which thread it runs, and when, is the
    driver's business."""

    def __init__(self, driver: Waits, fn: Callable[[], object], name: str) -> None:
        self.name = name
        self.result: object = None
        self.error: BaseException | None = None
        self._waits = driver
        self._fn = fn
        self._done = False
        self._finished = Waiters()

    @property
    def done(self) -> bool:
        return self._done

    def join(self, timeout: float | None = None) -> object:
        """Wait until the program ended, and return what it returned or raise what it raised.

        Raises TimeoutError when `timeout` seconds pass first.
        """
        limit = None if timeout is None else round(timeout * SECOND)
        if not self._waits.block(lambda: self._done, [self._finished], limit, f"the end of {self.name}"):
            raise TimeoutError(f"{self.name} is still running after {timeout} s")
        if self.error is not None:
            raise self.error
        return self.result

    def _call(self) -> None:
        """Run the function to its end, whatever that is."""
        try:
            self.result = self._fn()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
            # At once, where the reader sees it; and again at `join`. A silent loss hides bugs.
            traceback.print_exception(error)
