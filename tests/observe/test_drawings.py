"""The drawings say what the packets and events say; each summary is reckoned once more by other means."""

import re
from itertools import accumulate, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP
from scapy.utils import rdpcap

from labstack import Network
from labstack.observe.fairness import jain
from labstack.observe.packet import QUEUE_FULL
from labstack.observe.state_diagram import SPOTS, state_diagram
from labstack.observe.topology import topology
from labstack.observe.trace import Trace
from labstack.transport.tcp.states import TRANSITIONS, Input, State
from tests.observe.experiments import contest
from tests.observe.runs import download

SIZE = 120_000


@pytest.fixture(scope="module")
def trace() -> Trace:
    return download(SIZE, 30, queue="16 KiB")


@pytest.fixture(scope="module")
def frames(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """What scapy reads of the run: at each end, (seconds, TCP segment, source, frame's length)."""
    seen = {}
    for host in "ab":
        path = trace.pcap(tmp_path_factory.mktemp("pcap") / f"{host}.pcap", at=host)
        seen[host] = [(float(p.time), p[TCP], p[IP].src, len(p)) for p in rdpcap(str(path)) if TCP in p]
    return seen


def words_of(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]


# --- states -------------------------------------------------------------------------------------------------


def test_the_diagram_is_the_table() -> None:
    words = words_of(state_diagram().svg)
    assert set(SPOTS) == set(State) and all(state.value in words for state in State)
    assert words.count("close") == sum(what is Input.CLOSE for _, what in TRANSITIONS)
    assert words.count("FIN arrives") == sum(what is Input.FIN for _, what in TRANSITIONS)
    assert len(state_diagram().table()) == len(TRANSITIONS)


@pytest.mark.feature("Observation", "TCP's state diagram with the path that a connection took")
def test_the_path_of_both_ends(trace: Trace) -> None:
    there = trace.flows[0]
    opener, server = trace.states(), trace.states((there[2], there[3], there[0], there[1]))
    assert opener.summary.endswith("CLOSED → SYN-SENT → ESTABLISHED → CLOSE-WAIT → LAST-ACK → CLOSED")
    assert server.summary.endswith("ESTABLISHED → FIN-WAIT-1 → FIN-WAIT-2 → TIME-WAIT → CLOSED")
    for diagram in (opener, server):
        assert all(TRANSITIONS[move.before, move.what] is move.after for move in diagram.moves)
        assert all(one.after is two.before and one.time <= two.time for one, two in pairwise(diagram.moves))
        assert list(diagram.table()["to"]) == [move.after.value for move in diagram.moves]
        numbered = [word for word in words_of(diagram.svg) if word[:1].isdigit()]
        steps = sorted(int(n) for word in numbered for n in word.split()[0].split("·") if n.isdigit())
        assert set(range(1, len(diagram.moves) + 1)) <= set(steps)
    assert trace.states().svg == opener.svg


def test_states_of_a_machine_that_told_nothing(trace: Trace) -> None:
    with pytest.raises(ValueError, match="reported no state"):
        trace.states(("10.0.0.9", 1, "10.0.0.8", 2))


# --- charts -------------------------------------------------------------------------------------------------


@pytest.mark.feature("Observation", "Time-sequence graphs, as in Stevens' book")
def test_time_and_sequence(trace: Trace, frames: dict[str, list], tmp_path: Path) -> None:
    chart = trace.time_sequence()
    mine = [(t, tcp) for t, tcp, src, _ in frames["b"] if src == "10.0.0.2"]
    base = mine[0][1].seq
    sent = [(t, tcp.seq - base, len(tcp.payload)) for t, tcp in mine if len(tcp.payload)]
    drawn = [(s.time, s.first, s.end - s.first) for s in chart.segments if s.end - s.first > 1]
    assert [one[1] for one in drawn] == [one[1] for one in sent]
    assert [one[0] for one in drawn] == pytest.approx([one[0] for one in sent], abs=1e-6)
    assert sum(s.again for s in chart.segments) == len(sent) - len({seq for _, seq, _ in sent})
    acks = [(t, tcp.ack - base) for t, tcp, src, _ in frames["b"] if src == "10.0.0.1" and "A" in tcp.flags]
    assert [ack for _, ack, _ in chart.acknowledged] == [ack for _, ack in acks]
    assert (
        f"up to sequence number {SIZE + 2:,}" in chart.summary and "13 sent again; 13 lost" in chart.summary
    )
    named = [
        (value[k] - base, value[k + 1] - base)
        for _, tcp, src, _ in frames["b"]
        if src == "10.0.0.1"
        for option, value in tcp.options
        if option == "SAck"
        for k in range(0, len(value), 2)
        if value[k] > tcp.ack
    ]
    assert sorted(block[1:] for block in chart.selective) == sorted(named) and named
    assert len(chart.table()) == len(chart.segments) + len(chart.acknowledged) + len(chart.selective)
    assert chart.save(tmp_path / "t.png").stat().st_size > 20_000


@pytest.mark.feature("Observation", "Throughput over time")
def test_throughput(trace: Trace, frames: dict[str, list]) -> None:
    chart = trace.throughput()
    came = [(t, tcp, size) for t, tcp, src, size in frames["a"] if src == "10.0.0.2"]
    assert sum(chart.new) == SIZE
    assert sum(chart.on_the_wire) == sum(max(size, 60) + 4 for _, _, size in came)
    took = came[-1][0] - came[0][0]
    assert f"({SIZE * 8 / took / 1e6:.3f} Mbit/s)" in chart.summary
    table = chart.table()
    assert table["new bytes bit/s"].sum() * chart.interval / 8 == pytest.approx(SIZE)
    # Where the border of an interval cuts a frame, the whole of it counts in the next.
    assert (table["frames bit/s"] <= 10e6 + 1518 * 8 / chart.interval).all() and len(
        trace.throughput(interval=0.1).new
    ) == 3
    with pytest.raises(ValueError, match="seconds above 0"):
        trace.throughput(interval=-1)


@pytest.mark.feature("Observation", "Round trips, SRTT and RTO over time")
def test_round_trips(trace: Trace, frames: dict[str, list]) -> None:
    chart = trace.round_trips()
    values = [rtt for _, rtt in chart.samples]
    assert min(values) > 0.04 and max(values) < 0.06
    # Karn: no sample from what was sent twice; scapy counts what else was acknowledged.
    sent: dict[int, list[float]] = {}
    good = []
    una = 0
    for time, tcp, src, _ in frames["b"]:
        length = len(tcp.payload) + ("S" in tcp.flags) + ("F" in tcp.flags)
        if src == "10.0.0.2" and length:
            sent.setdefault(tcp.seq + length, []).append(time)
        elif src == "10.0.0.1" and "A" in tcp.flags and tcp.ack > una:
            fresh = [end for end in sent if una < end <= tcp.ack]
            una = tcp.ack
            if fresh and all(len(sent[end]) == 1 for end in fresh):
                good.append(time - sent[max(fresh)][0])
    assert values == pytest.approx(good, abs=1e-6)
    reports = [e.fields for e in trace.events if e.rule.name == "tcp.window" and e.host == "b"]
    assert chart.estimates[-1][1:] == (reports[-1]["srtt"] / 1e9, reports[-1]["rto"] / 1e9)
    assert f"{len(good)} round trips measured" in chart.summary
    assert chart.figure.axes[0].get_yscale() == "log", "an RTO of a second above round trips of 40 ms"


@pytest.mark.feature("Observation", "Send queues over time")
def test_queue(trace: Trace) -> None:
    chart = trace.queue()
    [drops] = {sum(p.fate == QUEUE_FULL for p in trace.packets)}
    assert len(chart.drops) == drops == 12 and "12 dropped" in chart.summary
    levels = chart.levels["b", "a-b"]
    top = max(level for _, level in levels)
    assert 16_384 - 1518 < top <= 16_384 and levels[-1][1] == 0
    # Nothing is turned away while there is room for it.
    for time, host, number in chart.drops:
        held = [level for moment, level in levels if moment <= time]
        assert host == "b" and max(held[-3:]) + len(trace[number].frame) + 4 > 16_384
    assert list(chart.table().columns) == ["time s", "host", "device", "bytes waiting"]
    with pytest.raises(ValueError, match="no packet crossed 'x'"):
        trace.queue("x")


# --- networks and tables ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def routed() -> tuple[Network, Trace]:
    with Network(seed=3) as net:
        a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254")
        b = net.host("b", "10.0.1.1/24", gateway="10.0.1.254")
        r = net.router("r")
        net.wire(a, r.interface("eth0", "10.0.0.254/24"), rate="10 Mbit/s", delay="5 ms")
        net.wire(b, r.interface("eth1", "10.0.1.254/24"), rate="2 Mbit/s", delay="10 ms", loss=0.01)
        trace = net.capture()

        def serve(listener) -> None:
            s, _ = listener.accept()
            s.sendall(bytes(100_000))
            s.close()

        b.spawn(serve, b.listen(80))
        s = a.connect(("b", 80))
        while s.recv(65536):
            pass
        s.close()
        assert a.ping("10.0.0.77", timeout=5) == [None]
        net.run()
    return net, trace


@pytest.mark.feature("Observation", "A network drawn with the use of its wires")
def test_topology(routed: tuple[Network, Trace]) -> None:
    net, trace = routed
    drawn = topology(net, trace)
    words = words_of(drawn.svg)
    assert {"a", "r", "b", "eth1 10.0.1.254/24", "10 Mbit/s, 5 ms", "2 Mbit/s, 10 ms, loss 0.01"} <= set(
        words
    )
    [use] = [use for use in drawn.uses if (use.wire, use.sender) == ("b-r", "b")]
    mine = [p for p in trace.packets if p.device == "b-r" and p.sender == "b"]
    assert use.frames == len(mine) and use.lost == sum(p.fate == "lost" for p in mine)
    assert use.bytes == sum(max(len(p.frame), 60) + 24 for p in mine)
    took = max(p.arrived or p.departed for p in trace.packets) - trace.packets[0].sent
    assert use.share == use.bytes * 8e9 / (2e6 * took)
    assert any(f"{use.share:.1%}" in word for word in words)
    assert "3 machines, 2 wires" in drawn.summary and "a: eth0 10.0.0.1/24" in drawn.text
    assert len(drawn.table()) == 4 and len(topology(net).uses) == 0


@pytest.mark.feature("Observation", "ARP tables as they change")
def test_arp_tables(routed: tuple[Network, Trace]) -> None:
    _, trace = routed
    chart = trace.arp()
    assert "a: 10.0.0.254 asked, learned; 02:00:00:00:00:02" in chart.summary
    assert "a: 10.0.0.77 asked 3 times, given up" in chart.summary
    assert [row[2:4] for row in trace.arp("r").changes][:3] == [
        ("10.0.0.1", "learned"), ("10.0.1.1", "asked"), ("10.0.1.1", "learned"),
    ]  # fmt: skip
    held = {(one.host, one.key): one for one in chart.held}
    assert held["a", "10.0.0.254"].end - held["a", "10.0.0.254"].start == 60
    assert len(chart.table()) == len(chart.changes)


@pytest.mark.feature("Observation", "Routing tables as they change")
def test_routing_tables(tmp_path: Path) -> None:
    with Network(seed=3) as net:
        a, b, c = (net.host(name, f"10.0.{k}.1/24") for k, name in enumerate("abc"))
        r = net.router("r")
        for k, host in enumerate((a, b, c)):
            net.wire(host, r.interface(f"eth{k}", f"10.0.{k}.254/24"))
        a.route("0.0.0.0/0", via="10.0.0.254")
        trace = net.capture()
        net.sleep(1)
        r.route("10.9.0.0/16", via="10.0.1.1")
        [first] = [route for route in r.ip.routes if route.prefix.length == 16]
        net.sleep(2)
        r.ip.remove(first)
        r.route("10.9.0.0/16", via="10.0.2.1")
        net.sleep(1)
        a.ping("10.9.0.1", timeout=1)
        net.run()
        table = [(str(route.prefix), str(route.via or "")) for route in r.ip.routes]
    chart = trace.routes()
    assert "r: 10.9.0.0/16 via 10.0.1.1 added, removed; eth1, static" in chart.summary
    assert "r: 10.9.0.0/16 via 10.0.2.1 added; eth2, static" in chart.summary
    assert "a: 0.0.0.0/0 via 10.0.0.254 held; eth0, static" in chart.summary
    times = {(one.host, one.key): (one.start, one.end) for one in chart.held}
    assert times["r", "10.9.0.0/16 via 10.0.1.1"] == (1, 3)
    assert times["r", "10.9.0.0/16 via 10.0.2.1"] == (3, float("inf"))
    # What stands open at the end is what the table says, by another way.
    open_ = {one.key for one in chart.held if one.host == "r" and one.end == float("inf")}
    assert open_ == {f"{p} via {via}" if via else f"{p} on the link" for p, via in table}
    assert list(chart.table()["what"]) == ["held"] * 7 + ["added", "removed", "added"]
    assert len(trace.routes("a").held) == 2
    assert chart.save(tmp_path / "routes.png").stat().st_size > 10_000


def test_what_a_packet_changed(trace: Trace) -> None:
    [answer] = trace.filter("syn and ack").packets
    rows = trace.changed(answer.number).rows
    assert ("a", "state", "SYN-SENT", "ESTABLISHED") in rows
    assert any(what == "tcp.handshake_done" for _, what, _, _ in rows)
    assert any(what == "sends" for _, what, _, _ in rows)
    [lost, *_] = trace.filter("lost").packets
    assert "it never arrived" in str(trace.changed(lost.number))
    repaired = [trace.changed(p.number).rows for p in trace.filter("src host a and tcp").packets]
    [cut] = [row for rows in repaired for row in rows if row[1] == "ssthresh" and row[2]]
    assert cut[:3] == ("b", "ssthresh", "infinite")


# --- the same from capture files, by scapy ------------------------------------------------------------------


def test_queue_from_two_captures(trace: Trace, tmp_path: Path) -> None:
    """A frame waits from when its sender has handed it over until its first bit is on the wire."""
    handed = rdpcap(str(trace.pcap(tmp_path / "b.pcap", at="b")))
    left: dict[bytes, list[float]] = {}
    for packet in rdpcap(str(trace.pcap(tmp_path / "wire.pcap"))):
        left.setdefault(bytes(packet), []).append(float(packet.time))
    moments: list[tuple[float, int]] = []
    for packet in handed:
        if TCP in packet and packet[IP].src == "10.0.0.2":
            times = left.get(bytes(packet))
            if times and times[0] > float(packet.time):
                size = max(len(packet), 60) + 4
                moments += [(float(packet.time), size), (times.pop(0), -size)]
    # One may leave and another come at the same moment; files do not say which was first.
    bounds = []
    for order in (1, -1):
        levels = accumulate(size for _, size in sorted(moments, key=lambda m: (round(m[0], 7), order * m[1])))
        bounds.append(max(levels))
    shown = re.search(r"b on a-b: most ([\d,]+) bytes", trace.queue().summary)
    assert shown is not None and bounds[0] <= int(shown[1].replace(",", "")) <= bounds[1]
    assert bounds[1] - bounds[0] <= 1518 and sum(size for _, size in moments) == 0


def test_the_use_of_a_wire_and_arp_from_a_capture(routed: tuple[Network, Trace], tmp_path: Path) -> None:
    net, trace = routed
    frames = rdpcap(str(trace.filter("tcp or arp or icmp").pcap(tmp_path / "all.pcap")))
    [wire] = [wire for wire in net.wires if wire.name == "b-r"]
    mine = [frame for frame in frames if frame.src == str(wire.ends[0].mac)]
    [use] = [use for use in topology(net, trace).uses if (use.wire, use.sender) == ("b-r", "b")]
    assert use.frames == len(mine) and use.bytes == sum(max(len(frame), 60) + 24 for frame in mine)
    times = [float(frame.time) for frame in frames]
    assert use.share == pytest.approx(use.bytes * 8 / (2e6 * (max(times) - min(times))), rel=0.02)
    asked = [frame[ARP].pdst for frame in frames if ARP in frame and frame[ARP].op == 1]
    told = {frame[ARP].psrc: frame[ARP].hwsrc for frame in frames if ARP in frame and frame[ARP].op == 2}
    changes = trace.arp().changes
    assert sorted(key for _, _, key, what, _ in changes if what == "asked") == sorted(asked)
    for _, _, key, what, mac in changes:
        assert what != "learned" or key not in told or told[key] == mac


# --- several flows, and several charts ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared() -> Trace:
    with Network(seed=3) as net:
        return contest(net, ("reno", "cubic"))


@pytest.mark.feature("Observation", "Fairness: the shares of flows over time, and Jain's index")
def test_fairness(shared: Trace, tmp_path: Path) -> None:
    chart = shared.fairness()
    # The same from the frames that came to z, as scapy reads them.
    came: dict[str, list[tuple[float, int]]] = {}
    seen: set[tuple[str, int]] = set()
    for packet in rdpcap(str(shared.pcap(tmp_path / "z.pcap", at="z"))):
        if TCP in packet and packet[IP].dst == "10.9.0.2":
            src, tcp = packet[IP].src, packet[TCP]
            length = packet[IP].len - 20 - 4 * tcp.dataofs
            if length and (src, tcp.seq) not in seen:
                seen.add((src, tcp.seq))
                came.setdefault(src, []).append((float(packet.time), length))
    first, last = max(s[0][0] for s in came.values()), min(s[-1][0] for s in came.values())
    amounts = [sum(n for t, n in s if first <= t <= last) for s in came.values()]
    index = sum(amounts) ** 2 / (2 * sum(x * x for x in amounts))
    assert sorted(chart.in_contest) == sorted(amounts) and chart.index == pytest.approx(index)
    assert f"Jain's index {index:.4f} from {first:.6f} s to {last:.6f} s" in chart.summary
    assert chart.totals == [600_000, 600_000] and "s1:" in chart.summary and "→ z:80" in chart.summary
    table = chart.table()
    shares = table.iloc[:, 1:-1]
    assert ((shares.sum(axis=1) - 1).abs() < 1e-9).all() and table["Jain's index"].between(0.5, 1).all()
    assert sum(map(sum, chart.amounts)) == 1_200_000
    assert len(chart.figure.axes) == 2 and chart.save(tmp_path / "f.png").stat().st_size > 15_000
    assert jain([1, 1, 1]) == 1 and jain([1, 0, 0, 0]) == 0.25 and jain([0, 0]) == 1
    with pytest.raises(ValueError, match="between two flows or more: 1 in this trace"):
        shared.fairness(shared.flows[0])


@pytest.mark.feature("Observation", "Windows, round trips with SRTT and RTO, and queues on one axis of time")
def test_all_about_a_connection(trace: Trace, tmp_path: Path) -> None:
    chart = trace.connection()
    window, trips, queue = trace.window(), trace.round_trips(), trace.queue()
    assert chart.summary == "\n".join([window.summary, trips.summary, queue.summary])
    table = chart.table()
    assert len(table) == sum(len(each.table()) for each in (window, trips, queue))
    assert table["time s"].is_monotonic_increasing
    assert {"cwnd", "ssthresh", "in flight", "peer's window", "srtt s", "rto s", "bytes waiting"} <= set(
        table
    )
    axes = chart.figure.axes
    assert len(axes) == 3 and len({one.get_xlim() for one in axes}) == 1
    image, size = chart._repr_png_()
    assert size == {"width": 860, "height": 1020} and len(image) > 30_000
