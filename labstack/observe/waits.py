"""How long a crowd of clients waited: one line for each server, the clients in the order of their waiting.

    Waits({"iterative": [0.014, 0.024, …], "threads": [0.014, 0.014, …]})

A flat line is a server that kept nobody waiting for anybody else; a slope is a queue. Chapter 26 of the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labstack.observe import look
from labstack.observe.charts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = (
    (look.BLUE, "-", 3.2),
    (look.VERMILION, (0, (5, 2)), 2.4),
    (look.GREEN, (0, (1, 1.2)), 2.4),
    (look.ORANGE, (0, (6, 2, 1, 2)), 2.0),
    (look.PURPLE, "-", 1.6),
)
LOGARITHMIC_ABOVE = 20
"""If the longest wait is so many times the shortest, only a logarithmic axis shows both."""


class Waits(Chart):
    """`waits` are seconds, by the name of the server; `waits[name]` is sorted. `predicted`, in seconds, is
    drawn beside what was measured."""

    def __init__(self, waits: Mapping[str, Sequence[float]], predicted: float | None = None) -> None:
        self.waits = {name: sorted(each) for name, each in waits.items()}
        self.predicted = predicted
        if not self.waits or not all(self.waits.values()):
            raise ValueError("there is nothing to draw: give each server the waits of one client or more")

    @property
    def summary(self) -> str:
        width = max(map(len, self.waits))
        lines = [
            f"{name:{width}}  {_clients(len(each))}: the first has its answer after {each[0]:.3f} s,"
            f" half of them after {each[(len(each) - 1) // 2]:.3f} s, the last after {each[-1]:.3f} s"
            for name, each in self.waits.items()
        ]
        if self.predicted is not None:
            lines.append(f"predicted for the last: {self.predicted:.3f} s")
        return "\n".join(lines)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [
            (name, at, wait) for name, each in self.waits.items() for at, wait in enumerate(each, start=1)
        ]
        return ["server", "client", "waited s"], rows

    def _draw(self, axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter

        for at, (name, each) in enumerate(self.waits.items()):
            colour, dashes, width = _LINES[at % len(_LINES)]
            axes.step(range(1, len(each) + 1), each, where="mid", color=colour, linestyle=dashes,
                      linewidth=width, label=name)  # fmt: skip
        if self.predicted is not None:
            axes.axhline(self.predicted, color=look.INK, linewidth=1.2, linestyle=(0, (2, 2)),
                         label="your prediction")  # fmt: skip
        most = max(each[-1] for each in self.waits.values())
        if most > LOGARITHMIC_ABOVE * min(each[0] for each in self.waits.values()):
            axes.set_yscale("log")
            axes.set_ylabel("waited (seconds, logarithmic)")
        else:
            axes.set_ylim(0, most * 1.08)
            axes.set_ylabel("waited (seconds)")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("client, in the order of waiting (number)")
        axes.set_title("How long each client waited for its answer", pad=12)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5, fontsize=9)


def _clients(many: int) -> str:
    return f"{many:,} clients" if many != 1 else "1 client"
