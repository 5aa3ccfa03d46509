"""The congestion window over time, from what TCP reported at each change: nothing is sampled, nothing falls
between.

    trace.window(s)               cwnd, ssthresh, bytes in flight and the peer's window of the socket `s`
    trace.window(s).summary       the same in numbers

It needs the events of the machine at the sending end. RFC 5681 for what the names mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from labstack.core.events import Event
from labstack.observe import look
from labstack.observe.assembly import turned
from labstack.observe.beside import Beside, Side
from labstack.observe.charts import Chart, finish
from labstack.observe.packet import LOST, TURNED_AWAY
from labstack.physical.faults import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.trace import Trace

MARKS = {
    "tcp.fast_retransmit": "fast retransmit",
    "tcp.retransmission_timeout": "retransmission timeout",
    "tcp.tail_loss_probe": "tail loss probe",
    "tcp.slow_down": "congestion mark",
}
_SHAPES = {
    "fast retransmit": ("v", look.ORANGE),
    "retransmission timeout": ("s", look.PURPLE),
    "tail loss probe": ("d", look.GREEN),
    "congestion mark": ("|", look.PURPLE),
    "packet lost": ("x", look.VERMILION),
    "retransmission": ("^", look.INK),
}
_PHASES = {
    "slow start": look.PALE_BLUE, "congestion avoidance": look.PALE_GREEN, "recovery": look.PALE_ORANGE,
    "loss": look.PALE_VERMILION,
}  # fmt: skip


class Point(NamedTuple):
    """The windows from `time` (seconds) on, in bytes; `ssthresh` is None while it is infinite."""

    time: float
    cwnd: int
    ssthresh: int | None
    in_flight: int
    peer_window: int


class WindowChart(Chart):
    """The windows of one end of a connection. `points`, `marks` (seconds, what) and `phases` (seconds,
    seconds, name) hold what is drawn. Raises ValueError when that end reported nothing."""

    def __init__(self, trace: Trace, flow: Flow) -> None:
        self.flow = flow
        self._seconds = trace.seconds
        local, peer = (f"{address}:{port}" for address, port in (flow[:2], flow[2:]))
        mine = [
            event
            for event in trace.events
            if event.fields.get("local") == local and event.fields.get("peer") == peer
        ]
        sizes = itemgetter("cwnd", "ssthresh", "in_flight", "peer_window")
        self.points = [
            Point(self._seconds(event.time), *sizes(event.fields))
            for event in mine
            if event.rule.name == "tcp.window"
        ]
        if not self.points:
            raise ValueError(
                f"{local} reported no window towards {peer}: "
                "was the capture started before the connection, and is that end a labstack host?"
            )
        host = mine[0].host
        self.name = host
        """Whose windows they are, beside others."""
        self.title = f"Congestion window of {host}, {local} → {peer}"
        packets = [packet for packet in trace.choose(flow) if packet.flow == flow]
        self.end = max([self.points[-1].time, *(self._seconds(packet.sent) for packet in packets)])
        # A timer that fires does not say for which connection: what it causes does.
        caused = {event.cause for event in mine}
        self.marks = [
            (self._seconds(event.time), MARKS[event.rule.name])
            for event in trace.events
            if event.rule.name in MARKS
            and event.host == host
            and (event.fields.get("local") == local if event.fields else event.number in caused)
            and event.fields.get("peer") in {peer, None}
        ]
        self.marks += [
            (self._seconds(p.departed), "packet lost") for p in packets if p.fate in {LOST, *TURNED_AWAY}
        ]
        self.marks += [
            (self._seconds(p.sent), "retransmission")
            for p in packets
            if p.retransmission and p.sender == host
        ]
        self.marks.sort()
        self.phases = self._phases([event for event in mine if event.rule.name == "tcp.phase"])

    def beside(self, *others: Side) -> Beside:
        """These windows with others laid over them: those of a `LinuxFlow`, or of another `WindowChart`."""
        return Beside(self, *others)

    def _phases(self, events: list[Event]) -> list[tuple[float, float, str]]:
        starts = [(self._seconds(event.time), str(event.fields.get("phase"))) for event in events]
        ends = [time for time, _ in starts[1:]] + [self.end]
        return [(start, end, name) for (start, name), end in zip(starts, ends, strict=True) if end > start]

    @property
    def summary(self) -> str:
        peak = max(self.points, key=lambda point: (point.cwnd, -point.time))
        flight = max(self.points, key=lambda point: (point.in_flight, -point.time))
        words = [f"peak cwnd {peak.cwnd:,} bytes at {peak.time:.6f} s"]
        words.append(f"most in flight {flight.in_flight:,} bytes at {flight.time:.6f} s")
        words += self._thresholds()
        for what in _SHAPES:
            times = sum(1 for _, name in self.marks if name == what)
            if times:
                words.append(f"{times} × {what}")
        return "; ".join(words)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        columns = ["time s", "cwnd", "ssthresh", "in flight", "peer's window"]
        return columns, list(self.points)

    def _thresholds(self) -> list[str]:
        words = []
        before = self.points[0].ssthresh
        for point in self.points[1:]:
            if point.ssthresh != before:
                start = "infinite" if before is None else f"{before:,}"
                end = "infinite" if point.ssthresh is None else f"{point.ssthresh:,}"
                words.append(f"ssthresh from {start} to {end} bytes at {point.time:.6f} s")
                before = point.ssthresh
        if not words:
            words.append(f"ssthresh {'infinite' if before is None else f'{before:,} bytes'} throughout")
        if len(words) > 4:
            words = [*words[:3], f"ssthresh changed {len(words) - 3} times more"]
        return words

    def _draw(self, axes: Axes) -> None:
        at, cwnd, ssthresh, flight, peer = zip(*self.points, strict=True)
        times = [*at, self.end]
        top = max(*cwnd, *flight)

        def line(values: Sequence[float], **how: Any) -> None:
            axes.step(times, [*values, values[-1]], where="post", **how)

        line(cwnd, color=look.BLUE, linewidth=2.2, label="cwnd")
        if any(ssthresh):
            threshold = [value or nan for value in ssthresh]
            line(threshold, color=look.VERMILION, linewidth=1.3, linestyle=(0, (4, 2)), label="ssthresh")
        axes.fill_between(times, [*flight, flight[-1]], step="post", color=look.FILLED, alpha=0.75,
                          linewidth=0, label="in flight")  # fmt: skip
        if min(peer) <= 1.6 * top:
            line(peer, color=look.GREEN, linewidth=1.5, linestyle=(0, (1, 1)), label="peer's window")
        else:
            axes.plot([], [], " ", label=f"(peer's window: {min(peer):,.0f} or more)")
        self._mark(axes, top)
        self._shade(axes)
        axes.set_xlim(self.points[0].time, self.end if self.end > self.points[0].time else None)
        finish(axes, self.title)
        axes.set_ylim(0, top * 1.2)

    def _shade(self, axes: Axes) -> None:
        whole = self.end - self.points[0].time
        named: set[str] = set()
        for start, end, name in self.phases:
            if end - start < 0.002 * whole:
                continue
            label = None if name in named else name
            named.add(name)
            axes.axvspan(start, end, color=_PHASES.get(name, look.BAND), linewidth=0, zorder=0, label=label)
            if (end - start) / whole > 0.016 * len(name):
                axes.text((start + end) / 2, 0.94, name, ha="center", fontsize=8.5, color=look.GREY,
                          transform=axes.get_xaxis_transform())  # fmt: skip

    def _mark(self, axes: Axes, top: float) -> None:
        """What went wrong stands in rows at the foot of the chart, what TCP did about it above."""
        for what, (shape, colour) in _SHAPES.items():
            times = [time for time, name in self.marks if name == what]
            if times:
                height = {"packet lost": 0.03, "retransmission": 0.075}.get(what, 0.125) * top
                edge = 2 if shape in "x|" else 0.5
                axes.plot(times, [height] * len(times), shape, color=colour, markersize=6,
                          markeredgewidth=edge, label=what, zorder=5)  # fmt: skip


def busier_side(trace: Trace, flow: Flow) -> Flow:
    """Of the two directions of a flow, the one that carried more bytes: where the congestion window
    matters."""
    packets = trace.choose(flow)
    there = sum(packet.payload_length for packet in packets if packet.flow == flow)
    return flow if 2 * there >= sum(packet.payload_length for packet in packets) else turned(flow)
