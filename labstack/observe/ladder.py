"""The packet ladder: machines side by side, time running down, each packet an arrow from when it left to
when it came.

    Ladder(packets).svg     the picture, time to scale; where nothing happens for long, it is shortened
    Ladder(packets).text    the same in plain text, one line a packet

Beside each arrow's foot stand its time, its number and what it says; a cross ends what never arrived, and
what TCP sends again has a colour and a word of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import atan, degrees
from types import MappingProxyType
from typing import Any

from labstack.core.units import SECOND
from labstack.headers.tcp import FIN, RST, SYN
from labstack.observe import look
from labstack.observe.ladder_layout import Layout, lay_out
from labstack.observe.packet import ARRIVED, CORRUPTED, LOST, ON_ITS_WAY, TURNED_AWAY, Packet

FONT = 10.5
TOP = 64
GAP_TWO = 330
GAP_MANY = 230
BAR = 120.0
"""How wide the largest window is drawn."""
NO_WINDOWS: Mapping[int, tuple[int, int]] = MappingProxyType({})


@dataclass(slots=True, frozen=True)
class Kind:
    """A kind of packet, as the legend names it."""

    name: str
    colour: str
    width: float = 1.3


DATA = Kind("data", look.BLUE)
ACKNOWLEDGMENT = Kind("ACK alone", look.GREY)
CONTROL = Kind("SYN, FIN", look.GREEN)
RESET = Kind("RST", look.PURPLE)
RETRANSMISSION = Kind("retransmission", look.VERMILION, 2.2)
UDP = Kind("UDP", look.ORANGE)
ICMP = Kind("ICMP", look.SKY)
ARP = Kind("ARP", look.PURPLE)
OTHER = Kind("other", look.INK)
_BY_PROTOCOL = {"UDP": UDP, "ICMP": ICMP, "ARP": ARP}


def kind_of(packet: Packet) -> Kind:
    """What the packet's arrow looks like."""
    tcp = packet.tcp
    if tcp is None:
        return _BY_PROTOCOL.get(packet.protocol, OTHER)
    if packet.retransmission:
        return RETRANSMISSION
    if tcp.flags & RST:
        return RESET
    if tcp.flags & (SYN | FIN):
        return CONTROL
    return DATA if packet.payload_length else ACKNOWLEDGMENT


