"""ARP tables as they change: what each machine knew of its neighbours' addresses, from when to when.

From its events: an address is asked for, learned, learned again (perhaps with another MAC address), evicted
or given up. An entry that nobody renews is too old after a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labstack.core.addresses import MAC
from labstack.core.units import SECOND
from labstack.link.arp import ASKED, EVICTED, LEARNED, LIFETIME, TOO_MANY, UNANSWERED
from labstack.observe import look
from labstack.observe.charts import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.trace import Trace

_SAYS = {
    ASKED.name: "asked", LEARNED.name: "learned", EVICTED.name: "evicted",
    UNANSWERED.name: "given up", TOO_MANY.name: "given up",
}  # fmt: skip
_COLOURS = (look.BLUE, look.VERMILION, look.GREEN, look.PURPLE, look.ORANGE)


@dataclass(slots=True)
class Held:
    """An entry: `host` held `address` to be at `mac` from `start` to `end` (seconds)."""

    host: str
    address: str
    mac: str
    start: float
    end: float


class Neighbours(Chart):
    """What happened to the ARP tables: `changes` as (seconds, host, address, what, MAC), `held` as
    entries."""

    def __init__(self, trace: Trace, host: str | None = None) -> None:
        self.changes: list[tuple[float, str, str, str, str]] = []
        self.held: list[Held] = []
        open_: dict[tuple[str, str], Held] = {}
        self.end = (trace.events[-1].time - trace.origin) / SECOND if trace.events else 0.0
        for event in trace.events:
            what = _SAYS.get(event.rule.name)
            if what is None or host not in (None, event.host):
                continue
            time, address = (event.time - trace.origin) / SECOND, str(event.fields["address"])
            key, raw = (event.host, address), event.fields.get("mac")
            mac = str(MAC(raw)) if isinstance(raw, bytes) else ""
            before = open_.get(key)
            if before is not None and what == "learned":
                if before.mac == mac and time <= before.end:
                    what = "renewed"
                elif before.mac != mac:
                    what = "changed"
            if what == "renewed" and before is not None:
                before.end = time + LIFETIME / SECOND
            elif mac:
                if before is not None:
                    before.end = min(before.end, time)
                open_[key] = Held(event.host, address, mac, time, time + LIFETIME / SECOND)
                self.held.append(open_[key])
            elif what in ("evicted", "given up") and before is not None:
                before.end = min(before.end, time)
            # Two packets given up for one address are one change.
            if (row := (time, event.host, address, what, mac)) not in self.changes[-3:]:
                self.changes.append(row)
        if not self.changes:
            raise ValueError(
                "no ARP table changed in this trace: was the capture started before the traffic?"
            )

    @property
    def summary(self) -> str:
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for _, host, address, what, _ in self.changes:
            one = counts.setdefault((host, address), {})
            one[what] = one.get(what, 0) + 1
        lines = []
        for (host, address), one in counts.items():
            macs = [held.mac for held in self.held if (held.host, held.address) == (host, address)]
            happened = ", ".join(what if n == 1 else f"{what} {n} times" for what, n in one.items())
            lines.append(f"{host}: {address} {happened}" + (f"; {' then '.join(macs)}" if macs else ""))
        return "\n".join(lines)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        return ["time s", "host", "address", "what", "mac"], list(self.changes)

    def _draw(self, axes: Axes) -> None:
        rows = list(dict.fromkeys((host, address) for _, host, address, _, _ in self.changes))
        macs = list(dict.fromkeys(held.mac for held in self.held))
        end = max(self.end, 0.001)
        for held in self.held:
            y, colour = rows.index((held.host, held.address)), _COLOURS[macs.index(held.mac) % len(_COLOURS)]
            stop = min(held.end, end)
            axes.barh(y, max(stop - held.start, end / 500), left=held.start, height=0.46, color=colour,
                      alpha=0.35, edgecolor=colour, linewidth=1.2)  # fmt: skip
            axes.text(held.start + end / 100, y, held.mac, va="center", fontsize=8.5, color=look.INK)
        marks = {"asked": ("$?$", look.INK), "given up": ("x", look.VERMILION), "evicted": ("v", look.ORANGE)}
        for what, (shape, colour) in marks.items():
            at = [(t, rows.index((h, a))) for t, h, a, happened, _ in self.changes if happened == what]
            if at:
                axes.plot([time for time, _ in at], [y + 0.38 for _, y in at], marker=shape, linestyle="",
                          color=colour, markersize=7, label=what)  # fmt: skip
        axes.set_yticks(range(len(rows)), [f"{host}: {address}" for host, address in rows])
        axes.set_ylim(len(rows) - 0.3, -0.6)
        axes.set_xlim(-end / 60, end * 1.02)
        axes.set_xlabel("time (seconds)")
        axes.grid(axis="y", visible=False)
        axes.set_title("ARP tables: who is thought to be where", pad=12)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, fontsize=9)
