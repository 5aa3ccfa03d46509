"""Ctrl-C while a call waits: it ends the waiting, in a script and in any notebook cell."""

from __future__ import annotations

# Not `signal`, whose functions look for an enum's member behind every handler and find none, by exceptions:
# 20 µs a time, and every wait of a program would pay it.
import _signal  # type: ignore[import-not-found]
import ctypes
import sys
import threading
import time
from _thread import start_new_thread  # a thread of the machine, whichever host is selected
from collections.abc import Callable

GRACE = 0.1
"""Seconds for which a program may go on after Ctrl-C before it is stopped in the middle."""


class interruptible:
    """While the main thread waits, Ctrl-C raises KeyboardInterrupt in it, also in an `async` notebook cell;
    or it calls `handler`, for one who must choose the moment.

    The notebook's kernel turns Ctrl-C there into the cancelling of a task, which would not run before we
    return. A handler that the program itself has set is left alone.
    """

    __slots__ = ("_before", "_handler")

    def __init__(self, handler: Callable[..., None] = _signal.default_int_handler) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._before: object = None
        asyncio = sys.modules.get("asyncio")
        in_notebook = asyncio is not None and asyncio._get_running_loop() is not None
        if not in_notebook and self._handler is _signal.default_int_handler:
            return  # the ordinary case, and the cheapest: Python's own handler does it
        if threading.current_thread() is not threading.main_thread():
            return
        before = _signal.getsignal(_signal.SIGINT)
        if before is _signal.default_int_handler or (in_notebook and before is not None):
            self._before = before
            _signal.signal(_signal.SIGINT, self._handler)

    def __exit__(self, *exc: object) -> None:
        if self._before is not None:
            _signal.signal(_signal.SIGINT, self._before)


def raise_later(
    thread: threading.Thread, error: type[BaseException], still_wanted: Callable[[], bool]
) -> None:
    """Raise `error` in another thread, when that runs Python's own code, if it is still wanted after a
    tenth of a second: who is done by then is not hurt."""

    def insist() -> None:
        time.sleep(GRACE)
        if still_wanted():
            ident = ctypes.c_ulong(thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(error))

    start_new_thread(insist, ())
