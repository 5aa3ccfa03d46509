"""The head of a request or of an answer: a first line, and fields, up to an empty line (RFC 9112 §2, §5)."""

from __future__ import annotations

import re

MAX_HEAD = 16384
"""Bytes of a head that are read before it is given up."""
END = re.compile(rb"\r?\n\r?\n")
"""An empty line. Its carriage return may be missing, so that people can type a request (RFC 9112 §2.2)."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    """The first line, and the fields by their names in lower case. Raises ValueError when that is no head.

    Fields that come twice are joined by commas (RFC 9110 §5.3).
    """
    first, *lines = (line.removesuffix("\r") for line in head.decode("latin-1").split("\n"))
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        # No space before the colon, nor an empty name: others might read that differently (RFC 9112 §5.1).
        if not colon or not _NAME.fullmatch(name):
            raise ValueError(f"{line!r} is no header field: write Name: value")
        name, value = name.lower(), value.strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return first, fields


def words(value: str) -> set[str]:
    """The words of a field that lists some, such as `Connection: close, upgrade`, in lower case."""
    return {word.strip().lower() for word in value.split(",")}
