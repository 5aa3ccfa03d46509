"""Who gets what: the shares of several flows over time, and Jain's index of how fair they are.

    (sum of x)² / (n × sum of x²)        1: all n get the same; 1/n: one gets all

x is what a flow delivered: bytes of its stream, each counted once, at its receiving end. Only while all of
them have something to send is it a question of fairness: that time is the `contest`.
R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness", DEC TR-301, 1984.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING, Any

from labstack.observe import look
from labstack.observe.charts import Chart, names, stairs
from labstack.observe.rates import STEPS, at_the_end, even
from labstack.physical.faults import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from labstack.observe.trace import Trace

_COLOURS = (look.BLUE, look.ORANGE, look.GREEN, look.VERMILION, look.SKY, look.PURPLE)
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")


def jain(amounts: Sequence[float]) -> float:
    """Jain's index of these amounts; 1 when nobody has anything."""
    squares = sum(x * x for x in amounts)
    return sum(amounts) ** 2 / (len(amounts) * squares) if squares else 1.0


class Fairness(Chart):
    """The `flows` (one direction each), at least two. `amounts` holds, for each interval, the bytes that each
    delivered; `index` is Jain's over the whole contest. Raises ValueError when fewer delivered anything."""

    def __init__(self, trace: Trace, flows: Sequence[Flow], interval: float | None = None) -> None:
        arrivals: dict[Flow, list[tuple[float, int]]] = {}
        self.labels: list[str] = []
        for flow in flows:
            packets = [packet for packet in trace.choose(flow) if packet.flow == flow]
            steps = stairs([one for one in at_the_end(packets) if one[1].payload_length], trace.origin)
            if steps:
                before = [0, *(total for _, total in steps)]
                arrivals[flow] = [(t, n - had) for (t, n), had in zip(steps, before, strict=False)]
                sender, receiver = names(packets, flow)
                self.labels.append(f"{sender}:{flow[1]} → {receiver}:{flow[3]}")
        self.flows = list(arrivals)
        if len(self.flows) < 2:
            raise ValueError(
                f"fairness is between two flows or more: {len(self.flows)} in this trace delivered data"
            )
        self.start = min(steps[0][0] for steps in arrivals.values())
        self.end = max(steps[-1][0] for steps in arrivals.values())
        self.contest = (
            max(steps[0][0] for steps in arrivals.values()),
            min(steps[-1][0] for steps in arrivals.values()),
        )
        self.interval = interval or even((self.end - self.start) / STEPS * 2)
        if self.interval <= 0:
            raise ValueError(f"interval={interval!r} is no interval: write seconds above 0")
        slots = int((self.end - self.start) / self.interval) + 1
        self.amounts = [[0] * len(self.flows) for _ in range(slots)]
        self.totals = [sum(size for _, size in arrivals[flow]) for flow in self.flows]
        first, last = self.contest
        self.in_contest = [sum(n for t, n in arrivals[flow] if first <= t <= last) for flow in self.flows]
        for at, flow in enumerate(self.flows):
            for time, size in arrivals[flow]:
                self.amounts[min(int((time - self.start) / self.interval), slots - 1)][at] += size

    @property
    def index(self) -> float:
        return jain(self.in_contest)

    @property
    def summary(self) -> str:
        whole = sum(self.in_contest) or 1
        first, last = self.contest
        if first >= last:
            when = "they never sent at the same time"
        else:
            when = f"Jain's index {self.index:.4f} from {first:.6f} s to {last:.6f} s, while all sent"
        rows = zip(self.labels, self.totals, self.in_contest, strict=True)
        return "\n".join(
            [when, *(f"{who}: {total:,} bytes; {mine / whole:.1%} of these" for who, total, mine in rows)]
        )

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = []
        for k, amounts in enumerate(self.amounts):
            whole = sum(amounts)
            shares = [amount / whole if whole else None for amount in amounts]
            rows.append((self.start + k * self.interval, *shares, jain(amounts)))
        return ["time s", *self.labels, "Jain's index"], rows

    def _draw_on(self, figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.6, 1])
        times = [self.start + k * self.interval for k in range(len(self.amounts) + 1)]
        base = [0.0] * len(times)
        for at, label in enumerate(self.labels):
            shares = [100 * amounts[at] / (sum(amounts) or 1) for amounts in self.amounts]
            top = [low + share for low, share in zip(base, [*shares, shares[-1]], strict=True)]
            colour = _COLOURS[at % len(_COLOURS)]
            above.fill_between(times, base, top, step="post", facecolor=colour, alpha=0.55, linewidth=0,
                               edgecolor=look.PAPER, hatch=_HATCHES[at % len(_HATCHES)],
                               label=label)  # fmt: skip
            base = top
        first, last = self.contest
        indices = [
            jain(amounts) if first <= time + self.interval and time <= last else nan
            for time, amounts in zip(times, self.amounts, strict=False)
        ]
        below.step(times, [*indices, indices[-1]], where="post", color=look.INK, linewidth=1.6)
        self._frame(above, below)
        figure.legend(loc="outside lower center", ncols=min(3, len(self.labels)), fontsize=9)

    def _frame(self, above: Axes, below: Axes) -> None:
        above.set_title(f"Who gets what, in steps of {self.interval:g} s", pad=12)
        above.set_ylabel("share (%)")
        above.set_ylim(0, 100)
        below.set_ylabel("Jain's index")
        below.set_ylim(0, 1.05)
        below.set_xlabel("time (seconds)")
        for axes in (above, below):
            for edge in self.contest:
                axes.axvline(edge, color=look.GREY, linewidth=1, linestyle=(0, (2, 2)))
        below.set_xlim(self.start, self.end)
