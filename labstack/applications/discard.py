"""Discard: whatever a client sends is thrown away (RFC 863). A sink for measuring how fast bytes arrive."""

from __future__ import annotations

from labstack.applications.server import Host, serve as serve_each
from labstack.sockets.socket import Socket

PORT = 9
PIECE = 65536


def serve(host: Host, port: int = PORT) -> None:
    """Read what comes on each connection until its client has closed. Run it by `host.spawn(serve, host)`."""
    serve_each(host, port, _discard)


def _discard(connection: Socket) -> None:
    while connection.recv(PIECE):
        pass
