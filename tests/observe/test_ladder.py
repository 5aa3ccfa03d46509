"""The ladder: well-formed, the same each time, to scale, and with nothing written over anything."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from labstack import TcpConfig
from labstack.observe.ladder import Ladder, in_line
from labstack.observe.packet import Packet
from labstack.observe.trace import Trace
from tests.observe.runs import download

SVG = "{http://www.w3.org/2000/svg}"
CHARACTER = 0.602


@pytest.fixture(scope="module")
def trace() -> Trace:
    return download()


def boxes(svg: str) -> list[tuple[float, float, float, float, str]]:
    """Where each level text of the drawing is: left, top, right, bottom, text."""
    found = []
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if "Mono" not in (text.get("font-family") or ""):
            continue
        size = float(text.get("font-size"))
        x, y, width = float(text.get("x")), float(text.get("y")), len(text.text) * size * CHARACTER
        left = {"start": x, "end": x - width, "middle": x - width / 2}[text.get("text-anchor", "start")]
        found.append((left, y - size * 0.75, left + width, y + size * 0.2, text.text))
    return found


def overlaps(svg: str) -> list[tuple[str, str]]:
    places = boxes(svg)
    return [
        (one[4], other[4])
        for at, one in enumerate(places)
        for other in places[at + 1 :]
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]


@pytest.mark.feature("Observation", "A packet ladder: time to scale, losses and retransmissions marked")
def test_every_packet_is_there(trace: Trace) -> None:
    ladder = trace.ladder()
    labels = [box[4] for box in boxes(ladder.svg)]
    for packet in trace.packets:
        assert packet.label() in labels
    assert ladder.svg.count(">retransmission</text>") == 2  # on the arrow, and in the legend
    assert ladder.svg.count(">lost</text>") == 1
    assert ladder.text.count("\n") == len(trace)


def test_nothing_is_written_over_anything(trace: Trace) -> None:
    assert overlaps(trace.ladder().svg) == []
    busy = download(60_000, lose=12, rate="100 Mbit/s", delay="3 ms")
    assert overlaps(busy.ladder(limit=90).svg) == []
    ideal = download(9_000, lose=0, rate=None, delay=0)
    assert overlaps(ideal.ladder().svg) == []


def test_everything_lies_within_the_page(trace: Trace) -> None:
    svg = trace.ladder().svg
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width")), float(root.get("height"))
    assert all(box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height for box in boxes(svg))


def arrows(svg: str, colour: str) -> list[tuple[float, ...]]:
    lines = re.findall(rf'<line x1="(.*?)" y1="(.*?)" x2="(.*?)" y2="(.*?)" stroke="{colour}"', svg)
    return [tuple(map(float, line)) for line in lines if line[0] != line[2]]


def test_time_is_to_scale_within_a_burst(trace: Trace) -> None:
    data = [line for line in arrows(trace.ladder().svg, "#0072B2") if line[0] > line[2]][:8]
    feet = [line[1] for line in data]
    gaps = [after - before for before, after in pairwise(feet)]
    assert max(gaps) - min(gaps) < 0.3, "segments that leave at a steady pace stand at even distances"


def test_arrows_run_down_and_the_lost_one_ends_midway(trace: Trace) -> None:
    svg = trace.ladder().svg
    every = [*arrows(svg, "#0072B2"), *arrows(svg, "#6B7280"), *arrows(svg, "#009E73")]
    long = [line for line in every if abs(line[0] - line[2]) > 60 and line[1] > 60]
    spans = {round(abs(line[0] - line[2])) for line in long if line[3] != line[1]}
    assert spans == {330, 165}
    assert all(line[3] > line[1] for line in long if line[3] != line[1])


def test_pauses_are_shortened_and_marked() -> None:
    # Without SACK, two segments are too few for anything but the time-out.
    ladder = download(2_000, lose=1, tcp=TcpConfig(sack=False)).ladder()
    assert "time shortened" in ladder.svg
    assert float(ElementTree.fromstring(ladder.svg).get("height")) < 1200


def test_the_same_run_gives_the_same_bytes(trace: Trace) -> None:
    assert download().ladder().svg == trace.ladder().svg
    code = "from tests.observe.runs import download; print(download().ladder().svg)"
    root = Path(__file__).parents[2]
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env={"PYTHONPATH": str(root), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(results) == 1


def test_long_captures_are_cut(trace: Trace) -> None:
    ladder = trace.ladder(limit=5)
    assert len(ladder.packets) == 5
    assert f"… and {len(trace) - 5} more packets" in ladder.text
    assert f"… and {len(trace) - 5} more packets" in ladder.svg
    assert [p.number for p in trace.ladder(between=(0.11, 0.15)).packets] == [
        p.number for p in trace.packets if 0.11 <= p.seconds <= 0.15
    ]
    with pytest.raises(ValueError, match="write 1 or more"):
        trace.ladder(limit=0)


def test_names_are_escaped() -> None:
    packet = Packet(1, "w", "<a>&", "b", 0, 0, bytes(60), 1, arrived=5, fate="arrived")
    svg = Ladder([packet]).svg
    ElementTree.fromstring(svg)
    assert "&lt;a&gt;&amp;" in svg and "<a>" not in svg


def test_an_empty_ladder_is_still_a_picture() -> None:
    ladder = Ladder([])
    ElementTree.fromstring(ladder.svg)
    assert str(ladder) == "(no packets)"


def test_the_order_of_the_machines() -> None:
    def hop(number: int, sender: str, receiver: str) -> Packet:
        return Packet(number, "w", sender, receiver, number, number, bytes(60), number, number + 1, "arrived")

    assert in_line([hop(1, "r", "a"), hop(2, "r", "b")]) == ["a", "r", "b"]
    assert in_line([hop(1, "a", "r"), hop(2, "r", "s"), hop(3, "s", "b")]) == ["a", "r", "s", "b"]
    through = Ladder([hop(1, "a", "r"), hop(2, "r", "b"), hop(3, "b", "r")])
    ElementTree.fromstring(through.svg)
    with pytest.raises(ValueError, match="leaves out r"):
        Ladder([hop(1, "a", "r")], ["a"])


def test_the_text_in_full() -> None:
    trace = download(100, lose=0, rate=None, delay="1 ms")
    assert (
        str(trace.ladder(limit=6))
        == """\
    left s  a                                             b
  0.000000  |-- 1 ARP who has 10.0.0.2? tell 10.0.0.1 --->|  0.001000
  0.001000  |<-- 2 ARP 10.0.0.2 is at 02:00:00:00:00:02 --|  0.002000
  0.002000  |-- 3 SYN seq=0 MSS=1460 -------------------->|  0.003000
  0.003000  |<--------- 4 SYN, ACK seq=0 ack=1 MSS=1460 --|  0.004000
  0.004000  |-- 5 ACK ack=1 ----------------------------->|  0.005000
  0.004000  |-- 6 seq=1 ack=1 len=18 -------------------->|  0.005000
