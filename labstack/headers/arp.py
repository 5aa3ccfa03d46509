"""ARP: which MAC address has this IPv4 address?

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |       Hardware Type (1)       |    Protocol Type (0x0800)     |
    +---------------+---------------+-------------------------------+
    | HW Length (6) | Pr Length (4) |           Operation           |
    +---------------+---------------+-------------------------------+
    |                     Sender Hardware Address                   |
    +                               +-------------------------------+
    |                               |    Sender Protocol Address    |
    +-------------------------------+-------------------------------+
    |                               |                               |
    +-------------------------------+    Target Hardware Address    +
    |                                                               |
    +---------------------------------------------------------------+
    |                    Target Protocol Address                    |
    +---------------------------------------------------------------+

RFC 826. Written for any pair of hardware and protocol; only Ethernet with IPv4 is still met.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Self

from labstack.core.addresses import MAC, IPv4Address
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.headers.header import Field, HeaderError

TRUNCATED = Rule("arp.truncated", "the frame ends inside the ARP message", "RFC 826")
BAD_HARDWARE = Rule("arp.bad_hardware", "the hardware type is not Ethernet", "RFC 826 (Packet Reception)")
BAD_PROTOCOL = Rule("arp.bad_protocol", "the protocol type is not IPv4", "RFC 826 (Packet Reception)")
BAD_LENGTH = Rule("arp.bad_length", "the address lengths are not 6 and 4", "RFC 826 (Packet Reception)")

LENGTH = 28
REQUEST = 1
REPLY = 2

HARDWARE_ETHERNET = 1
PROTOCOL_IPV4 = 0x0800

_MESSAGE = struct.Struct(">HHBBH6s4s6s4s")


@dataclass(slots=True)
class ARP:
    """An ARP message between Ethernet and IPv4."""

    operation: int
    sender_mac: MAC
    sender_ip: IPv4Address
    target_mac: MAC
    target_ip: IPv4Address

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("hardware_type", 16, "1: Ethernet"),
        Field("protocol_type", 16, "0x0800: IPv4, numbered like an EtherType"),
        Field("hardware_length", 8, "bytes in a hardware address: 6"),
        Field("protocol_length", 8, "bytes in a protocol address: 4"),
        Field("operation", 16, "1 asks, 2 answers"),
        Field("sender_mac", 48, "the sender's MAC address"),
        Field("sender_ip", 32, "the sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227)"),
        Field("target_mac", 48, "in a request, what is being asked for: zeros"),
        Field("target_ip", 32, "the IPv4 address asked for"),
    )

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0) -> Self:
        """Read the message at `offset`; padding behind it is ignored. Raises HeaderError for what is not
        Ethernet and IPv4."""
        try:
            (
                hardware, protocol, hardware_length, protocol_length, operation,
                sender_mac, sender_ip, target_mac, target_ip,
            ) = _MESSAGE.unpack_from(data, offset)  # fmt: skip
        except struct.error:
            raise HeaderError(TRUNCATED) from None
        if hardware != HARDWARE_ETHERNET:
            raise HeaderError(BAD_HARDWARE)
        if protocol != PROTOCOL_IPV4:
            raise HeaderError(BAD_PROTOCOL)
        if hardware_length != 6 or protocol_length != 4:
            raise HeaderError(BAD_LENGTH)
        return cls(
            operation, MAC(sender_mac), IPv4Address(sender_ip), MAC(target_mac), IPv4Address(target_ip)
        )

    def pack(self) -> bytes:
        return _MESSAGE.pack(
            HARDWARE_ETHERNET, PROTOCOL_IPV4, 6, 4, self.operation,
            self.sender_mac, self.sender_ip, self.target_mac, self.target_ip,
        )  # fmt: skip
