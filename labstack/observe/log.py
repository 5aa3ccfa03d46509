"""The log of a run: every event of a trace as a row that says when, where, which layer, about which packet,
by which rule in which words, from which clause, and what held before and after.

    trace.log("tcp.state")                    one rule
    trace.log("tcp", "wire", host="a")        layers, at one machine
    trace.log(packet=9)                       all that was done while packet 9 was dealt with, and to it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labstack.core.events import Event, Value, only
from labstack.core.units import SECOND
from labstack.observe import look
from labstack.observe.changes import IDENTITY, value_of
from labstack.observe.why import FRAMES, show_fields

if TYPE_CHECKING:
    import pandas as pd

    from labstack.observe.trace import Trace

COLUMNS = (
    "no", "time s", "host", "layer", "packet", "rule", "words", "clause", "before", "after", "more", "cause",
)  # fmt: skip
_SHORT = ("time s", "host", "packet", "rule", "words", "before", "after", "more")
"""What the text shows: the others are in the table."""


class Log(look.Grid):
    """The chosen events. `events` holds them as they are; the text shows the first `limit`."""

    def __init__(
        self, trace: Trace, names: tuple[str, ...], host: str | None, packet: int | None,
        between: tuple[float, float] | None, limit: int,
    ) -> None:  # fmt: skip
        self._trace = trace
        self.events: list[Event] = []
        hear = only(self.events.append, *names)
        for event in trace.events:
            time = (event.time - trace.origin) / SECOND
            if host not in (None, event.host) or (between and not between[0] <= time <= between[1]):
                continue
            if packet is None or _packet(trace, event) == packet:
                hear(event)
        shown = [COLUMNS.index(name) for name in _SHORT]
        some = [_row(trace, event) for event in self.events[:limit]]
        self.left_out = len(self.events) - len(some)
        rows = [tuple(_text(row[at]) for at in shown) for row in some]
        super().__init__(_SHORT, rows, frozenset({0, 2}))

    @property
    def text(self) -> str:
        more = f"\n… and {self.left_out} more" if self.left_out else ""
        return super().text + more

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """All of them, with every column."""
        return list(COLUMNS), [_row(self._trace, event) for event in self.events]

    def table(self) -> pd.DataFrame:
        return super().table().astype({"packet": "Int64"})


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "" if value is None else str(value)


def _row(trace: Trace, event: Event) -> tuple[Any, ...]:
    rule, identity = event.rule, IDENTITY.get(event.rule.name)
    fields = trace.relative(event.fields)
    before = after = ""
    if rule.name == "tcp.state":
        before, after = str(fields["before"]), str(fields["after"])
        fields = {name: value for name, value in fields.items() if name not in ("before", "after")}
    elif identity is not None:
        # The layer reports what holds now; what held before is known from its last report.
        last = trace.effects.before.get(event.number, {})
        new = {n: v for n, v in fields.items() if n not in identity and last.get(n, ...) != v}
        before = _state({n: last[n] for n in new if n in last})
        after = _state(new)
        fields = {name: fields[name] for name in identity}
    elif rule.name in FRAMES:
        found = trace.find(event)
        fields = {"says": found.label()} if found is not None else {}
    return (
        event.number, (event.time - trace.origin) / SECOND, event.host, rule.layer, _packet(trace, event),
        rule.name, rule.words, rule.clause, before, after, show_fields(fields), event.cause or None,
    )  # fmt: skip


def _state(fields: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} = {value_of(name, value)}" for name, value in fields.items())


def _packet(trace: Trace, event: Event) -> int | None:
    """The packet that an event is about; for what a machine does, the one that it is dealing with."""
    number = event.fields.get("number")
    if isinstance(number, int):
        return number
    cause = trace.event(event.cause)
    if cause is None or cause.rule.name not in FRAMES:
        return None
    number = cause.fields.get("number")
    return number if isinstance(number, int) else None
