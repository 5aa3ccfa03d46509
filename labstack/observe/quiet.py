"""The garbage collector, silent while many objects are made that all stay.

It looks through everything that is alive each time a few thousand new objects have come, to find circles
of which nobody knows any more. While a capture of 100,000 packets is put together there are none, and
looking for them takes longer than the work.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """No search for garbage inside the block, if there was to be one."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # All that was made counts as old now, without having been looked through. (Frozen objects are set
            # apart; thawed, they join the oldest.)
            gc.freeze()
            gc.unfreeze()
            gc.enable()
