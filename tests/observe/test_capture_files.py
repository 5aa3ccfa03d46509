"""Captures as others read them: tshark and tcpdump over what labstack wrote, and TCP's state beside it."""

import shutil
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader, rdpcap

from labstack import Network, data_segment
from labstack.core.events import Events
from labstack.observe.packet import TURNED_AWAY
from labstack.observe.trace import Trace
from labstack.observe.why import Why
from labstack.physical.device import SENT
from labstack.physical.queue import CoDel
from tests.observe import experiments
from tests.observe.runs import download

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="needs the command tshark")


@pytest.fixture(scope="module")
def trace() -> Trace:
    return download(60_000, 4, queue="16 KiB")


def tshark(path: Path, *arguments: str) -> list[list[str]]:
    """What tshark prints, a row a line; it may have nothing to say on its standard error."""
    done = subprocess.run(
        ["tshark", "-n", "-r", path, *arguments], capture_output=True, text=True, check=True
    )
    said = [line for line in done.stderr.splitlines() if "user" not in line]
    assert said == [], "no warning"
    return [line.split("\t") for line in done.stdout.splitlines()]


FIELDS = [
    "frame.time_epoch", "tcp.flags", "tcp.seq", "tcp.ack", "tcp.len", "tcp.analysis.retransmission",
    "frame.comment", "frame.interface_name", "frame.interface_description",
]  # fmt: skip


@needs_tshark
@pytest.mark.feature("Observation", "pcapng with the reason beside each packet, as tshark reads it")
@pytest.mark.parametrize("at", [None, "a", "b"])
def test_tshark_agrees(trace: Trace, tmp_path: Path, at: str | None) -> None:
    path = trace.pcapng(tmp_path / "run.pcapng", at=at)
    rows = tshark(path, "-T", "fields", *[word for field in FIELDS for word in ("-e", field)])
    if at is None:
        shown = sorted((p.departed, p) for p in trace.packets if p.fate != "queue full")
    else:
        shown = sorted(
            [(p.sent, p) for p in trace.packets if p.sender == at]
            + [(p.arrived, p) for p in trace.packets if p.receiver == at and p.fate == "arrived"],
            key=lambda pair: (pair[0], pair[1].number),
        )
    assert len(rows) == len(shown) > 60
    again = 0
    for row, (moment, packet) in zip(rows, shown, strict=True):
        seconds, flags, seq, ack, length, repeated, comment, interface, _ = row
        whole, _, fraction = seconds.partition(".")
        assert int(whole) * 10**9 + int(fraction.ljust(9, "0")) == moment, "to the nanosecond"
        assert comment.startswith(f"packet {packet.number}") and "why: " in comment
        assert interface == f"{at or packet.sender}@a-b"
        if packet.tcp is None:
            assert flags == ""
            continue
        assert int(flags, 16) == packet.tcp.flags
        assert (int(seq), int(length)) == (packet.relative_seq, packet.payload_length)
        assert int(ack) == (packet.relative_ack if packet.flags != "SYN" else 0)
        # Where what was lost in the queue was never seen, its repair is the first of its kind.
        if at == "b":
            assert bool(repeated) == packet.retransmission
            again += packet.retransmission
    assert again == (sum(p.retransmission for p in trace.packets) if at == "b" else 0)
    assert at != "b" or again > 0


@needs_tshark
def test_comments_tell_reason_fate_and_change(trace: Trace, tmp_path: Path) -> None:
    path = trace.pcapng(tmp_path / "run.pcapng")
    [repaired], *_ = tshark(
        path, "-Y", 'frame.comment contains "why: tcp.fast_retransmit"', "-T", "fields", "-e", "frame.comment"
    )
    assert "three duplicate ACKs: what they wait for is lost, send it again (RFC 5681 §3.2)" in repaired
    assert "retransmission" in repaired and "because packet" in repaired
    assert "cwnd" in repaired or "tcp." in repaired
    [[syn_ack]] = tshark(path, "-Y", "tcp.flags == 0x12", "-T", "fields", "-e", "frame.comment")
    assert "then a: state SYN-SENT → ESTABLISHED" in syn_ack
    lost = tshark(path, "-T", "fields", "-e", "frame.comment")
    assert sum("\\nlost" in comment for [comment] in lost) == sum(p.fate == "lost" for p in trace.packets)


