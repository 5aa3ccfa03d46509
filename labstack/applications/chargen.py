r"""Character generator: lines of printable characters, for as long as the client wants (RFC 864).

     !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefg
    !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefgh
    "#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghi

It fills every window that it is offered, so it shows flow control at work: read slowly, and it sends slowly.
"""

from __future__ import annotations

from labstack.applications.server import Host, serve as serve_each
from labstack.sockets.socket import Socket

PORT = 19
LINE = 72
RING = bytes(range(0x20, 0x7F))
"""The 95 printable characters of ASCII. Each line begins one further than the last."""
PATTERN = b"".join((RING * 2)[start : start + LINE] + b"\r\n" for start in range(len(RING)))
"""All lines, until they begin anew."""


def serve(host: Host, port: int = PORT) -> None:
    """Send lines, on each connection, until its client closes. Run it by `host.spawn(serve, host)`."""
    serve_each(host, port, _generate)


def _generate(connection: Socket) -> None:
    # A client's FIN may only say that it sends no more. But it sends nothing here anyway: it is done.
    while not _has_closed(connection):
        connection.sendall(PATTERN)


def _has_closed(connection: Socket) -> bool:
    """Whether the client has closed. What it sent is thrown away, without waiting for more."""
    patience = connection.gettimeout()
    connection.setblocking(False)
    try:
        return not connection.recv(65536)
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(patience)
