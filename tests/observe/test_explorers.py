"""The explorers without a browser: their widgets are moved from Python, and what they show is read."""

import os
import re
import signal
import threading
import time
from html import unescape

import pytest

from labstack import Network
from labstack.drivers.realtime import RealTime
from labstack.host import Host
from labstack.observe.explorer import STEPS, Explorer
from labstack.observe.explorer_compare import Comparison
from labstack.observe.explorer_header import HeaderExplorer
from labstack.observe.explorer_live import LiveView
from labstack.observe.explorer_run import Stopped, WhatIf
from labstack.observe.trace import Trace
from labstack.physical.queue import CoDel, DropTail
from labstack.physical.wire import Wire
from labstack.transport.tcp.congestion.names import CONTROLS
from tests.observe import runs
from tests.observe.experiments import download

pytest.importorskip("ipywidgets")


@pytest.fixture(scope="module")
def trace() -> Trace:
    return runs.download(40_000, 9)


def marks(drawing: str) -> int:
    """How many lines and boxes of a drawing have the colour of what is marked."""
    return len(re.findall('<[a-z]+ [^>]*"#FCE9B6"', drawing))


@pytest.mark.feature("Observation", "Step and scrub through a run: ladder, table and chart move together")
def test_stepping_and_scrubbing(trace: Trace) -> None:
    explorer = Explorer(trace)
    explorer.widget()
    panes = explorer.controls
    panes["step"].click()
    assert explorer.at == panes["slider"].value == 1
    panes["slider"].value = 20
    number = explorer.packets[20].number
    assert f"Packet {number}, 21 of {len(trace)}" in panes["where"].value
    assert f"Why packet {number}?" in panes["why"].value
    [row] = re.findall(r"<tr style[^>]*>(.*?)</tr>", panes["table"].value)
    assert row.startswith(f"<td>{number}</td>")
    assert panes["ladder"].value.count("<polygon") <= STEPS and marks(panes["ladder"].value) == 2
    line = float(re.search(r"left:([\d.]+)%", panes["chart"].value)[1])
    panes["slider"].value = 30
    assert float(re.search(r"left:([\d.]+)%", panes["chart"].value)[1]) > line
    panes["loss"].click()
    assert explorer.present.fate == "lost" and "lost" in panes["where"].value
    panes["back"].click()
    assert explorer.present.fate == "arrived"
    explorer.go(10_000)
    assert explorer.at == len(trace) - 1
    panes["step"].click()
    assert explorer.at == len(trace) - 1
    assert "1 of them lost" in explorer.text


def test_a_run_without_loss_says_so() -> None:
    explorer = Explorer(runs.download(5_000, lose=0))
    explorer.widget()
    explorer.controls["loss"].click()
    assert "No packet of this run was lost" in explorer.controls["where"].value
    with pytest.raises(ValueError, match="holds no packets"):
        Explorer(Trace())


@pytest.mark.feature("Observation", "A header explorer: click a field, see its bytes and what it means")
def test_every_field_of_a_header(trace: Trace) -> None:
    packet = trace.filter("syn").packets[0]
    explorer = HeaderExplorer(packet)
    explorer.widget()
    panes = explorer.controls
    explorer.choose("TCP", "dst_port")
    assert explorer.place() == (36, 38) and "00 50" in explorer.text and "80" in explorer.text
    assert re.findall(r'bold">(\w\w)<', panes["bytes"].value) == ["00", "50"]
    panes["header"].value = "IPv4"
    panes["field"].value = "ttl"
    assert explorer.text.startswith("IPv4, time to live: 64\nbyte 22 of the frame: 40")
    assert 'fill="#FCE9B6"' in panes["diagram"].value
    for name in ("Ethernet", "IPv4", "TCP"):
        panes["header"].value = name
        for field in explorer.fields():
            panes["field"].value = field.name
            first, end = explorer.place()
            assert packet.frame[first:end].hex(" ") in panes["meaning"].value
            assert unescape(field.meaning) in unescape(panes["meaning"].value)
    for name in ("Ethernet", "IPv4", "TCP"):
        panes["header"].value = name
        places = set()
        for button in panes["over"].children:
            button.click()
            assert explorer.chosen.title == button.tooltip and explorer.layer == name
            places.add(button.layout.grid_area)
        assert {field.title for field in explorer.fields()} == {b.tooltip for b in panes["over"].children}
        assert len(places) == len(panes["over"].children)
    with pytest.raises(ValueError, match="no UDP header"):
        explorer.choose("UDP", "length")
    with pytest.raises(ValueError, match="no field 'ttl'"):
        explorer.choose("TCP", "ttl")
    assert explorer.layer == "TCP"


