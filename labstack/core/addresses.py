"""Addresses: what a frame, a datagram and a route are labelled with.

An address *is* its bytes, as they stand on the wire: `IPv4Address` is four bytes, `MAC` six. So it is
hashable, compares at the speed of bytes, goes into a header as it is, and knows its own family. IPv6 joins as
sixteen bytes.

RFC 791 (IPv4), IEEE 802 (MAC), RFC 4632 (prefixes).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


class MAC(bytes):
    """A 48-bit Ethernet address. `MAC.parse("02:00:00:00:00:01")`; `str()` gives the same form back."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> MAC:
        parts = text.replace("-", ":").split(":")
        try:
            packed = bytes(int(part, 16) for part in parts)
        except ValueError:
            packed = b""
        if len(packed) != 6 or any(len(part) > 2 for part in parts):
            raise ValueError(f"{text!r} is not a MAC address: write six hexadecimal pairs, 02:00:00:00:00:01")
        return cls(packed)

    @property
    def is_group(self) -> bool:
        """Multicast or broadcast: the first bit on the wire is the lowest bit of the first byte."""
        return bool(self[0] & 1)

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"MAC({str(self)!r})"


BROADCAST = MAC(b"\xff" * 6)


class IPAddress(bytes):
    """An address of either family. `version` is 4 or 6; `bits` is 32 or 128."""

    __slots__ = ()
    version: int
    bits: int

    @property
    def is_multicast(self) -> bool:
        """It stands for a group of hosts."""
        raise NotImplementedError

    @property
    def is_loopback(self) -> bool:
        """It never leaves the host."""
        raise NotImplementedError

    @property
    def is_unspecified(self) -> bool:
        """It stands for no host: 0.0.0.0."""
        raise NotImplementedError

    @staticmethod
    def parse(text: str) -> IPAddress:
        """An address from its text. Raises ValueError in one sentence when it is none."""
        try:
            packed = ipaddress.IPv4Address(text).packed
        except ValueError:
            raise ValueError(
                f"{text!r} is not an IPv4 address: write four numbers from 0 to 255, 10.0.0.1"
            ) from None
        return IPv4Address(packed)


class IPv4Address(IPAddress):
    """Four bytes. RFC 791; the special ranges are those of RFC 6890."""

    __slots__ = ()
    version = 4
    bits = 32

    @property
    def is_multicast(self) -> bool:
        return self[0] >> 4 == 0xE

    @property
    def is_loopback(self) -> bool:
        return self[0] == 127

    @property
    def is_unspecified(self) -> bool:
        return self == ANY

    def __str__(self) -> str:
        a, b, c, d = self
        return f"{a}.{b}.{c}.{d}"

    def __repr__(self) -> str:
        return f"IPv4Address({str(self)!r})"


ANY = IPv4Address(bytes(4))
LIMITED_BROADCAST = IPv4Address(b"\xff" * 4)


@dataclass(slots=True, frozen=True)
class Prefix:
    """A range of addresses that share their first `length` bits: 10.1.0.0/16."""

    network: IPAddress
    length: int

    @staticmethod
    def parse(text: str) -> Prefix:
        """A prefix from `A/N`; bits behind the first N must be zero."""
        prefix = InterfaceAddress.parse(text).prefix
        if str(prefix.network) != text.partition("/")[0]:
            raise ValueError(f"{text!r} has bits set behind its prefix length: write {prefix}")
        return prefix

    def __contains__(self, address: IPAddress) -> bool:
        return len(address) == len(self.network) and mask(address, self.length) == self.network

    def __str__(self) -> str:
        return f"{self.network}/{self.length}"


@dataclass(slots=True, frozen=True)
class InterfaceAddress:
    """An address of a host on an interface, with the length of its network's prefix: 10.0.0.1/24."""

    address: IPAddress
    length: int

    @staticmethod
    def parse(text: str) -> InterfaceAddress:
        """Parse `A/N`. Raises ValueError in one sentence for anything else."""
        head, slash, tail = text.partition("/")
        address = IPAddress.parse(head)
        if not slash or not tail.isdecimal() or int(tail) > address.bits:
            raise ValueError(f"{text!r} needs a prefix length from 0 to {address.bits}: write {head}/24")
        return InterfaceAddress(address, int(tail))

    @property
    def prefix(self) -> Prefix:
        return Prefix(mask(self.address, self.length), self.length)

    @property
    def broadcast(self) -> IPAddress | None:
        """The directed broadcast address of the network (RFC 919); none on a /31 or /32 (RFC 3021)."""
        host_bits = self.address.bits - self.length
        if host_bits < 2:
            return None
        value = int.from_bytes(self.address, "big") | ((1 << host_bits) - 1)
        return type(self.address)(value.to_bytes(len(self.address), "big"))

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"


def mask(address: IPAddress, length: int) -> IPAddress:
    """The first `length` bits of an address, the others zero."""
    host_bits = address.bits - length
    value = int.from_bytes(address, "big") >> host_bits << host_bits
    return type(address)(value.to_bytes(len(address), "big"))
