"""The IPv4 header: from which host to which, across any number of networks.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------+-------+-----------+---+-------------------------------+
    |Version|  IHL  |   DSCP    |ECN|          Total Length         |
    +-------+-------+-----------+---+-+-+-+-------------------------+
    |         Identification        |0|D|M|     Fragment Offset     |
    +---------------+---------------+-+-+-+-------------------------+
    |  Time to Live |    Protocol   |        Header Checksum        |
    +---------------+---------------+-------------------------------+
    |                         Source Address                        |
    +---------------------------------------------------------------+
    |                      Destination Address                      |
    +---------------------------------------------------------------+
    |            Options, padded to a multiple of 4 bytes           |
    +---------------------------------------------------------------+

RFC 791 §3.1; DSCP is RFC 2474, ECN is RFC 3168. The checksum covers the header only.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Self

from labstack.core.addresses import IPAddress, IPv4Address
from labstack.core.checksum import Buffer, finish, from_bytes
from labstack.core.events import Rule
from labstack.headers.header import Field, HeaderError

TRUNCATED = Rule("ipv4.truncated", "fewer bytes arrived than the header promises", "RFC 791 §3.1")
BAD_VERSION = Rule("ipv4.bad_version", "the version is not 4", "RFC 1122 §3.2.1.1")
BAD_HEADER_LENGTH = Rule("ipv4.bad_header_length", "the header length is below 20 bytes", "RFC 791 §3.1")
BAD_LENGTH = Rule("ipv4.bad_length", "the total length is shorter than the header", "RFC 791 §3.1")
BAD_CHECKSUM = Rule("ipv4.bad_checksum", "the header checksum is wrong", "RFC 1122 §3.2.1.2")

LENGTH = 20
"""The length of a header without options, in bytes."""
MAX_LENGTH = 65535
"""The longest datagram, in bytes."""
MAX_OPTIONS = 40
FRAGMENT_UNIT = 8
"""`fragment_offset` counts in units of this many bytes."""

PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17

NOT_ECT = 0
ECT_1 = 1
ECT_0 = 2
CE = 3

_HEADER = struct.Struct(">BBHHHBBH4s4s")
ORDINARY = struct.Struct(">BBHxxHBBxx8s")
"""What a host asks of an ordinary datagram: version and IHL, DSCP and ECN, total length, flags and offset,
TTL, protocol, both addresses."""
VERSION_4_NO_OPTIONS = 0x45
PIECE = 0x3FFF
"""The bits of flags and offset that a datagram in one piece has not set."""
_RESERVED = 0x8000
_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_OFFSET = 0x1FFF


@dataclass(slots=True)
class IPv4:
    """An IPv4 header. `parse` fills `header_length` and `header_checksum`; `pack` works them out anew."""

    src: IPAddress
    dst: IPAddress
    protocol: int
    total_length: int
    """Header and payload, in bytes."""
    ttl: int = 64
    dscp: int = 0
    ecn: int = 0
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    """In units of 8 bytes, as on the wire."""
    options: bytes = b""
    reserved: bool = False
    header_length: int = field(default=LENGTH, compare=False)
    """In bytes, options included."""
    header_checksum: int = field(default=0, compare=False)

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("version", 4, "4"),
        Field("header_length", 4, "IHL: the header's length, on the wire in units of 4 bytes"),
        Field("dscp", 6, "differentiated services: how the datagram wants to be treated"),
        Field("ecn", 2, "congestion: 0 not capable, 1 and 2 capable, 3 met congestion"),
        Field("total_length", 16, "header and payload, in bytes"),
        Field("identification", 16, "the same in all fragments of one datagram"),
        Field("reserved", 1, "zero"),
        Field("dont_fragment", 1, "DF: drop rather than cut"),
        Field("more_fragments", 1, "MF: this is not the last fragment"),
        Field("fragment_offset", 13, "where the fragment belongs in the datagram, in units of 8 bytes"),
        Field("ttl", 8, "time to live: each router takes one off; at zero the datagram ends"),
        Field("protocol", 8, "what the payload is: 1 ICMP, 6 TCP, 17 UDP"),
        Field("header_checksum", 16, "the one's complement of the sum of the header's 16-bit words"),
        Field("src", 32, "the host that sent the datagram"),
        Field("dst", 32, "the host it is for"),
    )

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0, verify: bool = True) -> Self:
        """Read the header at `offset` of a buffer that holds the whole datagram; bytes behind it are ignored
        (Ethernet pads short frames). Raises HeaderError; `verify` off leaves the checksum to someone else."""
        header = cls.parse_quoted(data, offset)
        total_length = header.total_length
        if total_length > len(data) - offset:
            raise HeaderError(TRUNCATED)
        if total_length < header.header_length:
            raise HeaderError(BAD_LENGTH)
        # A remainder of 0 modulo 65,535 is a right checksum: see core/checksum. The first word is never zero.
        if verify and int.from_bytes(data[offset : offset + header.header_length], "big") % 0xFFFF:
            raise HeaderError(BAD_CHECKSUM)
        return header

    @classmethod
    def parse_quoted(cls, data: Buffer, offset: int = 0) -> Self:
        """Read a header that stands in an ICMP error, which quotes only the front of a datagram (RFC 792):
        neither its total length nor its checksum is checked."""
        try:
            (
                version_ihl, tos, total_length, identification, flags_offset,
                ttl, protocol, header_checksum, src, dst,
            ) = _HEADER.unpack_from(data, offset)  # fmt: skip
        except struct.error:
            raise HeaderError(TRUNCATED) from None
        options = b""
        header_length = LENGTH
        if version_ihl != 0x45:  # anything but version 4 without options
            if version_ihl >> 4 != 4:
                raise HeaderError(BAD_VERSION)
            header_length = (version_ihl & 0xF) * 4
            if header_length < LENGTH:
                raise HeaderError(BAD_HEADER_LENGTH)
            if header_length > len(data) - offset:
                raise HeaderError(TRUNCATED)
            options = bytes(data[offset + LENGTH : offset + header_length])
        return cls(
            IPv4Address(src),
            IPv4Address(dst),
            protocol,
            total_length,
            ttl,
            tos >> 2,
            tos & 3,
            identification,
            flags_offset & _DONT_FRAGMENT != 0,
            flags_offset & _MORE_FRAGMENTS != 0,
            flags_offset & _OFFSET,
            options,
            flags_offset & _RESERVED != 0,
            header_length,
            header_checksum,
        )

    def pack(self) -> bytes:
        """The header's bytes, with their checksum; options are padded with zeros to a multiple of 4 bytes.

        Raises ValueError if a field does not fit."""
        options = self.options
        if options:
            options += bytes(-len(options) % 4)
        if len(options) > MAX_OPTIONS or self.fragment_offset > _OFFSET or self.ecn > 3:
            raise ValueError(f"{self} does not fit: options ≤ 40 bytes, fragment_offset ≤ 8191, ecn ≤ 3")
        version_ihl = 0x45 + len(options) // 4
        tos = self.dscp << 2 | self.ecn
        flags_offset = self.fragment_offset
        if self.dont_fragment:
            flags_offset |= _DONT_FRAGMENT
        if self.more_fragments:
            flags_offset |= _MORE_FRAGMENTS
        if self.reserved:
            flags_offset |= _RESERVED
        # The sum of the header's words, before they are bytes (an address is two of them; see core/checksum).
        total = (
            (version_ihl << 8 | tos)
            + self.total_length
            + self.identification
            + flags_offset
            + (self.ttl << 8 | self.protocol)
            + int.from_bytes(self.src + self.dst + options, "big")
        )
        header = _HEADER.pack(
            version_ihl, tos, self.total_length, self.identification, flags_offset,
            self.ttl, self.protocol, finish(total), self.src, self.dst,
        )  # fmt: skip
        return header + options if options else header


def pack_ordinary(
    src: IPAddress, dst: IPAddress, protocol: int, total_length: int, ttl: int, tos: int, identification: int,
    dont_fragment: bool,
) -> bytes:  # fmt: skip
    """What `IPv4(…).pack()` makes of these fields, all others as they are by default: the header of nearly
    every datagram, for half the time. `tos` is the second byte: DSCP and ECN."""
    flags_offset = _DONT_FRAGMENT if dont_fragment else 0
    total = 0x4500 + tos + total_length + identification + flags_offset + (ttl << 8) + protocol
    total += from_bytes(src + dst, "big")
    return _HEADER.pack(
        0x45, tos, total_length, identification, flags_offset, ttl, protocol, -total % 0xFFFF, src, dst
    )  # the remainder of −total is what `finish` makes of a total that is not 0


def pseudo_sum(src: IPAddress, dst: IPAddress, protocol: int, length: int) -> int:
    """The sum of the pseudo-header that TCP and UDP put in front of their checksum, for `core.checksum`.

    It is not sent: it ties a segment to its addresses. `length` is that of the transport header and payload,
    in bytes. RFC 9293 §3.1, RFC 768.
    """
    return int.from_bytes(src + dst, "big") + protocol + length
