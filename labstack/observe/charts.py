"""Charts over time, drawn with matplotlib: what they share, and the stairs of bytes over time.

A chart shows itself as a PNG image, and its text is a summary in numbers: images may differ by a hair
between versions of matplotlib, the summary never does.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from copy import copy
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from labstack.core.addresses import IPAddress
from labstack.core.seq import seq_sub
from labstack.core.units import SECOND
from labstack.headers.tcp import SYN
from labstack.observe import look
from labstack.observe.assembly import turned
from labstack.observe.packet import ARRIVED, Packet
from labstack.observe.quiet import quiet
from labstack.physical.faults import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from labstack.observe.trace import Trace

WIDTH, HEIGHT = 8.6, 4.3
DPI = 100


def as_flow(of: object) -> Flow:
    """A flow from a connected socket, or from (source, port, destination, port). Raises ValueError in a
    sentence."""
    if isinstance(of, tuple) and len(of) == 4:
        src, src_port, dst, dst_port = of
        return (_address(src), int(src_port), _address(dst), int(dst_port))
    flow: Flow | None = getattr(of, "flow", None)
    if flow is None:
        raise ValueError(f"{of!r} was never connected: pass a socket that was, or one of trace.flows")
    return flow


def _address(value: object) -> IPAddress:
    return value if isinstance(value, IPAddress) else IPAddress.parse(str(value))


class Chart(look.Shown):
    """A chart of a flow. `figure` is matplotlib's, to be changed at will; `summary` says the same in
    numbers."""

    height = HEIGHT
    """In inches, as matplotlib counts: 100 pixels."""
    _dark = False

    @property
    def dark(self) -> Self:
        """The same chart on dark paper."""
        other = copy(self)
        other.__dict__.pop("figure", None)
        other._dark = True
        return other

    @cached_property
    def figure(self) -> Figure:
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise look.missing("matplotlib") from error
        with quiet(), self._look():
            figure = Figure(figsize=(WIDTH, self.height), dpi=DPI, layout="constrained")
            self._draw_on(figure)
        if self._dark:
            look.darken(figure)
        return figure

    def _draw_on(self, figure: Figure) -> None:
        self._draw(figure.add_subplot())

    def _look(self) -> AbstractContextManager[None]:
        from matplotlib import rc_context

        how = {name: look.DARK.get(str(value), value) for name, value in look.CHART.items()}
        return rc_context(how if self._dark else look.CHART)  # type: ignore[arg-type]

    @property
    def summary(self) -> str:
        """What the chart shows, in numbers."""
        raise NotImplementedError

    @property
    def text(self) -> str:
        return self.summary

    def save(self, path: str | Path) -> Path:
        """Write the chart to a file: .png, .svg or .pdf by its ending, or its summary to .txt."""
        path = Path(path)
        if path.suffix == ".txt":
            path.write_text(self.summary + "\n", encoding="utf-8")
        else:
            path.write_bytes(self._image(path.suffix[1:] or "png"))
        return path

    def _image(self, form: str) -> bytes:
        figure = self.figure
        # Without its date, the same chart is the same bytes.
        dates: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        image = io.BytesIO()
        with quiet(), self._look():
            figure.savefig(image, format=form, dpi=2 * DPI, metadata=dates.get(form))
        return image.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Drawn at twice its size, for screens with fine dots."""
        return self._image("png"), {"width": round(WIDTH * DPI), "height": round(self.height * DPI)}

    @property
    def themed(self) -> str:
        """The chart as a part of a page, with the look of that page."""
        return look.themed_image(self._image("png"), self.dark._image("png"), self.text, round(WIDTH * DPI))

    def _draw(self, axes: Axes) -> None:
        raise NotImplementedError


def finish(axes: Axes, title: str, unit: str = "bytes") -> None:
    """Axes with units, thousands with commas, and a legend beneath the chart."""
    from matplotlib.ticker import FuncFormatter

    axes.set_title(title, pad=12)
    axes.set_xlabel("time (seconds)")
    axes.set_ylabel(unit)
    if axes.get_ylim()[1] > 20:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylim(bottom=0)
    # matplotlib fills a legend column by column; a reader reads it row by row.
    handles, labels = axes.get_legend_handles_labels()
    columns = min(4, len(labels))
    if not labels:
        return
    order = [at for column in range(columns) for at in range(column, len(labels), columns)]
    axes.legend([handles[at] for at in order], [labels[at] for at in order], loc="upper center",
                bbox_to_anchor=(0.5, -0.14), ncols=columns, fontsize=9)  # fmt: skip


