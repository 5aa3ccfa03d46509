"""A Web server for the files of one folder: GET and HEAD, HTTP/1.0 and 1.1, one program for each connection.

Two fields that others send are missing, so that the same run gives the same bytes on every machine: `Date`,
which a server without a clock of its own must not send (RFC 9110 §6.6.1), and `Last-Modified`.
"""

from __future__ import annotations

import os
import socket as posix
from http import HTTPStatus
from pathlib import Path

from labstack.applications.http.files import TYPES, find_file
from labstack.applications.http.head import END, MAX_HEAD
from labstack.applications.http.request import Refused, Request, parse_request
from labstack.applications.server import MOST, PATIENCE, Host, serve as serve_each
from labstack.sockets.socket import Socket

PORT = 80
PIECE = 65536
LINGER = 2.0
"""Seconds that a server waits for the client to close, after its last answer."""


def serve(
    host: Host, folder: str | Path, port: int = PORT, *, most: int = MOST, patience: float = PATIENCE
) -> None:
    """Serve the files in `folder`, and nothing outside of it. Run it by `host.spawn(serve, host, "site")`.

    At most `most` connections are served at once. A client may be silent for `patience` seconds, and has no
    more than that to write the head of a request. Raises NotADirectoryError, OSError (EADDRINUSE).
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: name one whose files are to be served")
    serve_each(
        host, port, lambda it: _Conversation(host, it, root, patience).hold(), most=most, patience=patience
    )


class _Conversation:
    """Requests and answers on one connection, one after the other."""

    def __init__(self, host: Host, connection: Socket, root: Path, patience: float) -> None:
        self._host = host
        self._connection = connection
        self._root = root
        self._patience = patience
        self._read = bytearray()  # what was read beyond the last request: clients may send several at once

    def hold(self) -> None:
        while self._one():
            pass
        # To close while bytes are unread sends a reset, which may overtake the answer (RFC 9112 §9.6).
        self._connection.shutdown(posix.SHUT_WR)
        until = self._host.now + LINGER
        while (left := until - self._host.now) > 0:
            self._connection.settimeout(left)
            if not self._connection.recv(PIECE):
                break

    def _one(self) -> bool:
        """Read a request and answer it; whether another may follow."""
        method, keep_alive = "GET", False
        try:
            head = self._next_head()
            if head is None:
                return False
            request = parse_request(head)
            method, keep_alive = request.method, request.keep_alive
            self._send_file(request, find_file(self._root, request))
        except Refused as refused:
            body = f"{refused.status.value} {refused.status.phrase}: {refused}\n".encode()
            # Where the next request begins is known only if this one was understood.
            keep_alive = keep_alive and refused.status is not HTTPStatus.METHOD_NOT_ALLOWED
            self._send_head(refused.status, TYPES[".txt"], len(body), keep_alive, refused.fields)
            if method != "HEAD":
                self._connection.sendall(body)
        return keep_alive

    def _next_head(self) -> bytes | None:
        """The next head without its empty line, or None when the client is done."""
        until = self._host.now + self._patience
        while True:
            del self._read[: len(self._read) - len(self._read.lstrip(b"\r\n"))]  # RFC 9112 §2.2
            if end := END.search(self._read):
                head = bytes(self._read[: end.start()])
                del self._read[: end.end()]
                self._connection.settimeout(self._patience)
                return head
            if len(self._read) > MAX_HEAD:
                raise Refused(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head is over {MAX_HEAD} bytes"
                )
            self._connection.settimeout(max(until - self._host.now, 0.001))
            piece = self._connection.recv(4096)
            if not piece:
                return None
            self._read += piece

    def _send_head(
        self, status: HTTPStatus, type: str, length: int, keep_alive: bool, more: dict[str, str]
    ) -> None:
        fields = {"Content-Type": type, "Content-Length": str(length), **more}
        fields["Connection"] = "keep-alive" if keep_alive else "close"
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._connection.sendall(f"{head}\r\n".encode("latin-1"))

    def _send_file(self, request: Request, path: Path) -> None:
        try:
            file = path.open("rb")
        except OSError:
            raise Refused(HTTPStatus.NOT_FOUND, f"no file can be read at {request.target}") from None
        with file:
            left = os.fstat(file.fileno()).st_size
            type = TYPES.get(path.suffix.lower(), "application/octet-stream")
            self._send_head(HTTPStatus.OK, type, left, request.keep_alive, {})
            while left and request.method != "HEAD":
                piece = file.read(min(left, PIECE))
                if not piece:
                    raise OSError(f"{path} became shorter while it was sent")
                self._connection.sendall(piece)
                left -= len(piece)