@needs_tshark
@pytest.mark.feature("Observation", "A capture names hosts and interfaces")
def test_names_of_machines_and_interfaces(tmp_path: Path) -> None:
    with Network(seed=1) as net:
        a, b = net.host("alice", "10.0.0.1/24"), net.host("bob", "10.0.0.2/24")
        net.wire(a, b)
        trace = net.capture()
        a.ping("bob")
        path = trace.pcapng(tmp_path / "ping.pcapng", machines=net)
        mine = trace.pcapng(tmp_path / "alice.pcapng", at="alice", machines=a, comments=False)
    rows = tshark(path, "-T", "fields", *[w for f in FIELDS[-2:] for w in ("-e", f)])
    assert {tuple(row) for row in rows} == {
        ("alice.eth0", "eth0 of alice on alice-bob"), ("bob.eth0", "eth0 of bob on alice-bob"),
    }  # fmt: skip
    named = subprocess.run(
        ["tshark", "-N", "n", "-r", path, "-Y", "icmp"], capture_output=True, text=True, check=True
    )
    assert "alice → bob" in named.stdout and "bob → alice" in named.stdout
    assert {row[0] for row in tshark(mine, "-T", "fields", "-e", "frame.interface_name")} == {"alice.eth0"}
    assert len(tshark(mine)) == 4


def test_scapy_reads_pcapng(trace: Trace, tmp_path: Path) -> None:
    with RawPcapNgReader(str(trace.pcapng(tmp_path / "run.pcapng"))) as reader:
        frames = [frame for frame, _ in reader]
    shown = [packet for packet in trace.packets if packet.fate != "queue full"]
    assert frames == [p.frame for p in sorted(shown, key=lambda p: (p.departed, p.number))]


def test_what_a_queue_dropped_was_never_on_the_wire(tmp_path: Path) -> None:
    with Network(seed=7) as net:
        wire = experiments.download(net, 600_000, rate="4 Mbit/s", queue="48 KiB", discipline=CoDel)
    dropped = {p.fate for p in wire.packets} & TURNED_AWAY
    assert "dropped by queue" in dropped
    left = [
        p.frame for p in sorted(wire.packets, key=lambda p: (p.departed, p.number)) if p.fate not in dropped
    ]
    with RawPcapNgReader(str(wire.pcapng(tmp_path / "a.pcapng"))) as reader:
        assert [frame for frame, _ in reader] == left
    assert [bytes(packet) for packet in rdpcap(str(wire.pcap(tmp_path / "a.pcap")))] == left


@pytest.mark.feature("Observation", "Captures of real time have the date")
def test_real_time_has_a_date(tmp_path: Path) -> None:
    real = Events("host", time.monotonic_ns)
    trace = Trace([real], origin=real.now())
    frame = bytes(12) + b"\x08\x00" + bytes(46)
    real.emit(SENT, number=1, device="tap", frame=frame, segment_size=0)
    with RawPcapNgReader(str(trace.pcapng(tmp_path / "now.pcapng"))) as reader:
        [(_, meta)] = list(reader)
    seen = (meta.tshigh << 32 | meta.tslow) / 1e9
    assert abs(seen - time.time()) < 5, datetime.fromtimestamp(seen)
    assert abs(trace.scapy()[0].time - time.time()) < 5
    simulated = Events("host", lambda: 0)
    assert Trace([simulated]).epoch == 0
    assert Trace([simulated], epoch=7).epoch == 7


# --- joined with TCP's state --------------------------------------------------------------------------------


@pytest.mark.feature("Observation", "A table that joins each packet with TCP's state at that instant")
def test_packets_joined_with_state(trace: Trace) -> None:
    table = trace.joined("b")
    assert list(table["host"].unique()) == ["b"] and table["time s"].is_monotonic_increasing
    first = table.iloc[0]
    assert (first["what"], first["flags"], first["state"]) == ("received", "SYN", "SYN-RECEIVED")
    assert list(dict.fromkeys(table["state"])) == [
        "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT",
    ]  # fmt: skip
    # The same from the events, the long way: what was last reported up to the end of that moment.
    reports = [e for e in trace.events if e.rule.name == "tcp.window" and e.host == "b"]
    sent = table[table["what"] == "sent"]
    for _, row in sent[sent["len"] > 0].iterrows():
        moment = round(row["time s"] * 1e9)
        assert row["in_flight"] in {e.fields["in_flight"] for e in reports if e.time <= moment + 1}
    last = [e for e in reports if e.time <= round(table["time s"].iloc[-1] * 1e9)][-1]
    assert (
        table["cwnd"].iloc[-1] == last.fields["cwnd"]
        and table["ssthresh"].iloc[-1] == last.fields["ssthresh"]
    )
    assert table["rto s"].iloc[-1] == 1.0 and table["srtt s"].iloc[-1] == pytest.approx(0.045, abs=0.01)
    both = trace.joined()
    assert len(both) == len(table) + len(trace.joined("a")) and both["time s"].is_monotonic_increasing


