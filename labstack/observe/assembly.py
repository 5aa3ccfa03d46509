"""From events to packets: what was sent, what the wire did to it, and what arrived, put together by its
number.

The assembly also follows each flow: what its relative sequence numbers count from, and what was sent before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any

from labstack.core.addresses import IPAddress
from labstack.core.events import Event, Value
from labstack.core.seq import MODULUS, seq_add, seq_lt
from labstack.headers.ethernet import MIN_FRAME
from labstack.headers.tcp import ACK, FIN, SYN
from labstack.observe.packet import ARRIVED, CORRUPTED, LOST, QUEUE_DROPPED, QUEUE_FULL, Packet
from labstack.physical.faults import Flow

Key = tuple[str, int]
"""A frame: the name of its device (the wire), and its number."""


class Assembly:
    """Takes events in their order; `packets` holds what is known so far. For the parameters see `Trace`;
    `heard` are the names of the machines that are listened to."""

    def __init__(
        self, devices: set[str] | None, ends: Mapping[str, tuple[str, ...]], heard: set[str]
    ) -> None:
        self.packets: dict[Key, Packet] = {}
        self.flows: dict[Flow, None] = {}
        self.read = 0
        """How many events were taken."""
        self._complete: tuple[int, list[Packet]] = (0, [])
        self._devices = devices
        self._ends = ends
        self._heard = heard
        self._arrivals: dict[int, Packet] = {}
        self._bases: dict[Flow, int] = {}
        self._highest: dict[tuple[str, str, Flow], int] = {}
        self._learned: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._takers: dict[str, Callable[[Event], None]] = {
            "device.sent": self._sent,
            "device.received": self._received,
            "wire.departed": self._departed,
            "wire.lost": self._lost,
            "wire.queue_full": self._queue_full,
            "wire.queue_dropped": self._queue_dropped,
            "wire.marked": self._marked,
            "wire.duplicated": self._duplicated,
            "ethernet.bad_fcs": self._bad_fcs,
            "tap.queue_full": self._not_taken,
            "tap.down": self._not_taken,
            "tap.closed": self._not_taken,
        }

    def catch_up(self, events: list[Event]) -> None:
        """Take the events that are new. What is not about a frame is passed over."""
        takers, heard = self._takers, len(events)
        for event in islice(events, self.read, heard):
            take = takers.get(event.rule.name)
            if take is not None:
                take(event)
        self.read = heard

    def complete(self) -> list[Packet]:
        """All packets, in the order in which they were sent, with the machine at the other end filled in."""
        if self._complete[0] != self.read:
            for packet in self.packets.values():
                if not packet.sender:
                    packet.sender = self._other_end(packet.device, packet.receiver)
                if not packet.receiver:
                    packet.receiver = self._other_end(packet.device, packet.sender)
            ordered = sorted(self.packets.values(), key=attrgetter("sent", "number"))
            self._complete = (self.read, ordered)
        return self._complete[1]

    def relative(self, fields: dict[str, Value]) -> dict[str, Value]:
        """The fields of one of TCP's events, with relative numbers in place of those in the header."""
        local, peer = fields.get("local"), fields.get("peer")
        if not (isinstance(local, str) and isinstance(peer, str)):
            return fields
        flow = _flow(local, peer)
        bases = {"seq": self._bases.get(flow), "ack": self._bases.get(turned(flow))}
        found = dict(fields)
        for name, base in bases.items():
            value = fields.get(name)
            if isinstance(value, int) and base is not None:
                found[name] = (value - base) % MODULUS
        flags = fields.get("flags")
        if isinstance(flags, int) and not flags & ACK:
            found.pop("ack", None)
        return found

    def _sent(self, event: Event) -> None:
        fields: dict[str, Any] = event.fields
        device, number, frame = fields["device"], fields["number"], fields["frame"]
        self._learned[device][event.host] = None
        if not self._shown(device):
            return
        packet = Packet(number, device, event.host, "", event.time, event.time, frame, event.number)
        if device in self._ends:
            peer = self._other_end(device, event.host)
            if peer not in self._heard:
                packet.receiver, packet.arrived, packet.fate = peer, event.time, ARRIVED
        self.packets[device, number] = packet
        self._place(packet)

    def _received(self, event: Event) -> None:
        fields: dict[str, Any] = event.fields
        device, number, frame = fields["device"], fields["number"], fields["frame"]
        self._learned[device][event.host] = None
        if not self._shown(device):
            return
        packet = self.packets.get((device, number))
        if packet is None:
            packet = Packet(number, device, "", event.host, event.time, event.time, frame, event.number)
            self.packets[device, number] = packet
            self._place(packet)
        packet.receiver, packet.arrived, packet.fate = event.host, event.time, ARRIVED
        packet.arrival = event.number
        self._arrivals[event.number] = packet
        if frame != packet.frame and frame != packet.frame.ljust(MIN_FRAME, b"\0"):
            packet.changed = frame

    def _of(self, event: Event) -> Packet | None:
        """The packet that a wire reports on; the wire's name is the device's."""
        number = event.fields["number"]
        return self.packets.get((event.host, number)) if isinstance(number, int) else None

    def _departed(self, event: Event) -> None:
        if packet := self._of(event):
            packet.departed = event.time

    def _lost(self, event: Event) -> None:
        if packet := self._of(event):
            packet.fate = LOST

    def _queue_full(self, event: Event) -> None:
        if packet := self._of(event):
            packet.fate = QUEUE_FULL

    def _queue_dropped(self, event: Event) -> None:
        if packet := self._of(event):
            packet.fate, packet.departed = QUEUE_DROPPED, event.time

    def _marked(self, event: Event) -> None:
        if packet := self._of(event):
            packet.marked = True

    def _duplicated(self, event: Event) -> None:
        number, of = event.fields["number"], event.fields["of"]
        original = self.packets.get((event.host, of)) if isinstance(of, int) else None
        if original is None or not isinstance(number, int):
            return
        copy = replace(
            original, number=number, copy_of=original.number, event=event.number, departed=event.time
        )
        self.packets[event.host, number] = copy

    def _bad_fcs(self, event: Event) -> None:
        # The machine tells while it handles the arrival, which is its cause.
        if packet := self._arrivals.get(event.cause):
            packet.fate = CORRUPTED

    def _not_taken(self, event: Event) -> None:
        """The kernel did not take a frame: its device is one of those that the machine has."""
        number = event.fields.get("number")
        for device, hosts in self._learned.items():
            if event.host in hosts and isinstance(number, int):
                packet = self.packets.get((device, number))
                if packet is not None and packet.sender == event.host:
                    packet.arrived, packet.fate = None, LOST

    def _place(self, packet: Packet) -> None:
        """Note the packet's flow; for TCP, what its relative numbers count from, and whether it was sent
        before."""
        flow = packet.flow
        if flow is None:
            return
        back = turned(flow)
        if back not in self.flows:
            self.flows[flow] = None
        tcp = packet.tcp
        if tcp is None:
            return
        bases, sender = self._bases, (packet.device, packet.sender, flow)
        if tcp.flags & SYN and bases.get(flow) != tcp.seq:
            bases[flow] = tcp.seq
            self._highest.pop(sender, None)
        # Whoever missed the SYN counts as if the first byte seen were the first of all, number 1.
        if flow not in bases:
            bases[flow] = seq_add(tcp.seq, -1)
        if tcp.flags & ACK and back not in bases:
            bases[back] = seq_add(tcp.ack, -1)
        packet.base = (bases[flow], bases.get(back, 0))
        length = packet.payload_length + bool(tcp.flags & SYN) + bool(tcp.flags & FIN)
        if length:
            end = seq_add(tcp.seq, length)
            highest = self._highest.get(sender)
            packet.retransmission = highest is not None and seq_lt(tcp.seq, highest)
            if highest is None or seq_lt(highest, end):
                self._highest[sender] = end

    def _shown(self, device: str) -> bool:
        return self._devices is None or device in self._devices

    def _other_end(self, device: str, host: str) -> str:
        known = self._ends.get(device) or tuple(self._learned.get(device, {}))
        machines = [name for name in known if name != host]
        return machines[0] if len(machines) == 1 else "?"


@lru_cache(maxsize=1024)
def _flow(local: str, peer: str) -> Flow:
    """The flow between two places, each written as "address:port"."""
    (src, _, src_port), (dst, _, dst_port) = local.rpartition(":"), peer.rpartition(":")
    return (IPAddress.parse(src), int(src_port), IPAddress.parse(dst), int(dst_port))


def turned(flow: Flow) -> Flow:
    """The other direction of a flow."""
    return (flow[2], flow[3], flow[0], flow[1])
