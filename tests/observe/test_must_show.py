"""The window chart: two megabytes, one segment lost, and every number worked out once more from the frames.

The second reckoning knows nothing of labstack: scapy reads the capture file, as it was at the sending end,
and a few lines of arithmetic follow RFC 5681 and RFC 6582 along the acknowledgements.
"""

from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.utils import rdpcap

from labstack import Network, data_segment
from labstack.observe.trace import Trace
from labstack.observe.window import Point, WindowChart
from tests.scene import pattern, read_all

SIZE = 2_000_000
MSS = 1460
LOST = 60


@pytest.fixture(scope="module")
def trace() -> Trace:
    """Rate × round trip are 50 KB, and the queue holds 64 KB: the one loss is the scripted one."""
    with Network(seed=7) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="10 Mbit/s", delay="20 ms", queue="64 KiB")
        wire.drop(data_segment(LOST))
        trace = net.capture(wire)
        arrived = []

        def receive(listener) -> None:
            s, _ = listener.accept()
            arrived.append(read_all(s))
            s.close()

        b.spawn(receive, b.listen(80))
        s = a.connect(("b", 80))
        s.sendall(pattern(SIZE))
        s.close()
        net.run()
    assert arrived == [pattern(SIZE)]
    return trace


@pytest.fixture(scope="module")
def chart(trace: Trace) -> WindowChart:
    return trace.window()


SUMMARY = (
    "peak cwnd 99,280 bytes at 0.239824 s; most in flight 99,280 bytes at 0.239824 s; "
    "ssthresh from infinite to 49,640 bytes at 0.245981 s; "
    "1 × fast retransmit; 1 × packet lost; 1 × retransmission"
)


@pytest.mark.feature("Congestion control", "Slow start, the cut, recovery and avoidance: all in one chart")
def test_the_summary(chart: WindowChart) -> None:
    assert chart.summary == repr(chart) == SUMMARY
    assert [name for _, _, name in chart.phases] == ["slow start", "recovery", "congestion avoidance"]
    for (_, end, _), (start, _, _) in zip(chart.phases, chart.phases[1:], strict=False):
        assert end == start
    shares = {name: (end - start) / chart.end for start, end, name in chart.phases}
    assert shares["slow start"] > 0.08 and shares["recovery"] > 0.03 and shares["congestion avoidance"] > 0.8


# --- each phase, by its own law -----------------------------------------------------------------------------


def during(chart: WindowChart, phase: str) -> list[Point]:
    """What was reported between the first and the last moment of a phase, the last one not included."""
    [(start, end)] = [(start, end) for start, end, name in chart.phases if name == phase]
    return [point for point in chart.points if start <= point.time < end]


def test_slow_start_doubles_the_window_each_round_trip(chart: WindowChart) -> None:
    points = during(chart, "slow start")
    assert points[0].cwnd == 10 * MSS and all(point.ssthresh is None for point in points)
    grown = [point.cwnd for point in points]
    assert grown == sorted(grown)
    steps = {after - before for before, after in pairwise(grown)} - {0}
    assert steps <= {MSS, 2 * MSS}, "no acknowledgement adds more than the two segments that it covers"
    for doubling in (20 * MSS, 40 * MSS):
        assert doubling in grown
    # A round trip takes 40 ms, and what the queue adds.
    reached = [next(p.time for p in points if p.cwnd >= n * 10 * MSS) for n in (1, 2, 4)]
    assert all(0.04 < later - earlier < 0.08 for earlier, later in pairwise(reached))


@pytest.mark.feature("Congestion control", "A loss cuts the window to half of what was under way")
def test_the_cut_halves_the_flight(chart: WindowChart, flight: "Flight") -> None:
    cut = next(k for k, point in enumerate(chart.points) if point.ssthresh is not None)
    before, after = chart.points[cut - 1], chart.points[cut]
    assert after.ssthresh == after.cwnd == flight.size_at_loss // 2
    assert after.time == pytest.approx(flight.retransmitted_at, abs=1e-9)
    assert before.cwnd == flight.size_at_loss, "the window had been full"
    for point in during(chart, "recovery"):
        assert point.cwnd == after.cwnd, "it does not grow while the loss is repaired"


def test_avoidance_adds_a_segment_each_round_trip(chart: WindowChart) -> None:
    points = during(chart, "congestion avoidance")
    assert points[0].cwnd == points[0].ssthresh
    assert points[-1].cwnd - points[0].cwnd == 25 * MSS
    values = [point.cwnd for point in points]
    assert {b - a for a, b in pairwise(values)} == {0, MSS}
    risen = [b.time for a, b in pairwise(points) if b.cwnd > a.cwnd]
    for earlier, later in pairwise(risen):
        window = next(point.cwnd for point in points if point.time >= earlier)
        # At 10 Mbit/s a segment takes 1,538 bytes of the line's time, and all of the window has to cross it.
        assert later - earlier == pytest.approx(window / MSS * 1538 * 8 / 10e6, rel=0.06)