class Ladder(look.Picture):
    """A ladder of `packets` between `hosts` (from left to right; None: as the packets connect them).

    At most `limit` packets are drawn, the first ones; `left_out` counts the others. `origin` is the time, in
    nanoseconds, that is shown as 0. Behind the packets whose numbers are in `mark` lies a band of colour.
    `windows`: for packets by number, the bytes under way once each was sent, and as many as were allowed.
    `narrow`: what the packets say stands along their arrows, so that two ladders find room side by side.
    """

    def __init__(
        self,
        packets: Sequence[Packet],
        hosts: Sequence[str] | None = None,
        *,
        limit: int = 60,
        origin: int = 0,
        mark: Collection[int] = (),
        narrow: bool = False,
        windows: Mapping[int, tuple[int, int]] = NO_WINDOWS,
    ) -> None:
        if limit < 1:
            raise ValueError(f"limit={limit} draws nothing: write 1 or more")
        ordered = sorted(packets, key=lambda packet: (packet.departed, packet.number))
        self.packets = ordered[:limit]
        self.left_out = len(ordered) - len(self.packets)
        self.origin = origin
        self.mark = frozenset(mark)
        self.narrow = narrow
        self.windows = windows
        self.hosts = list(hosts) if hosts is not None else in_line(self.packets)
        absent = sorted({name for p in self.packets for name in (p.sender, p.receiver)} - set(self.hosts))
        if absent:
            raise ValueError(
                f"hosts={self.hosts} leaves out {', '.join(absent)}, which sent or received some of these"
            )

    # --- text ---------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """One line a packet: when it left, from where to where, what it says, and when it came or what
        became of it."""
        if not self.packets:
            return "(no packets)"
        digits = len(str(max(packet.number for packet in self.packets)))
        labels = [f"{packet.number:>{digits}} {packet.label()}" for packet in self.packets]
        span = max(map(len, labels)) + 8
        names = "".join(f"{name:<{span}}" for name in self.hosts).rstrip()
        lines = [f"    left s  {names}", *map(self._line, self.packets, labels, [span] * len(labels))]
        return "\n".join([*lines, *self._left_out()])

    def _line(self, packet: Packet, label: str, span: int) -> str:
        row = [" "] * (span * (len(self.hosts) - 1) + 1)
        row[::span] = "|" * len(self.hosts)
        start, end = (self.hosts.index(name) * span for name in (packet.sender, packet.receiver))
        left, right = min(start, end), max(start, end)
        arrow = f"-- {label} ".ljust(right - left - 2, "-")
        if start < end:
            arrow = f"{arrow}>" if packet.fate in {ARRIVED, CORRUPTED} else f"{arrow[:-2]}X  "
        else:
            arrow = f"-- {label} --".rjust(right - left - 2, "-")
            arrow = f"<{arrow}" if packet.fate in {ARRIVED, CORRUPTED} else f"  X{arrow[2:]}"
        if packet.fate == ON_ITS_WAY:
            arrow = arrow.replace("X", ".")
        row[left + 1 : right] = (
            arrow.ljust(right - left - 1) if start < end else arrow.rjust(right - left - 1)
        )
        ends = [self._time(packet.arrived)] if packet.arrived is not None else []
        if packet.number in self.windows:
            ends.append("in flight {:,} of {:,}".format(*self.windows[packet.number]))
        return (
            f"{self._time(packet.departed):>10}  {''.join(row)}  {', '.join(ends + packet.remarks)}".rstrip()
        )

    def _time(self, time: int) -> str:
        return f"{(time - self.origin) / SECOND:.6f}"

    def _left_out(self) -> list[str]:
        return [f"… and {self.left_out} more packets (limit {len(self.packets)})"] if self.left_out else []

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [
            (p.number, self._time(p.departed), p.sender, p.receiver, p.label(),
             None if p.arrived is None else self._time(p.arrived), p.fate)
            for p in self.packets
        ]  # fmt: skip
        return ["no", "left s", "from", "to", "says", "came s", "fate"], rows

    # --- picture ------------------------------------------------------------------------------------------

    @property
    def svg(self) -> str:
        return (_Narrow if self.narrow else _Drawn)(self).svg


class _Drawn:
    """One drawing of a ladder: where the columns are, and everything put in its place."""

    font = FONT
    shares = MappingProxyType({LOST: 0.5, **dict.fromkeys(TURNED_AWAY, 0.09), ON_ITS_WAY: 0.6})
    """How far along its way the arrow of what does not arrive ends."""
    remark_at = 0.34
    """How far along its arrow a remark stands: before the middle, where arrows of the same time cross."""

    def __init__(self, ladder: Ladder) -> None:
        self.ladder = ladder
        self.character = self.font * look.MONO_WIDTH
        self.layout: Layout = lay_out(ladder.packets)
        last = (
            max((packet.arrived or packet.departed for packet in ladder.packets), default=0) - ladder.origin
        )
        self.unit, self.per = ("ms", SECOND // 1000) if last < 10 * SECOND else ("s", SECOND)
        self.time_width = (len(self.clock(last + ladder.origin)) + 1) * self.character
        self.number_width = (
            max((len(str(p.number)) for p in ladder.packets), default=1) + 1
        ) * self.character
        self.left: dict[str, float] = {}
        self.right: dict[str, float] = {}
        self.width = self._columns()
        self.drawing = look.Drawing(f"packet ladder: {', '.join(ladder.hosts)}")

    def clock(self, time: int) -> str:
        return f"{(time - self.ladder.origin) / self.per:.3f}"

    def _columns(self) -> float:
        """Give each machine a line (at the sides) or a band (between others), wide enough for its labels."""
        hosts = self.ladder.hosts
        gap = self._gap()
        x = 14.0
        for at, host in enumerate(hosts):
            room = max(self.time_width + 8 + self._room(host), len(host) * 4.5 + 10)
            if at == 0:
                shortened = (look.width_of(self._shortened(time), 9) for *_, time in self.layout.breaks)
                room = max(room, 8 + max(shortened, default=0.0))
            if at == 0:
                self.left[host] = self.right[host] = x + room
                x += room + gap
            elif at == len(hosts) - 1:
                self.left[host] = self.right[host] = x
                x += room
            else:
                self.left[host], self.right[host] = x, x + room + self.time_width
                x = self.right[host] + gap
        return x + 14

    def _gap(self) -> float:
        """Between the lines of two machines."""
        return GAP_TWO if len(self.ladder.hosts) <= 2 else GAP_MANY

    def _room(self, host: str) -> float:
        """What a machine's labels take beside their times."""
        texts = [len(p.label()) for p in self.ladder.packets if p.sender == host]
        room = self.number_width + max(texts) * self.character + 6 if texts else 0
        return room + (BAR + 14 if any(p.number in self.ladder.windows for p in self._sent_by(host)) else 0)

    def _sent_by(self, host: str) -> list[Packet]:
        return [packet for packet in self.ladder.packets if packet.sender == host]

    @property
    def svg(self) -> str:
        ladder, layout = self.ladder, self.layout
        bottom = TOP + layout.height + 18
        self._time_breaks()
        self._lifelines(bottom)
        for packet in ladder.packets:
            if packet.number in ladder.mark:
                self._band(packet)
        for packet in ladder.packets:
            self._arrow(packet)
        for packet in ladder.packets:
            self._foot(packet)
        for host in dict.fromkeys((ladder.hosts[0], ladder.hosts[-1]) if ladder.windows else ()):
            self._windows(host)
        self._arrivals()
        below = self._legend(bottom + 24)
        for note in ladder._left_out():
            self.drawing.words(self.width / 2, bottom + 6, note, 11, look.GREY, "middle")
        return self.drawing.svg(self.width, below + 14)

    def _lifelines(self, bottom: float) -> None:
        for host in self.ladder.hosts:
            left, right = self.left[host], self.right[host]
            middle = (left + right) / 2
            if right > left:
                self.drawing.box(left, TOP - 14, right - left, bottom - TOP + 4, look.BAND)
            for x in {left: 0, right: 0}:
                self.drawing.line(x, TOP - 14, x, bottom - 10, look.INK, 1.4)
            half = max(len(host) * 4.5 + 12, 26)
            self.drawing.box(middle - half, 14, 2 * half, 26, look.INK, corner=5)
            self.drawing.words(middle, 32, host, 13, look.PAPER, "middle", bold=True)
            outer = self.ladder.hosts[0] == host
            x = left - 8 if outer else left + 8
            self.drawing.words(x, TOP - 6, self.unit, 9, look.GREY, "end" if outer else "start")

    def _time_breaks(self) -> None:
        for y, height, time in self.layout.breaks:
            self.drawing.box(8, TOP + y, self.width - 16, height, look.SHORTENED)
            text = self._shortened(time)
            first = self.ladder.hosts[0]
            self.drawing.words(self.left[first] - 8, TOP + y + height / 2 + 3, text, 9, look.GREY, "end")

    def _shortened(self, time: int) -> str:
        return f"⋮ {time / self.per:.3f} {self.unit} ⋮"

    def _band(self, packet: Packet) -> None:
        """Colour behind a packet's arrow and its label."""
        x1, y1, x2, y2 = self._ends(packet)
        self.drawing.line(x1, y1, x2, y2, look.MARKED, 13)
        way, _ = self._side(packet.sender, x1)
        length = 16 + self.time_width + self._label_width(packet)
        self.drawing.box(
            x1 if way > 0 else x1 - length, y1 - 8, length, 16, look.MARKED, look.ORANGE, corner=4
        )

    def _ends(self, packet: Packet) -> tuple[float, float, float, float]:
        """From where to where the arrow runs (would run, if nothing stops it)."""
        hosts = self.ladder.hosts
        rightwards = hosts.index(packet.sender) <= hosts.index(packet.receiver)
        x1 = self.right[packet.sender] if rightwards else self.left[packet.sender]
        x2 = self.left[packet.receiver] if rightwards else self.right[packet.receiver]
        y1, y2 = self.layout.ends(packet)
        return x1, TOP + y1, x2, TOP + y2

    def _arrow(self, packet: Packet) -> None:
        kind = kind_of(packet)
        x1, y1, x2, y2 = self._ends(packet)
        share = self.shares.get(packet.fate, 1.0)
        x, y = x1 + (x2 - x1) * share, y1 + (y2 - y1) * share
        dash = "5 3" if packet.copy_of else "2 3" if packet.fate == ON_ITS_WAY else ""
        self.drawing.line(x1, y1, x, y, kind.colour, kind.width, dash)
        slope = (y2 - y1) / abs(x2 - x1)
        if packet.fate == ARRIVED:
            self._head(x, y, slope if x2 > x1 else -slope, 1 if x2 > x1 else -1, kind)
        elif packet.fate != ON_ITS_WAY:
            self._cross(x, y)
        self._remark(packet, (x1, y1, x, y), slope if x2 > x1 else -slope)

    def _head(self, x: float, y: float, slope: float, way: int, kind: Kind) -> None:
        length = (1 + slope * slope) ** 0.5
        along = (way / length, way * slope / length)
        size = 5 + kind.width * 1.5
        back = (x - along[0] * size, y - along[1] * size)
        side = (-along[1] * size * 0.4, along[0] * size * 0.4)
        corners = [(x, y), (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])]
        self.drawing.shape(corners, kind.colour)

    def _cross(self, x: float, y: float) -> None:
        for way in (5, -5):
            self.drawing.line(x - 5, y - way, x + 5, y + way, look.VERMILION, 2.6)

    def _remark(self, packet: Packet, ends: tuple[float, float, float, float], slope: float) -> None:
        x1, y1, x, y = ends
        turn = _degrees(slope)
        words = [word for word in packet.remarks if word != packet.fate]
        if packet.fate not in {ARRIVED, ON_ITS_WAY}:
            # Behind the cross; before it where the cross stands on the receiver's line.
            way = (1 if x > x1 else -1) * (-1 if packet.fate == CORRUPTED else 1)
            anchor = "start" if way > 0 else "end"
            self.drawing.words(
                x + way * 10, y + 4, packet.fate, 10, look.VERMILION, anchor, bold=True, halo=True
            )
        if words:
            middle = (x1 + (x - x1) * self.remark_at, y1 + (y - y1) * self.remark_at - 4)
            self.drawing.words(
                *middle, ", ".join(words), 9.5, kind_of(packet).colour, "middle", turn=turn, halo=True
            )

    def _side(self, host: str, x: float) -> tuple[int, str]:
        """On which side of its line a text stands: outside for the first and last machine, inside a band."""
        hosts = self.ladder.hosts
        outwards = -1 if host == hosts[0] or (host != hosts[-1] and x == self.right[host]) else 1
        return outwards, "end" if outwards < 0 else "start"

    def _foot(self, packet: Packet) -> None:
        """Time, number and label beside the place where the arrow starts."""
        x, y, _, _ = self._ends(packet)
        way, anchor = self._side(packet.sender, x)
        self.drawing.line(x, y, x + way * 5, y, look.INK)
        self._write(x + way * 8, y, self.clock(packet.departed), look.GREY, anchor)
        self._label(packet)

    def _label(self, packet: Packet) -> None:
        x, y, _, _ = self._ends(packet)
        way, anchor = self._side(packet.sender, x)
        x += way * (8 + self.time_width)
        self._write(x, y, str(packet.number), look.GREY, anchor)
        self._write(x + way * self.number_width, y, packet.label(), _ink(packet), anchor)

    def _windows(self, host: str) -> None:
        """Beside the labels of an outermost machine, a box for each segment: as wide as the window, and
        filled as far as bytes are under way."""
        sent = [packet for packet in self._sent_by(host) if packet.number in self.ladder.windows]
        if not sent:
            return
        most = max(max(self.ladder.windows[packet.number]) for packet in sent) or 1
        way, _ = self._side(host, self._ends(sent[0])[0])
        start = self._ends(sent[0])[0] + way * (8 + self.time_width + self._room(host) - BAR - 8)
        words = f"in flight, of {most:,} B"
        self.drawing.words(start, TOP - 6, words, 9, look.GREY, "start" if way > 0 else "end")
        for packet in sent:
            flight, allowed = self.ladder.windows[packet.number]
            y = self._ends(packet)[1] - 4.5
            for size, fill, stroke in ((flight, look.SKY, ""), (allowed, "none", look.BLUE)):
                width = BAR * size / most
                self.drawing.box(start if way > 0 else start - width, y, width, 9, fill, stroke)

    def _label_width(self, packet: Packet) -> float:
        return self.number_width + len(packet.label()) * self.character

    def _write(self, x: float, y: float, text: str, colour: str, anchor: str) -> None:
        self.drawing.words(x, y + 3.6, text, self.font, colour, anchor, look.MONO)

    def _arrivals(self) -> None:
        """The time of each arrival, where there is room between what the machine sends."""
        taken: dict[str, list[float]] = {host: [] for host in self.ladder.hosts}
        for packet in self.ladder.packets:
            taken[packet.sender].append(self._ends(packet)[1])
        for packet in self.ladder.packets:
            _, _, x, y = self._ends(packet)
            if packet.arrived is None or any(abs(y - other) < FONT + 1 for other in taken[packet.receiver]):
                continue
            taken[packet.receiver].append(y)
            way, anchor = self._side(packet.receiver, x)
            self.drawing.line(x, y, x + way * 5, y, look.FAINT)
            self._write(x + way * 8, y, self.clock(packet.arrived), look.DIM, anchor)

    def _legend(self, y: float) -> float:
        """What the kinds of line mean, in as many rows as it takes; returns the height of the last."""
        kinds = list(dict.fromkeys(map(kind_of, self.ladder.packets)))
        names = [kind.name for kind in kinds] + (["time shortened"] if self.layout.breaks else [])
        widths = [len(name) * 6.2 + 44 for name in names]
        x = max(14.0, (self.width - sum(widths)) / 2)
        for at, (name, width) in enumerate(zip(names, widths, strict=True)):
            if x + width > self.width and x > 14:
                x, y = 14.0, y + 18
            if at < len(kinds):
                self.drawing.line(x, y - 4, x + 22, y - 4, kinds[at].colour, kinds[at].width)
            else:
                self.drawing.box(x, y - 10, 22, 12, look.SHORTENED, look.FAINT)
            self.drawing.words(x + 28, y, name, 10, look.GREY)
            x += width
        return y


