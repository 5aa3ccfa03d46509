"""Several charts above each other, on one axis of time: what happened at the same moment stands in one line.

trace.connection(s)       windows, round-trip times with SRTT and RTO, and the send queues
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labstack.observe.charts import Chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Panels(Chart):
    """The `charts`, from the top down; all of them are over seconds."""

    def __init__(self, *charts: Chart) -> None:
        self.charts = charts
        self.height = 3.4 * len(charts)

    @property
    def summary(self) -> str:
        return "\n".join(chart.summary for chart in self.charts)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """All their numbers, in the order of time; a row has those of one chart."""
        columns: dict[str, None] = {}
        rows: list[dict[str, Any]] = []
        for chart in self.charts:
            names, numbers = chart._numbers()
            columns.update(dict.fromkeys(names))
            rows += [dict(zip(names, row, strict=True)) for row in numbers]
        rows.sort(key=lambda row: float(row["time s"]))
        return list(columns), [tuple(row.get(name) for name in columns) for row in rows]

    def _draw_on(self, figure: Figure) -> None:
        every = figure.subplots(len(self.charts), 1, sharex=True, squeeze=False)[:, 0]
        limits = []
        for axes, chart in zip(every, self.charts, strict=True):
            chart._draw(axes)
            limits.append(axes.get_xlim())
        for axes in every[:-1]:
            axes.set_xlabel("")
        if legend := every[-1].get_legend():
            legend.set_bbox_to_anchor((0.5, -0.19))  # below the words of the axis, which only the last has
        every[0].set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
