"""A frame taken apart: which bytes belong to which layer. Read-only, and never at a loss: what is no header
is data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from labstack.headers.arp import ARP
from labstack.headers.arp import LENGTH as ARP_LENGTH
from labstack.headers.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet
from labstack.headers.ethernet import LENGTH as ETHERNET_LENGTH
from labstack.headers.header import HeaderError
from labstack.headers.icmp import ICMP
from labstack.headers.icmp import LENGTH as ICMP_LENGTH
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from labstack.headers.tcp import TCP
from labstack.headers.udp import LENGTH as UDP_LENGTH
from labstack.headers.udp import UDP

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
    try:
        ethernet = Ethernet.parse(frame)
    except HeaderError:
        return _rest("data", 0, len(frame))
    found: tuple[Layer, ...] = (Layer("Ethernet", 0, ETHERNET_LENGTH, ethernet),)
    read = _INSIDE_ETHERNET.get(ethernet.ethertype)
    try:
        return found + (read(frame, ETHERNET_LENGTH) if read else _rest("data", ETHERNET_LENGTH, len(frame)))
    except HeaderError:
        return found + _rest("data", ETHERNET_LENGTH, len(frame))


def _rest(name: str, start: int, end: int) -> tuple[Layer, ...]:
    return (Layer(name, start, end),) if end > start else ()


def _arp(frame: bytes, at: int) -> tuple[Layer, ...]:
    end = at + ARP_LENGTH
    return (Layer("ARP", at, end, ARP.parse(frame, at)), *_rest("padding", end, len(frame)))


def _ipv4(frame: bytes, at: int) -> tuple[Layer, ...]:
    ip = IPv4.parse(frame, at, verify=False)
    inside = at + ip.header_length
    # A frame that a device is still to cut into segments may be longer than its 16-bit length can say.
    end = min(at + ip.total_length, len(frame))
    read = None if ip.fragment_offset else _INSIDE_IPV4.get(ip.protocol)
    try:
        carried = read(frame[:end], inside) if read else _rest("data", inside, end)
    except HeaderError:
        carried = _rest("data", inside, end)
    return (Layer("IPv4", at, inside, ip), *carried, *_rest("padding", end, len(frame)))


def _tcp(frame: bytes, at: int) -> tuple[Layer, ...]:
    tcp = TCP.parse(frame, at)
    end = at + tcp.header_length
    return (Layer("TCP", at, end, tcp), *_rest("data", end, len(frame)))


def _udp(frame: bytes, at: int) -> tuple[Layer, ...]:
    # The first fragment of a datagram holds less than the UDP length promises: that is no error here.
    udp = UDP.parse_quoted(frame, at)
    return (Layer("UDP", at, at + UDP_LENGTH, udp), *_rest("data", at + UDP_LENGTH, len(frame)))


def _icmp(frame: bytes, at: int) -> tuple[Layer, ...]:
    icmp = ICMP.parse(frame, at, verify=False)
    return (Layer("ICMP", at, at + ICMP_LENGTH, icmp), *_rest("data", at + ICMP_LENGTH, len(frame)))


Reader = Callable[[bytes, int], tuple[Layer, ...]]
_INSIDE_ETHERNET: dict[int, Reader] = {ETHERTYPE_ARP: _arp, ETHERTYPE_IPV4: _ipv4}
_INSIDE_IPV4: dict[int, Reader] = {PROTO_ICMP: _icmp, PROTO_UDP: _udp, PROTO_TCP: _tcp}
