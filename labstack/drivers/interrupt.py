"""Ctrl-C while a call waits: it ends the waiting, in a script and in any notebook cell."""

from __future__ import annotations

import signal
import sys
import threading


class interruptible:
    """While the main thread waits, Ctrl-C raises KeyboardInterrupt in it, also in an `async` notebook cell.

    The notebook's kernel turns Ctrl-C there into the cancelling of a task, which would not run before we
    return.
    """

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before: object = None
        asyncio = sys.modules.get("asyncio")
        if asyncio is None or threading.current_thread() is not threading.main_thread():
            return
        if asyncio._get_running_loop() is not None:
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is not None:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *exc: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]
