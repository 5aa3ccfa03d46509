"""A trace tells what crossed the wire: held against scapy, tcpdump, and what the test sent."""

import shutil
import subprocess
from pathlib import Path

import pytest
from scapy.layers.inet import TCP as ScapyTCP
from scapy.utils import RawPcapNgReader, RawPcapReader, rdpcap

from labstack import Network, data_segment
from labstack.core.events import Events, Rule
from labstack.core.units import SECOND
from labstack.observe.packet import Packet
from labstack.observe.trace import Trace
from labstack.physical.device import RECEIVED, SENT
from labstack.physical.faults import syn
from tests.observe.runs import REQUEST, download


@pytest.fixture(scope="module")
def trace() -> Trace:
    return download()


def lost(trace: Trace) -> Packet:
    return next(packet for packet in trace.packets if packet.fate == "lost")


def again(trace: Trace) -> Packet:
    return next(packet for packet in trace.packets if packet.retransmission)


@pytest.mark.feature("Observation", "Capture files that scapy, tcpdump and Wireshark read")
def test_scapy_reads_the_capture_file(trace: Trace, tmp_path: Path) -> None:
    path = trace.pcap(tmp_path / "run.pcap")
    read = rdpcap(str(path))
    packets = sorted(trace.packets, key=lambda packet: (packet.departed, packet.number))
    assert [bytes(packet) for packet in read] == [packet.frame for packet in packets]
    assert [round(float(packet.time) * SECOND) for packet in read] == pytest.approx(
        [packet.departed for packet in packets], abs=200
    )
    for packet, theirs in zip(packets, read, strict=True):
        if ScapyTCP in theirs:
            tcp = theirs[ScapyTCP]
            assert (packet.tcp.seq, packet.tcp.ack, packet.tcp.window) == (tcp.seq, tcp.ack, tcp.window)
            assert packet.payload_length == len(tcp.payload)
            assert packet.flags.replace("PSH", "P").count(",") == str(tcp.flags).count("") - 2


def test_the_file_keeps_nanoseconds(trace: Trace, tmp_path: Path) -> None:
    path = trace.pcap(tmp_path / "run.pcap")
    with RawPcapReader(str(path)) as reader:
        assert not isinstance(reader, RawPcapNgReader)
        times = [(meta.sec, meta.usec) for _, meta in reader]
    assert times == [divmod(time, SECOND) for time in sorted(packet.departed for packet in trace.packets)]


