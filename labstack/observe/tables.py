"""The tables of machines as they change: what each held to be so, from when to when.

    trace.arp()         who is thought to be where: MAC addresses of neighbours
    trace.routes()      which way leads to which network

A row is a machine and what it asks its table for; a bar is one answer, as long as it stood there. All comes
from events; what was in a table before the capture began is told by whoever began it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labstack.core.addresses import MAC
from labstack.core.events import Event
from labstack.core.units import SECOND
from labstack.internet.ipv4 import ROUTE_ADDED, ROUTE_REMOVED
from labstack.link.arp import ASKED, EVICTED, LEARNED, LIFETIME, TOO_MANY, UNANSWERED
from labstack.observe import look
from labstack.observe.charts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.trace import Trace

_COLOURS = (look.BLUE, look.VERMILION, look.GREEN, look.PURPLE, look.ORANGE)
_MARKS = {
    "asked": ("$?$", look.INK), "given up": ("x", look.VERMILION), "evicted": ("v", look.ORANGE),
    "removed": ("x", look.VERMILION),
}  # fmt: skip


@dataclass(slots=True)
class Held:
    """An entry: `host` held `value` to be the answer for `key` from `start` to `end` (seconds)."""

    host: str
    key: str
    value: str
    start: float
    end: float


class TableChart(Chart):
    """What happened to the tables of one kind: `changes` as (seconds, host, key, what, value), `held` as
    entries. A subclass reads the events, in `_read`."""

    title = ""
    names = ("key", "value")
    """What the columns of key and value are called."""
    lifetime = float("inf")
    """How long an entry stands that nobody renews, in seconds."""

    def __init__(self, trace: Trace, host: str | None = None) -> None:
        self.changes: list[tuple[float, str, str, str, str]] = []
        self.held: list[Held] = []
        self._open: dict[tuple[str, str], Held] = {}
        self._seconds = trace.seconds
        self.end = trace.seconds(trace.events[-1].time) if trace.events else 0.0
        self._begin(trace, host)
        for event in trace.events:
            if host in (None, event.host):
                self._read(event)
        if not self.changes:
            raise ValueError(
                f"{self.title.partition(':')[0]}: nothing changed in this trace: "
                "was the capture started before the traffic?"
            )

    def _begin(self, trace: Trace, host: str | None) -> None:
        """Enter what stood there when the capture began."""

    def _read(self, event: Event) -> None:
        raise NotImplementedError

    def _enter(self, event: Event, key: str, what: str, value: str) -> None:
        """Note that an entry came: new, renewed, or with another value."""
        time, place = self._seconds(event.time), (event.host, key)
        before = self._open.get(place)
        if before is not None and before.value == value and time <= before.end:
            what, before.end = "renewed", time + self.lifetime
        else:
            if before is not None:
                what = "changed" if before.value != value else what
                before.end = min(before.end, time)
            self._hold(event.host, key, value, time)
        self._note(time, event.host, key, what, value)

    def _hold(self, host: str, key: str, value: str, start: float) -> None:
        self._open[host, key] = Held(host, key, value, start, start + self.lifetime)
        self.held.append(self._open[host, key])

    def _end(self, event: Event, key: str, what: str) -> None:
        """Note that an entry went, or that there was none."""
        time = self._seconds(event.time)
        if what != "asked" and (before := self._open.pop((event.host, key), None)) is not None:
            before.end = min(before.end, time)
        self._note(time, event.host, key, what, "")

    def _note(self, *change: Any) -> None:
        # Two packets given up for one address are one change.
        if change not in self.changes[-3:]:
            self.changes.append(change)

    @property
    def summary(self) -> str:
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for _, host, key, what, _ in self.changes:
            one = counts.setdefault((host, key), {})
            one[what] = one.get(what, 0) + 1
        lines = []
        for (host, key), one in counts.items():
            values = [held.value for held in self.held if (held.host, held.key) == (host, key)]
            happened = ", ".join(what if n == 1 else f"{what} {n} times" for what, n in one.items())
            lines.append(f"{host}: {key} {happened}" + (f"; {' then '.join(values)}" if values else ""))
        return "\n".join(lines)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        key, value = self.names
        return ["time s", "host", key, "what", value], list(self.changes)

    def _draw(self, axes: Axes) -> None:
        rows = list(dict.fromkeys((host, key) for _, host, key, _, _ in self.changes))
        values = list(dict.fromkeys(held.value for held in self.held))
        end = max(self.end, 0.001)
        for held in self.held:
            y, colour = rows.index((held.host, held.key)), _COLOURS[values.index(held.value) % len(_COLOURS)]
            start = max(held.start, 0.0)
            axes.barh(y, max(min(held.end, end) - start, end / 500), left=start, height=0.46, color=colour,
                      alpha=0.35, edgecolor=colour, linewidth=1.2)  # fmt: skip
            axes.text(start + end / 100, y, held.value, va="center", fontsize=8.5, color=look.INK)
        for what, (shape, colour) in _MARKS.items():
            at = [(t, rows.index((h, k))) for t, h, k, happened, _ in self.changes if happened == what]
            if at:
                axes.plot([time for time, _ in at], [y + 0.38 for _, y in at], marker=shape, linestyle="",
                          color=colour, markersize=7, label=what)  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{host}: {key}" for host, key in rows])
        axes.set_ylim(len(rows) - 0.3, -0.6)
        axes.set_xlim(-end / 60, end * 1.02)
        axes.set_xlabel("time (seconds)")
        axes.grid(axis="y", visible=False)
        axes.set_title(self.title, pad=12)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, fontsize=9)


class Neighbours(TableChart):
    """ARP tables. An address is asked for, learned, learned again (perhaps with another MAC address), evicted
    or given up; an entry that nobody renews is too old after a minute."""

    title = "ARP tables: who is thought to be where"
    names = ("address", "mac")
    lifetime = LIFETIME / SECOND

    def _read(self, event: Event) -> None:
        raw, address = event.fields.get("mac"), str(event.fields.get("address"))
        if event.rule is LEARNED and isinstance(raw, bytes):
            self._enter(event, address, "learned", str(MAC(raw)))
        elif event.rule is ASKED:
            self._end(event, address, "asked")
        elif event.rule is EVICTED:
            self._end(event, address, "evicted")
        elif event.rule in (UNANSWERED, TOO_MANY):
            self._end(event, address, "given up")


class Routes(TableChart):
    """Routing tables. What they held when the capture began counts as held from then on."""

    title = "Routing tables: which way leads where"
    names = ("way", "interface")

    def _begin(self, trace: Trace, host: str | None) -> None:
        for name, routes in trace.routes_before.items():
            for route in routes if host in (None, name) else ():
                way = _way(str(route.prefix), str(route.via or ""))
                how = _how(route.interface, route.metric, route.origin)
                self._hold(name, way, how, 0.0)
                self._note(0.0, name, way, "held", how)

    def _read(self, event: Event) -> None:
        f = event.fields
        if event.rule is ROUTE_ADDED:
            how = _how(f["interface"], f["metric"], f["origin"])
            self._enter(event, _way(str(f["prefix"]), str(f["via"])), "added", how)
        elif event.rule is ROUTE_REMOVED:
            self._end(event, _way(str(f["prefix"]), str(f["via"])), "removed")


def _way(prefix: str, via: str) -> str:
    return f"{prefix} via {via}" if via else f"{prefix} on the link"


def _how(interface: object, metric: object, origin: object) -> str:
    return f"{interface}, {origin}" + (f", metric {metric}" if metric else "")
