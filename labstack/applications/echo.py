"""Echo: whatever a client sends comes back (RFC 862).

Only over TCP. Over UDP, one forged datagram sets two such servers to answer one another for ever
(CERT CA-1996-01).
"""

from __future__ import annotations

from labstack.applications.server import Host, serve as serve_each
from labstack.sockets.socket import Socket

PORT = 7
PIECE = 65536


def serve(host: Host, port: int = PORT) -> None:
    """Send back what comes on each connection, until its client has closed.

    Run it by `host.spawn(serve, host)`.
    """
    serve_each(host, port, _echo)


def _echo(connection: Socket) -> None:
    # A client that has closed its direction still gets all that is on its way: closing ours sends that first.
    while piece := connection.recv(PIECE):
        connection.sendall(piece)
