"""The same experiment twice, with one thing changed: two ladders side by side, and where they part.

    Comparison(download, {"loss": 0}, {"loss": 0.02})

Same seed, same trace: up to the mark both runs are equal, packet for packet.
"""

from __future__ import annotations

import sys
from itertools import zip_longest
from typing import Any
from xml.sax.saxutils import escape

from labstack.core.units import SECOND
from labstack.observe.explorer import named, panes, paper
from labstack.observe.explorer_run import Experiment, Run
from labstack.observe.ladder import Ladder, in_line
from labstack.observe.packet import Packet
from labstack.observe.questions import Question, widgets
from labstack.observe.trace import Trace

_WIDE = "width:100%;min-width:420px"
"""Narrower than that nobody can read it: then it scrolls."""
LONG = 1.0
"""A run that takes longer, in seconds, tells how far it is; the square button of JupyterLab ends it."""
BEFORE = 4
"""How many packets that are equal are shown before the first that is not."""


class Comparison(Question):
    """`experiment(net, **values)` is run with the values `one`, and with the values `other`. `first` is the
    place of the first packet that differs, or None."""

    def __init__(
        self,
        experiment: Experiment,
        one: dict[str, Any],
        other: dict[str, Any],
        seed: int = 7,
        limit: int = 16,
    ) -> None:
        self.values = (one, other)
        self.limit = limit
        self.traces: tuple[Trace, Trace] = (_run(experiment, one, seed), _run(experiment, other, seed))
        mine, theirs = (trace.packets for trace in self.traces)
        pairs = enumerate(zip_longest(mine, theirs))
        self.first = next((at for at, (a, b) in pairs if _look(a) != _look(b)), None)
        self.start = max(0, (self.first or 0) - BEFORE)
        self.controls: dict[str, Any] = {}

    def ladder(self, side: int) -> Ladder:
        """The ladder of one side (0 or 1), from the present place on, with the first difference marked."""
        trace = self.traces[side]
        packets = trace.packets
        marked = packets[self.first : self.first + 1] if self.first is not None else []
        return Ladder(
            packets[self.start : self.start + self.limit], in_line(packets),
            limit=self.limit, origin=trace.origin, mark=[packet.number for packet in marked], narrow=True,
        )  # fmt: skip

    @property
    def text(self) -> str:
        mine, theirs = (trace.packets for trace in self.traces)
        names = [_named(values) for values in self.values]
        ends = [
            f"{name}: {len(trace)} packets, {sum(p.retransmission for p in trace.packets)} retransmissions, "
            f"over at {_end(trace):.6f} s"
            for name, trace in zip(names, self.traces, strict=True)
        ]
        if self.first is None:
            return "\n".join(["Both runs are the same, packet for packet.", *ends])
        said = [
            f"  {name}: {_say(trace, packets[self.first] if self.first < len(packets) else None)}"
            for name, trace, packets in zip(names, self.traces, (mine, theirs), strict=True)
        ]
        return "\n".join([f"{self.first} packets are the same. The first difference:", *said, *ends])

    def widget(self) -> Any:
        w = widgets()
        last = max(0, *(len(trace) - 1 for trace in self.traces))
        slider = w.IntSlider(value=self.start, min=0, max=last, description="from packet",
                             style={"description_width": "90px"}, layout={"width": "460px"})  # fmt: skip
        jump = w.Button(description="first difference", layout={"width": "130px"})
        shown = panes("summary", "sides")
        self.controls = {"slider": slider, "jump": jump, **shown}
        slider.observe(self._moved, names="value")
        jump.on_click(lambda _: self._jump())
        shown["summary"].value = f"<pre>{escape(self.text)}</pre>"
        self._refresh()
        return w.VBox([shown["summary"], w.HBox([slider, jump]), shown["sides"]])

    def _moved(self, change: Any) -> None:
        self.start = change["new"]
        self._refresh()

    def _jump(self) -> None:
        self.controls["slider"].value = max(0, (self.first or 0) - BEFORE)

    def _refresh(self) -> None:
        sides = [
            f'<div style="flex:1 1 0;min-width:0"><b>{escape(_named(self.values[side]))}</b>'
            f"{paper(self.ladder(side)).replace('max-width:100%', _WIDE, 1)}</div>"
            for side in (0, 1)
        ]
        self.controls["sides"].value = f'<div style="display:flex;gap:8px">{"".join(sides)}</div>'


def _run(experiment: Experiment, values: dict[str, Any], seed: int) -> Trace:
    run = Run(experiment, values, seed).start()
    told = False
    try:
        while not run.wait(LONG):
            print(f"\r{_named(values)}: {run.progress}", end="", file=sys.stderr, flush=True)
            told = True
    except KeyboardInterrupt:
        run.stop()  # it may have come between two waits
        raise
    if told:
        print(file=sys.stderr)
    if run.error is not None:
        raise run.error
    assert run.trace is not None
    return run.trace


def _look(packet: Packet | None) -> tuple[object, ...] | None:
    """All of a packet that can differ."""
    if packet is None:
        return None
    return (packet.device, packet.sender, packet.sent, packet.arrived, packet.fate, packet.frame)


def _named(values: dict[str, Any]) -> str:
    return named(values) or "as it is"


def _say(trace: Trace, packet: Packet | None) -> str:
    if packet is None:
        return "nothing more is sent"
    time = (packet.sent - trace.origin) / SECOND
    remarks = ", ".join(packet.remarks)
    came = "" if packet.arrived is None else f", arrives at {(packet.arrived - trace.origin) / SECOND:.6f} s"
    what = f"packet {packet.number} at {time:.6f} s, {packet.sender} → {packet.receiver} {packet.label()}"
    return f"{what}{came}{f' ({remarks})' if remarks else ''}"


def _end(trace: Trace) -> float:
    packets = trace.packets
    return (max(p.arrived or p.departed for p in packets) - trace.origin) / SECOND if packets else 0.0
