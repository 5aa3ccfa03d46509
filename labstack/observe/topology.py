"""A network as a drawing: its machines, the wires between them, and how busy each wire was.

    topology(net)             machines, addresses, rates and delays
    topology(net, trace)      and the share of each wire's rate that the captured frames took, each way

The machines stand in columns by how many wires they are from the left end: the way that packets go.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan, cos, degrees, sin
from typing import TYPE_CHECKING, Any

from labstack.core.units import SECOND
from labstack.headers.ethernet import FCS_LENGTH, MIN_FRAME
from labstack.observe import look
from labstack.observe.packet import LOST, TURNED_AWAY
from labstack.physical.wire import GAP, PREAMBLE

if TYPE_CHECKING:
    from labstack.network import Network
    from labstack.observe.trace import Trace
    from labstack.physical.wire import Wire

STEP_X, STEP_Y, BOX, LINE = 300.0, 108.0, 128.0, 14.0
TOP = 54.0


@dataclass(slots=True)
class Use:
    """What one end sent over a wire: frames, their bytes as bits on the line take time, and what got lost.
    `share` is the part of the wire's rate over the time of the trace, None where the wire has no rate."""

    wire: str
    sender: str
    receiver: str
    frames: int = 0
    bytes: int = 0
    lost: int = 0
    share: float | None = None


