"""A live view of a real-time host: packets as they come, and its sockets as `ss` lists them.

It keeps the last few thousand events and no more, so it may run for days.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from labstack.core.events import Event
from labstack.observe.explorer import panes
from labstack.observe.questions import Question, widgets
from labstack.observe.trace import Trace
from labstack.observe.views import ss

if TYPE_CHECKING:
    from labstack.host import Host

KEPT = 4_000
ROWS = 14
PAUSE = 0.4
"""Seconds between two looks."""


class LiveView(Question):
    """What `host` sends and receives, while it does. `peer` is what to call the machine at the other end."""

    def __init__(self, host: Host, peer: str = "peer") -> None:
        self.host = host
        self.peer = peer
        self.seen = 0
        """How many frames were sent or received since it was started first."""
        self.controls: dict[str, Any] = {}
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._running = threading.Event()
        self._origin = host.driver.now
        host.on_close(self.stop)

    # --- start, stop --------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._running.is_set()

    def start(self) -> None:
        """Listen from now on. To start twice is to start once."""
        if self.running:
            return
        self._running.set()
        with self.host.driver:
            self.host.events.append(self._hear)
        threading.Thread(target=self._watch, name="labstack live view", daemon=True).start()
        self._show()

    def stop(self) -> None:
        """Listen no more. What was seen stays to be looked at."""
        if not self.running:
            return
        self._running.clear()
        if self._hear in self.host.events:
            self.host.events.remove(self._hear)
        self._show()

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        if event.rule.name in ("device.sent", "device.received"):
            self.seen += 1

    def _watch(self) -> None:
        while self.running:
            self._show()
            threading.Event().wait(PAUSE)

    # --- what is shown ------------------------------------------------------------------------------------

    @property
    def trace(self) -> Trace:
        """What is still kept, as a trace."""
        with self.host.driver:
            kept = list(self._events)
        devices = [i.device.name for i in self.host.interfaces.values() if i.device is not None]
        ends = dict.fromkeys(devices, (self.host.name, self.peer))
        trace = Trace(devices=set(devices), ends=ends, origin=self._origin)
        # Not listened to, but heard: the machine at the other end alone is silent.
        trace._heard.add(self.host.name)
        trace.events = kept
        return trace

    @property
    def text(self) -> str:
        state = "listening" if self.running else "stopped"
        trace = self.trace
        heading = f"{self.host.name}: {state}, {self.seen:,} frames seen"
        return f"{heading}\n{ss(self.host)}\n\n{trace.lines(trace.packets[-ROWS:])}"

    def widget(self) -> Any:
        w = widgets()
        start = w.Button(description="start", button_style="primary", layout={"width": "90px"})
        stop = w.Button(description="stop", layout={"width": "90px"})
        view = panes("live")["live"]
        self.controls = {"start": start, "stop": stop, "view": view}
        start.on_click(lambda _: self.start())
        stop.on_click(lambda _: self.stop())
        self._show()
        return w.VBox([w.HBox([start, stop]), view])

    def _show(self) -> None:
        if not self.controls:
            return
        self.controls["start"].disabled, self.controls["stop"].disabled = self.running, not self.running
        self.controls["view"].value = f"<pre>{escape(self.text)}</pre>"