def wait_for(what, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.feature(
    "Observation", "What if: loss, delay, rate, queue or algorithm is changed, and the experiment runs again"
)
def test_what_if() -> None:
    asked = WhatIf(download, loss=(0, 0.1, 0.01), delay=["20 ms", "50 ms"])
    assert "0 lost, 0 retransmissions" in asked.text and "loss = 0, delay = 20 ms" in asked.text
    asked.widget()
    before = asked.controls["chart"].value
    asked.controls["loss"].value = 0.05
    wait_for(lambda: "loss = 0.05" in asked.controls["summary"].value)
    assert " 0 lost" not in asked.controls["summary"].value
    wait_for(lambda: asked.controls["chart"].value != before)
    assert "retransmission" in asked.controls["ladder"].value
    with Network(seed=7) as net:
        again = download(net, loss=0.05)
    assert asked.trace.text() == again.text(), "the same seed, the same run"
    with pytest.raises(ValueError, match="no 'rate'"):
        asked.run(rate=3)


def test_everything_that_shapes_a_run_can_be_changed() -> None:
    asked = WhatIf(
        download, size=[200_000], loss=(0, 0.1, 0.01), delay=["20 ms", "40 ms"],
        rate=["10 Mbit/s", "2 Mbit/s"], queue=["64 KiB", "8 KiB"], algorithm=list(CONTROLS),
    )  # fmt: skip
    assert set(asked.ranges["algorithm"]) >= {"reno", "cubic"}, "whatever the package offers"
    seen = {asked.text}
    for name, value in (
        ("loss", 0.02), ("delay", "40 ms"), ("rate", "2 Mbit/s"), ("queue", "8 KiB"),
        *(("algorithm", name) for name in list(CONTROLS)[1:]),
    ):  # fmt: skip
        asked.run(**{name: value})
        assert f"{name} = {value}" in asked.text and asked.text not in seen
        seen.add(asked.text)
    assert "retransmission" in asked.text


@pytest.mark.feature("Observation", "Long runs show progress and can be stopped")
def test_a_long_run_is_stopped() -> None:
    asked = WhatIf(download, size=[1_000, 500_000_000])
    asked.widget()
    asked.controls["size"].value = 500_000_000
    wait_for(lambda: "running" in asked.controls["progress"].value)
    assert "simulated seconds" in asked.controls["progress"].value and not asked.controls["stop"].disabled
    asked.controls["stop"].click()
    wait_for(lambda: asked.controls["progress"].value == "stopped")
    assert "stopped after" in asked.text
    with pytest.raises(Stopped):
        _ = asked.trace
    asked.run(size=1_000)
    assert "size = 1000" in asked.controls["summary"].value


def test_who_interrupts_a_comparison_ends_its_run(capfd: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        Comparison(download, {"size": 500_000_000}, {"size": 1_000})
    [run] = [each for each in set(threading.enumerate()) - before if each.name == "labstack experiment"] or [
        None
    ]
    if run is not None:
        run.join(10)
        assert not run.is_alive()
    assert "Traceback" not in capfd.readouterr().err, "its programs end in silence"


@pytest.mark.feature("Observation", "One experiment twice, with the first difference marked in both ladders")
def test_a_long_comparison_tells_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("labstack.observe.explorer_compare.LONG", 0.01)

    def slow(net: Network, loss: float) -> Trace:
        threading.Event().wait(0.1)  # ten times as long as it takes to be told of
        return download(net, loss=loss)

    Comparison(slow, {"loss": 0}, {"loss": 0.05})
    told = capfd.readouterr().err
    for loss in ("0", "0.05"):
        assert re.search(rf"loss = {loss}: \d+\.\d{{3}} simulated seconds, [\d,]+ frames", told), told


def test_comparison() -> None:
    comparison = Comparison(download, {"loss": 0}, {"loss": 0.05})
    mine, theirs = comparison.traces
    first = comparison.first
    assert [p.frame for p in mine.packets[:first]] == [p.frame for p in theirs.packets[:first]]
    assert mine.packets[first].fate != theirs.packets[first].fate
    assert f"{first} packets are the same. The first difference:" in comparison.text
    comparison.widget()
    sides = comparison.controls["sides"].value
    assert sides.count("<svg") == 2 and len(re.findall('<rect [^>]*fill="#FCE9B6"', sides)) == 2
    comparison.controls["slider"].value = 0
    comparison.controls["jump"].click()
    assert comparison.start == max(0, first - 4)
    queues = Comparison(download, {"discipline": DropTail}, {"discipline": CoDel})
    assert "discipline = DropTail: " in queues.text and "discipline = CoDel: " in queues.text
    same = Comparison(download, {}, {})
    assert same.first is None and "packet for packet" in same.text


@pytest.mark.feature("Observation", "A live view of a real-time host: packets as they come, and its sockets")
def test_live_view() -> None:
    driver = RealTime()
    a, b = Host("a", driver), Host("b", driver)
    wire = Wire(driver, name="cable", delay="1 ms")
    for end, host, address in zip(wire.ends, (a, b), ("10.0.0.1/24", "10.0.0.2/24"), strict=True):
        end.node = host.node
        host.interface("eth0", address).plug(end)
    try:
        view = LiveView(a, peer="b")
        view.widget()
        shown = view.controls["view"]
        view.controls["start"].click()
        view.start()
        listener = b.listen(80)
        s = a.connect(("10.0.0.2", 80))
        s.sendall(b"hello")
        served, _ = listener.accept()
        assert served.recv(10) == b"hello"
        wait_for(lambda: "ESTAB" in shown.value and "len=5" in shown.value)
        assert re.search(r"tcp +ESTAB +0 +0 +10.0.0.1:\d+ +10.0.0.2:80", shown.value)
        assert {p.receiver for p in view.trace.packets} == {"a", "b"}
        view.controls["stop"].click()
        seen = view.seen
        a.ping("10.0.0.2")
        assert view.seen == seen and "stopped" in shown.value and not view.controls["start"].disabled
        assert LiveView(b).text.startswith("b: stopped, 0 frames seen") and "LISTEN" in LiveView(b).text
    finally:
        a.close()
        b.close()
        driver.close()
