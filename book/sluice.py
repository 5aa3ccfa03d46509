"""Chapter 21's pictures and measurements: a window that slides, and how fast a stream is by its window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from doors import pair

from labstack import Network, TcpConfig
from labstack.headers.tcp import ACK
from labstack.observe import look
from labstack.observe.charts import Chart
from labstack.observe.trace import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MSS = 1460
WIRE = 94.9
"""Mbit/s of a stream that 100 Mbit/s of Ethernet carry: 1,460 of the 1,538 bytes that a full frame takes."""
WIDTH, LEFT, ROW = 470.0, 230.0, 46.0
HOLDS_LEFT = 120.0


class Moment(NamedTuple):
    """What b has at a moment, in bytes from the stream's begin: what its program has read; what has come; and
    the window's right edge, as b last told it."""

    what: str
    read: int
    come: int
    edge: int

    @property
    def window(self) -> int:
        return self.edge - self.come


def moment(trace: Trace, what: str, read: int) -> Moment:
    """Now, as the last segment from b tells it."""
    last = [p for p in trace.packets if p.tcp and p.sender == "b"][-1]
    assert last.tcp is not None
    come = last.relative_ack - 1 if last.tcp.flags & ACK else 0
    return Moment(what, read, come, come + last.tcp.window)


class Sliding(look.Picture):
    """The window at several moments, on one axis: the bytes of the stream."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        self.moments = list(moments)

    @property
    def text(self) -> str:
        rows = [("", "read", "waiting", "window", "up to byte")]
        rows += [
            (m.what, f"{m.read:,}", f"{m.come - m.read:,}", f"{m.window:,}" if m.window else "shut",
             f"{m.edge:,}")
            for m in self.moments
        ]  # fmt: skip
        return look.align(rows, right=frozenset({1, 2, 3, 4}))

    @property
    def svg(self) -> str:
        drawing = look.Drawing("the receiver's window, at several moments")
        scale = WIDTH / max(m.edge for m in self.moments)
        x = LEFT
        for fill, words in (
            (look.BAND, "read"),
            (look.PALE_ORANGE, "waits to be read"),
            (look.PALE_GREEN, "window"),
        ):
            drawing.box(x, 12, 16, 16, fill=fill, stroke=look.INK)
            drawing.words(x + 22, 24, words, size=11)
            x += 36 + look.width_of(words, 11)
        for at, m in enumerate(self.moments):
            y = 44 + at * ROW
            drawing.words(LEFT - 12, y + 19, m.what, size=11, anchor="end")
            parts = (
                (0, m.read, look.BAND),
                (m.read, m.come, look.PALE_ORANGE),
                (m.come, m.edge, look.PALE_GREEN),
            )
            for begin, end, fill in parts:
                if end > begin:
                    drawing.box(
                        LEFT + begin * scale, y, (end - begin) * scale, 30, fill=fill, stroke=look.INK
                    )
                    middle = LEFT + (begin + end) / 2 * scale
                    drawing.words(middle, y + 19, f"{end - begin:,}", size=11, anchor="middle")
            if not m.window:
                edge = LEFT + m.edge * scale
                drawing.line(edge, y - 5, edge, y + 35, colour=look.VERMILION, width=4)
                drawing.words(edge + 8, y + 19, "shut", size=11, colour=look.VERMILION, bold=True)
        bottom = 44 + len(self.moments) * ROW
        drawing.line(LEFT, bottom, LEFT + WIDTH, bottom, colour=look.INK)
        drawing.words(LEFT, bottom + 15, "0", size=10, colour=look.GREY, anchor="middle")
        drawing.words(
            LEFT + WIDTH, bottom + 15, f"byte {max(m.edge for m in self.moments):,} of the stream", size=10,
            colour=look.GREY, anchor="end",
        )  # fmt: skip
        return drawing.svg(LEFT + WIDTH + 20, bottom + 26)


def rate(window: int, rtt: int = 100, wire: str = "100 Mbit/s", scaling: bool = True) -> float:
    """Mbit/s of a stream to a receiver with so large a buffer that reads at once, `rtt` milliseconds there
    and back. Congestion control holds nothing back, and nothing is lost."""
    net = Network(seed=21)
    a = net.host("a", "10.0.0.1/24", tcp=TcpConfig(initial_window=100_000, send_buffer=1 << 26))
    b = net.host("b", "10.0.0.2/24", tcp=TcpConfig(receive_buffer=window, window_scaling=scaling))
    net.wire(a, b, rate=wire, delay=f"{rtt / 2} ms", queue="64 MiB")
    a.ping("b")
    with net:
        s, t = pair(a, b)
        # Whole windows of full segments, so that none waits for company: the first two are not measured.
        whole = (window if scaling else min(window, 65_535)) // (2 * MSS) * 2 * MSS
        a.spawn(s.sendall, bytes(5 * whole))
        stream = t.makefile("rb")
        stream.read(2 * whole)
        start = net.now
        stream.read(3 * whole)
        return 3 * whole * 8 / (net.now - start) / 1e6


def formula(window: float, rtt: float) -> float:
    """Mbit/s: a window each round trip, and no more than the wire of 100 Mbit/s carries."""
    return min(WIRE, window * 8 / rtt / 1000)


class Rates(Chart):
    """How fast a stream is by its window: measured, as {round trip in ms: {window in bytes: Mbit/s}}, and by
    the formula."""

    def __init__(self, runs: dict[int, dict[int, float]]) -> None:
        self.runs = runs

    @property
    def summary(self) -> str:
        windows = list(next(iter(self.runs.values())))
        rows = [("window, bytes", *(f"{window:,}" for window in windows))]
        for rtt, points in self.runs.items():
            rows.append((f"RTT {rtt} ms, Mbit/s", *(f"{points[w]:.2f}" for w in windows)))
            rows.append(("  formula", *(f"{formula(w, rtt):.2f}" for w in windows)))
        return look.align(rows, frozenset(range(1, len(windows) + 1)))

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [(rtt, w, mbit) for rtt, points in self.runs.items() for w, mbit in points.items()]
        return ["rtt ms", "window", "Mbit/s"], rows

    def _draw(self, axes: Axes) -> None:
        windows = sorted({window for points in self.runs.values() for window in points})
        line = [windows[0] * (windows[-1] / windows[0]) ** (k / 100) for k in range(101)]
        looks = [(look.BLUE, "o", "-"), (look.VERMILION, "s", (0, (4, 2)))]
        for (rtt, points), (colour, marker, dash) in zip(self.runs.items(), looks, strict=False):
            axes.plot(line, [formula(w, rtt) for w in line], color=colour, lw=1.2, linestyle=dash)
            axes.plot(list(points), list(points.values()), marker, color=colour, ms=7, label=f"RTT {rtt} ms")
        axes.axvline(65_535, color=look.GREY, lw=1, linestyle=":")
        axes.text(68_000, 1, "65,535", fontsize=9, color=look.GREY)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(windows, [f"{window / 1000:,.0f}" for window in windows])
        axes.set_yticks([1, 10, 100], ["1", "10", "100"])
        axes.set_xlabel("window (kB)")
        axes.set_ylabel("throughput (Mbit/s)")
        axes.set_title("Measured, and window / RTT, on a wire of 100 Mbit/s", pad=12)
        axes.legend(loc="upper left", fontsize=9)


class Holds(look.Picture):
    """What fits on the way, and what the window holds, in bytes; the stream's Mbit/s, and the wire's."""

    def __init__(self, product: int, window: int, measured: float, wire: int) -> None:
        self.product = product
        self.window = window
        self.measured = measured
        self.wire = wire
        self.holds = "the window" if window < product else "the wire"

    @property
    def text(self) -> str:
        return (
            f"{self.measured:.2f} Mbit/s\nbandwidth-delay product {self.product:,} bytes, "
            f"window {self.window:,}: {self.holds} holds it back"
        )

    @property
    def svg(self) -> str:
        drawing = look.Drawing(self.text)
        rows = (
            ("fits on the way", self.product, look.PALE_BLUE, f"{self.product:,} bytes"),
            ("window", self.window, look.PALE_GREEN, f"{self.window:,} bytes"),
            ("wire", self.wire, look.PALE_BLUE, f"{self.wire} Mbit/s"),
            ("stream", self.measured, look.PALE_ORANGE, f"{self.measured:.2f} Mbit/s"),
        )
        for at, (name, value, fill, words) in enumerate(rows):
            y = 12 + at * 34 + at // 2 * 14
            most = max(rows[at // 2 * 2][1], rows[at // 2 * 2 + 1][1])
            drawing.words(HOLDS_LEFT - 12, y + 17, name, size=12, anchor="end")
            drawing.box(HOLDS_LEFT, y, WIDTH * value / most, 26, fill=fill, stroke=look.INK)
            drawing.words(HOLDS_LEFT + WIDTH * value / most + 8, y + 17, words, size=11)
        drawing.words(HOLDS_LEFT, 182, f"{self.holds} holds it back", size=12, bold=True)
        return drawing.svg(HOLDS_LEFT + WIDTH + 120, 194)


def play(buffer: int, rtt: int, wire: str) -> Holds:
    """How fast a stream is, with `buffer` kilobytes at the receiver and `rtt` milliseconds; what holds it
    back."""
    window = max(buffer * 1000 // (2 * MSS), 1) * 2 * MSS
    mbit = int(wire.split()[0])
    return Holds(mbit * rtt * 125, window, rate(window, rtt, wire), mbit)
