"""Charts: their numbers against numbers worked out another way, and the same bytes each time."""

import builtins
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.utils import rdpcap

from labstack.core.events import Events
from labstack.core.units import MILLISECOND
from labstack.observe.trace import Trace
from labstack.transport.tcp.rules import PHASE, WINDOW
from tests.observe.runs import download


@pytest.fixture(scope="module")
def trace() -> Trace:
    return download(200_000, lose=20)


@pytest.mark.feature("Observation", "The congestion window over time, from TCP's own events")
def test_the_window_is_what_tcp_reported(trace: Trace) -> None:
    chart = trace.window()
    reported = [event.fields for event in trace.events if event.rule.name == "tcp.window"]
    reported = [fields for fields in reported if fields["local"] == "10.0.0.2:80"]
    assert [point.cwnd for point in chart.points] == [fields["cwnd"] for fields in reported]
    peak = max(fields["cwnd"] for fields in reported)
    assert f"peak cwnd {peak:,} bytes at " in chart.summary
    for what in ("1 × fast retransmit", "1 × packet lost", "1 × retransmission", "ssthresh from infinite to"):
        assert what in chart.summary
    assert repr(chart) == chart.summary
    assert [name for _, _, name in chart.phases][:2] == ["slow start", "recovery"]
    assert list(chart.table()["cwnd"]) == [point.cwnd for point in chart.points]


def test_bytes_in_flight_never_exceed_what_the_wire_saw(trace: Trace) -> None:
    sent = max(p.relative_seq + p.payload_length for p in trace.packets if p.sender == "b" and p.tcp)
    assert max(point.in_flight for point in trace.window().points) <= sent


@pytest.mark.feature("Observation", "Bytes over time, sent and arrived, each byte once")
def test_bytes_over_time_against_scapy(trace: Trace, tmp_path: Path) -> None:
    chart = trace.bytes_over_time()
    seen: set[int] = set()
    first = None
    for packet in rdpcap(str(trace.pcap(tmp_path / "at-a.pcap", at="a"))):
        if TCP in packet and packet[IP].src == "10.0.0.2":
            length = packet[IP].len - 4 * packet[IP].ihl - 4 * packet[TCP].dataofs
            if length:
                first = packet[TCP].seq if first is None else first
                seen |= set(range(packet[TCP].seq - first, packet[TCP].seq - first + length))
    back = (*trace.flows[0][2:], *trace.flows[0][:2])
    assert chart.arrived[back][-1][1] == len(seen) == 200_000
    totals = [total for _, total in chart.arrived[back]]
    assert totals == sorted(totals)
    assert "a → b: 18 bytes sent at " in chart.summary
    assert "b → a: 200,000 bytes sent from " in chart.summary


def windows(points: list[tuple[int, int, int | None, int, int]], phases: list[tuple[int, str]]) -> Trace:
    """A trace of these reports alone: milliseconds, cwnd, ssthresh, in flight, the peer's window."""
    time = 0
    events = Events("a", lambda: time * MILLISECOND)
    trace = Trace([events])
    names = {"local": "10.0.0.1:5000", "peer": "10.0.0.2:80"}
    for at, cwnd, ssthresh, in_flight, peer in points:
        time = at
        events.emit(WINDOW, **names, cwnd=cwnd, ssthresh=ssthresh, in_flight=in_flight, peer_window=peer)
        for start, phase in phases:
            if start == at:
                events.emit(PHASE, **names, phase=phase)
    return trace


FLOW = ("10.0.0.1", 5000, "10.0.0.2", 80)


def test_the_summary_in_full() -> None:
    points = [
        (0, 10_000, None, 0, 50_000),
        (100, 20_000, None, 20_000, 50_000),
        (250, 10_000, 10_000, 9_000, 50_000),
    ]
    trace = windows(points, [(0, "slow start"), (250, "recovery")])
    chart = trace.window(FLOW)
    assert chart.summary == (
        "peak cwnd 20,000 bytes at 0.100000 s; most in flight 20,000 bytes at 0.100000 s; "
        "ssthresh from infinite to 10,000 bytes at 0.250000 s"
    )
    assert chart.phases == [(0.0, 0.25, "slow start")]
    axes = chart.figure.axes[0]
    assert axes.get_xlabel() == "time (seconds)" and axes.get_ylabel() == "bytes"


def test_the_same_chart_is_the_same_bytes(trace: Trace, tmp_path: Path) -> None:
    first, second = trace.window(), trace.window()
    for ending in ("png", "svg"):
        one, other = (first.save(tmp_path / f"1.{ending}"), second.save(tmp_path / f"2.{ending}"))
        assert one.read_bytes() == other.read_bytes()
    image, size = first._repr_png_()
    assert image.startswith(b"\x89PNG") and size["width"] == 860
    assert first.save(tmp_path / "1.txt").read_text() == first.summary + "\n"
    trace.bytes_over_time().save(tmp_path / "bytes.pdf")


def test_clear_sentences(trace: Trace) -> None:
    with pytest.raises(ValueError, match="reported no window towards"):
        trace.window(("10.0.0.9", 1, "10.0.0.2", 80))
    with pytest.raises(ValueError, match="holds no TCP or UDP flow"):
        Trace().window()
    with pytest.raises(ValueError, match="sent each other no data"):
        trace.bytes_over_time(("10.0.0.9", 1, "10.0.0.2", 80))


@pytest.mark.parametrize("package", ["matplotlib", "pandas", "scapy"])
def test_without_a_package_the_error_says_what_to_install(
    trace: Trace, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    real = builtins.__import__

    def absent(name: str, *args: object, **more: object) -> object:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    use = {"matplotlib": lambda: trace.window().figure, "pandas": trace.table, "scapy": trace.scapy}[package]
    with pytest.raises(ImportError, match=rf"{package}.*pip install labstack\[notebooks\]"):
        use()
