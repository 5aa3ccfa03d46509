"""The lock around a stack in real time: held by one thread at a time, and passed on in the order of asking.

Two things that Python's own locks do not do:

- They are not fair. A busy thread that gives a lock back takes it again before anyone else has woken up to
  take it. Here, who wants the lock takes a second one first, the gate, and waits behind it; so the next to
  have the lock is the next to come, not the last to have had it.
- Ctrl-C may strike between any two steps of Python code, also at the beginning of an `__exit__`, and the lock
  would stay locked for ever. So it is given back by the `__exit__` of `threading.RLock`, which is C and one
  step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class FairLock:
    """A lock that its holder may take again, as often as it gives it back."""

    def __init__(self) -> None:
        # What Condition uses of a RLock is not in its type.
        self._lock: Any = threading.RLock()
        self._gate = threading.Lock()

    def __enter__(self) -> bool:
        """Take it; whether the caller had it already."""
        held: bool = self._lock._is_owned()
        try:
            if held:
                self._lock.acquire()
            else:
                with self._gate:
                    self._lock.acquire()
        except BaseException:
            # Ctrl-C, while we waited or just after. Which of the two, only the lock knows.
            try:
                self._lock.release()
            except RuntimeError:
                pass  # it was not ours yet
            raise
        return held

    @property
    def __exit__(self) -> Callable[..., None]:
        return self._lock.__exit__  # type: ignore[no-any-return]

    def without(self, wait: Callable[[], object]) -> None:
        """Give the lock back, however often it was taken, while `wait()` runs; then take it as often
        again."""
        taken = None
        try:
            taken = self._lock._release_save()
            wait()
        finally:
            with self._gate:
                if taken is not None:
                    self._lock._acquire_restore(taken)
                elif not self._lock._is_owned():
                    self._lock.acquire()  # Ctrl-C before we had counted: once, for the next __exit__
