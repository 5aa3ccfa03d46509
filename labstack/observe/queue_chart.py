"""The send queues of a wire over time: bytes that wait at each end for the line to be free, and what was
dropped or marked. Reckoned from the frames: each waits from when it was handed to the wire until its first
bit left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labstack.core.units import SECOND
from labstack.headers.ethernet import FCS_LENGTH, MIN_FRAME
from labstack.observe import look
from labstack.observe.charts import Chart, finish
from labstack.observe.packet import TURNED_AWAY
from labstack.physical.wire import DEPARTED, QUEUE_DROPPED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.trace import Trace

_COLOURS = (look.BLUE, look.ORANGE, look.GREEN, look.PURPLE)


class QueueChart(Chart):
    """The queues of one device (all of the trace's, by default). `levels` holds (seconds, bytes) for each
    (machine, device), `drops` the (seconds, machine, packet) that a queue turned away, full or not, and
    `marks` those that it marked (ECN)."""

    def __init__(self, trace: Trace, device: str | None = None) -> None:
        packets = [p for p in trace.packets if not p.copy_of and device in (None, p.device)]
        if not packets:
            raise ValueError(
                f"no packet crossed {device!r} in this trace" if device else "this trace is empty"
            )
        self.drops: list[tuple[float, str, int]] = [
            ((packet.departed - trace.origin) / SECOND, packet.sender, packet.number)
            for packet in packets
            if packet.fate in TURNED_AWAY
        ]
        self.marks: list[tuple[float, str, int]] = [
            ((packet.departed - trace.origin) / SECOND, packet.sender, packet.number)
            for packet in packets
            if packet.marked
        ]
        self.levels: dict[tuple[str, str], list[tuple[float, int]]] = {
            (packet.sender, packet.device): [] for packet in packets
        }
        queued = {packet.event: packet for packet in packets if packet.departed > packet.sent}
        shown = {(packet.device, packet.number): packet for packet in queued.values()}
        level = dict.fromkeys(self.levels, 0)
        # In the order of the events: within one instant much may come before the first leaves.
        for event in trace.events:
            packet, way = queued.get(event.number), 1
            if packet is None and event.rule in (DEPARTED, QUEUE_DROPPED):
                packet, way = shown.get((event.host, event.fields["number"])), -1  # type: ignore[arg-type]
            if packet is not None:
                place = (packet.sender, packet.device)
                level[place] += way * (max(len(packet.frame), MIN_FRAME) + FCS_LENGTH)
                self.levels[place].append(((event.time - trace.origin) / SECOND, level[place]))
        self.start = (packets[0].sent - trace.origin) / SECOND
        self.end = (max(packet.arrived or packet.departed for packet in packets) - trace.origin) / SECOND

    @property
    def summary(self) -> str:
        words = []
        for (host, device), steps in self.levels.items():
            drops = sum(1 for _, machine, _ in self.drops if machine == host)
            if not steps:
                words.append(f"{host} on {device}: nothing waited")
            else:
                time, most = max(steps, key=lambda step: (step[1], -step[0]))
                words.append(
                    f"{host} on {device}: most {most:,} bytes at {time:.6f} s, "
                    f"{self._mean(steps):,.0f} on average"
                )
            if drops:
                words[-1] += f", {drops} dropped"
            marks = sum(1 for _, machine, _ in self.marks if machine == host)
            if marks:
                words[-1] += f", {marks} marked"
        return "\n".join(words)

    def _mean(self, steps: list[tuple[float, int]]) -> float:
        """Over the time of the whole trace."""
        ends = [time for time, _ in steps[1:]] + [max(self.end, steps[-1][0])]
        area = sum(level * (end - time) for (time, level), end in zip(steps, ends, strict=True))
        return area / (self.end - self.start) if self.end > self.start else 0.0

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = [
            (time, host, device, level)
            for (host, device), steps in self.levels.items()
            for time, level in steps
        ]
        return ["time s", "host", "device", "bytes waiting"], sorted(rows, key=lambda row: row[0])

    def _draw(self, axes: Axes) -> None:
        shown = [(place, steps) for place, steps in self.levels.items() if steps]
        top = max((level for _, steps in shown for _, level in steps), default=1)
        for ((host, device), steps), colour in zip(shown, _COLOURS * len(shown), strict=False):
            times, levels = zip(*[(self.start, 0), *steps, (self.end, steps[-1][1])], strict=True)
            axes.fill_between(times, levels, step="post", color=colour, alpha=0.18, linewidth=0)
            axes.step(times, levels, where="post", color=colour, linewidth=1.5, label=f"{host} on {device}")
        if self.drops:
            axes.plot([time for time, _, _ in self.drops], [top * 1.06] * len(self.drops), "x",
                      color=look.VERMILION, markersize=7, markeredgewidth=2,
                      label="dropped")  # fmt: skip
        if self.marks:
            axes.plot([time for time, _, _ in self.marks], [top * 1.06] * len(self.marks), "|",
                      color=look.PURPLE, markersize=9, markeredgewidth=1.5, label="marked")  # fmt: skip
        finish(axes, "Send queues", "bytes waiting")
        axes.set_xlim(self.start, self.end if self.end > self.start else None)
        axes.set_ylim(0, top * 1.15)
