"""The windows of several connections in one chart: labstack's over Linux's, one algorithm's over another's.

    trace.window(s).beside(flow)              a labstack connection and a Linux one (see `linux_flow`)
    one.window(s).beside(other.window(t))     two of labstack's

Each begins at 0 seconds, at its own first report.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from labstack.observe import look
from labstack.observe.charts import Chart, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.window import Point

_COLOURS = (look.BLUE, look.VERMILION, look.GREEN, look.PURPLE)
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.2)), (0, (1, 1)), (0, (4, 1, 1, 1)))


class Side(Protocol):
    """Whose windows are drawn: a `WindowChart`, a `LinuxFlow`."""

    @property
    def name(self) -> str: ...

    @property
    def points(self) -> Sequence[Point]: ...


class Beside(Chart):
    """The windows of `sides`, at least one, laid over each other."""

    def __init__(self, *sides: Side) -> None:
        self.sides: tuple[Side, ...] = sides

    @property
    def names(self) -> list[str]:
        """Whose they are; who is there twice has a number."""
        names = [side.name for side in self.sides]
        return [f"{name} {k}" if names.count(name) > 1 else name for k, name in enumerate(names, start=1)]

    def _series(self) -> list[tuple[str, list[Point], list[float]]]:
        """For each side its name, its points, and their times since its first."""
        found = []
        for name, side in zip(self.names, self.sides, strict=True):
            points = list(side.points)
            found.append((name, points, [point.time - points[0].time for point in points]))
        return found

    @property
    def summary(self) -> str:
        lines = []
        for name, points, times in self._series():
            mean = _mean(times, [point.cwnd for point in points])
            least = min((p.ssthresh for p in points if p.ssthresh is not None), default=None)
            lines.append(
                f"{name}: peak cwnd {max(p.cwnd for p in points):,} bytes, {mean:,.0f} on average; most in "
                f"flight {max(p.in_flight for p in points):,} bytes; lowest ssthresh "
                f"{'infinite' if least is None else f'{least:,} bytes'}; {times[-1]:.3f} s"
            )
        return "\n".join(lines)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [
            (time, name, p.cwnd, p.ssthresh, p.in_flight, p.peer_window)
            for name, points, times in self._series()
            for time, p in zip(times, points, strict=True)
        ]
        columns = ["time s", "whose", "cwnd", "ssthresh", "in flight", "peer's window"]
        return columns, sorted(rows, key=lambda row: row[0])

    def _draw(self, axes: Axes) -> None:
        nan = float("nan")
        series = self._series()
        for (name, points, times), colour, dash in zip(series, _COLOURS, _DASHES, strict=False):

            def line(values: list[float], **how: Any) -> None:
                axes.step(times, values, where="post", color=colour, **how)  # noqa: B023

            line([p.cwnd for p in points], linewidth=2, linestyle=dash, label=f"{name}: cwnd")
            threshold = [nan if p.ssthresh is None else float(p.ssthresh) for p in points]
            if any(value == value for value in threshold):
                line(threshold, linewidth=1, linestyle=(0, (3, 2)), alpha=0.8, label=f"{name}: ssthresh")
            flight: list[float] = [point.in_flight for point in points]
            axes.fill_between(times, flight, step="post", color=colour, alpha=0.14, linewidth=0,
                              label=f"{name}: in flight")  # fmt: skip
        finish(axes, f"Windows: {', '.join(self.names)}")
        axes.set_xlabel("time since the first report (seconds)")
        axes.set_xlim(0, max(times[-1] for _, _, times in series) or None)
        top = max(max(p.cwnd, p.in_flight) for _, points, _ in series for p in points)
        axes.set_ylim(0, top * 1.1)


def _mean(times: list[float], values: list[int]) -> float:
    """Over time, each value holding until the next."""
    whole = times[-1] - times[0]
    steps = zip(times, times[1:], values, strict=False)
    return sum((after - now) * value for now, after, value in steps) / whole if whole else values[0]
