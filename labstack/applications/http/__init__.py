"""HTTP, the language of the Web: a few lines of text ask, a few lines answer, and behind them comes the page.

    GET /index.html HTTP/1.1                   HTTP/1.1 200 OK
    Host: www.example                          Content-Type: text/html; charset=utf-8
                                               Content-Length: 51
                                               ⏎
                                               <!doctype html> …

An empty line ends each head. `Content-Length` says where the body ends, so that the next answer can follow on
the same connection (*keep-alive*). HTTP/1.0 is RFC 1945, HTTP/1.1 RFC 9112; what the words mean is RFC 9110.
"""

from labstack.applications.http.client import Response, get
from labstack.applications.http.server import PORT, serve

__all__ = ["PORT", "Response", "get", "serve"]