class BytesOverTime(Chart):
    """The stairs: how many bytes of the stream had left one end, and had come to the other, at each time.

    Every byte counts once, when it left (came) for the first time: sending it again makes no new step.
    """

    def __init__(self, trace: Trace, flow: Flow) -> None:
        self.flow = flow
        packets = trace.choose(flow)
        self.names = names(packets, flow)
        self.sent: dict[Flow, list[tuple[float, int]]] = {}
        """For each direction, (seconds, bytes up to then)."""
        self.arrived: dict[Flow, list[tuple[float, int]]] = {}
        for way in (flow, turned(flow)):
            mine = [packet for packet in packets if packet.flow == way and packet.payload_length]
            # Across a router the same bytes are seen on two wires: they leave on the first and arrive on
            # the last.
            devices = list(dict.fromkeys(packet.device for packet in mine))
            first = [(p.departed, p) for p in mine if p.device == devices[0] and p.fate != "queue full"]
            last = [
                (p.arrived, p)
                for p in mine
                if p.device == devices[-1] and p.arrived is not None and p.fate == ARRIVED
            ]
            self.sent[way] = stairs(first, trace.origin)
            self.arrived[way] = stairs(last, trace.origin)
        if not any(self.sent.values()):
            raise ValueError(
                f"{flow[0]}:{flow[1]} and {flow[2]}:{flow[3]} sent each other no data in this trace"
            )

    @property
    def summary(self) -> str:
        lines = []
        for way, label in zip((self.flow, turned(self.flow)), self._labels(), strict=True):
            sent, arrived = self.sent[way], self.arrived[way]
            if not sent:
                lines.append(f"{label}: no data")
                continue
            begun, ended = f"{sent[0][0]:.6f} s", f"{sent[-1][0]:.6f} s"
            when = f"at {begun}" if begun == ended else f"from {begun} to {ended}"
            line = f"{label}: {sent[-1][1]:,} bytes sent {when}, {arrived[-1][1] if arrived else 0:,} arrived"
            if len(arrived) > 1:
                rate = arrived[-1][1] * 8 / (arrived[-1][0] - sent[0][0])
                line += f" by {arrived[-1][0]:.6f} s: {rate:,.0f} bit/s"
            elif arrived:
                line += f" at {arrived[0][0]:.6f} s"
            lines.append(line)
        return "\n".join(lines)

    def _labels(self) -> list[str]:
        a, b = self.names
        return [f"{a} → {b}", f"{b} → {a}"]

    def _draw(self, axes: Axes) -> None:
        every = [steps for both in (self.sent, self.arrived) for steps in both.values() if steps]
        first, last = min(steps[0][0] for steps in every), max(steps[-1][0] for steps in every)
        colours = (look.BLUE, look.ORANGE)
        for way, label, colour in zip((self.flow, turned(self.flow)), self._labels(), colours, strict=True):
            for steps, what, dashes in (
                (self.sent[way], "sent", "-"),
                (self.arrived[way], "arrived", (0, (3, 1.2))),
            ):
                if steps:
                    points = [(first, 0), *steps, (last, steps[-1][1])]
                    times, totals = zip(*points, strict=True)
                    width = 1.7 if what == "sent" else 1.4
                    axes.step(times, totals, where="post", color=colour, linestyle=dashes, linewidth=width,
                              label=f"{label}: {what}")  # fmt: skip
        finish(axes, f"Bytes over time, {self.names[0]} and {self.names[1]}")

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = []
        for way, label in zip((self.flow, turned(self.flow)), self._labels(), strict=True):
            for what, steps in (("sent", self.sent[way]), ("arrived", self.arrived[way])):
                rows += [(time, label, what, total) for time, total in steps]
        return ["time s", "direction", "what", "bytes"], sorted(rows, key=lambda row: row[0])


def names(packets: list[Packet], flow: Flow) -> tuple[str, str]:
    """The machines at the flow's ends, or their addresses where the capture does not say."""
    there = [packet for packet in packets if packet.flow == flow]
    if not there:
        return str(flow[0]), str(flow[2])
    return there[0].sender, there[-1].receiver


def stairs(packets: list[tuple[int, Packet]], origin: int) -> list[tuple[float, int]]:
    """(seconds, bytes so far) at each time when new bytes of the stream passed."""
    steps: list[tuple[float, int]] = []
    seen: list[tuple[int, int]] = []
    total, base = 0, None
    # At the same time, in the order in which they were sent: sorting is stable.
    for time, packet in sorted([(t, p) for t, p in packets if t is not None], key=itemgetter(0)):
        tcp = packet.tcp
        if tcp is None:
            total += packet.payload_length
        else:
            base = tcp.seq if base is None else base
            start = seq_sub(tcp.seq, base) + bool(tcp.flags & SYN)
            new = _add(seen, start, start + packet.payload_length)
            if not new:
                continue
            total += new
        steps.append(((time - origin) / SECOND, total))
    return steps


def _add(seen: list[tuple[int, int]], start: int, end: int) -> int:
    """Put the range into `seen`, a sorted list of ranges apart from each other; return how much of it was
    new."""
    if not seen or start > seen[-1][1]:
        seen.append((start, end))
        return end - start
    if start == seen[-1][1]:
        seen[-1] = (seen[-1][0], end)
        return end - start
    new = end - start
    kept: list[tuple[int, int]] = []
    for left, right in seen:
        if right < start or left > end:
            kept.append((left, right))
            continue
        new -= max(0, min(right, end) - max(left, start))
        start, end = min(start, left), max(end, right)
    seen[:] = sorted([*kept, (start, end)])
    return max(new, 0)
