"""The Ethernet header: who on this wire a frame is for, who sent it, and what is inside.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |                      Destination Address                      |
    +                               +-------------------------------+
    |                               |                               |
    +-------------------------------+        Source Address         +
    |                                                               |
    +-------------------------------+-------------------------------+
    |           EtherType           |  payload, then 4 bytes of FCS |
    +-------------------------------+-------------------------------+

IEEE 802.3 §3 (the frame), RFC 894 (IPv4 in it).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import ClassVar, Self

from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.headers.header import Field, HeaderError

TRUNCATED = Rule("ethernet.truncated", "the frame ends inside its Ethernet header", "IEEE 802.3 §3.1")

LENGTH = 14
MIN_FRAME = 60
"""The shortest frame without its check sequence; shorter ones are padded with zeros (IEEE 802.3 §4.2.3.3)."""
FCS_LENGTH = 4

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_VLAN = 0x8100
ETHERTYPE_IPV6 = 0x86DD
MIN_ETHERTYPE = 0x0600
"""Below this the field is the length of an IEEE 802.3 payload, not a type (802.3 §3.2.6)."""

_HEADER = struct.Struct(">6s6sH")
dst_and_type = struct.Struct(">6s6xH").unpack_from
"""Whom a frame is for, and what is inside."""
pack = _HEADER.pack
"""`pack(dst, src, ethertype)`: what `Ethernet(…).pack()` gives."""
# What the CRC leaves when it runs over a frame together with its right check sequence.
_RESIDUE = 0x2144DF1C


@dataclass(slots=True)
class Ethernet:
    """The 14 bytes in front of every frame."""

    dst: MAC
    src: MAC
    ethertype: int

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("dst", 48, "the station the frame is for; all ones for every station"),
        Field("src", 48, "the station that sent it"),
        Field("ethertype", 16, "what the payload is: 0x0800 IPv4, 0x0806 ARP, 0x86DD IPv6"),
    )

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0) -> Self:
        """Read the header at `offset`. Raises HeaderError(TRUNCATED)."""
        try:
            dst, src, ethertype = _HEADER.unpack_from(data, offset)
        except struct.error:
            raise HeaderError(TRUNCATED) from None
        return cls(MAC(dst), MAC(src), ethertype)

    def pack(self) -> bytes:
        return _HEADER.pack(self.dst, self.src, self.ethertype)


def fcs(frame: Buffer) -> bytes:
    """The frame check sequence of `frame` (header, payload and padding), as its four bytes stand on the wire.

    A CRC is a polynomial, sent from its highest power down; Ethernet sends each byte from its lowest bit up.
    `crc32` works with the bits mirrored, so its result holds the highest power in its lowest bit: sent lowest
    byte first, and each byte lowest bit first, the powers leave in the right order. IEEE 802.3 §3.2.9.
    """
    return zlib.crc32(frame).to_bytes(FCS_LENGTH, "little")


def check_fcs(frame: Buffer) -> bool:
    """Whether a frame that ends with its check sequence arrived as it was sent."""
    return len(frame) >= FCS_LENGTH and zlib.crc32(frame) == _RESIDUE
