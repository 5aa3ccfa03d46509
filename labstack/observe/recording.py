"""A recording: a capture file read back as a trace, to be looked at like one that was made a moment ago.

    trace = read("captures/01-linux.pcap", names={"192.168.77.2": "lab", "192.168.77.1": "linux"})
    trace.ladder()

A file holds frames and times, and no reasons: `why` has nothing to say about them. Each frame counts as
arrived when it was sent. The classic pcap format is read, in micro- or nanoseconds, in either byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path

from labstack.core.addresses import MAC
from labstack.core.events import Events
from labstack.headers.arp import ARP
from labstack.headers.ethernet import Ethernet
from labstack.headers.ipv4 import IPv4
from labstack.observe.layers import layers
from labstack.observe.trace import Trace
from labstack.physical.device import RECEIVED, SENT

DEVICE = "capture"
_TICKS = {0xA1B23C4D: 1, 0xA1B2C3D4: 1_000}
"""Nanoseconds in the unit of a record's time, by the file's magic number."""


def frames(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The records of a capture file: time in nanoseconds, and frame. Raises ValueError for any other file."""
    raw = Path(path).read_bytes()
    for order in "<>":
        magic = struct.unpack_from(f"{order}I", raw)[0] if len(raw) >= 24 else 0
        if magic in _TICKS:
            break
    else:
        raise ValueError(f"{Path(path).name} is no pcap file: its first four bytes are not those of one")
    at = 24
    while at + 16 <= len(raw):
        seconds, ticks, length, _ = struct.unpack_from(f"{order}IIII", raw, at)
        yield seconds * 1_000_000_000 + ticks * _TICKS[magic], raw[at + 16 : at + 16 + length]
        at += 16 + length


def read(path: str | Path, names: Mapping[str, str] | None = None) -> Trace:
    """The frames of a capture file, as a trace. `names` are for IP addresses; a machine without one is called
    by its address. Behind a router, a frame's machines are those that its datagram names. Raises ValueError,
    OSError."""
    records = list(frames(path))
    known = names or {}
    machines = _machines((frame for _, frame in records), known)
    ends = [_ends(frame, machines, known) for _, frame in records]
    time = records[0][0] if records else 0
    numbers = count(1)
    sources = {name: Events(name, lambda: time, numbers) for name in dict.fromkeys(chain(*ends))}
    trace = Trace(sources.values(), ends={DEVICE: tuple(sources)}, origin=time)
    for number, ((moment, frame), (sender, receiver)) in enumerate(zip(records, ends, strict=True), start=1):
        time = moment
        sources[sender].emit(SENT, number=number, device=DEVICE, frame=frame, segment_size=0)
        sources[receiver].emit(RECEIVED, number=number, device=DEVICE, frame=frame)
    trace.close()
    return trace


def _ends(frame: bytes, machines: Mapping[MAC, str], names: Mapping[str, str]) -> tuple[str, str]:
    """The machine that a frame comes from and the one that it is for: by the addresses inside it where these
    have a name, else by the MAC addresses."""
    ethernet = Ethernet.parse(frame)
    src, dst = "", ""
    for layer in layers(frame):
        if isinstance(layer.header, ARP):
            src, dst = str(layer.header.sender_ip), str(layer.header.target_ip)
        elif isinstance(layer.header, IPv4):
            src, dst = str(layer.header.src), str(layer.header.dst)
    sender = names.get(src) or machines[ethernet.src]
    return sender, names.get(dst) or machines.get(ethernet.dst) or dst or str(ethernet.dst)


def _machines(captured: Iterator[bytes], names: Mapping[str, str]) -> dict[MAC, str]:
    """Which machine sends from which MAC address: its IP address is in its own ARP and IPv4 headers."""
    found: dict[MAC, str] = {}
    for frame in captured:
        mac = Ethernet.parse(frame).src
        for layer in layers(frame):
            if isinstance(layer.header, ARP):
                address = str(layer.header.sender_ip)
            elif isinstance(layer.header, IPv4):
                address = str(layer.header.src)
            else:
                continue
            found.setdefault(mac, names.get(address, address))
        found.setdefault(mac, str(mac))
    return found
