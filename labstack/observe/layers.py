"""A frame taken apart: which bytes belong to which layer. Read-only, and never at a loss: what is no header
is data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from labstack.headers.arp import ARP, LENGTH as ARP_LENGTH
from labstack.headers.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, LENGTH as ETHERNET_LENGTH, Ethernet
from labstack.headers.header import HeaderError
from labstack.headers.icmp import ICMP, LENGTH as ICMP_LENGTH
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from labstack.headers.tcp import TCP
from labstack.headers.udp import LENGTH as UDP_LENGTH, UDP

Header = Ethernet | ARP | IPv4 | ICMP | UDP | TCP


class Layer(NamedTuple):
    """Bytes `start` to `end` (the first behind it) of a frame: a header, or data or padding (`header` is
    None)."""

    name: str
    start: int
    end: int
    header: Header | None = None

    @property
    def length(self) -> int:
        return self.end - self.start


def layers(frame: bytes) -> tuple[Layer, ...]:
    """The headers of a frame (without check sequence) from the outside in, then what they carry, then
    padding.

    Checksums are not verified: a picture shows what came, right or wrong.
    """
    found: list[Layer] = []
    start = 0
    headers, end = walk(frame)
    for header, inside in headers:
        found.append(Layer(type(header).__name__, start, inside, header))
        start = inside
    if start < end:
        found.append(Layer("data", start, end))
    if end < len(frame):
        found.append(Layer("padding", end, len(frame)))
    return tuple(found)


def walk(frame: bytes) -> tuple[list[tuple[Header, int]], int]:
    """The headers of a frame from the outside in, each with the place where it ends; and the place where
    what the innermost carries ends."""
    found: list[tuple[Header, int]] = []
    read: Reader | None = _ethernet
    at, end = 0, len(frame)
    while read is not None:
        try:
            header, at, end, read = read(frame, at)
        except HeaderError:
            break
        found.append((header, at))
        if end < len(frame):
            frame = frame[:end]
    return found, end


# Each reads the header at `at`, and says where it ends, where what it carries ends, and who reads that.


def _ethernet(frame: bytes, at: int) -> Read:
    ethernet = Ethernet.parse(frame, at)
    return ethernet, at + ETHERNET_LENGTH, len(frame), _INSIDE_ETHERNET.get(ethernet.ethertype)


def _arp(frame: bytes, at: int) -> Read:
    return ARP.parse(frame, at), at + ARP_LENGTH, at + ARP_LENGTH, None


def _ipv4(frame: bytes, at: int) -> Read:
    ip = IPv4.parse(frame, at, verify=False)
    inside = None if ip.fragment_offset else _INSIDE_IPV4.get(ip.protocol)
    return ip, at + ip.header_length, at + ip.total_length, inside


def _tcp(frame: bytes, at: int) -> Read:
    tcp = TCP.parse(frame, at)
    return tcp, at + tcp.header_length, len(frame), None


def _udp(frame: bytes, at: int) -> Read:
    # The first fragment of a datagram holds less than the UDP length promises: that is no error here.
    return UDP.parse_quoted(frame, at), at + UDP_LENGTH, len(frame), None


def _icmp(frame: bytes, at: int) -> Read:
    return ICMP.parse(frame, at, verify=False), at + ICMP_LENGTH, len(frame), None


Reader = Callable[[bytes, int], "Read"]
Read = tuple[Header, int, int, Reader | None]
_INSIDE_ETHERNET: dict[int, Reader] = {ETHERTYPE_ARP: _arp, ETHERTYPE_IPV4: _ipv4}
_INSIDE_IPV4: dict[int, Reader] = {PROTO_ICMP: _icmp, PROTO_UDP: _udp, PROTO_TCP: _tcp}
