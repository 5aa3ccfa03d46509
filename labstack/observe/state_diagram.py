"""TCP's state diagram, drawn from the table that the stack obeys, with the path that a connection took.

state_diagram()              all states and transitions (RFC 9293 §3.3.2, figure 5)
trace.states(s)              the same, with the way of the socket `s` in colour, its steps numbered
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan, cos, degrees, hypot, radians, sin
from typing import TYPE_CHECKING, Any

from labstack.core.units import SECOND
from labstack.observe import look
from labstack.transport.tcp.states import TRANSITIONS, Input, State

if TYPE_CHECKING:
    from labstack.observe.trace import Trace
    from labstack.physical.faults import Flow

WIDTH, HEIGHT = 900.0, 760.0
HALF_WIDTH, HALF_HEIGHT = 66.0, 17.0
Spot = tuple[float, float]

_LEFT, _MIDDLE, _RIGHT = 150.0, 450.0, 750.0
SPOTS: dict[State, Spot] = {
    State.CLOSED: (_MIDDLE, 84),
    State.LISTEN: (_LEFT, 174),
    State.SYN_SENT: (_RIGHT, 174),
    State.SYN_RECEIVED: (_LEFT, 284),
    State.ESTABLISHED: (_MIDDLE, 384),
    State.FIN_WAIT_1: (_LEFT, 474),
    State.CLOSE_WAIT: (_RIGHT, 474),
    State.FIN_WAIT_2: (_LEFT, 584),
    State.CLOSING: (_MIDDLE, 564),
    State.LAST_ACK: (_RIGHT, 574),
    State.TIME_WAIT: (_MIDDLE, 664),
}
END: Spot = (_RIGHT, 664)
"""CLOSED stands twice: where a connection begins, and where it ends."""
_LATE = {State.LAST_ACK, State.TIME_WAIT}
_BENDS: dict[tuple[State, Input], Spot] = {(State.SYN_RECEIVED, Input.FIN): (620, 304)}
"""Lines that would run through another state go round it."""
_SAYS = {
    Input.PASSIVE_OPEN: "listen",
    Input.ACTIVE_OPEN: "connect",
    Input.SYN: "SYN arrives",
    Input.SYN_ACK: "SYN, ACK arrives",
    Input.ACK_OF_SYN: "ACK of SYN",
    Input.CLOSE: "close",
    Input.FIN: "FIN arrives",
    Input.ACK_OF_FIN: "ACK of FIN",
    Input.TIME_OUT: "2 MSL have passed",
    Input.ABORT: "reset, or giving up",
}
_LABEL_AT: dict[tuple[State, Input], float] = {
    (State.SYN_SENT, Input.SYN): 0.3, (State.SYN_RECEIVED, Input.FIN): 0.35,
}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Move:
    """One transition that a connection made, at `time` (seconds)."""

    time: float
    before: State
    what: Input
    after: State


class StateDiagram(look.Picture):
    """The diagram; `moves` is the path taken, if one is shown, `whose` the connection it belongs to."""

    def __init__(self, moves: Sequence[Move] = (), whose: str = "") -> None:
        self.moves = list(moves)
        self.whose = whose

    @property
    def text(self) -> str:
        if not self.whose:
            rows = [(before.value, what.value, after.value) for (before, what), after in TRANSITIONS.items()]
            return look.align([("from", "when", "to"), *rows])
        way = " → ".join([self.moves[0].before.value, *(move.after.value for move in self.moves)])
        steps = [
            (str(k), f"{move.time:.6f}", move.before.value, move.after.value, move.what.value)
            for k, move in enumerate(self.moves, start=1)
        ]
        listed = look.align([("", "time s", "from", "to", "why"), *steps], frozenset({0, 1}))
        return f"{self.whose}: {way}\n{listed}"

    @property
    def summary(self) -> str:
        return self.text.partition("\n")[0] if self.whose else f"{len(TRANSITIONS)} transitions"

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The path; without one, every transition."""
        if self.whose:
            rows = [(m.time, m.before.value, m.after.value, m.what.value) for m in self.moves]
            return ["time s", "from", "to", "why"], rows
        return ["from", "to", "why"], [(a.value, b.value, w.value) for (a, w), b in TRANSITIONS.items()]

    # --- picture ------------------------------------------------------------------------------------------

    @property
    def svg(self) -> str:
        drawing = look.Drawing(f"TCP state diagram{f', {self.whose}' if self.whose else ''}")
        drawing.words(16, 28, "The states of a TCP connection", 15, bold=True)
        if self.whose:
            drawing.words(16, 46, f"the way of {self.whose}", 11, look.BLUE)
        taken: dict[tuple[State, Input], list[int]] = {}
        for k, move in enumerate(self.moves, start=1):
            taken.setdefault((move.before, move.what), []).append(k)
        drawn = [key for key in TRANSITIONS if key[1] is not Input.ABORT or key in taken]
        for key in sorted(drawn, key=lambda key: key in taken):
            self._edge(drawing, key, taken.get(key, []))
        visited = {move.before for move in self.moves} | {move.after for move in self.moves}
        ended = bool(self.moves) and self.moves[-1].after is State.CLOSED
        for state, spot in SPOTS.items():
            on_the_way = any(m.before is state for m in self.moves) if state is State.CLOSED else True
            self._box(drawing, state.value, spot, state in visited and on_the_way)
        self._box(drawing, State.CLOSED.value, END, ended)
        note = f"{_SAYS[Input.ABORT]}: from every state to CLOSED" + (
            "" if any(m.what is Input.ABORT for m in self.moves) else " (not drawn)"
        )
        drawing.words(16, HEIGHT - 40, note, 10, look.GREY)
        drawing.words(16, HEIGHT - 24, "RFC 9293 §3.3.2. MSL: how long a segment may live.", 10, look.GREY)
        return drawing.svg(WIDTH, HEIGHT - 8)

    def _box(self, drawing: look.Drawing, name: str, spot: Spot, visited: bool) -> None:
        x, y = spot
        fill, ink = (look.PALE_BLUE, look.BLUE) if visited else (look.PAPER, look.INK)
        drawing.box(x - HALF_WIDTH, y - HALF_HEIGHT, 2 * HALF_WIDTH, 2 * HALF_HEIGHT, fill, ink, corner=9)
        drawing.words(x, y + 4, name, 11.5, ink, "middle", bold=True)

    def _edge(self, drawing: look.Drawing, key: tuple[State, Input], steps: list[int]) -> None:
        before, what = key
        after = TRANSITIONS[key]
        start = SPOTS[before]
        at_the_end = after is State.CLOSED and (before in _LATE or start[1] > 300)
        end = END if at_the_end else SPOTS[after]
        colour, width = (look.BLUE, 2.6) if steps else (look.GREY, 1.1)
        # Two transitions between the same states run side by side.
        there = [other for (one, other) in TRANSITIONS if one is after and TRANSITIONS[one, other] is before]
        shift = 11.0 if any(other is not Input.ABORT for other in there) and not at_the_end else 0.0
        bend = _BENDS.get(key)
        points = [start, *([bend] if bend else []), end]
        if shift:
            points = [_beside(point, start, end, shift) for point in points]
        points[0] = _border(points[0], points[1], start)
        points[-1] = _border(points[-1], points[-2], end)
        for (x1, y1), (x2, y2) in pairwise(points):
            drawing.line(x1, y1, x2, y2, colour, width)
        _head(drawing, points[-2], points[-1], colour, width)
        share = _LABEL_AT.get(key, 0.5)
        first, last = points[0], points[1]
        x, y = first[0] + (last[0] - first[0]) * share, first[1] + (last[1] - first[1]) * share
        upright = abs(last[0] - first[0]) < 20
        turn = 0.0 if upright else degrees(atan((last[1] - first[1]) / (last[0] - first[0])))
        text = f"{'·'.join(map(str, steps))}  {_SAYS[what]}" if steps else _SAYS[what]
        if upright:
            drawing.words(x + 8, y + 4, text, 10, colour, bold=bool(steps), halo=True)
            return
        # Along the line, and off it.
        x, y = x + 6 * sin(radians(turn)), y - 6 * cos(radians(turn))
        drawing.words(x, y, text, 10, colour, "middle", bold=bool(steps), turn=turn, halo=True)  # fmt: skip


