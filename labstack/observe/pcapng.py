"""Capture files in the pcapng format: the frames, and beside each one why it was sent and what it changed.

    blocks: section header · names of the machines · one interface a sender · one packet block a frame

A packet's comment holds the rules that led to it; Wireshark shows it above the packet's own lines, and
`frame.comment contains "fast_retransmit"` finds it. Times are in nanoseconds. Each end of a wire is an
interface of its own, so the file also says who sent what.
https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from labstack.observe import capture_file
from labstack.observe.changes import Changed
from labstack.observe.packet import Packet
from labstack.observe.why import FRAMES, Why

if TYPE_CHECKING:
    from labstack.host import Host
    from labstack.network import Network
    from labstack.observe.trace import Trace

SECTION, INTERFACE, NAMES, PACKET = 0x0A0D0D0A, 1, 4, 6
COMMENT, IF_NAME, IF_DESCRIPTION, TIME_RESOLUTION, FLAGS, APPLICATION = 1, 2, 3, 9, 2, 4
INBOUND, OUTBOUND = 1, 2
IPV4_NAME = 1
LONGEST_COMMENT = 4_000
Place = tuple[str, str]
"""A machine and the device that it sends to."""


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _block(kind: int, body: bytes, options: Iterable[bytes] = ()) -> bytes:
    """A block: kind, length, body, options with their end, and the length once more."""
    listed = b"".join(options)
    inside = _padded(body) + (listed + bytes(4) if listed else b"")
    length = struct.pack("<I", len(inside) + 12)
    return struct.pack("<I", kind) + length + inside + length


def write(
    path: str | Path, trace: Trace, at: str | None = None, machines: Network | Host | None = None,
    comments: bool = True,
) -> Path:  # fmt: skip
    """Write the trace's packets; see `Trace.pcapng`."""
    hosts: Mapping[str, Host] = {}
    if machines is not None:
        hosts = getattr(machines, "hosts", None) or {machines.name: machines}  # type: ignore[union-attr]
    places: dict[Place, int] = {}
    records = []
    for time, packet, frame in capture_file.records(trace.packets, at):
        # On the wire every frame is outbound: from the interface that sent it.
        inbound = at is not None and packet.sender != at
        place = (packet.receiver if inbound else packet.sender, packet.device)
        way = INBOUND if inbound else OUTBOUND
        records.append((time, packet, frame, places.setdefault(place, len(places)), way))
    path = Path(path)
    with path.open("wb") as file:
        head = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        file.write(_block(SECTION, head, [_option(APPLICATION, b"labstack")]))
        if hosts:
            file.write(_names(hosts))
        for place in places:
            file.write(_interface(place, hosts))
        for time, packet, frame, interface, way in records:
            ticks = time + trace.epoch
            body = struct.pack("<IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
            options = [_option(FLAGS, struct.pack("<I", way))]
            if comments:
                options.insert(0, _option(COMMENT, _cut(comment(trace, packet))))
            file.write(_block(PACKET, body + _padded(frame), options))
    return path


def _interface(place: Place, hosts: Mapping[str, Host]) -> bytes:
    host, device = place
    found = [
        interface.name
        for interface in (hosts[host].interfaces.values() if host in hosts else ())
        if interface.device is not None and interface.device.name == device
    ]
    name = f"{host}.{found[0]}" if found else f"{host}@{device}"
    description = f"{found[0] if found else 'an interface'} of {host} on {device}"
    options = [
        _option(IF_NAME, name.encode()),
        _option(IF_DESCRIPTION, description.encode()),
        _option(TIME_RESOLUTION, b"\x09"),
    ]
    return _block(INTERFACE, struct.pack("<HHI", 1, 0, 262_144), options)


def _names(hosts: Mapping[str, Host]) -> bytes:
    """Whose the addresses are, for tools that show names."""
    records = b""
    for name, host in hosts.items():
        for interface in host.interfaces.values():
            for own in interface.addresses:
                if len(own.address) == 4:
                    value = bytes(own.address) + name.encode() + b"\0"
                    records += struct.pack("<HH", IPV4_NAME, len(value)) + _padded(value)
    return _block(NAMES, records + bytes(4))


def _cut(text: str) -> bytes:
    raw = text.encode()
    return raw if len(raw) <= LONGEST_COMMENT else raw[:LONGEST_COMMENT].decode(errors="ignore").encode()


def comment(trace: Trace, packet: Packet) -> str:
    """Why the packet was sent, back to what its sender was dealing with; what became of it; what it
    changed."""
    lines = []
    for step in Why(trace, packet, 12, near=True).steps[1:]:
        lines.append(f"{'because' if step.rule in FRAMES else 'why:'} {step.words}")
    lines += [remark for remark in packet.remarks if remark != "on its way"]
    for host, what, before, after in Changed(trace, packet).rows:
        if what != "sends":
            lines.append(f"then {host}: {what} {before + ' → ' if before else ''}{after}")
    return f"packet {packet.number}\n" + "\n".join(lines) if lines else f"packet {packet.number}"