… and """
        + f"{len(trace) - 6} more packets (limit 6)"
    )


def test_saving(trace: Trace, tmp_path: Path) -> None:
    ladder = trace.ladder()
    assert ladder.save(tmp_path / "l.svg").read_text() == ladder.svg
    assert ladder.save(tmp_path / "l.txt").read_text() == f"{ladder}\n"
    with pytest.raises(ValueError, match=r"write \.svg or \.txt"):
        ladder.save(tmp_path / "l.png")


@pytest.mark.feature("Observation", "Ladders with windows: how much of its window each sender has used")
def test_windows_beside_the_labels() -> None:
    trace = download(60_000, 9)
    ladder = trace.ladder(windows=True)
    # The same from the frames: what b had sent, less what it had heard of, when each segment left.
    acked, highest, counted = 1, 1, {}
    moments = [(p.sent, p.number, p) for p in trace.packets if p.sender == "b" and p.payload_length]
    moments += [(p.arrived, p.number, p) for p in trace.packets if p.sender == "a" and p.fate == "arrived"]
    for _, number, packet in sorted(moments, key=lambda moment: moment[:2]):
        if packet.sender == "a":
            acked = max(acked, packet.relative_ack if packet.tcp else 1)
        elif not packet.retransmission:
            highest = packet.relative_seq + packet.payload_length
            counted[number] = highest - acked
    lost = next(packet for packet in trace.packets if packet.fate == "lost")
    # Until the loss is noticed, the two agree; then TCP knows of bytes that are no longer under way.
    early = {number: size for number, size in counted.items() if number < lost.number + 20}
    assert {number: ladder.windows[number][0] for number in early} == early and len(early) > 15
    shown = {packet.number for packet in ladder.packets}
    for number in shown & set(ladder.windows):
        flight, allowed = ladder.windows[number]
        assert f"in flight {flight:,} of {allowed:,}" in ladder.text
        assert 0 < flight <= allowed or number not in early
    boxes = re.findall(r'<rect [^>]*height="9"[^>]*>', ladder.svg)
    assert len(boxes) == 2 * len(shown & set(ladder.windows)) > 50
    assert "in flight, of 26,280 B" in ladder.svg and "in flight" not in trace.ladder().text