class Topology(look.Picture):
    """The drawing; `uses` holds the numbers at the wires when there is a trace."""

    def __init__(self, net: Network, trace: Trace | None = None) -> None:
        self._net = net
        self.wires: list[tuple[Wire, str, str]] = [
            (wire, _machine_at(wire, 0), _machine_at(wire, 1)) for wire in net.wires
        ]
        self.names = list(dict.fromkeys([*net.hosts, *(n for _, *ends in self.wires for n in ends)]))
        self.uses = _uses(self.wires, trace) if trace is not None else []
        self._spots = _place(self.names, [(a, b) for _, a, b in self.wires])

    @property
    def text(self) -> str:
        lines = []
        for wire, a, b in self.wires:
            lines.append(f"{a} – {b}: {_describe(wire)}")
            for use in self.uses:
                if use.wire == wire.name and use.frames:
                    lines.append(f"  {use.sender} → {use.receiver}: {_says(use)}")
        for name in self.names:
            addresses = ", ".join(self._addresses(name))
            lines.append(f"{name}: {addresses or 'no address'}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        return f"{len(self.names)} machines, {len(self.wires)} wires" + "".join(
            f"; {use.sender} → {use.receiver}: {_says(use)}" for use in self.uses if use.frames
        )

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The use of each wire in each direction."""
        rows = [(u.wire, u.sender, u.receiver, u.frames, u.bytes, u.lost, u.share) for u in self.uses]
        return ["wire", "from", "to", "frames", "bytes", "lost", "share of rate"], rows

    def _addresses(self, name: str) -> list[str]:
        host: Any = self._net.hosts.get(name)
        if host is None:
            return []
        return [f"{i.name} {own}" for i in host.interfaces.values() for own in i.addresses]

    @property
    def svg(self) -> str:
        drawing = look.Drawing("network: " + ", ".join(f"{a} – {b}" for _, a, b in self.wires))
        heights = {name: 34 + LINE * len(self._addresses(name)) for name in self.names}
        columns = 1 + max((column for column, _ in self._spots.values()), default=0)
        rows = 1 + max((row for _, row in self._spots.values()), default=0.0)
        tallest = max(heights.values(), default=0.0)
        # Where it is written beside the wires how busy they were, wires that part need more room.
        pitch = max(STEP_Y + 40 * bool(self.uses), tallest + 44)
        spots = {
            name: (26 + BOX / 2 + column * STEP_X, TOP + tallest / 2 + row * pitch)
            for name, (column, row) in self._spots.items()
        }
        drawing.words(16, 28, "The network", 15, bold=True)
        if self.uses:
            drawing.words(130, 28, "and how busy its wires were", 11, look.GREY)
        for number, (wire, a, b) in enumerate(self.wires):
            twins = [k for k, (_, *ends) in enumerate(self.wires) if set(ends) == {a, b}]
            self._wire(drawing, wire, spots[a], spots[b], a, 34.0 * twins.index(number))
        for name, (x, y) in spots.items():
            self._machine(drawing, name, x, y, heights[name])
        width = 52 + BOX + (columns - 1) * STEP_X
        return drawing.svg(max(width, 360), TOP + tallest + (rows - 1) * pitch + 22)

    def _machine(self, drawing: look.Drawing, name: str, x: float, y: float, height: float) -> None:
        host: Any = self._net.hosts.get(name)
        forwards = host is None or host.ip.forwarding
        fill = look.PALE_ORANGE if forwards else look.PALE_BLUE
        drawing.box(x - BOX / 2, y - height / 2, BOX, height, fill, look.INK, corner=4 if forwards else 12)
        drawing.words(x, y - height / 2 + 21, name, 13, look.INK, "middle", bold=True)
        for k, text in enumerate(self._addresses(name)):
            size = min(9.5, (BOX - 8) / (len(text) * look.MONO_WIDTH))
            at = y - height / 2 + 36 + k * LINE
            drawing.words(x, at, text, size, look.GREY, "middle", look.MONO)

    def _wire(
        self, drawing: look.Drawing, wire: Wire, one: tuple[float, float], other: tuple[float, float],
        sender: str, shift: float,
    ) -> None:  # fmt: skip
        (x1, y1), (x2, y2) = (one[0], one[1] + shift), (other[0], other[1] + shift)
        uses = [use for use in self.uses if use.wire == wire.name]
        busy = max((use.share or 0.0 for use in uses), default=0.0)
        colour = look.VERMILION if busy > 0.8 else look.BLUE if any(use.frames for use in uses) else look.GREY
        drawing.line(x1, y1, x2, y2, colour, 1.6 + 6 * min(busy, 1.0))
        # Labels lie along the middle of the line.
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        turn = atan((y2 - y1) / (x2 - x1)) if x1 != x2 else 0.0
        half = 0.8 + 3 * min(busy, 1.0)

        def beside(text: str, by: float, ink: str) -> None:
            at = (x - by * sin(turn), y + by * cos(turn))
            drawing.words(*at, text, 9.5, ink, "middle", turn=degrees(turn), halo=True)

        beside(_describe(wire), -half - 6, look.INK)
        for k, use in enumerate(use for use in uses if use.frames):
            rightwards = (x2 >= x1) == (use.sender == sender)
            text = f"→ {_says(use, short=True)}" if rightwards else f"{_says(use, short=True)} ←"
            beside(text, half + 13 + 13 * k, colour)


def _machine_at(wire: Wire, end: int) -> str:
    node = wire.ends[end].node
    return node.name if node is not None else "?"


def topology(net: Network, trace: Trace | None = None) -> Topology:
    """The drawing of `net`; with a `trace` of it, with the use of the wires."""
    return Topology(net, trace)


def _uses(wires: list[tuple[Wire, str, str]], trace: Trace) -> list[Use]:
    packets = [packet for packet in trace.packets if not packet.copy_of]
    if not packets:
        return []
    took = max(packet.arrived or packet.departed for packet in packets) - packets[0].sent
    found = {}
    for wire, a, b in wires:
        for sender, receiver in ((a, b), (b, a)):
            found[wire.name, sender] = Use(wire.name, sender, receiver)
    for packet in packets:
        use = found.get((packet.device, packet.sender))
        if use is None or packet.fate in TURNED_AWAY:
            if use is not None:
                use.lost += 1
            continue
        use.frames += 1
        use.bytes += PREAMBLE + max(len(packet.frame), MIN_FRAME) + FCS_LENGTH + GAP
        use.lost += packet.fate == LOST
    rates = {wire.name: wire.rate for wire, _, _ in wires}
    for use in found.values():
        rate = rates[use.wire]
        if rate is not None and took:
            # Full is full: what waits when the trace ends was counted, too.
            use.share = min(1.0, use.bytes * 8 * SECOND / (rate * took))
    return list(found.values())


def _place(names: list[str], wires: list[tuple[str, str]]) -> dict[str, tuple[int, float]]:
    """Column and row of each machine: column by distance from the one that is farthest from all others."""
    near: dict[str, list[str]] = {name: [] for name in names}
    for a, b in wires:
        near[a].append(b)
        near[b].append(a)
    spots: dict[str, tuple[int, float]] = {}
    first_row = 0.0
    for name in names:
        if name in spots:
            continue
        reached = _distances(name, near)
        depth = {start: max(_distances(start, near).values()) for start in reached}
        start = max(reached, key=lambda one: (depth[one], -names.index(one)))
        columns: dict[int, list[str]] = {}
        for one, distance in _distances(start, near).items():
            columns.setdefault(distance, []).append(one)
        tallest = max(map(len, columns.values()))
        for column, members in columns.items():
            for k, one in enumerate(members):
                spots[one] = (column, first_row + k + (tallest - len(members)) / 2)
        first_row += tallest
    return spots


def _distances(start: str, near: dict[str, list[str]]) -> dict[str, int]:
    found, edge = {start: 0}, [start]
    while edge:
        one = edge.pop(0)
        for other in near[one]:
            if other not in found:
                found[other] = found[one] + 1
                edge.append(other)
    return found


def _describe(wire: Wire) -> str:
    words = []
    if wire.rate is not None:
        size, unit = next(
            ((s, u) for s, u in ((10**9, "G"), (10**6, "M"), (10**3, "k")) if wire.rate >= s), (1, "")
        )
        words.append(f"{wire.rate / size:g} {unit}bit/s")
    if wire.propagation:
        words.append(f"{wire.propagation / 1e6:g} ms")
    if wire.chance["loss"]:
        words.append(f"loss {wire.chance['loss']:.3g}")
    return ", ".join(words) or "no delay"


def _says(use: Use, short: bool = False) -> str:
    words = [f"{use.frames:,} frames"]
    if use.share is not None:
        words.insert(0 if short else 1, f"{use.share:.1%} of the rate" if not short else f"{use.share:.1%}")
    if use.lost:
        words.append(f"{use.lost} lost")
    return ", ".join(words)
