"""One look, light and dark: every colour has its partner, letters can be read on either paper, and lines can
be told apart, by whoever sees colours in another way too."""

import re
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest

from labstack.observe import header_diagram, look
from labstack.observe.trace import Trace
from tests.observe.runs import download

LINES = [look.BLUE, look.VERMILION, look.GREEN, look.ORANGE, look.SKY, look.PURPLE, look.GREY, look.INK]
BACKGROUNDS = [
    look.PAPER, look.BAND, look.MARKED, look.SHORTENED, look.PALE_BLUE, look.PALE_GREEN, look.PALE_ORANGE,
    look.PALE_VERMILION, *look.LAYERS.values(), look.STRONG_GREEN,
]  # fmt: skip
# Machado, Oliveira and Fernandes (2009), severity 1: linear red, green and blue as others see them.
SIGHTS = {
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return download(40_000, 9)


def linear(colour: str) -> list[float]:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, 1.4.3."""
    light, dark = sorted(
        (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (one, other)),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


def lab(colour: str, sight: str) -> list[float]:
    """In CIE L*a*b*, where a distance is about as large as it looks."""
    seen = [
        min(max(sum(w * c for w, c in zip(row, linear(colour), strict=True)), 0), 1) for row in SIGHTS[sight]
    ]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [
        sum(w * c for w, c in zip(row, seen, strict=True)) / n
        for row, n in zip(to_xyz, (0.9505, 1, 1.089), strict=True)
    ]
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("look_of", [lambda colour: colour, look.DARK.__getitem__], ids=["light", "dark"])
def test_letters_and_lines_stand_out(look_of) -> None:
    for paper in BACKGROUNDS:
        assert contrast(look_of(look.INK), look_of(paper)) > 7, paper
    for colour in LINES:
        assert contrast(look_of(colour), look_of(look.PAPER)) > 2  # orange and sky: for lines, not letters
    assert contrast(look_of(look.GREY), look_of(look.BAND)) > 4


@pytest.mark.feature(
    "Observation", "One look, dark and light, in colours that colour-blind readers tell apart"
)
@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("look_of", [lambda colour: colour, look.DARK.__getitem__], ids=["light", "dark"])
def test_lines_can_be_told_apart(look_of, sight: str) -> None:
    # What is drawn as lines in one chart; sky and grey only ever stand beside words or a dash of their own.
    for one, other in combinations((look.BLUE, look.VERMILION, look.GREEN, look.ORANGE), 2):
        a, b = lab(look_of(one), sight), lab(look_of(other), sight)
        distance = sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5
        assert distance > 11, f"{one} and {other} are {distance:.1f} apart"


def test_every_colour_comes_from_the_look() -> None:
    folder = Path(look.__file__).parent
    for path in folder.glob("*.py"):
        found = set(re.findall("#[0-9A-Fa-f]{6}", path.read_text()))
        assert not found or path.name == "look.py", f"{path.name} has colours of its own: {found}"
    assert not set(look.DARK) & set(look.DARK.values())
    named = {v for v in vars(look).values() if isinstance(v, str) and re.fullmatch("#[0-9A-F]{6}", v)}
    assert named | set(look.LAYERS.values()) == set(look.DARK)


def test_a_drawing_turns_dark(trace: Trace, tmp_path: Path) -> None:
    for picture in (trace.ladder(), header_diagram(trace[3].tcp, {"seq"}), trace.dissect(3), trace.states()):
        light, dark = picture.svg, picture.dark._repr_svg_()
        assert picture._repr_svg_() == light, "light unless asked"
        used = set(re.findall("#[0-9A-F]{6}", light))
        assert used <= set(look.DARK) and not used & set(re.findall("#[0-9A-F]{6}", dark))
        assert re.sub("#[0-9A-F]{6}", "", light) == re.sub("#[0-9A-F]{6}", "", dark)
        assert picture.dark.text == picture.text
        assert look.DARK[look.PAPER] in picture.dark.save(tmp_path / "dark.svg").read_text()
        # In a page the drawing is the light one, and a rule for each colour turns it where the page is dark.
        assert light.partition("width=")[2] in picture.themed
        assert all(picture.themed.count(f":{look.DARK[colour]}!important}}") >= 1 for colour in used)


def test_a_chart_turns_dark(trace: Trace) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.colors import to_hex, to_rgba_array

    for chart in (trace.window(), trace.time_sequence(), trace.queue(), trace.throughput(), trace.arp()):
        dark = chart.dark
        assert dark.summary == chart.summary and dark.figure is not chart.figure
        shown: dict[bool, set[str]] = {}
        for figure in (chart.figure, dark.figure):
            found = set()
            for artist in figure.findobj():
                for what in ("get_facecolor", "get_edgecolor", "get_color"):
                    value = getattr(artist, what, lambda: "none")()
                    with suppress(ValueError):  # "auto", and what an artist without colours gives
                        found |= {to_hex(one).upper() for one in to_rgba_array(value)}
            shown[figure is dark.figure] = found
        assert look.PAPER in shown[False] and look.DARK[look.PAPER] in shown[True]
        assert not shown[True] & set(look.DARK), "no light colour is left"
        assert {look.DARK.get(colour, colour) for colour in shown[False]} == shown[True]
        assert chart.themed.count("data:image/png;base64,") == 2


@pytest.mark.feature("Observation", "Each picture has its text and its table")
def test_every_picture_has_a_text_and_a_table(trace: Trace) -> None:
    ladder, header, frame = trace.ladder(), header_diagram(trace[3].tcp), trace.dissect(3)
    assert list(ladder.table()["no"]) == [packet.number for packet in ladder.packets]
    assert set(ladder.table()["fate"]) == {"arrived", "lost"}
    assert dict(zip(header.table()["field"], header.table()["value"], strict=True))["dst_port"] == "80"
    assert header.table()["bits"].sum() == 160
    assert list(frame.table()["layer"].unique()) == ["Ethernet", "IPv4", "TCP"]
    charts = (
        trace.window(), trace.time_sequence(), trace.throughput(), trace.round_trips(), trace.queue(),
        trace.bytes_over_time(), trace.arp(), trace.routes(), trace.connection(), trace.states(),
        trace.log("tcp.state"),
    )  # fmt: skip
    for shown in (ladder, header, frame, *charts):
        assert len(str(shown)) > 40 and len(shown.table()) > 0, shown
