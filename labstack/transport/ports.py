"""Ports: which program on this host is a segment for? TCP and UDP have 65,535 each (RFC 6335).

An ephemeral port is one that the host picks for whoever does not care: at random from the upper range, so
that a blind attacker has to guess it (RFC 6056 §3.3.1).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from labstack.core.randomness import Stream, below

FIRST_EPHEMERAL = 49152
LAST_EPHEMERAL = 65535


def pick_ephemeral(random: Stream, is_free: Callable[[int], bool]) -> int:
    """A free port from 49152 to 65535. Raises OSError (EADDRINUSE) when there is none left."""
    count = LAST_EPHEMERAL - FIRST_EPHEMERAL + 1
    start = below(random, count)
    for step in range(count):
        port = FIRST_EPHEMERAL + (start + step) % count
        if is_free(port):
            return port
    raise OSError(errno.EADDRINUSE, f"all {count} ephemeral ports are in use: close some connections")
