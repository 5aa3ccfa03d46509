"""Fetching a page: connect, ask, and read to the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from labstack.applications.http.head import END, parse_head
from labstack.applications.server import Host
from labstack.sockets.socket import Socket

MAX_HEAD = 65536
PIECE = 65536
_STATUS = re.compile(r"HTTP/1\.\d (\d{3})(?: (.*))?")


@dataclass(slots=True, frozen=True)
class Response:
    """An answer. The names of `headers` are in lower case; those that came twice are joined by commas."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes


def get(host: Host, where: str | tuple[str, int], path: str = "/", timeout: float | None = 60) -> Response:
    """Fetch `where`, a URL (`"http://b/page.html"`), or the `path` of a server's (address, port).

    Each wait takes at most `timeout` seconds. Raises ValueError for what is no such URL, the errors of
    `connect`, and ConnectionError when what comes is no HTTP, or ends too early.
    """
    if isinstance(where, str):
        address, path = _parse_url(where)
    else:
        address = where
    if not path.startswith("/") or not path.isascii() or re.search(r"[\x00-\x20\x7f]", path):
        raise ValueError(f"{path!r} is no path for a request: begin with /, and write %20 for a space")
    name = address[0] if address[1] == 80 else f"{address[0]}:{address[1]}"
    # HTTP/1.0: the server closes behind the body, and does not cut it into chunks.
    request = f"GET {path} HTTP/1.0\r\nHost: {name}\r\nUser-Agent: labstack\r\n\r\n"
    with host.connect(address, timeout) as connection:
        connection.sendall(request.encode("ascii"))
        return _read_response(connection, name)


def _parse_url(url: str) -> tuple[tuple[str, int], str]:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        raise ValueError(f"{url!r} is no URL: write http://name:80/path") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is no URL that begins with http://: write http://name/path")
    return (parts.hostname, port), (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _read_response(connection: Socket, name: str) -> Response:
    read = bytearray()
    while not (end := END.search(read)):
        piece = connection.recv(PIECE)
        if not piece or len(read) > MAX_HEAD:
            raise ConnectionError(f"{name} sent {len(read)} bytes that are no answer in HTTP")
        read += piece
    try:
        line, headers = parse_head(bytes(read[: end.start()]))
    except ValueError as error:
        raise ConnectionError(f"{name} answered wrongly: {error}") from None
    status = _STATUS.fullmatch(line)
    if not status:
        raise ConnectionError(f"{name} answered {line!r}, which is not HTTP")
    body = read[end.end() :]
    length = headers.get("content-length")
    if length is not None and not re.fullmatch("[0-9]+", length):
        raise ConnectionError(f"{name} says that the body has {length!r} bytes, which is no number")
    while length is None or len(body) < int(length):
        piece = connection.recv(PIECE)
        if not piece:
            break
        body += piece
    if length is not None:
        if len(body) < int(length):
            raise ConnectionError(f"{name} closed after {len(body)} of {length} bytes")
        del body[int(length) :]
    return Response(int(status[1]), status[2] or "", headers, bytes(body))