@pytest.mark.skipif(not shutil.which("tcpdump"), reason="needs the command tcpdump")
def test_tcpdump_reads_the_capture_file(trace: Trace, tmp_path: Path) -> None:
    path = trace.pcap(tmp_path / "run.pcap")
    done = subprocess.run(["tcpdump", "-nn", "-vv", "-r", path], capture_output=True, text=True, check=True)
    assert "incorrect" not in done.stdout and "truncated" not in done.stdout
    assert done.stdout.count("Flags [") == sum(packet.tcp is not None for packet in trace.packets)


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs the command tshark")
def test_tshark_agrees_on_retransmissions(trace: Trace, tmp_path: Path) -> None:
    path = trace.pcap(tmp_path / "run.pcap")
    command = ["tshark", "-r", path, "-Y", "tcp.analysis.retransmission"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == sum(packet.retransmission for packet in trace.packets)


def test_scapy_packets_without_a_file(trace: Trace) -> None:
    packets = trace.scapy()
    assert len(packets) == len(trace)
    assert packets[0].summary().startswith("Ether / ARP who has 10.0.0.2")


def test_a_capture_at_one_host_lacks_what_never_came(trace: Trace, tmp_path: Path) -> None:
    at_a, at_b = (rdpcap(str(trace.pcap(tmp_path / f"{host}.pcap", at=host))) for host in "ab")
    assert len(at_b) == len(trace)
    assert len(at_a) == len(trace) - 1


def test_what_the_packets_say(trace: Trace) -> None:
    summaries = [packet.summary for packet in trace.packets]
    assert summaries[0] == "ARP who has 10.0.0.2? tell 10.0.0.1"
    assert summaries[1] == "ARP 10.0.0.2 is at 02:00:00:00:00:02"
    port = trace.flows[0][1]
    assert summaries[2].startswith(f"10.0.0.1:{port} → 10.0.0.2:80 SYN seq=0 win=65535 MSS=1460")
    assert trace.packets[3].flags == "SYN, ACK"
    assert "seq=1 ack=1" in summaries[5] and f"len={len(REQUEST)}" in summaries[5]
    absolute = trace.packets[2].describe(absolute=True)
    assert f"seq={trace.packets[2].tcp.seq}" in absolute
    assert str(trace.packets[2].tcp.seq) in trace.text(absolute=True)
    assert trace.text().count("\n") == len(trace)


def test_one_loss_one_retransmission(trace: Trace) -> None:
    gone, repeated = lost(trace), again(trace)
    assert [packet.fate for packet in trace.packets].count("lost") == 1
    assert gone.arrived is None and gone.receiver == "a"
    assert (gone.relative_seq, gone.payload) == (repeated.relative_seq, repeated.payload)
    assert gone.relative_seq == 1 + 2 * 1460
    assert repeated.fate == "arrived"


def test_times_on_the_wire(trace: Trace) -> None:
    # 1,518 bytes and the 8 of the preamble at 10 Mbit/s, then 20 ms; the next frame waits 12 byte times more.
    data = [packet for packet in trace.packets if packet.payload_length == 1460]
    assert {packet.arrived - packet.departed for packet in data if packet.arrived} == {1_220_800 + 20_000_000}
    assert data[1].departed - data[0].departed == 1_230_400
    assert data[0].sent == data[1].sent


@pytest.mark.feature("Observation", "Why was this packet sent? The walk back along its causes")
def test_why(trace: Trace) -> None:
    why = trace.why(again(trace).number, steps=40)
    rules = [step.rule for step in why]
    assert rules[0] == "device.sent"
    assert "tcp.fast_retransmit" in rules
    arrivals = [step.packet for step in why if step.rule == "device.received"]
    assert trace[arrivals[0]].label() == "ACK ack=2921 SACK=4381-8761"
    assert [step.event.time for step in why] == sorted((step.event.time for step in why), reverse=True)
    assert rules[-1] == "socket.call"
    assert "RFC 5681 §3.2" in why.text and f"packet {again(trace).number} is sent" in why.text
    assert why.text == repr(why)
    short = trace.why(again(trace).number, steps=2)
    assert len(short) == 2 and "and further back" in short.text


def test_why_says_when_it_does_not_know(trace: Trace) -> None:
    late = Trace()
    late._record(trace.event(again(trace).event))
    assert "What came before was not heard" in late.why(again(trace).number).text


def test_the_table(trace: Trace) -> None:
    table = trace.table()
    assert list(table["no"]) == [packet.number for packet in trace.packets]
    assert list(table.columns[:5]) == ["no", "time s", "from", "to", "protocol"]
    assert table["len"].sum() == sum(packet.payload_length for packet in trace.packets)
    assert table[table["fate"] == "lost"]["seq"].tolist() == [2921]
    assert table["seq"].isna().sum() == 2  # ARP
    assert table["arrived s"].isna().sum() == 1


def test_a_choice_of_packets(trace: Trace) -> None:
    assert {packet.protocol for packet in trace.choose(trace.flows[0])} == {"TCP"}
    early = trace.choose(between=(0.0, 0.045))
    assert [packet.protocol for packet in early] == ["ARP", "ARP", "TCP"]
    assert trace.choose(hosts=["a"]) == []
    with pytest.raises(KeyError, match="no packet 999: they are 1 to"):
        trace[999]
    with pytest.raises(ValueError, match="was never connected"):
        trace.choose(flow="80")


def test_a_closed_trace_costs_nothing_and_keeps_what_it_has() -> None:
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b)
        trace = net.capture(wire)
        assert a.events and b.events and wire.events
        a.ping("b", times=1)
        trace.close()
        assert not a.events and not b.events and not wire.events
        before = len(trace)
        a.ping("b", times=1)
    assert len(trace) == before == 4
    trace.close()