# --- filters ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Path]:
    """Two hosts behind a router: ARP, echoes, UDP to a closed port, and two TCP ports."""
    with Network(seed=4) as net:
        a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254")
        b = net.host("b", "10.0.1.1/24", gateway="10.0.1.254")
        r = net.router("r")
        net.wire(a, r.interface("eth0", "10.0.0.254/24"), rate="10 Mbit/s")
        net.wire(b, r.interface("eth1", "10.0.1.254/24"), rate="10 Mbit/s").drop(data_segment(2, sender="b"))
        trace = net.capture()
        a.ping("b")
        u = a.socket(socket.SOCK_DGRAM)
        u.sendto(b"hello", ("b", 53))
        for port in (80, 443):
            listener = b.listen(port)

            def serve(listener=listener) -> None:
                s, _ = listener.accept()
                s.sendall(bytes(20_000))
                s.close()

            b.spawn(serve)
            s = a.connect(("b", port))
            while s.recv(65536):
                pass
            s.close()
        net.run()
    return trace, trace.pcap(tmp_path_factory.mktemp("mixed") / "mixed.pcap")


WORDS = [
    ("tcp port 80 and host 10.0.0.1", ""),
    ("arp", ""), ("icmp", ""), ("udp dst port 53", ""), ("ip and not tcp", ""),
    ("src host 10.0.1.1", ""), ("dst net 10.0.0.0/24 and tcp", ""), ("port 80 or 443", ""),
    ("tcp and (src port 443 or dst port 80)", ""), ("not (tcp or arp)", ""), ("host 10.0.0.254", ""),
    ("syn", "tcp[tcpflags] & tcp-syn != 0"), ("fin or rst", "tcp[tcpflags] & (tcp-fin|tcp-rst) != 0"),
    ("tcp && !port 80", ""), ("net 10.0.1.0/24", ""), ("", "len >= 0"),
]  # fmt: skip


@pytest.mark.skipif(not shutil.which("tcpdump"), reason="needs the command tcpdump")
@pytest.mark.feature("Observation", "Filters in tcpdump's words choose what tcpdump chooses")
@pytest.mark.parametrize(("words", "theirs"), WORDS)
def test_filters_mean_what_tcpdump_means(mixed: tuple[Trace, Path], words: str, theirs: str) -> None:
    trace, path = mixed
    done = subprocess.run(
        ["tcpdump", "-nr", path, theirs or words], capture_output=True, text=True, check=True
    )
    chosen = trace.filter(words)
    assert len(chosen) == len(chosen.packets) == len(done.stdout.splitlines()) > 0


def test_filters_by_name_and_what_only_labstack_knows(mixed: tuple[Trace, Path]) -> None:
    trace, _ = mixed
    assert {p.sender for p in trace.filter("src host b").packets} == {"b"}
    [lost] = trace.filter("lost").packets
    assert lost.fate == "lost" and trace.filter("retransmission").packets
    narrowed = trace.filter("tcp").filter("port 443")
    assert {p.flow[1] for p in narrowed.packets} | {p.flow[3] for p in narrowed.packets} >= {443}
    assert len(narrowed.flows) == 1 and narrowed.ladder(limit=3).left_out == len(narrowed) - 3
    # A part of a trace still knows the reasons that lie outside it.
    assert isinstance(narrowed.why(narrowed.packets[0].number), Why)
    assert len(narrowed.table()) == len(narrowed)


@pytest.mark.parametrize(
    ("words", "part"),
    [("tcp port", "ends too early"), ("port http", "'http' is no port"), ("(tcp", "not closed"),
     ("tcp udp", "not expected"),
     ("net 10.0.0.1/24", "10.0.0.0/24"), ("host 1.2.3.400", "neither"), ("and tcp", "missing before 'and'")],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_says_so(trace: Trace, words: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        trace.filter(words)
