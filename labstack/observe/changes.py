"""What a packet changed: the events that its arrival caused, with the state before and after.

The stack reports what holds from now on; what held before is remembered here, by whoever looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING

from labstack.core.events import Event, Value
from labstack.observe import look
from labstack.observe.packet import Packet

if TYPE_CHECKING:
    from labstack.observe.trace import Trace

STATE, WINDOW = "tcp.state", "tcp.window"
IDENTITY = MappingProxyType(
    {WINDOW: ("local", "peer"), "tcp.phase": ("local", "peer"), "arp.learned": ("address",)}
)
"""Rules that report what holds from now on, and the fields that say of what."""

Before = dict[str, Value]


class Effects:
    """Which events have which cause, and what each report of a state replaces: a connection's windows, an
    entry of a table."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.of: defaultdict[int, list[Event]] = defaultdict(list)
        self.before: dict[int, Before] = {}
        last: dict[tuple[Value, ...], Before] = {}
        for event in events:
            if event.cause:
                self.of[event.cause].append(event)
            identity = IDENTITY.get(event.rule.name)
            if identity is not None:
                key = (event.host, event.rule.name, *(event.fields.get(name) for name in identity))
                if key in last:
                    self.before[event.number] = last[key]
                last[key] = event.fields


class Changed(look.Shown):
    """What followed from the arrival of a packet: one row a change, as (host, what, before, after).

    A segment that is sent in answer is a row too; its own changes belong to its own arrival.
    """

    def __init__(self, trace: Trace, packet: Packet) -> None:
        self.packet = packet
        self.rows: list[tuple[str, str, str, str]] = []
        effects = trace.effects
        for event in effects.of.get(packet.arrival, ()) if packet.arrival else ():
            self.rows += _rows(trace, event, effects)

    @property
    def text(self) -> str:
        number = self.packet.number
        if self.packet.arrived is None:
            return f"Packet {number} changed nothing: it never arrived ({self.packet.fate})."
        if not self.rows:
            return f"Packet {number} changed nothing that was heard."
        rows = [
            (host, what, f"{before} → {after}" if before else after)
            for host, what, before, after in self.rows
        ]
        return f"What packet {number} changed\n{look.align(rows)}"


def _rows(trace: Trace, event: Event, effects: Effects) -> list[tuple[str, str, str, str]]:
    name, host = event.rule.name, event.host
    if name == STATE:
        return [(host, "state", str(event.fields.get("before")), str(event.fields.get("after")))]
    if name == WINDOW:
        before = effects.before.get(event.number, {})
        return [
            (host, what, value_of(what, before[what]) if what in before else "", value_of(what, now))
            for what, now in event.fields.items()
            if what not in ("local", "peer") and before.get(what, ...) != now
        ]
    if name == "tcp.phase":
        before = effects.before.get(event.number, {})
        return [(host, "phase", str(before.get("phase", "")), str(event.fields.get("phase")))]
    if name == "device.sent":
        sent = trace.find(event)
        return [(host, "sends", "", f"packet {sent.number}: {sent.label()}" if sent else "a frame")]
    answers = [other for other in effects.of.get(event.number, ()) if other.rule.name == "device.sent"]
    rows = [(host, name, "", event.rule.words)]
    for answer in answers:
        rows += _rows(trace, answer, effects)
    return rows


def value_of(what: str, value: Value) -> str:
    if value is None:
        return "infinite" if what == "ssthresh" else "unknown"
    if what in ("srtt", "rto") and isinstance(value, int):
        return f"{value / 1e6:.3f} ms"
    return f"{value:,} bytes" if isinstance(value, int) else str(value)
