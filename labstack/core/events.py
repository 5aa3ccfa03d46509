"""What happened, and why: rules, events, drops, and the one line that a layer writes to report them.

    if events:
        events.emit(FAST_RETRANSMIT, seq=seq, duplicates=3)

`Events` is a list of subscribers. With nobody listening it is an empty list, and `if events` costs what the
truth of a list costs. A *rule* is data beside the code that obeys it: a name, the reason in plain words, and
the clause of the RFC. While a host handles a frame, a timer or a call, that event's number is the `cause` of
all that it does, so "why was this packet sent?" is a walk back along causes (see `labstack/observe`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count


@dataclass(slots=True, frozen=True)
class Rule:
    """A rule that the stack obeys: `name` as layer.what, the reason in `words`, and the `clause` it comes
    from."""

    name: str
    words: str
    clause: str = ""

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]


Value = int | float | str | bytes | bool | None | tuple[object, ...]


@dataclass(slots=True)
class Event:
    """One thing that happened. `time` is in nanoseconds; `cause` is the number of the event behind it, or 0.

    Fields are numbers, bytes and names, never live objects: an event is as true tomorrow as it is now.
    """

    number: int
    time: int
    host: str
    rule: Rule
    cause: int
    fields: dict[str, Value]


Subscriber = Callable[[Event], None]


def only(subscriber: Subscriber, *names: str) -> Subscriber:
    """A subscriber that passes on only the events of these rules ("tcp.state") and layers ("arp"); of all
    without names.

        host.events.append(only(print, "tcp.state", "arp"))
    """
    if not names:
        return subscriber
    wanted = frozenset(names)

    def hear(event: Event) -> None:
        if event.rule.name in wanted or event.rule.layer in wanted:
            subscriber(event)

    return hear


class Events(list[Subscriber]):
    """The subscribers of one host's (or wire's) events. Empty, and so false, while nobody listens."""

    __slots__ = ("cause", "host", "now", "numbers")

    def __init__(self, host: str, now: Callable[[], int], numbers: Iterator[int] | None = None) -> None:
        super().__init__()
        self.host = host
        self.now = now
        # Hosts that share a network share the numbers, so that a cause can be an event of another host.
        self.numbers = numbers or count(1)
        self.cause = 0

    def emit(self, rule: Rule, **fields: Value) -> int:
        """Tell every subscriber; return the event's number, to be set as the `cause` of what follows from
        it."""
        event = Event(next(self.numbers), self.now(), self.host, rule, self.cause, fields)
        for subscriber in self:
            subscriber(event)
        return event.number


class Counters(dict[str, int]):
    """How often each named thing happened. A name that never happened reads 0."""

    def __missing__(self, name: str) -> int:
        return 0

    def add(self, name: str, n: int = 1) -> None:
        self[name] = self[name] + n
