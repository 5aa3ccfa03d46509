"""A trace: what crossed the wires, and why. It listens to the events of hosts and wires, and asks nothing
of them.

    trace = net.capture(wire)
    …
    trace.table(); trace.ladder(); trace.why(12)

Frames are events too: `device.sent` at the sender, `device.received` at the receiver, and what the wire did
to them in between, tied by the frame's number. Packets are put together from these when someone looks, not
while they travel.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from labstack.core.events import Event, Events, Value
from labstack.core.units import SECOND
from labstack.headers.tcp import ACK
from labstack.observe import capture_file, charts, joined, look, pcapng
from labstack.observe.assembly import Assembly, turned
from labstack.observe.changes import Changed, Effects
from labstack.observe.encapsulation import Dissection
from labstack.observe.fairness import Fairness
from labstack.observe.filters import Matches, matching
from labstack.observe.ladder import Ladder, in_line
from labstack.observe.log import Log
from labstack.observe.packet import Packet
from labstack.observe.panels import Panels
from labstack.observe.queue_chart import QueueChart
from labstack.observe.quiet import quiet
from labstack.observe.rates import RoundTrips, Throughput
from labstack.observe.state_diagram import StateDiagram, path_of
from labstack.observe.tables import Neighbours, Routes
from labstack.observe.time_sequence import TimeSequence
from labstack.observe.why import Why
from labstack.observe.window import WindowChart, busier_side
from labstack.physical.faults import Flow

if TYPE_CHECKING:
    import pandas as pd

    from labstack.host import Host
    from labstack.internet.routing import Route
    from labstack.network import Network

C = TypeVar("C")


class Trace:
    """Listens to `sources` until `close()`.

    - `devices`: the wires (or TAPs) whose frames are shown; None for all. Reasons are followed through all
      sources.
    - `ends`: the machines at the ends of each device, {"a–b": ("a", "b")}; what is left out is learned from
      the frames. A machine that is no source, such as Linux behind a TAP, is silent: what is handed to it
      counts as arrived.
    - `limit`: how many events are kept. The first ones are; `left_out` counts the others.
    - `origin`: the time, in nanoseconds, that is shown as 0.
    - `epoch`: what to add to its times to get nanoseconds since 1970, for capture files. None: found out from
      the sources; a simulation has no date, and begins in 1970.
    """

    def __init__(
        self,
        sources: Iterable[Events] = (),
        devices: set[str] | None = None,
        *,
        ends: Mapping[str, tuple[str, ...]] | None = None,
        limit: int = 200_000,
        origin: int = 0,
        epoch: int | None = None,
    ) -> None:
        self.devices = devices
        self.ends = dict(ends or {})
        self.limit = limit
        self.left_out = 0
        self.origin = origin
        self.events: list[Event] = []
        """All that was heard, in its order."""
        self.routes_before: dict[str, list[Route]] = {}
        """What each machine's routing table held when the capture began, where that is known."""
        self._sources: list[Events] = []
        self.epoch = epoch or 0
        self._heard: set[str] = set()
        self._keep: Matches | None = None
        self._assembly = Assembly(devices, self.ends, self._heard)
        self._effects: tuple[int, Effects] | None = None
        for source in sources:
            self.listen(source)
            # A clock that says what the system's says is real time: its packets have a date.
            if epoch is None and abs(source.now() - monotonic_ns()) < SECOND:
                self.epoch = time_ns() - monotonic_ns()

    # --- listening ----------------------------------------------------------------------------------------

    def listen(self, source: Events) -> None:
        """Listen to one more host or wire. To listen twice is to listen once."""
        if not any(known is source for known in self._sources):
            self._sources.append(source)
            self._heard.add(source.host)
            source.append(self._record)

    def close(self) -> None:
        """Stop listening. What was heard stays."""
        for source in self._sources:
            if self._record in source:
                source.remove(self._record)

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _record(self, event: Event) -> None:
        if len(self.events) < self.limit:
            self.events.append(event)
        else:
            self.left_out += 1

    # --- from events to packets ---------------------------------------------------------------------------

    @property
    def packets(self) -> list[Packet]:
        """The packets, in the order in which they were sent."""
        self._catch_up()
        packets = self._assembly.complete()
        return list(packets) if self._keep is None else [packet for packet in packets if self._keep(packet)]

    def __getitem__(self, number: int) -> Packet:
        """The packet with that number. Raises KeyError in a sentence when there is none."""
        packets = self.packets
        for packet in packets:
            if packet.number == number:
                return packet
        if not packets:
            raise KeyError(f"no packet {number}: this trace is empty")
        raise KeyError(
            f"no packet {number}: they are {packets[0].number} to {packets[-1].number} in this trace"
        )

    def __len__(self) -> int:
        self._catch_up()
        return len(self._assembly.packets) if self._keep is None else len(self.packets)

    @property
    def flows(self) -> list[Flow]:
        """The TCP and UDP flows, each in the direction of its first packet, in the order of these."""
        self._catch_up()
        if self._keep is None:
            return list(self._assembly.flows)
        shown = {packet.flow for packet in self.packets}
        return [flow for flow in self._assembly.flows if flow in shown or turned(flow) in shown]

    def event(self, number: int) -> Event | None:
        """The event with that number, if it was heard."""
        at = self._place_of(number)
        return self.events[at] if at < len(self.events) and self.events[at].number == number else None

    def before(self, event: Event) -> Iterator[Event]:
        """The events heard before `event`, newest first."""
        for at in range(self._place_of(event.number) - 1, -1, -1):
            yield self.events[at]

    def _place_of(self, number: int) -> int:
        """Events are heard in the order of their numbers: where this one stands, or would stand."""
        events = self.events
        # While everything is heard no number is missing.
        at = number - events[0].number if events else 0
        if 0 <= at < len(events) and events[at].number == number:
            return at
        return bisect_left(events, number, key=lambda event: event.number)

    def find(self, event: Event) -> Packet | None:
        """The packet that a `device.sent` or `device.received` event is about, if it is shown."""
        self._catch_up()
        device, number = event.fields.get("device"), event.fields.get("number")
        if not (isinstance(device, str) and isinstance(number, int)):
            return None
        return self._assembly.packets.get((device, number))

    def relative(self, fields: dict[str, Value]) -> dict[str, Value]:
        """The fields of one of TCP's events, with relative numbers in place of those in the header."""
        self._catch_up()
        return self._assembly.relative(fields)

    def _catch_up(self) -> None:
        if self._assembly.read < len(self.events):
            with quiet():
                self._assembly.catch_up(self.events)
                self._assembly.complete()

    @property
    def effects(self) -> Effects:
        """Which events followed from which."""
        heard = len(self.events)
        if self._effects is None or self._effects[0] != heard:
            with quiet():
                self._effects = (heard, Effects(self.events))
        return self._effects[1]

    # --- looking ------------------------------------------------------------------------------------------

    def choose(
        self,
        flow: object = None,
        hosts: Iterable[str] | None = None,
        between: tuple[float, float] | None = None,
    ) -> list[Packet]:
        """The packets of one flow (both directions; a socket will do), between these hosts, sent between
        two times in seconds."""
        packets = self.packets
        if flow is not None:
            there = self.find_flow(flow)
            both = {there, turned(there)}
            packets = [packet for packet in packets if packet.flow in both]
        if hosts is not None:
            wanted = set(hosts)
            packets = [packet for packet in packets if {packet.sender, packet.receiver} <= wanted]
        if between is not None:
            first, last = (self.origin + round(seconds * SECOND) for seconds in between)
            packets = [packet for packet in packets if first <= packet.sent <= last]
        return packets

    def find_flow(self, of: object = None) -> Flow:
        """The flow of a socket (or of a flow itself); without one, the first TCP or UDP flow of the trace.

        Raises ValueError in a sentence when there is none.
        """
        if of is None:
            flows = self.flows
            if not flows:
                raise ValueError(
                    "this trace holds no TCP or UDP flow: was the capture started before the traffic?"
                )
            return flows[0]
        return charts.as_flow(of)

    def filter(self, words: str) -> Trace:
        """The same trace, showing only the packets that `words` describe, in tcpdump's way: `"tcp port 80 and
        host 10.0.0.1"`, `"arp or syn"` (see `observe/filters`). Raises ValueError in a sentence."""
        matches, before = matching(words), self._keep
        shown = copy(self)
        shown._keep = matches if before is None else lambda packet: before(packet) and matches(packet)
        return shown

    def seconds(self, time: int) -> float:
        """A time in nanoseconds, as the trace shows it: in seconds from its origin."""
        return (time - self.origin) / SECOND

    def text(self, absolute: bool = False) -> str:
        """The packets as lines of text. With `absolute`, sequence numbers as they stand in the headers."""
        lines = str(self.lines(self.packets, absolute))
        return f"{lines}\n{self._left_out()}" if self.left_out else lines

    def lines(self, packets: Iterable[Packet], absolute: bool = False) -> look.Grid:
        """These packets as a small table, a line each."""
        rows = [
            (
                str(p.number), f"{self.seconds(p.sent):.6f}", p.sender, p.receiver, p.protocol,
                p.describe(absolute), ", ".join(p.remarks),
            )
            for p in packets
        ]  # fmt: skip
        names = ("no", "time s", "from", "to", "protocol", "info", "")
        return look.Grid(names, rows, frozenset({0, 1}))

    def table(self, absolute: bool = False) -> pd.DataFrame:
        """The packets as a pandas DataFrame, one row each; times in seconds, lengths and windows in bytes."""
        with quiet():
            table = look.frame(COLUMNS, [self._row(packet, absolute) for packet in self.packets])
        return table.astype(dict.fromkeys(("seq", "ack", "len", "window"), "Int64"))

    def _row(self, packet: Packet, absolute: bool) -> tuple[Any, ...]:
        tcp = packet.tcp
        seq = ack = window = None
        if tcp is not None:
            seq, window = (tcp.seq if absolute else packet.relative_seq), tcp.window
            if tcp.flags & ACK:
                ack = tcp.ack if absolute else packet.relative_ack
        arrived = None if packet.arrived is None else (packet.arrived - self.origin) / SECOND
        return (
            packet.number, (packet.sent - self.origin) / SECOND, packet.sender, packet.receiver,
            packet.protocol, packet.flags, seq, ack, packet.payload_length, window,
            packet.describe(absolute), packet.fate, arrived, packet.retransmission,
        )  # fmt: skip

    def joined(self, at: str | None = None) -> pd.DataFrame:
        """TCP's segments joined with what the connection knew after each: state, cwnd, ssthresh, in_flight,
        snd_wnd, srtt, rto. A row is a segment that was sent or received, `at` one host, or at all."""
        with quiet():
            table = look.frame(joined.COLUMNS, joined.rows(self, at))
        whole = ("seq", "ack", "len", "cwnd", "ssthresh", "in_flight", "snd_wnd")
        return table.astype(dict.fromkeys(whole, "Int64"))

    def ladder(
        self,
        flow: object = None,
        *,
        hosts: Sequence[str] | None = None,
        between: tuple[float, float] | None = None,
        limit: int = 60,
        windows: bool = False,
    ) -> Ladder:
        """The packets as a ladder: time runs down, each packet is an arrow. At most `limit` are drawn, the
        first ones; `between` (seconds) and `flow` choose others. `hosts` gives the order from left to
        right. With `windows`, how much of its window each sender has used."""
        packets = self.choose(flow, hosts, between)
        if hosts is None:
            # In the order of the whole trace: a part of it shows the same machines in the same places.
            seen = {name for packet in packets for name in (packet.sender, packet.receiver)}
            hosts = [name for name in in_line(self.packets) if name in seen]
        used = joined.windows(self) if windows else {}
        return Ladder(packets, list(hosts), limit=limit, origin=self.origin, windows=used)

    def dissect(self, number: int) -> Dissection:
        """Packet `number` from the outside in: each header's bytes, fields and values."""
        return Dissection(self[number].frame)

    def why(self, packet: int | Packet, steps: int = 12) -> Why:
        """Why a packet (or that of this number) was sent: the walk back along its causes, at most `steps` of
        them."""
        return Why(self, self[packet] if isinstance(packet, int) else packet, steps)

    def changed(self, packet: int | Packet) -> Changed:
        """What the arrival of a packet (or that of this number) changed, with the state before and after."""
        return Changed(self, self[packet] if isinstance(packet, int) else packet)

    def log(
        self, *names: str, host: str | None = None, packet: int | None = None,
        between: tuple[float, float] | None = None, limit: int = 200,
    ) -> Log:  # fmt: skip
        """The events: of these rules ("tcp.state") and layers ("arp"), at one `host` (or wire), about one
        `packet`, `between` two times in seconds. The text shows the first `limit`, the table all."""
        return Log(self, names, host, packet, between, limit)

    def window(self, flow: object = None) -> WindowChart:
        """The congestion window of a socket (or of a flow's source) over time, with all that limits it;
        without one, of the side of the first flow that sends more."""
        return self._chart(WindowChart, self._busier(flow))

    def states(self, flow: object = None) -> StateDiagram:
        """TCP's state diagram with the path of a socket (or of a flow's source); without one, of whoever
        opened the first flow."""
        return path_of(self, self.find_flow(flow))

    def time_sequence(self, flow: object = None) -> TimeSequence:
        """Sequence numbers over time, as in Stevens' book: segments, what is acknowledged, and the window."""
        return self._chart(TimeSequence, self._busier(flow))

    def throughput(self, flow: object = None, interval: float | None = None) -> Throughput:
        """Bits a second over time, in intervals of so many seconds, in one direction of a flow."""
        return self._chart(Throughput, self._busier(flow), interval)

    def round_trips(self, flow: object = None) -> RoundTrips:
        """Round-trip times over time, with SRTT and RTO, at a flow's source."""
        return self._chart(RoundTrips, self._busier(flow))

    def queue(self, device: str | None = None) -> QueueChart:
        """Bytes that wait at the ends of a wire (by its name; None: of all), over time."""
        return self._chart(QueueChart, device)

    def fairness(self, *flows: object, interval: float | None = None) -> Fairness:
        """The shares of several flows over time, with Jain's index: of these sockets or flows, in the
        direction from their source; without any, of all flows of the trace, in their busier direction."""
        chosen = [self.find_flow(one) for one in flows] or [busier_side(self, one) for one in self.flows]
        return self._chart(Fairness, chosen, interval)

    def connection(self, flow: object = None) -> Panels:
        """All about one side of a connection on one axis of time: its windows, round trips with SRTT and
        RTO, and the queues it stands in."""
        chosen = self._busier(flow)
        return Panels(self.window(chosen), self.round_trips(chosen), self.queue())

    def arp(self, host: str | None = None) -> Neighbours:
        """The ARP tables of all hosts, or of one, as they change."""
        return self._chart(Neighbours, host)

    def routes(self, host: str | None = None) -> Routes:
        """The routing tables of all hosts, or of one, as they change."""
        return self._chart(Routes, host)

    def _chart(self, kind: Callable[..., C], *args: object) -> C:
        with quiet():
            return kind(self, *args)

    def _busier(self, flow: object) -> Flow:
        found = self.find_flow(flow)
        return busier_side(self, found) if flow is None else found

    def bytes_over_time(self, flow: object = None) -> charts.BytesOverTime:
        """How many bytes of a flow had left and had arrived at each time, in both directions."""
        return self._chart(charts.BytesOverTime, self.find_flow(flow))

    def pcap(self, path: str | Path, at: str | None = None) -> Path:
        """Write a capture file that tcpdump, tshark, Wireshark and scapy read: each frame once, when its
        first bit left; or, `at` a host, what that host sent and received, when it did."""
        frames = capture_file.frames(self.packets, at)
        return capture_file.write(path, ((time + self.epoch, frame) for time, frame in frames))

    def pcapng(
        self,
        path: str | Path,
        at: str | None = None,
        machines: Network | Host | None = None,
        comments: bool = True,
    ) -> Path:
        """Write a pcapng file: as `pcap`, and beside each frame, as a comment, why it was sent and what it
        changed. `machines`, the network or the host, gives the names of interfaces and addresses."""
        with quiet():
            return pcapng.write(path, self, at, machines, comments)

    def scapy(self) -> list[Any]:
        """The frames as scapy packets, with `.time` in seconds."""
        frames = capture_file.frames(self.packets)
        return capture_file.to_scapy((time + self.epoch, frame) for time, frame in frames)

    def _left_out(self) -> str:
        return f"… {self.left_out} more events were left out: this trace keeps {self.limit}"

    def __repr__(self) -> str:
        more = f", {self.left_out} events left out" if self.left_out else ""
        return f"<trace: {len(self)} packets, {len(self.events)} events{more}>"


COLUMNS = (
    "no", "time s", "from", "to", "protocol", "flags", "seq", "ack", "len", "window", "info", "fate",
    "arrived s", "retransmission",
)  # fmt: skip
