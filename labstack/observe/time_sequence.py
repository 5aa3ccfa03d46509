"""The time-sequence graph of Stevens' book and of tcptrace: sequence numbers against time, at the sender.

Each segment is a stroke from its first to its last byte, at the time when it was handed to the wire. Below
runs the line of what is acknowledged, above it that of what the receiver allows: between the two lines is
the window, and a sender that touches the upper one waits for the receiver. Where the receiver names what it
has behind a gap (SACK, RFC 2018), that is a stroke at the time when the sender heard it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labstack.core.seq import seq_sub
from labstack.headers.tcp import ACK, FIN, RST, SYN, Options
from labstack.observe import look
from labstack.observe.assembly import turned
from labstack.observe.charts import Chart, finish, names
from labstack.observe.packet import ARRIVED, LOST, TURNED_AWAY, Packet
from labstack.physical.faults import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.trace import Trace

_STROKES = {
    "segment": (look.BLUE, 1.4), "retransmission": (look.VERMILION, 2.6),
}  # fmt: skip


@dataclass(slots=True, frozen=True)
class Segment:
    """Bytes `first` to `end` (the first behind them) of the stream, sent at `time` (seconds)."""

    time: float
    first: int
    end: int
    again: bool
    lost: bool
    number: int


class TimeSequence(Chart):
    """One direction of a connection. `segments`; `acknowledged` with (seconds, acknowledged up to, allowed up
    to), and `selective` with (seconds, first, end) of each SACK block behind a gap, as the sender heard
    them."""

    def __init__(self, trace: Trace, flow: Flow) -> None:
        self.flow = flow
        packets = [packet for packet in trace.choose(flow) if packet.tcp is not None]
        self.names = names(packets, flow)
        self._seconds = trace.seconds
        # Across a router the same segment is seen on several wires: the sender's own is the first.
        mine = [packet for packet in packets if packet.flow == flow and not packet.copy_of]
        device = mine[0].device if mine else ""
        self.segments = [
            self._segment(packet)
            for packet in mine
            if packet.device == device and (packet.payload_length or _controls(packet))
        ]
        self.selective: list[tuple[float, int, int]] = []
        self.acknowledged = self._heard(
            [packet for packet in packets if packet.flow == turned(flow) and packet.device == device], mine
        )
        if not self.segments:
            raise ValueError(f"{flow[0]}:{flow[1]} sent {flow[2]}:{flow[3]} no TCP data in this trace")

    def _segment(self, packet: Packet) -> Segment:
        assert packet.tcp is not None
        length = packet.payload_length + _controls(packet)
        first = packet.relative_seq
        lost = packet.fate == LOST or packet.fate in TURNED_AWAY
        return Segment(
            self._seconds(packet.sent), first, first + length, packet.retransmission, lost, packet.number
        )

    def _heard(self, packets: list[Packet], mine: list[Packet]) -> list[tuple[float, int, int]]:
        """What the sender learned from each segment that came to it. The window is scaled if both asked for
        it (RFC 7323 §2.2), and never in a SYN."""
        shifts = [_shift(mine), _shift(packets)]
        scale = 0 if None in shifts else min(shifts[1] or 0, 14)
        heard: list[tuple[float, int, int]] = []
        for packet in sorted(packets, key=lambda packet: (packet.arrived or 0, packet.number)):
            tcp = packet.tcp
            if packet.arrived is None or packet.fate != ARRIVED or tcp is None:
                continue
            if not tcp.flags & ACK or tcp.flags & RST:
                continue
            window = tcp.window if tcp.flags & SYN else tcp.window << scale
            ack = packet.relative_ack
            for block in Options.parse(tcp.options).sack:
                first, end = (ack + seq_sub(edge, tcp.ack) for edge in block)
                if first > ack:  # not of what came twice (D-SACK)
                    self.selective.append((self._seconds(packet.arrived), first, end))
            if heard and ack < heard[-1][1]:
                continue
            heard.append((self._seconds(packet.arrived), ack, ack + window))
        return heard

    @property
    def summary(self) -> str:
        again = sum(segment.again for segment in self.segments)
        lost = sum(segment.lost for segment in self.segments)
        words = [
            f"{self.names[0]} → {self.names[1]}: {len(self.segments)} segments "
            f"up to sequence number {max(segment.end for segment in self.segments):,}",
            f"{again} sent again",
            f"{lost} lost",
        ]
        if self.acknowledged:
            time, ack, _ = self.acknowledged[-1]
            windows = [edge - ack for _, ack, edge in self.acknowledged]
            words.append(f"acknowledged up to {ack:,} by {time:.6f} s")
            words.append(f"window from {min(windows):,} to {max(windows):,} bytes")
        if self.selective:
            words.append(f"{len({block[1:] for block in self.selective})} different SACK blocks behind gaps")
        return "; ".join(words)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = [
            (s.time, "retransmission" if s.again else "segment", s.first, s.end, s.lost, s.number)
            for s in self.segments
        ]
        rows += [(time, "ACK", ack, edge, False, None) for time, ack, edge in self.acknowledged]
        rows += [(time, "SACK", first, end, False, None) for time, first, end in self.selective]
        return ["time s", "what", "from", "to", "lost", "no"], sorted(rows, key=lambda row: row[0])

    def _draw(self, axes: Axes) -> None:
        for name, (colour, width) in _STROKES.items():
            strokes = [s for s in self.segments if s.again == (name == "retransmission")]
            if strokes:
                axes.vlines([s.time for s in strokes], [s.first for s in strokes], [s.end for s in strokes],
                            color=colour, linewidth=width, label=name, zorder=3)  # fmt: skip
                # A short segment is less than a pixel high: its ends are marked, as tcptrace does.
                axes.plot([s.time for s in strokes], [s.end for s in strokes], ".", color=colour,
                          markersize=3, zorder=3)  # fmt: skip
        if self.selective:
            axes.vlines(*zip(*self.selective, strict=True), color=look.PURPLE, linewidth=1.1,
                        label="named by SACK", zorder=2)  # fmt: skip
        lost = [s for s in self.segments if s.lost]
        if lost:
            axes.plot([s.time for s in lost], [(s.first + s.end) / 2 for s in lost], "x",
                      color=look.VERMILION, markersize=7, markeredgewidth=2, label="lost",
                      zorder=5)  # fmt: skip
        end = max(s.time for s in self.segments)
        top = max(s.end for s in self.segments)
        if self.acknowledged:
            times, acks, edges = zip(*self.acknowledged, strict=True)
            end = max(end, times[-1])
            axes.step([*times, end], [*acks, acks[-1]], where="post", color=look.GREEN, linewidth=1.4,
                      label="acknowledged")  # fmt: skip
            if min(edge for edge in edges) <= 1.3 * top:
                axes.step([*times, end], [*edges, edges[-1]], where="post", color=look.ORANGE, linewidth=1.2,
                          linestyle=(0, (4, 2)), label="allowed by the receiver")  # fmt: skip
            else:
                axes.text(0.995, 0.985, "↑ the window's edge", transform=axes.transAxes, ha="right", va="top",
                          fontsize=8.5, color=look.GREY)  # fmt: skip
        finish(axes, f"Time and sequence, {self.names[0]} → {self.names[1]}", "sequence number (relative)")
        axes.set_ylim(0, top * 1.1)


def _controls(packet: Packet) -> int:
    """SYN and FIN count as a byte each."""
    assert packet.tcp is not None
    return bool(packet.tcp.flags & SYN) + bool(packet.tcp.flags & FIN)


def _shift(packets: list[Packet]) -> int | None:
    """The window scale that a SYN among these offered."""
    for packet in packets:
        if packet.tcp is not None and packet.tcp.flags & SYN:
            return Options.parse(packet.tcp.options).window_scale
    return None
