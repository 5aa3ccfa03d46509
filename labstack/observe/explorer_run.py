"""What if? An experiment that is run again with other numbers, beside the reader, who sees how far it is and
can stop it.

    def download(net, loss, delay):
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="10 Mbit/s", delay=delay, loss=loss)
        trace = net.capture(wire)
        …
        return trace

    WhatIf(download, loss=(0, 0.1, 0.01), delay=["10 ms", "50 ms"])

The seed is the same each time: what differs comes from what was changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from labstack.core.events import Event
from labstack.drivers.program import Killed
from labstack.network import Network
from labstack.observe.charts import Chart
from labstack.observe.explorer import named, panes, paper, word
from labstack.observe.questions import Question, widgets

if TYPE_CHECKING:
    from labstack.observe.trace import Trace

Experiment = Callable[..., "Trace"]
Range = tuple[float, float, float] | Sequence[object]
"""From, to and step of a slider; or a list of choices."""
PATIENCE = 0.15
"""Seconds between two looks at how far a run is."""


class Stopped(Killed):
    """The reader stopped the run: its programs unwind in silence."""


class Run:
    """One run of an experiment, on a thread of its own so that a notebook stays awake meanwhile.

    `trace` is its result, or `error` what went wrong; `stop` ends it at its next event.
    """

    def __init__(self, experiment: Experiment, values: dict[str, Any], seed: int = 7) -> None:
        self.values = values
        self.trace: Trace | None = None
        self.error: BaseException | None = None
        self._experiment = experiment
        self._net = Network(seed=seed)
        self._stopping = False
        self._thread = threading.Thread(target=self._go, name="labstack experiment", daemon=True)

    def start(self) -> Run:
        self._thread.start()
        return self

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it is over, after waiting for that at most so long. Who interrupts the wait (the square
        button of JupyterLab) ends the run."""
        try:
            self._thread.join(seconds)
        except KeyboardInterrupt:
            self.stop()
            raise
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End it. Whatever happens next inside it meets an exception."""
        self._stopping = True
        for host in list(self._net.hosts.values()):
            host.events.append(self._refuse)
        for wire in list(self._net.wires):
            wire.events.append(self._refuse)

    def _refuse(self, event: Event) -> None:
        raise Stopped("the run was stopped")

    @property
    def stopped(self) -> bool:
        return self._stopping

    @property
    def progress(self) -> str:
        """How far it is: simulated time, and frames sent."""
        frames = sum(i.sent_frames for h in list(self._net.hosts.values()) for i in h.interfaces.values())
        return f"{self._net.now:.3f} simulated seconds, {frames:,} frames"

    def _go(self) -> None:
        try:
            with self._net as net:
                self.trace = self._experiment(net, **self.values)
        except BaseException as error:
            self.error = error


class WhatIf(Question):
    """An experiment with a slider (or a menu) for each of its numbers. `experiment(net, **values)` builds and
    runs a network, and returns its trace; `chart(trace)` draws it, by default its congestion window."""

    def __init__(
        self, experiment: Experiment, chart: Callable[[Trace], Chart] | None = None, seed: int = 7,
        ladder: int = 24, **ranges: Range,
    ) -> None:  # fmt: skip
        if not ranges:
            raise ValueError("nothing can be changed: pass a range for each number, loss=(0, 0.1, 0.01)")
        self._experiment, self._seed, self._ladder = experiment, seed, ladder
        self._draw = chart or (lambda trace: trace.window())
        self.ranges = ranges
        self.values: dict[str, Any] = {
            name: of[0] if isinstance(of, tuple) else next(iter(of)) for name, of in ranges.items()
        }
        self.controls: dict[str, Any] = {}
        self.run_: Run | None = None
        self.run()

    @property
    def trace(self) -> Trace:
        """What the last run recorded. Raises what went wrong in it."""
        assert self.run_ is not None
        if self.run_.error is not None:
            raise self.run_.error
        assert self.run_.trace is not None
        return self.run_.trace

    def run(self, **changes: Any) -> None:
        """Run with these changes, and wait for the end."""
        self.start(**changes).wait()
        self._finished()

    def start(self, **changes: Any) -> Run:
        """Begin a run with these changes; the one before, if it is not over, is stopped."""
        unknown = sorted(set(changes) - set(self.ranges))
        if unknown:
            raise ValueError(f"this experiment has no {unknown[0]!r}: it has {', '.join(self.ranges)}")
        if self.run_ is not None and not self.run_.wait(0):
            self.run_.stop()
            self.run_.wait()
        self.values |= changes
        self.run_ = Run(self._experiment, dict(self.values), self._seed).start()
        return self.run_

    def stop(self) -> None:
        """End the present run, if there is one."""
        if self.run_ is not None:
            self.run_.stop()

    @property
    def text(self) -> str:
        settings = named(self.values)
        run = self.run_
        if run is None or not run.wait(0):
            return f"{settings}\nnot over yet"
        if run.stopped and run.trace is None:
            return f"{settings}\nstopped after {run.progress}"
        if run.error is not None:
            return f"{settings}\n{type(run.error).__name__}: {run.error}"
        packets = self.trace.packets
        lost = sum(packet.fate not in ("arrived", "on its way") for packet in packets)
        again = sum(packet.retransmission for packet in packets)
        counted = f"{len(packets)} packets, {lost} lost, {again} retransmissions"
        return f"{settings}\n{counted}\n{self._summary()}"

    def _summary(self) -> str:
        try:
            return self._draw(self.trace).summary
        except ValueError as error:
            return str(error)

    # --- as widgets ---------------------------------------------------------------------------------------

    def widget(self) -> Any:
        w = widgets()
        inputs = {name: self._input(w, name, of) for name, of in self.ranges.items()}
        run = w.Button(description="run", button_style="primary", layout={"width": "90px"})
        stop = w.Button(description="stop", disabled=True, layout={"width": "90px"})
        shown = panes("progress", "summary", "chart", "ladder")
        self.controls = {**inputs, "run": run, "stop": stop, **shown}
        for name, one in inputs.items():
            one.observe(lambda change, name=name: self._begin(**{name: change["new"]}), names="value")
        run.on_click(lambda _: self._begin())
        stop.on_click(lambda _: self.stop())
        self._finished()
        above = w.VBox([*inputs.values(), w.HBox([run, stop, shown["progress"]])])
        return w.VBox([above, shown["summary"], shown["chart"], shown["ladder"]])

    def _input(self, w: Any, name: str, of: Range) -> Any:
        value = self.values[name]
        if isinstance(of, tuple):
            low, high, step = of
            return w.FloatSlider(value=value, min=low, max=high, step=step, description=name,
                                 readout_format=".4g", continuous_update=False,
                                 layout={"width": "420px"})  # fmt: skip
        return w.Dropdown(options=[(word(each), each) for each in of], value=value, description=name)

    def _begin(self, **changes: Any) -> None:
        run = self.start(**changes)
        self.controls["stop"].disabled = False
        self.controls["progress"].value = f"running: {escape(run.progress)}"
        threading.Thread(target=self._watch, args=(run,), daemon=True).start()

    def _watch(self, run: Run) -> None:
        """Tell how far the run is until it is over. (A widget may be set from any thread.)"""
        while not run.wait(PATIENCE):
            self.controls["progress"].value = f"running: {escape(run.progress)}"
        if run is self.run_:
            self._finished()

    def _finished(self) -> None:
        run = self.run_
        if not self.controls or run is None:
            return
        self.controls["stop"].disabled = True
        self.controls["summary"].value = f"<pre>{escape(self.text)}</pre>"
        if run.trace is None:
            self.controls["progress"].value = "stopped" if run.stopped else "it went wrong"
            return
        self.controls["ladder"].value = paper(run.trace.ladder(limit=self._ladder))
        try:
            chart = self._draw(run.trace)
        except ValueError as error:
            self.controls["chart"].value = escape(str(error))
        else:
            self.controls["chart"].value = chart.themed
        self.controls["progress"].value = f"done: {escape(run.progress)}"


__all__ = ["Run", "Stopped", "WhatIf"]