def _beside(point: Spot, start: Spot, end: Spot, by: float) -> Spot:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy)
    return point[0] - dy / length * by, point[1] + dx / length * by


def _border(inside: Spot, towards: Spot, middle: Spot) -> Spot:
    """Where the line from `inside` a box around `middle` leaves it, on its way `towards` elsewhere."""
    dx, dy = towards[0] - inside[0], towards[1] - inside[1]
    shares = []
    if dx:
        edge = middle[0] + (HALF_WIDTH if dx > 0 else -HALF_WIDTH)
        shares.append((edge - inside[0]) / dx)
    if dy:
        edge = middle[1] + (HALF_HEIGHT if dy > 0 else -HALF_HEIGHT)
        shares.append((edge - inside[1]) / dy)
    share = min(shares)
    return inside[0] + dx * share, inside[1] + dy * share


def _head(drawing: look.Drawing, tail: Spot, tip: Spot, colour: str, width: float) -> None:
    dx, dy = tip[0] - tail[0], tip[1] - tail[1]
    length = hypot(dx, dy) or 1.0
    ux, uy, size = dx / length, dy / length, 6 + 1.4 * width
    back = (tip[0] - ux * size, tip[1] - uy * size)
    side = (-uy * size * 0.4, ux * size * 0.4)
    corners = [tip, (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])]
    drawing.shape(corners, colour)


def state_diagram() -> StateDiagram:
    """All states and transitions."""
    return StateDiagram()


def path_of(trace: Trace, flow: Flow) -> StateDiagram:
    """The diagram with the path of the connection at the flow's source. Raises ValueError when that end
    reported none."""
    local, peer = (f"{address}:{port}" for address, port in (flow[:2], flow[2:]))
    mine = [
        event
        for event in trace.events
        if event.rule.name == "tcp.state"
        and event.fields.get("local") == local
        and event.fields.get("peer") == peer
    ]
    if not mine:
        raise ValueError(
            f"{local} reported no state towards {peer}: "
            "was the capture started before the connection, and is that end a labstack host?"
        )
    moves = [
        Move(
            (event.time - trace.origin) / SECOND,
            State(str(event.fields["before"])), Input(event.fields["why"]), State(str(event.fields["after"])),
        )
        for event in mine
    ]  # fmt: skip
    return StateDiagram(moves, f"{mine[0].host}, {local} → {peer}")
