"""A server: one program that accepts connections, and one more for each connection.

    accept ──▶ spawn talk(connection) ──▶ accept ──▶ …        at most `most` of them talk at once

When that many talk, the next ones wait in the backlog, and when that is full their SYNs are dropped, so that
their machines ask again later. A client that vanishes, is silent or aborts ends its own connection only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from labstack.core.clock import Program, Waiters
from labstack.sockets.socket import Socket
from labstack.sockets.stack import Stack

MOST = 64
"""Connections that a server talks to at the same time."""
PATIENCE = 60.0
"""Seconds that a server waits for a client to send, or to make room, before it gives the connection up."""


class Host(Stack, Protocol):
    """A machine, as the programs on it see it."""

    name: str

    @property
    def now(self) -> float:
        """Seconds on the machine's clock."""

    def connect(self, address: tuple[str, int], timeout: float | None = None) -> Socket: ...

    def listen(self, port: int, address: str = "", backlog: int = 128) -> Socket: ...

    def spawn(self, fn: Callable[..., object], *args: object, name: str = "") -> Program: ...


def serve(
    host: Host, port: int, talk: Callable[[Socket], None], *, most: int = MOST, patience: float = PATIENCE
) -> None:
    """Listen at a TCP port, and run `talk(connection)` as a program for each connection. Does not return.

    `talk` need not close the connection, nor catch OSError: both are done here. Each of its calls waits at
    most `patience` seconds. Raises OSError (EADDRINUSE) when the port is taken.
    """
    talking: set[Socket] = set()
    ended = Waiters()

    def converse(connection: Socket) -> None:
        try:
            with connection:
                connection.settimeout(patience)
                talk(connection)
        except OSError:
            pass  # the client is gone, aborted, or was silent for too long
        finally:
            talking.discard(connection)
            with host.driver:
                ended.wake()

    with host.listen(port) as listener:
        while True:
            host.driver.block(lambda: len(talking) < most, [ended], None, f"one of {most} connections to end")
            try:
                connection, peer = listener.accept()
            except TimeoutError:
                continue  # in simulation an hour without a client is an error, but not for a server
            talking.add(connection)
            host.spawn(converse, connection, name=f"{host.name}:{port} for {peer[0]}:{peer[1]}")
