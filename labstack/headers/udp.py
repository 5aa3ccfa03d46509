"""The UDP header: IP with ports and a checksum, and nothing else.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          Source Port          |       Destination Port        |
    +-------------------------------+-------------------------------+
    |            Length             |           Checksum            |
    +-------------------------------+-------------------------------+

RFC 768; RFC 1122 §4.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from labstack.core.checksum import Buffer, checksum, finish, ones_sum
from labstack.core.events import Rule
from labstack.headers.header import Field, HeaderError

TRUNCATED = Rule("udp.truncated", "fewer bytes arrived than the header promises", "RFC 768")
BAD_LENGTH = Rule("udp.bad_length", "the length is below the header's own 8 bytes", "RFC 768")
BAD_CHECKSUM = Rule("udp.bad_checksum", "the checksum over the datagram is wrong", "RFC 1122 §4.1.3.4")

LENGTH = 8

_HEADER = struct.Struct(">HHHH")


@dataclass(slots=True)
class UDP:
    """The 8 bytes in front of every UDP datagram."""

    src_port: int
    dst_port: int
    length: int = LENGTH
    """Header and payload, in bytes."""
    checksum: int = 0
    """0: the sender did not compute one."""

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("src_port", 16, "the sender's port, for answers; 0 if none are wanted"),
        Field("dst_port", 16, "the port the datagram is for"),
        Field("length", 16, "header and payload, in bytes"),
        Field("checksum", 16, "over pseudo-header, header and payload; 0: not computed"),
    )

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0) -> Self:
        """Read the header at `offset` of a buffer that holds the whole datagram. Raises HeaderError. The
        checksum is not verified: that takes the addresses, see `verify`."""
        header = cls.parse_quoted(data, offset)
        if header.length > len(data) - offset:
            raise HeaderError(TRUNCATED)
        if header.length < LENGTH:
            raise HeaderError(BAD_LENGTH)
        return header

    @classmethod
    def parse_quoted(cls, data: Buffer, offset: int = 0) -> Self:
        """Read a header that an ICMP error quotes, which may be all there is of the datagram (RFC 792)."""
        try:
            src_port, dst_port, length, found = _HEADER.unpack_from(data, offset)
        except struct.error:
            raise HeaderError(TRUNCATED) from None
        return cls(src_port, dst_port, length, found)

    def pack(self, pseudo_sum: int | None = None, payload: Buffer = b"") -> bytes:
        """The header's 8 bytes for this payload: length and checksum computed, `pseudo_sum` being the sum of
        the pseudo-header. Without a `pseudo_sum`, the fields as they stand."""
        if pseudo_sum is None:
            return _HEADER.pack(self.src_port, self.dst_port, self.length, self.checksum)
        length = LENGTH + len(payload)
        # A checksum of 0 is sent as 0xFFFF, the other zero of one's complement: 0 says "not computed".
        value = finish(ones_sum(payload, pseudo_sum + self.src_port + self.dst_port + length)) or 0xFFFF
        return _HEADER.pack(self.src_port, self.dst_port, length, value)

    def verify(self, pseudo_sum: int, datagram: Buffer) -> bool:
        """Whether `datagram`, header and payload, fits its checksum, or carries none."""
        return self.checksum == 0 or checksum(datagram[: self.length], pseudo_sum) == 0
