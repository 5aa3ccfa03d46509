"""Why was this packet sent? The walk back along causes, from the packet to what began it all.

Every event carries the number of its cause: what a machine was handling at that time. Between a cause and
the packet stand the rules that the machine followed; they have the same cause, and are told in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labstack.core.events import Event, Value
from labstack.core.units import SECOND
from labstack.headers.tcp import flag_names
from labstack.observe import look
from labstack.observe.packet import Packet

if TYPE_CHECKING:
    from labstack.observe.trace import Trace

SENT = "device.sent"
RECEIVED = "device.received"
FRAMES = {SENT, RECEIVED}
BOOKKEEPING = {"tcp.window"}
"""Rules that report a state, and are no reason for anything."""

IN_THE_PACKET = {"seq", "ack", "flags", "length", "window"}


@dataclass(slots=True, frozen=True)
class Step:
    """One step back. `packet` is the packet that was sent or arrived, if the step is about one."""

    event: Event
    words: str
    packet: int = 0

    @property
    def host(self) -> str:
        return self.event.host

    @property
    def rule(self) -> str:
        return self.event.rule.name

    @property
    def clause(self) -> str:
        return self.event.rule.clause


class Why(look.Shown):
    """The steps from a packet back to what began it, newest first; at most `limit` of them. `print` tells
    them. `near`: no further back than to the frame that was being dealt with."""

    def __init__(self, trace: Trace, packet: Packet, limit: int, near: bool = False) -> None:
        self.packet = packet
        self._trace = trace
        self._origin = trace.origin
        self._flow = packet.flow or ("", 0, "", 0)
        self.steps: list[Step] = []
        self.ending = ""
        for step in self._walk(packet):
            if len(self.steps) == limit:
                self.ending = f"… and further back: why({packet.number}, steps={2 * limit})"
                break
            self.steps.append(step)
            if near and len(self.steps) > 1 and step.rule in FRAMES:
                break

    def _walk(self, packet: Packet) -> Iterator[Step]:
        event = self._trace.event(packet.event)
        while event is not None:
            yield self._step(event)
            yield from map(self._step, self._rules_before(event))
            if event.cause == 0:
                self.ending = "That is where it began: nothing that was heard caused it."
                return
            event = self._trace.event(event.cause)
        self.ending = "What came before was not heard: the capture began later, or left it out."

    def _rules_before(self, event: Event) -> list[Event]:
        """What the machine reported while it handled the same cause, since it last sent something; newest
        first."""
        found = []
        for other in self._before(event):
            if other.host == event.host:
                # What comes before that has already sent its own packet.
                if other.rule.name in FRAMES or other.rule.name == event.rule.name:
                    break
                if other.rule.name not in BOOKKEEPING:
                    found.append(other)
        return found

    def _before(self, event: Event) -> Iterator[Event]:
        """What has the same cause (without one: what also came of itself at that time), newest first."""
        if not event.cause:
            for other in self._trace.before(event):
                if other.time != event.time:
                    return
                if not other.cause:
                    yield other
            return
        siblings = self._trace.effects.of.get(event.cause, [])
        for at in range(bisect_left(siblings, event.number, key=lambda one: one.number) - 1, -1, -1):
            yield siblings[at]

    def _step(self, event: Event) -> Step:
        number = event.fields.get("number")
        packet = self._trace.find(event) if event.rule.name in FRAMES else None
        if packet is not None:
            verb = "is sent" if event.rule.name == SENT else "arrives"
            return Step(event, f"packet {packet.number} {verb}: {packet.summary}", packet.number)
        if event.rule.name in FRAMES:
            return Step(event, f"frame {number} on {event.fields.get('device')}: {event.rule.words}")
        clause = f" ({event.rule.clause})" if event.rule.clause else ""
        fields = show_fields(self._told(event))
        return Step(event, f"{event.rule.name}: {event.rule.words}{clause}{': ' if fields else ''}{fields}")

    def _told(self, event: Event) -> dict[str, Value]:
        """The fields worth telling: not those that the packet itself shows."""
        fields = self._trace.relative(event.fields)
        names = {"local": f"{self._flow[0]}:{self._flow[1]}", "peer": f"{self._flow[2]}:{self._flow[3]}"}
        if {names["local"], names["peer"]} == {fields.get("local"), fields.get("peer")}:
            fields = {name: value for name, value in fields.items() if name not in names}
        before = self.steps[-1].event if self.steps else None
        if before is not None and before.rule.name == SENT and before.cause == event.number:
            fields = {name: value for name, value in fields.items() if name not in IN_THE_PACKET}
        return fields

    @property
    def text(self) -> str:
        """One line a step: when, where, what."""
        rows = [
            (f"{(step.event.time - self._origin) / SECOND:.6f} s", step.host, step.words)
            for step in self.steps
        ]
        return f"Why packet {self.packet.number}?\n{look.align(rows, frozenset({0}))}\n{self.ending}".rstrip()

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


def show_fields(fields: dict[str, Value]) -> str:
    """Fields as "seq=2921 duplicates=3"; bytes in hexadecimal, whole frames left out."""
    return " ".join(f"{name}={_show(name, value)}" for name, value in fields.items() if name != "frame")


def _show(name: str, value: Value) -> str:
    if name == "flags" and isinstance(value, int):
        return flag_names(value).replace(" ", "") or "none"
    if isinstance(value, bytes):
        return value.hex(":") if len(value) <= 8 else f"{len(value)} bytes"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
