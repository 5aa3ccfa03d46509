"""How fast, and how long a round trip takes: throughput, and RTT with what TCP makes of it."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING, Any

from labstack.core.seq import seq_add, seq_le
from labstack.core.units import SECOND
from labstack.headers.ethernet import FCS_LENGTH, MIN_FRAME
from labstack.headers.tcp import ACK, FIN, SYN
from labstack.observe import look
from labstack.observe.assembly import turned
from labstack.observe.charts import Chart, finish, names, stairs
from labstack.observe.packet import ARRIVED, Packet
from labstack.physical.faults import Flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labstack.observe.trace import Trace

STEPS = 60
"""About how many intervals a chart is cut into."""
_UNITS = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s"))


def even(seconds: float) -> float:
    """A round number near `seconds`, not below: 1, 2 or 5, times a power of ten."""
    if seconds <= 0:
        return 1.0
    ten = 10.0 ** floor(log10(seconds))
    return next(step * ten for step in (1.0, 2.0, 5.0, 10.0) if step * ten >= seconds * 0.999)


class Throughput(Chart):
    """Bits a second of one direction of a flow, in each `interval` of seconds, at the receiving end.

    `on_the_wire` counts whole frames with their check sequence; `new` counts the bytes of the stream, each
    once, when they came for the first time (goodput).
    """

    def __init__(self, trace: Trace, flow: Flow, interval: float | None = None) -> None:
        self.flow = flow
        packets = [packet for packet in trace.choose(flow) if packet.flow == flow]
        self.names = names(packets, flow)
        came = at_the_end(packets)
        if not came:
            raise ValueError(f"nothing of {flow[0]}:{flow[1]} arrived at {flow[2]}:{flow[3]} in this trace")
        origin = trace.origin
        frames = [
            ((time - origin) / SECOND, max(len(packet.frame), MIN_FRAME) + FCS_LENGTH)
            for time, packet in came
        ]
        self.start, end = frames[0][0], max(time for time, _ in frames)
        self.interval = interval or even((end - self.start) / STEPS)
        if self.interval <= 0:
            raise ValueError(f"interval={interval!r} is no interval: write seconds above 0")
        slots = int((end - self.start) / self.interval) + 1
        self.on_the_wire = [0] * slots
        self.new = [0] * slots
        for time, size in frames:
            self.on_the_wire[self._slot(time)] += size
        before = 0
        for time, total in stairs([(time, packet) for time, packet in came if packet.payload_length], origin):
            self.new[self._slot(time)] += total - before
            before = total
        self.end = end

    def _slot(self, time: float) -> int:
        return min(int((time - self.start) / self.interval), len(self.on_the_wire) - 1)

    @property
    def summary(self) -> str:
        peak = max(range(len(self.new)), key=lambda k: (self.new[k], -k))
        took = self.end - self.start
        total = f"{self.names[0]} → {self.names[1]}: {sum(self.new):,} new bytes in {took:.6f} s"
        mean = f" ({show_rate(sum(self.new) * 8 / took)})" if took else ""
        most = show_rate(self.new[peak] * 8 / self.interval)
        return (
            f"{total}{mean}; {sum(self.on_the_wire):,} bytes of frames; most {most} "
            f"in the {self.interval:g} s from {self.start + peak * self.interval:.6f} s"
        )

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [
            (self.start + k * self.interval, wire * 8 / self.interval, new * 8 / self.interval)
            for k, (wire, new) in enumerate(zip(self.on_the_wire, self.new, strict=True))
        ]
        return ["time s", "frames bit/s", "new bytes bit/s"], rows

    def _draw(self, axes: Axes) -> None:
        size, unit = _unit(max(self.on_the_wire) * 8 / self.interval)
        times = [self.start + k * self.interval for k in range(len(self.new) + 1)]

        def bits(counts: list[int]) -> list[float]:
            return [count * 8 / self.interval / size for count in [*counts, counts[-1]]]

        axes.fill_between(times, bits(self.new), step="post", color=look.SKY, alpha=0.45, linewidth=0)
        axes.step(times, bits(self.new), where="post", color=look.BLUE, linewidth=1.8, label="new bytes")
        axes.step(times, bits(self.on_the_wire), where="post", color=look.ORANGE, linewidth=1.2,
                  linestyle=(0, (4, 2)), label="all frames, with headers and what comes again")  # fmt: skip
        title = f"Throughput, {self.names[0]} → {self.names[1]}, in steps of {self.interval:g} s"
        finish(axes, title, unit)


def at_the_end(packets: list[Packet]) -> list[tuple[int, Packet]]:
    """What arrived, and when, of one direction of a flow: on the last wire, where several saw it."""
    device = packets[-1].device if packets else ""
    return [
        (packet.arrived, packet)
        for packet in packets
        if packet.device == device and packet.arrived is not None and packet.fate == ARRIVED
    ]


class RoundTrips(Chart):
    """Round-trip times at one end: `samples` (seconds, seconds) from the frames, and what its TCP made of
    them: `estimates` (seconds, SRTT or None, RTO), from its events.

    A sample is the time from a segment to the first ACK that covers it. A segment that was sent twice gives
    none: nobody can say which of the two is acknowledged (Karn; RFC 6298 §3).
    """

    def __init__(self, trace: Trace, flow: Flow) -> None:
        self.flow = flow
        self._seconds = trace.seconds
        packets = [packet for packet in trace.choose(flow) if packet.tcp is not None]
        self.names = names(packets, flow)
        mine = [packet for packet in packets if packet.flow == flow]
        device = mine[0].device if mine else ""
        self.samples = self._sample([packet for packet in packets if packet.device == device])
        local, peer = f"{flow[0]}:{flow[1]}", f"{flow[2]}:{flow[3]}"
        self.estimates: list[tuple[float, float | None, float]] = []
        for event in trace.events:
            f: dict[str, Any] = event.fields
            if event.rule.name == "tcp.window" and f["local"] == local and f["peer"] == peer and "rto" in f:
                srtt = None if f["srtt"] is None else f["srtt"] / SECOND
                new = (self._seconds(event.time), srtt, f["rto"] / SECOND)
                if not self.estimates or self.estimates[-1][1:] != new[1:]:
                    self.estimates.append(new)
        if not self.samples and not self.estimates:
            raise ValueError(f"{local} and {peer} made no round trip in this trace")

    def _sample(self, packets: list[Packet]) -> list[tuple[float, float]]:
        waiting: dict[int, int | None] = {}
        samples = []
        moments = [(packet.sent, packet.number, packet) for packet in packets if packet.flow == self.flow]
        moments += [
            (packet.arrived, packet.number, packet)
            for packet in packets
            if packet.flow == turned(self.flow) and packet.arrived is not None and packet.fate == ARRIVED
        ]
        for time, _, packet in sorted(moments, key=lambda moment: moment[:2]):
            tcp = packet.tcp
            assert tcp is not None
            if packet.flow == self.flow:
                length = packet.payload_length + bool(tcp.flags & SYN) + bool(tcp.flags & FIN)
                end = seq_add(tcp.seq, length)
                if length:
                    # None: what was sent again gives no sample, nor does what overlaps it.
                    waiting[end] = None if packet.retransmission or end in waiting else time
            elif tcp.flags & ACK:
                # They wait in the order in which they were first sent.
                covered = []
                for end in waiting:
                    if not seq_le(end, tcp.ack):
                        break
                    covered.append(end)
                newest = waiting[covered[-1]] if covered else None
                if newest is not None and None not in [waiting[end] for end in covered]:
                    samples.append((self._seconds(time), (time - newest) / SECOND))
                for end in covered:
                    del waiting[end]
        return samples

    @property
    def summary(self) -> str:
        words = [f"{self.names[0]} → {self.names[1]}: {len(self.samples)} round trips measured"]
        if self.samples:
            values = [rtt for _, rtt in self.samples]
            words.append(f"RTT from {min(values) * 1e3:.3f} to {max(values) * 1e3:.3f} ms")
        known = [one for one in self.estimates if one[1] is not None]
        if known:
            words.append(f"SRTT at the end {(known[-1][1] or 0) * 1e3:.3f} ms")
        if self.estimates:
            timeouts = [rto for _, _, rto in self.estimates]
            words.append(f"RTO from {min(timeouts) * 1e3:.3f} to {max(timeouts) * 1e3:.3f} ms")
        return "; ".join(words)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows: list[tuple[Any, ...]] = [(time, rtt, None, None) for time, rtt in self.samples]
        rows += [(time, None, srtt, rto) for time, srtt, rto in self.estimates]
        return ["time s", "rtt s", "srtt s", "rto s"], sorted(rows, key=lambda row: row[0])

    def _draw(self, axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter

        if self.samples:
            times, values = zip(*self.samples, strict=True)
            axes.plot(times, [value * 1e3 for value in values], ".", color=look.SKY, markersize=5,
                      label="RTT of a segment", zorder=2)  # fmt: skip
        if self.estimates:
            end = max([self.estimates[-1][0], *(time for time, _ in self.samples)])
            known = [(time, srtt) for time, srtt, _ in self.estimates if srtt is not None]
            if known:
                axes.step([*(time for time, _ in known), end],
                          [*(srtt * 1e3 for _, srtt in known), known[-1][1] * 1e3], where="post",
                          color=look.BLUE, linewidth=1.9, label="SRTT")  # fmt: skip
            axes.step([*(time for time, _, _ in self.estimates), end],
                      [*(rto * 1e3 for _, _, rto in self.estimates), self.estimates[-1][2] * 1e3],
                      where="post", color=look.VERMILION, linewidth=1.5, linestyle=(0, (4, 2)),
                      label="RTO")  # fmt: skip
        title = f"Round trips, {self.names[0]} → {self.names[1]}"
        finish(axes, title, "milliseconds")
        longest = max((rtt for _, rtt in self.samples), default=0.0)
        if longest and max((rto for _, _, rto in self.estimates), default=0.0) > 4 * longest:
            # A timer of a second above round trips of some milliseconds: only so are both to be seen.
            axes.set_yscale("log")
            axes.set_ylim(min(rtt for _, rtt in self.samples) * 500)
            axes.set_ylabel("milliseconds (logarithmic)")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _unit(rate: float) -> tuple[float, str]:
    return next((one for one in _UNITS if rate >= one[0]), _UNITS[-1])


def show_rate(rate: float) -> str:
    """A rate in bits a second, for people: `"1.168 Mbit/s"`."""
    size, unit = _unit(rate)
    return f"{rate / size:.3f} {unit}"
