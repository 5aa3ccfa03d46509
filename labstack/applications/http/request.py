"""What a client asks for: the method, the target, and whether more will follow (RFC 9112 §3, §9.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from labstack.applications.http.head import parse_head, words

_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\S+) HTTP/(\d)\.(\d)")


@dataclass(slots=True)
class Request:
    """A request that was understood. `keep_alive`: the next one may follow on the same connection."""

    method: str
    target: str
    keep_alive: bool


class Refused(Exception):
    """What the client asked is answered by this status, and by this sentence."""

    def __init__(self, status: HTTPStatus, sentence: str, **fields: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.fields = fields


def parse_request(head: bytes) -> Request:
    """Read the head of a request. Raises Refused."""
    try:
        line, fields = parse_head(head)
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
    match = _LINE.fullmatch(line)
    if not match:
        raise Refused(HTTPStatus.BAD_REQUEST, "the first line is no request: write GET /path HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != "1":
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if minor != "0" and ("host" not in fields or "," in fields["host"]):
        raise Refused(HTTPStatus.BAD_REQUEST, "HTTP/1.1 needs one field Host (RFC 9112 §3.2)")
    asked = words(fields.get("connection", ""))
    keep_alive = "close" not in asked if minor != "0" else "keep-alive" in asked
    # A body is not read here, so that what follows it cannot be found.
    has_body = "transfer-encoding" in fields or fields.get("content-length", "0") != "0"
    return Request(method, target, keep_alive and not has_body)