# --- the same from the capture file, by other means ---------------------------------------------------------


class Flight:
    """Bytes in flight at the sending end, from what scapy reads: (time, bytes, credit) after each frame.

    `credit` is what SACK blocks name: what arrived behind the gap. Only while there is one may it differ from
    zero.
    """

    def __init__(self, path: Path) -> None:
        self.series: list[tuple[float, int, int]] = []
        self.cuts: list[tuple[float, int]] = []
        self.size_at_loss = 0
        self.retransmitted_at = 0.0
        una = nxt = first = None
        arrived = lost = 0
        for packet in rdpcap(str(path)):
            if TCP not in packet:
                continue
            tcp, time = packet[TCP], float(packet.time)
            length = packet[IP].len - 4 * packet[IP].ihl - 4 * tcp.dataofs
            if packet[IP].src == "10.0.0.1":
                if "S" in tcp.flags:
                    una = nxt = first = tcp.seq + 1
                    continue
                assert nxt is not None and una is not None
                end = tcp.seq + length + ("F" in tcp.flags)
                if length and tcp.seq < nxt:
                    assert not self.retransmitted_at and tcp.seq == una
                    self.retransmitted_at, lost = time, 0
                nxt = max(nxt, end)
            elif "S" not in tcp.flags:
                edges = next((value for name, value in tcp.options if name == "SAck"), ())
                before, arrived = arrived, sum(edges[1::2]) - sum(edges[::2])
                if arrived and not before:
                    self.size_at_loss = nxt - una
                if arrived >= 3 * MSS > before:
                    lost = MSS
                una = max(una, tcp.ack)
            assert nxt is not None and una is not None and first is not None
            self.series.append((time, nxt - una - lost, arrived))
        self.sent = nxt - first


@pytest.fixture(scope="module")
def flight(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> Flight:
    return Flight(trace.pcap(tmp_path_factory.mktemp("pcap") / "a.pcap", at="a"))


@pytest.mark.feature("Observation", "The chart's bytes in flight are those that scapy counts in the capture")
def test_in_flight_is_what_the_capture_says(chart: WindowChart, flight: Flight) -> None:
    assert flight.sent == SIZE + 1, "and the FIN"
    # Several frames leave, and several reports are made, at one moment: what holds is the last of them.
    counted = {round(time * 1e9): (size, credit) for time, size, credit in flight.series}
    drawn = {round(point.time * 1e9): point.in_flight for point in chart.points}
    times = sorted(counted)
    differing = []
    for time, size in drawn.items():
        at = bisect_right(times, time) - 1
        if at < 0:
            continue
        outstanding, credit = counted[times[at]]
        assert size == outstanding - credit, time
        if size != outstanding:
            differing.append(time / 1e9)
    [(start, end)] = [(start, end) for start, end, name in chart.phases if name == "recovery"]
    # The first two pieces arrive before anything is taken for lost.
    assert differing and start - 0.003 < min(differing) and max(differing) <= end
    assert max(drawn.values()) == max(size - credit for size, credit in counted.values())
    assert len(drawn) > 500


def test_the_capture_file_and_the_chart_agree_on_what_was_lost(trace: Trace, chart: WindowChart) -> None:
    marks = {what: time for time, what in chart.marks}
    [lost] = [packet for packet in trace.packets if packet.fate == "lost"]
    [again] = [packet for packet in trace.packets if packet.retransmission]
    assert lost.relative_seq == again.relative_seq == (LOST - 1) * MSS + 1
    assert marks["packet lost"] < marks["fast retransmit"] == marks["retransmission"]


# --- the picture --------------------------------------------------------------------------------------------


def test_the_picture_shows_every_part(chart: WindowChart, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    axes = chart.figure.axes[0]
    shown = {text.get_text() for text in axes.get_legend().get_texts()}
    assert {"cwnd", "ssthresh", "in flight", "slow start", "recovery", "congestion avoidance"} <= shown
    assert {"fast retransmit", "packet lost", "retransmission"} <= shown
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time (seconds)", "bytes")
    [cwnd] = [line for line in axes.lines if line.get_label() == "cwnd"]
    assert list(cwnd.get_ydata())[:-1] == [point.cwnd for point in chart.points]
    assert axes.get_ylim()[1] > 99_280
    picture = matplotlib.image.imread(chart.save(tmp_path / "window.png"))
    assert picture.shape[:2] == (860, 1720) and picture.std() > 0.05
