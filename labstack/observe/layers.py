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
    try:
        ethernet = Ethernet.parse(frame)
    except HeaderError:
        _rest(found, "data", 0, len(frame))
    else:
        found.append(Layer("Ethernet", 0, ETHERNET_LENGTH, ethernet))
        _inside(found, _INSIDE_ETHERNET.get(ethernet.ethertype), frame, ETHERNET_LENGTH)
    return tuple(found)


def _inside(found: list[Layer], read: Reader | None, frame: bytes, at: int) -> None:
    """What a header carries: by the reader that knows it, or as data."""
    try:
        if read:
            return read(found, frame, at)
    except HeaderError:
        pass
    _rest(found, "data", at, len(frame))


def _rest(found: list[Layer], name: str, start: int, end: int) -> None:
    if end > start:
        found.append(Layer(name, start, end))


def _arp(found: list[Layer], frame: bytes, at: int) -> None:
    end = at + ARP_LENGTH
    found.append(Layer("ARP", at, end, ARP.parse(frame, at)))
    _rest(found, "padding", end, len(frame))


def _ipv4(found: list[Layer], frame: bytes, at: int) -> None:
    ip = IPv4.parse(frame, at, verify=False)
    inside = at + ip.header_length
    found.append(Layer("IPv4", at, inside, ip))
    # A frame that a device is still to cut into segments may be longer than its 16-bit length can say.
    end = min(at + ip.total_length, len(frame))
    _inside(found, None if ip.fragment_offset else _INSIDE_IPV4.get(ip.protocol), frame[:end], inside)
    _rest(found, "padding", end, len(frame))


def _tcp(found: list[Layer], frame: bytes, at: int) -> None:
    tcp = TCP.parse(frame, at)
    end = at + tcp.header_length
    found.append(Layer("TCP", at, end, tcp))
    _rest(found, "data", end, len(frame))


def _udp(found: list[Layer], frame: bytes, at: int) -> None:
    # The first fragment of a datagram holds less than the UDP length promises: that is no error here.
    udp = UDP.parse_quoted(frame, at)
    found.append(Layer("UDP", at, at + UDP_LENGTH, udp))
    _rest(found, "data", at + UDP_LENGTH, len(frame))


def _icmp(found: list[Layer], frame: bytes, at: int) -> None:
    icmp = ICMP.parse(frame, at, verify=False)
    found.append(Layer("ICMP", at, at + ICMP_LENGTH, icmp))
    _rest(found, "data", at + ICMP_LENGTH, len(frame))


Reader = Callable[[list[Layer], bytes, int], None]
_INSIDE_ETHERNET: dict[int, Reader] = {ETHERTYPE_ARP: _arp, ETHERTYPE_IPV4: _ipv4}
_INSIDE_IPV4: dict[int, Reader] = {PROTO_ICMP: _icmp, PROTO_UDP: _udp, PROTO_TCP: _tcp}