def test_the_trace_has_a_bound() -> None:
    now = 0
    events = Events("a", lambda: now)
    trace = Trace([events], limit=10)
    for number in range(25):
        events.emit(SENT, number=number, device="w", frame=bytes(60), segment_size=0)
    assert (len(trace), trace.left_out) == (10, 15)
    assert "15 more events were left out" in trace.text()
    assert "15 events left out" in repr(trace)


def test_listening_twice_hears_once() -> None:
    events = Events("a", lambda: 0)
    trace = Trace([events, events])
    events.emit(Rule("x.y", "something"))
    assert len(trace.events) == 1


def test_a_silent_peer_behind_a_tap() -> None:
    now = 5 * SECOND
    host = Events("lab", lambda: now)
    trace = Trace([host], {"tap0"}, ends={"tap0": ("lab", "linux")}, origin=now)
    host.emit(SENT, number=1, device="tap0", frame=bytes(60), segment_size=0)
    now += SECOND
    host.emit(RECEIVED, number=2, device="tap0", frame=bytes(60))
    host.emit(SENT, number=3, device="tap0", frame=bytes(60), segment_size=0)
    host.emit(Rule("tap.queue_full", "no room"), number=3)
    first, second, third = trace.packets
    assert (first.sender, first.receiver, first.fate) == ("lab", "linux", "arrived")
    assert (second.sender, second.receiver, second.arrived) == ("linux", "lab", now)
    assert third.fate == "lost"
    assert "1.000000  linux" in trace.text()


def test_what_a_wire_can_do_to_a_frame() -> None:
    with Network(seed=3) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="1 Mbit/s", delay="5 ms", queue="3 kB")
        wire.drop(syn(1))
        wire.corrupt(data_segment(2), bit=500)
        wire.duplicate(data_segment(1))
        trace = net.capture(wire)
        b.spawn(lambda: b.listen(80).accept()[0].makefile("rb").read())
        s = a.connect(("b", 80))
        s.sendall(bytes(30_000))
        s.close()
        net.run()
    fates = [packet.fate for packet in trace.packets]
    assert fates.count("lost") == 1 and fates.count("corrupted") == 1
    assert fates.count("queue full") == wire.counters["wire.queue_full"] > 0
    corrupted = trace.packets[fates.index("corrupted")]
    assert corrupted.arrived is not None
    assert sum(x != y for x, y in zip(corrupted.frame, corrupted.changed, strict=False)) == 1
    copy = next(packet for packet in trace.packets if packet.copy_of)
    assert copy.frame == trace[copy.copy_of].frame and copy.arrived is not None
    assert not copy.retransmission or trace[copy.copy_of].retransmission


def test_a_router_shows_both_of_its_wires() -> None:
    with Network(seed=3) as net:
        a, b = (
            net.host("a", "10.0.0.1/24", gateway="10.0.0.254"),
            net.host("b", "10.1.0.1/24", gateway="10.1.0.254"),
        )
        r = net.router("r")
        r.interface("eth0", "10.0.0.254/24")
        r.interface("eth1", "10.1.0.254/24")
        net.wire(a, r["eth0"], delay="2 ms")
        net.wire(r["eth1"], b, delay="10 ms")
        trace = net.capture()
        a.ping("10.1.0.1", times=1)
    echoes = [(p.sender, p.receiver, p.ip.ttl) for p in trace.packets if p.icmp]
    assert echoes == [("a", "r", 64), ("r", "b", 63), ("b", "r", 64), ("r", "a", 63)]
    rules = [step.rule for step in trace.why(trace.packets[-1].number)]
    assert "ipv4.forwarded" in rules and "icmp.echoed" in rules
