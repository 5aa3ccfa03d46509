"""A ring buffer: where a stream's bytes wait, for the peer to acknowledge them or for the program to read
them.

A payload is copied once, into the ring; what leaves it is a view. The ring takes a small buffer for the first
byte, and doubles it as it fills, up to its limit: connections on which nothing is said, such as the half-open
ones of a flood of SYNs, cost none.
"""

from __future__ import annotations

from labstack.core.checksum import Buffer

FIRST_CAPACITY = 16384


class Ring:
    """Bytes at offsets from a moving head. The user knows which offsets are filled."""

    __slots__ = ("_buffer", "_head", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = memoryview(bytearray())
        self._head = 0

    def put(self, offset: int, data: Buffer) -> None:
        """Copy `data` to `offset` bytes behind the head. Raises ValueError beyond the limit."""
        size = len(data)
        if offset + size > len(self._buffer):
            self._grow(offset + size)
        capacity = len(self._buffer)
        at = self._head + offset
        if at >= capacity:
            at -= capacity
        end = at + size
        if end <= capacity:
            self._buffer[at:end] = data
        else:
            cut = capacity - at
            view = memoryview(data)
            self._buffer[at:] = view[:cut]
            self._buffer[: end - capacity] = view[cut:]

    def view(self, offset: int, size: int) -> Buffer:
        """`size` bytes from `offset` behind the head: a view, borrowed until the next `put` or `advance`; a
        copy where the ring closes in between."""
        capacity = len(self._buffer)
        at = self._head + offset
        if at >= capacity:
            at -= capacity
        end = at + size
        if end <= capacity:
            return self._buffer[at:end]
        return bytes(self._buffer[at:]) + bytes(self._buffer[: end - capacity])

    def advance(self, size: int) -> None:
        """The first `size` bytes are done with."""
        self._head += size
        if self._head >= len(self._buffer):
            self._head -= len(self._buffer)

    def _grow(self, needed: int) -> None:
        if needed > self.limit:
            raise ValueError(f"{needed} bytes in a buffer for {self.limit}")
        capacity = len(self._buffer) or FIRST_CAPACITY
        while capacity < needed:
            capacity *= 2
        grown = memoryview(bytearray(min(capacity, self.limit)))
        old = self._buffer
        grown[: len(old) - self._head] = old[self._head :]
        grown[len(old) - self._head : len(old)] = old[: self._head]
        self._buffer, self._head = grown, 0