class _Narrow(_Drawn):
    """A ladder with its labels along the arrows, from the foot on: beside the lines stand only the times."""

    font = 11.5
    shares = MappingProxyType({LOST: 0.7, **dict.fromkeys(TURNED_AWAY, 0.07), ON_ITS_WAY: 0.8})
    remark_at = 0.82

    def _gap(self) -> float:
        widest = max((len(_numbered(packet)) for packet in self.ladder.packets), default=0)
        return max(300.0, widest * self.character + 90)

    def _room(self, host: str) -> float:
        return 0.0

    def _label_width(self, packet: Packet) -> float:
        return 0.0

    def _label(self, packet: Packet) -> None:
        x1, y1, x2, y2 = self._ends(packet)
        way = 1 if x2 > x1 else -1
        slope = (y2 - y1) / (x2 - x1)
        # What finds the queue full ends at once, in a cross and a word: its label stands behind them.
        by = 10.0 * way
        if packet.fate in TURNED_AWAY:
            by += self.shares[packet.fate] * (x2 - x1) + way * (look.width_of(packet.fate, 10) + 16)
        self.drawing.words(
            x1 + by, y1 + by * slope - 4, _numbered(packet), self.font, _ink(packet),
            "start" if way > 0 else "end", look.MONO, turn=_degrees(slope), halo=True,
        )  # fmt: skip


def _numbered(packet: Packet) -> str:
    return f"{packet.number} {packet.label()}"


def _ink(packet: Packet) -> str:
    bad = packet.retransmission or packet.fate not in {ARRIVED, ON_ITS_WAY}
    return look.VERMILION if bad else look.INK


def _degrees(slope: float) -> float:
    return degrees(atan(slope))


def in_line(packets: Sequence[Packet]) -> list[str]:
    """The machines in such an order that neighbours stand side by side: from the first that has only one,
    on."""
    near: dict[str, dict[str, None]] = {}
    for packet in packets:
        near.setdefault(packet.sender, {})[packet.receiver] = None
        near.setdefault(packet.receiver, {})[packet.sender] = None
    order: list[str] = []

    def walk(host: str) -> None:
        if host not in order:
            order.append(host)
            for neighbour in near[host]:
                walk(neighbour)

    for host in sorted(near, key=lambda name: len(near[name]) != 1):
        walk(host)
    return order
