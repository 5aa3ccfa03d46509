"""Explorers: things to look at that answer when they are moved. This one steps and scrubs through a run.

    Explorer(trace)          in a notebook: play, pause, step, jump to the next loss

What is recorded is shown, nothing is run again: the ladder up to the present packet, the packets around it in
a table, why it was sent and what it changed, and a chart with a line at its time, all moved by one slider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from labstack.core.units import SECOND
from labstack.observe import look
from labstack.observe.charts import DPI, WIDTH, Chart
from labstack.observe.ladder import Ladder, in_line
from labstack.observe.packet import ARRIVED, Packet
from labstack.observe.questions import Question, widgets

if TYPE_CHECKING:
    from labstack.observe.trace import Trace

STEPS = 9
"""How many packets the ladder shows: the present one and those before it."""
AROUND = 4
"""How many rows the table has above and below the present one."""
PACE = 500
"""Milliseconds from packet to packet while it plays."""


def named(values: Mapping[str, object]) -> str:
    """Values that an experiment is run with, in words: "loss = 0.02, algorithm = cubic"; of a class its
    name."""
    return ", ".join(f"{name} = {word(value)}" for name, value in values.items())


def word(value: object) -> str:
    return str(getattr(value, "__name__", value))


def panes(*names: str) -> dict[str, Any]:
    """Places for HTML; each has a CSS class of its name."""
    found = {name: widgets().HTML() for name in names}
    for name, pane in found.items():
        pane.add_class(f"labstack-{name}")
    return found


def paper(picture: look.Picture) -> str:
    """A drawing inside a widget."""
    return f'<div style="width:100%;overflow-x:auto">{picture.themed}</div>'


class Explorer(Question):
    """Steps through the packets of a trace. `at` is the place of the present one, from 0.

    `chart` is moved along; without one it is the window chart of the trace's first flow, where there is one.
    """

    def __init__(self, trace: Trace, chart: Chart | None = None) -> None:
        self.trace = trace
        self.packets = trace.packets
        if not self.packets:
            raise ValueError("there is nothing to step through: this trace holds no packets")
        self.hosts = in_line(self.packets)
        self.at = 0
        self.chart = chart or self._usual_chart()
        self.controls: dict[str, Any] = {}
        """The widgets, by name, once there are any."""

    def _usual_chart(self) -> Chart | None:
        for make in (self.trace.window, self.trace.bytes_over_time):
            try:
                return make()
            except ValueError:
                continue
        return None

    # --- what is shown ------------------------------------------------------------------------------------

    @property
    def present(self) -> Packet:
        return self.packets[self.at]

    @property
    def text(self) -> str:
        packet = self.present
        losses = sum(self._is_loss(k) for k in range(len(self.packets)))
        lines = [f"{len(self.packets)} packets, {losses} of them lost. {self.where()}"]
        return "\n".join([*lines, str(self.trace.why(packet.number, steps=4))])

    def where(self) -> str:
        """The present packet in one line."""
        packet = self.present
        time = (packet.sent - self.trace.origin) / SECOND
        remarks = f" ({', '.join(packet.remarks)})" if packet.remarks else ""
        return (
            f"Packet {packet.number}, {self.at + 1} of {len(self.packets)}, at {time:.6f} s: "
            f"{packet.sender} → {packet.receiver} {packet.label()}{remarks}"
        )

    def _is_loss(self, at: int) -> bool:
        return self.packets[at].fate not in (ARRIVED, "on its way")

    # --- moving -------------------------------------------------------------------------------------------

    def go(self, at: int) -> None:
        """Make the packet at that place the present one; places beyond the ends are the ends."""
        self.at = max(0, min(at, len(self.packets) - 1))
        if self.controls:
            self.controls["slider"].value = self.at
            self._refresh()

    def next_loss(self) -> bool:
        """Go to the next packet that did not arrive as it was sent, beginning again at the end. False when
        there is none."""
        order = [*range(self.at + 1, len(self.packets)), *range(self.at + 1)]
        found = next((at for at in order if self._is_loss(at)), None)
        if found is None:
            return False
        self.go(found)
        return True

    # --- as widgets ---------------------------------------------------------------------------------------

    def widget(self) -> Any:
        w = widgets()
        last = len(self.packets) - 1
        play = w.Play(value=self.at, min=0, max=last, interval=PACE, description="play")
        slider = w.IntSlider(value=self.at, min=0, max=last, description="packet", readout=False,
                             layout={"width": "320px"})  # fmt: skip
        w.jslink((play, "value"), (slider, "value"))
        back = w.Button(description="◀ step", layout={"width": "80px"})
        step = w.Button(description="step ▶", layout={"width": "80px"})
        loss = w.Button(description="next loss", layout={"width": "100px"})
        shown = panes("where", "ladder", "table", "chart", "why")
        self.controls = {"play": play, "slider": slider, "back": back, "step": step, "loss": loss, **shown}
        slider.observe(self._moved, names="value")
        back.on_click(lambda _: self.go(self.at - 1))
        step.on_click(lambda _: self.go(self.at + 1))
        loss.on_click(self._to_loss)
        self._refresh()
        buttons = w.HBox([play, slider, back, step, loss])
        below = w.HBox([shown["table"], shown["why"]], layout={"flex_flow": "row wrap"})
        return w.VBox([buttons, shown["where"], shown["ladder"], shown["chart"], below])

    def _moved(self, change: Any) -> None:
        if change["new"] != self.at:
            self.at = change["new"]
            self._refresh()

    def _to_loss(self, _: Any) -> None:
        if not self.next_loss():
            self.controls["where"].value = "<b>No packet of this run was lost.</b>"

    def _refresh(self) -> None:
        first = max(0, self.at - STEPS + 1)
        shown = self.packets[first : self.at + 1]
        ladder = Ladder(shown, self.hosts, origin=self.trace.origin, mark=(self.present.number,))
        self.controls["where"].value = f"<b>{escape(self.where())}</b>"
        self.controls["ladder"].value = paper(ladder)
        self.controls["table"].value = self._table()
        self.controls["why"].value = f"<pre>{escape(self._reasons())}</pre>"
        self.controls["chart"].value = self._chart_with_line()

    def _reasons(self) -> str:
        number = self.present.number
        return f"{self.trace.why(number, steps=6)}\n\n{self.trace.changed(number)}"

    def _table(self) -> str:
        first = max(0, self.at - AROUND)
        table = self.trace.lines(self.packets[first : self.at + AROUND + 1])
        table.chosen = self.at - first
        return table._repr_html_()

    def _chart_with_line(self) -> str:
        """The chart is drawn once; the line at the present time lies over it."""
        if self.chart is None:
            return ""
        figure = self.chart.figure
        if not hasattr(self, "_image"):
            self._image = self.chart.themed
        axes, lowest = figure.axes[0], figure.axes[-1]
        time = (self.present.departed - self.trace.origin) / SECOND
        box = axes.get_position()
        low, high = axes.get_xlim()
        share = min(max((time - low) / (high - low), 0.0), 1.0)
        left = 100 * (box.x0 + share * box.width)
        top, height = 100 * (1 - box.y1), 100 * (box.y1 - lowest.get_position().y0)
        return (
            f'<div style="position:relative;width:100%;max-width:{WIDTH * DPI:.0f}px">{self._image}'
            f'<div style="position:absolute;left:{left:.2f}%;top:{top:.2f}%;height:{height:.2f}%;'
            f'border-left:2px solid {look.VERMILION}"></div></div>'
        )
