"""From a request to a file: which one is meant, and of what type it is. Only what is in the folder can be."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from labstack.applications.http.request import Refused, Request

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Media types by the ending of the name. The system has a longer list, but another one on each machine."""


def find_file(root: Path, request: Request) -> Path:
    """The file that is asked for; `..` and links that lead out of `root` find nothing. Raises Refused."""
    if request.method not in ("GET", "HEAD"):
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not for files", Allow="GET, HEAD")
    target = request.target
    try:
        # A path, or a whole URL (RFC 9112 §3.2). A path may begin with //, and is no URL even so.
        asked = (target if target.startswith("/") else urlsplit(target).path).partition("?")[0]
        wanted = unquote(asked, errors="strict")
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{target} is no path") from None
    if "\0" in wanted:
        raise Refused(HTTPStatus.BAD_REQUEST, f"{target} is no path")
    nothing = Refused(HTTPStatus.NOT_FOUND, f"there is nothing at {target}")
    try:
        path = (root / wanted.lstrip("/")).resolve()
        if not path.is_relative_to(root):
            raise nothing
        if path.is_dir() and not wanted.endswith("/"):
            # Without the slash at its end, the links in a folder's page would lead elsewhere.
            raise Refused(HTTPStatus.MOVED_PERMANENTLY, "it is a folder", Location=f"/{asked.strip('/')}/")
        if wanted.endswith("/"):
            path = (path / "index.html").resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise nothing
    except (OSError, RuntimeError):  # a name too long, a folder that may not be read, links in a circle
        raise nothing from None
    return path
