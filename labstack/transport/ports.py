"""Ports: which program on this host is a segment for? TCP and UDP have 65,535 each (RFC 6335).

An ephemeral port is one that the host picks for whoever does not care: at random from the upper range, so
that a blind attacker has to guess it (RFC 6056 §3.3.1).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Container
from dataclasses import dataclass

from labstack.core.addresses import ANY, IPAddress
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


def apart(one: IPAddress, other: IPAddress) -> bool:
    """Two sockets at these local addresses never get the same packet; 0.0.0.0 stands for every own one."""
    return one != other and ANY not in (one, other)


@dataclass(slots=True, eq=False)
class Binding:
    """A local address and port that a socket holds."""

    address: IPAddress
    port: int
    reuse: bool
    share: bool = False
    """Others that say so too may have the same, and listen there."""
    listening: bool = False


class PortTable:
    """The ports that one transport's sockets hold. `where` names a port in errors: "TCP port {} of a"."""

    def __init__(self, where: str, random: Stream) -> None:
        self._where = where
        self._random = random
        self._taken: dict[int, list[Binding]] = {}

    def pick(self, is_free: Callable[[int], bool]) -> int:
        """An ephemeral port that nobody holds and that `is_free` agrees to. Raises OSError (EADDRINUSE)."""
        return pick_ephemeral(self._random, lambda port: port not in self._taken and is_free(port))

    def take(
        self, address: IPAddress, port: int, reuse: bool, busy: Container[int], share: bool = False
    ) -> Binding:
        """Hold a port (0: any free one) that is not `busy`. `reuse`: others may have it that reuse it and do
        not listen; `share`: those that share it, and listen too. Raises OSError (EADDRINUSE)."""
        if port == 0:
            port = self.pick(lambda port: port not in busy)
        for other in self._taken.get(port, ()):
            allowed = (reuse and other.reuse and not other.listening) or (share and other.share)
            if not apart(address, other.address) and not allowed:
                raise OSError(errno.EADDRINUSE, f"{self._where.format(port)} is in use")
        if port in busy:
            raise OSError(errno.EADDRINUSE, f"{self._where.format(port)} still has connections")
        binding = Binding(address, port, reuse, share)
        self._taken.setdefault(port, []).append(binding)
        return binding

    def release(self, binding: Binding) -> None:
        """Give a port back."""
        shared = self._taken.get(binding.port, [])
        if binding in shared:
            shared.remove(binding)
        if not shared:
            self._taken.pop(binding.port, None)
