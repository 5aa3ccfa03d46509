"""A node: what every layer of one machine shares. Nothing in labstack is shared by two machines but the
wire."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from labstack.core.clock import Alarm, Clock
from labstack.core.events import Counters, Events, Rule, Value
from labstack.core.randomness import Stream, stream

if TYPE_CHECKING:
    from collections.abc import Iterator


class Node:
    """The clock, the events, the counters and the random streams of one machine.

    `random(purpose)` gives a named stream; in real time the owner passes one that draws from the system's
    secrets.
    """

    __slots__ = ("clock", "counters", "events", "name", "random")

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        random: Callable[[str], Stream] | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.name = name
        self.clock = clock
        self.events = Events(name, lambda: clock.now, numbers or count(1))
        self.counters = Counters()
        self.random = random or (lambda purpose: stream(0, name, purpose))

    def alarm(self, rule: Rule, fn: Callable[[], None]) -> Alarm:
        """A timer of this machine's, that obeys the rule."""
        return Alarm(self.clock, self.events, rule, fn)

    def note(self, rule: Rule, **fields: Value) -> None:
        """A rule was obeyed: count it under its name, and say so to whoever listens."""
        self.counters.add(rule.name)
        if self.events:
            self.events.emit(rule, **fields)

    def drop(self, rule: Rule, **fields: Value) -> None:
        """Something is thrown away, for this reason."""
        self.note(rule, **fields)
