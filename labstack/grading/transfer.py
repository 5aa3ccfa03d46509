"""Lab 07's wire. It loses and doubles what the story says, and keeps the order of what is left.

A part is one end of it, made as `Mine(wire, window, numbers)`. The wire calls its methods:

    send(piece)                  the program has a piece of its message to send
    on_packet(number, piece)     a packet arrives, with a number below `numbers`
    on_answer(number)            an answer arrives
    on_timer(name)               a timer ends

A story plays the wire and the other end, or lets two ends of the same class talk (`carry`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from labstack.core.clock import Timer
from labstack.core.units import SECOND
from labstack.drivers.manual import ManualClock

Copies = Callable[[str], int]
"""Of what this end ("a", "b") sends now, how many arrive: 0, 1 or 2."""
PATIENCE = 0.1
"""Seconds until a timer ends."""
DELAY = 0.02
"""Seconds from one end to the other."""
LONGEST = 60.0
"""Seconds that a transfer may take."""


class End:
    """What a part is given: one end of the wire, with its timers."""

    def __init__(self, story: Transfer, name: str, window: int, numbers: int) -> None:
        self._story, self._name = story, name
        self._timers: dict[int, Timer] = {}
        self._part = story._part(self, window, numbers)

    def send(self, number: int, piece: bytes) -> None:
        """Send a packet."""
        self._story._leaves(self, "packet", number, piece)

    def answer(self, number: int) -> None:
        """Send an answer."""
        self._story._leaves(self, "answer", number)

    def hand_up(self, piece: bytes) -> None:
        """Give the program the piece that comes next."""
        self._story._step(f"{self._name} hands up {piece!r}")
        self._story.heard.append(piece)

    def start_timer(self, name: int = 0) -> None:
        """Let `on_timer(name)` come in PATIENCE seconds from now, also if this timer runs already."""
        self.stop_timer(name)
        self._timers[name] = self._story._later(PATIENCE, self, "timer", name)

    def stop_timer(self, name: int = 0) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()


class Transfer:
    """A story about one end, or two."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.steps: list[str] = []
        self.heard: list[bytes] = []
        """What was handed up."""
        self._part, self._clock = parts["transfer"], ManualClock()
        self._ends: list[End] = []
        self._left: list[tuple[int, str]] = []
        self._copies: Copies = lambda sender: 1

    def begin(self, window: int, numbers: int, names: Sequence[str] = ("your end",)) -> None:
        """An end for a window of so many packets at most, with so many numbers."""
        self._step(f"a window of up to {window}, and numbers from 0 to {numbers - 1}")
        self._ends = [End(self, name, window, numbers) for name in names]

    def send(self, *pieces: bytes) -> None:
        """The program has these to send."""
        self._step(f"the program sends {len(pieces)} pieces")
        for piece in pieces:
            self._ends[0]._part.send(piece)

    def arrives(self, kind: str, number: int, *piece: bytes) -> None:
        """A "packet", with its piece, or an "answer" arrives from the other end."""
        self._meets(self._ends[0], kind, number, *piece)

    def wait(self, seconds: float) -> None:
        self._clock.run(self._clock.now + round(seconds * SECOND))

    def expect(self, *wanted: str, after: float = 0.0) -> None:
        """These leave ("packet 2", "answer 0"), in this order: now, or in `after` seconds. And nothing else
        has left since the story looked last."""
        self.wait(after)
        due = [(self._clock.now, what) for what in wanted]
        left, self._left = self._left, []
        if left != due:
            raise AssertionError(f"expected {_told(due)}; what left: {_told(left)}")

    def carry(self, pieces: Sequence[bytes], window: int, numbers: int, copies: Copies) -> list[bytes]:
        """One end, "a", sends `pieces` to another, "b": what b has handed up when nothing moves any more."""
        self._copies = copies
        self.begin(window, numbers, "ab")
        self.send(*pieces)
        self.wait(LONGEST)
        if not self._clock.idle:
            raise AssertionError(f"no end after {LONGEST:g} s, and b has {len(self.heard)} pieces")
        return self.heard

    def _leaves(self, end: End, kind: str, number: int, *piece: bytes) -> None:
        copies = self._copies(end._name)
        fate = (", which is lost", "", ", which comes twice")[copies]
        self._step(" ".join(map(str, (end._name, "▶", kind, number, *piece))) + fate)
        self._left.append((self._clock.now, f"{kind} {number}"))
        for other in self._ends:
            for _ in range(copies if other is not end else 0):
                self._later(DELAY, other, kind, number, *piece)

    def _later(self, seconds: float, end: End, kind: str, *what: Any) -> Timer:
        when = self._clock.now + round(seconds * SECOND)
        return self._clock.call_at(when, lambda: self._meets(end, kind, *what))

    def _meets(self, end: End, kind: str, *what: Any) -> None:
        self._step(" ".join(map(str, (end._name, "◀", kind, *what))))
        getattr(end._part, f"on_{kind}")(*what)

    def _step(self, words: str) -> None:
        self.steps.append(f"{self._clock.now / SECOND:9.3f} s  {words}")


def _told(left: list[tuple[int, str]]) -> str:
    return ", ".join(f"{what} at {when / SECOND:.3f} s" for when, what in left) or "nothing"
