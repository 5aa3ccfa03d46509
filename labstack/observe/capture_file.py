"""Capture files: the classic pcap format, with nanoseconds. Each record is a time, a length and a frame.

    24 bytes   magic number, version 2.4, two zeros, the longest frame kept, link type 1 (Ethernet)
    16 bytes   seconds, nanoseconds, bytes kept, bytes on the wire; then the frame, without check sequence;
    and so on

https://www.tcpdump.org/manpages/pcap-savefile.5.html
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from labstack.core.units import SECOND
from labstack.observe import look
from labstack.observe.packet import ARRIVED, TURNED_AWAY, Packet

MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_ETHERNET = 1
LONGEST = 262_144

_FILE = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")


def records(packets: Iterable[Packet], at: str | None = None) -> list[tuple[int, Packet, bytes]]:
    """What belongs in a file: time in nanoseconds, packet, and its bytes, in the order of time.

    Without `at`, each frame once, when its first bit left; one that a queue dropped never did, and is
    not there. `at` a host: what it sent, and what it received.
    """
    found: list[tuple[int, Packet, bytes]] = []
    for packet in packets:
        if at is None:
            if packet.fate not in TURNED_AWAY:
                found.append((packet.departed, packet, packet.frame))
        elif packet.sender == at and not packet.copy_of:
            found.append((packet.sent, packet, packet.frame))
        elif packet.receiver == at and packet.arrived is not None and packet.fate == ARRIVED:
            found.append((packet.arrived, packet, packet.changed or packet.frame))
    return sorted(found, key=lambda record: (record[0], record[1].number))


def frames(packets: Iterable[Packet], at: str | None = None) -> list[tuple[int, bytes]]:
    """The same without the packets."""
    return [(time, frame) for time, _, frame in records(packets, at)]


def write(path: str | Path, records: Iterable[tuple[int, bytes]]) -> Path:
    """Write (time, frame) records as a capture file; return its path."""
    path = Path(path)
    with path.open("wb") as file:
        file.write(_FILE.pack(MAGIC_NANOSECONDS, 2, 4, 0, 0, LONGEST, LINKTYPE_ETHERNET))
        for time, frame in records:
            seconds, nanoseconds = divmod(time, SECOND)
            file.write(_RECORD.pack(seconds, nanoseconds, len(frame), len(frame)) + frame)
    return path


def to_scapy(records: Iterable[tuple[int, bytes]]) -> list[Any]:
    """The same as scapy packets, with their times in seconds."""
    try:
        from scapy.layers.l2 import Ether
    except ImportError as error:
        raise look.missing("scapy") from error
    packets = []
    for time, frame in records:
        packet = Ether(frame)
        packet.time = time / SECOND
        packets.append(packet)
    return packets
