"""Where on a ladder each moment lies: time to scale, except where that could not be read.

The scale is chosen so that packets in a burst stand a line of text apart, and a packet's flight can be
seen. Two things bend it: labels at one machine never come closer than a line, and a pause in which nothing
leaves or arrives is drawn no longer than a few lines, and marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from labstack.observe.packet import TURNED_AWAY, Packet

ROW = 15.0
"""Between two labels at the same machine, in pixels."""
MIN_DROP = 12.0
"""What an arrow falls at least: also one that takes no time is seen to come after it was sent."""
FLIGHT = 42.0
"""What the usual flight falls at least."""
PAUSE = 64.0
"""How long a pause is drawn at most."""


@dataclass(slots=True)
class Layout:
    """Heights in pixels, from the top of the ladder. `breaks`: where time is shortened: y, height,
    nanoseconds."""

    height: float = 0.0
    departures: dict[Packet, float] = field(default_factory=dict)
    arrivals: dict[Packet, float] = field(default_factory=dict)
    breaks: list[tuple[float, float, int]] = field(default_factory=list)

    def ends(self, packet: Packet) -> tuple[float, float]:
        """The heights of an arrow's foot and head; the head is a guess for what never arrived."""
        start = self.departures[packet]
        return start, self.arrivals.get(packet, start + 3 * MIN_DROP)


Point = tuple[int, int, bool, Packet]
"""Time, number of the packet, whether it arrives (or leaves), and the packet."""


def lay_out(packets: Sequence[Packet]) -> Layout:
    """Give every departure and arrival its height."""
    layout = Layout()
    flights = [packet.arrived - packet.departed for packet in packets if packet.arrived is not None]
    flight = round(median(flights)) if flights else 0
    points: list[Point] = []
    for packet in packets:
        points.append((packet.departed, packet.number, False, packet))
        if packet.fate not in TURNED_AWAY:
            # What got lost aims at the time when it would have come.
            aim = packet.departed + flight if packet.arrived is None else packet.arrived
            points.append((aim, packet.number, True, packet))
    if not points:
        return layout
    points.sort(key=lambda point: point[:3])
    scale = _scale(packets, flight)
    labels: dict[str, float] = {}
    y, now = 0.0, points[0][0]
    for at, (time, _, arrival, packet) in enumerate(points):
        step = (time - now) * scale
        if step > PAUSE * 1.5:
            layout.breaks.append((y + PAUSE * 0.3, PAUSE * 0.4, time - now))
        y += min(step, PAUSE) if step > PAUSE * 1.5 else step
        if at == 0 or time > now:
            # What leaves the moment something else arrives is drawn beside it, also when labels push it down.
            y = max(y, _room(points, at, labels))
        now = time
        if arrival:
            y = max(y, layout.departures[packet] + MIN_DROP)
            layout.arrivals[packet] = y
        else:
            y = max(y, labels.get(packet.sender, -ROW) + ROW)
            labels[packet.sender] = layout.departures[packet] = y
    layout.height = max([y, *(layout.ends(packet)[1] for packet in packets)])
    return layout


def _room(points: list[Point], at: int, labels: dict[str, float]) -> float:
    """How far down the labels already set push the moment that begins with point `at`."""
    time = points[at][0]
    senders: dict[str, None] = {}
    while at < len(points) and points[at][0] == time:
        if not points[at][2]:
            senders[points[at][3].sender] = None
        at += 1
    return max((labels[name] + ROW for name in senders if name in labels), default=0.0)


def _scale(packets: Sequence[Packet], flight: int) -> float:
    """Pixels a nanosecond."""
    gaps = []
    last: dict[str, int] = {}
    for packet in packets:
        if packet.sender in last and packet.departed > last[packet.sender]:
            gaps.append(packet.departed - last[packet.sender])
        last[packet.sender] = packet.departed
    by_gap = ROW / median(gaps) if gaps else 0.0
    by_flight = FLIGHT / flight if flight else 0.0
    return max(by_gap, by_flight)
