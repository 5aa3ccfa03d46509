"""A capture file, read back, is the trace that was written."""

import struct
from pathlib import Path

import pytest

from labstack import Network
from labstack.observe import recording
from labstack.observe.trace import Trace

NAMES = {"10.0.0.1": "a", "10.0.0.2": "b"}


def pings() -> Trace:
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        trace = net.capture(net.wire(a, b, delay="10 ms"))
        a.ping("b", times=2)
    return trace


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    written = pings()
    read = recording.read(written.pcap(tmp_path / "pings.pcap"), NAMES)
    assert [(p.sender, p.receiver, p.sent, p.frame) for p in read.packets] == [
        (p.sender, p.receiver, p.sent, p.frame) for p in written.packets
    ]
    assert str(read.ladder()).count("echo request") == 2


@pytest.mark.feature(
    "Observation", "A capture file from anywhere is read back as a trace: tables, ladders, charts"
)
def test_behind_a_router_machines_go_by_the_addresses_in_their_datagrams(tmp_path: Path) -> None:
    with Network(seed=1) as net:
        a, b = (
            net.host("a", "10.0.0.1/24", gateway="10.0.0.9"),
            net.host("b", "10.1.0.2/24", gateway="10.1.0.9"),
        )
        r = net.router("r")
        net.wire(a, r.interface("eth0", "10.0.0.9/24"))
        net.wire(r.interface("eth1", "10.1.0.9/24"), b)
        trace = net.capture()
        a.ping("b")
    names = {"10.0.0.1": "a", "10.1.0.2": "b"}
    read = recording.read(trace.pcap(tmp_path / "ping.pcap", at="a"), names)
    assert [(p.sender, p.receiver, p.protocol) for p in read.packets] == [
        ("a", "10.0.0.9", "ARP"),
        ("10.0.0.9", "a", "ARP"),
        ("a", "b", "ICMP"),
        ("b", "a", "ICMP"),
    ]


def test_a_machine_without_a_name_goes_by_its_address(tmp_path: Path) -> None:
    read = recording.read(pings().pcap(tmp_path / "pings.pcap"))
    assert {packet.sender for packet in read.packets} == {"10.0.0.1", "10.0.0.2"}


def test_microseconds_from_a_big_endian_machine(tmp_path: Path) -> None:
    frame = pings().packets[0].frame
    path = tmp_path / "other.pcap"
    header = struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    path.write_bytes(header + struct.pack(">IIII", 7, 5, len(frame), len(frame)) + frame)
    assert list(recording.frames(path)) == [(7_000_005_000, frame)]


def test_what_is_no_capture_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("Hello")
    with pytest.raises(ValueError, match=r"page\.html is no pcap file"):
        recording.read(path)
