"""ICMP: how the network answers back. Errors about datagrams, and the echo that ping listens for.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---------------+---------------+-------------------------------+
    |     Type      |     Code      |           Checksum            |
    +---------------+---------------+-------------------------------+
    |  Rest: by type. Echo: identifier, sequence. Too big: 0, MTU.  |
    +---------------------------------------------------------------+
    | Payload: the echoed data; or the front of the datagram that   |
    | an error is about: its IP header and at least 8 bytes more    |
    +---------------------------------------------------------------+

RFC 792; RFC 1122 §3.2.2 (more codes), RFC 1191 (the next hop's MTU), RFC 1812 §4.3.2.3 (quote more than 8
bytes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Self

from labstack.core.checksum import Buffer, checksum, finish, ones_sum
from labstack.core.events import Rule
from labstack.headers.header import Field, HeaderError

TRUNCATED = Rule("icmp.truncated", "the message ends inside its 8-byte header", "RFC 792")
BAD_CHECKSUM = Rule("icmp.bad_checksum", "the checksum over the message is wrong", "RFC 792")

LENGTH = 8

ECHO_REPLY = 0
DESTINATION_UNREACHABLE = 3
SOURCE_QUENCH = 4
"""Deprecated (RFC 6633): never sent, ignored on receipt."""
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
TIMESTAMP = 13
TIMESTAMP_REPLY = 14

ERRORS = frozenset({DESTINATION_UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})
"""The types that quote a datagram. No error is ever sent about one of these (RFC 1122 §3.2.2)."""

# Codes of DESTINATION_UNREACHABLE
NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PROTOCOL_UNREACHABLE = 2
PORT_UNREACHABLE = 3
FRAGMENTATION_NEEDED = 4
SOURCE_ROUTE_FAILED = 5
NET_UNKNOWN = 6
HOST_UNKNOWN = 7
NET_PROHIBITED = 9
HOST_PROHIBITED = 10
NET_UNREACHABLE_FOR_TOS = 11
HOST_UNREACHABLE_FOR_TOS = 12
COMMUNICATION_PROHIBITED = 13

# Codes of REDIRECT
REDIRECT_NET = 0
REDIRECT_HOST = 1

# Codes of TIME_EXCEEDED
TTL_EXCEEDED = 0
REASSEMBLY_EXCEEDED = 1

_HEADER = struct.Struct(">BBHI")


@dataclass(slots=True)
class ICMP:
    """The 8 bytes in front of every ICMP message. `parse` fills `checksum`; `pack` works it out anew."""

    type: int
    code: int
    rest: int = 0
    """The second four bytes, whose meaning depends on the type."""
    checksum: int = field(default=0, compare=False)

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("type", 8, "what it is: 0 echo reply, 3 unreachable, 8 echo request, 11 time exceeded"),
        Field("code", 8, "which of its type"),
        Field("checksum", 16, "the one's complement of the sum of the whole message's 16-bit words"),
        Field("rest", 32, "by type: identifier and sequence number, a gateway, the next hop's MTU, or zero"),
    )

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0, verify: bool = True) -> Self:
        """Read the header of the message that fills `data` from `offset` to its end. Raises HeaderError.

        With `verify` off, only the front of the message need be there, as when an ICMP error quotes it."""
        try:
            type_, code, found, rest = _HEADER.unpack_from(data, offset)
        except struct.error:
            raise HeaderError(TRUNCATED) from None
        if verify and checksum(data[offset:] if offset else data):
            raise HeaderError(BAD_CHECKSUM)
        return cls(type_, code, rest, found)

    def pack(self, payload: Buffer = b"") -> bytes:
        """The whole message, header and payload, with its checksum."""
        total = ones_sum(payload, (self.type << 8 | self.code) + self.rest)
        return _HEADER.pack(self.type, self.code, finish(total), self.rest) + payload

    @classmethod
    def echo_request(cls, identifier: int, sequence: int) -> Self:
        """Ask for an echo. `identifier` is the asker's (ping's process), `sequence` counts its questions."""
        return cls(ECHO_REQUEST, 0, identifier << 16 | sequence)

    @classmethod
    def echo_reply(cls, identifier: int, sequence: int) -> Self:
        return cls(ECHO_REPLY, 0, identifier << 16 | sequence)

    @classmethod
    def fragmentation_needed(cls, next_hop_mtu: int) -> Self:
        """The datagram does not fit and must not be cut: carries the MTU that would do (RFC 1191 §4)."""
        return cls(DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, next_hop_mtu)

    @property
    def identifier(self) -> int:
        """Of an echo: whose question it is."""
        return self.rest >> 16

    @property
    def sequence(self) -> int:
        """Of an echo: which question it is."""
        return self.rest & 0xFFFF

    @property
    def next_hop_mtu(self) -> int:
        """Of "fragmentation needed": the MTU in bytes; 0 from routers older than RFC 1191."""
        return self.rest & 0xFFFF

    @property
    def is_error(self) -> bool:
        """Whether the message is about a datagram, which it quotes."""
        return self.type in ERRORS
