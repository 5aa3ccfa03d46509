"""Packets joined with TCP's state at that instant: what the connection knew once it had sent, or had dealt
with, each segment.

A row stands for one segment at one end, so a segment that arrived has two: one for its sender, one for its
receiver. What holds after it is what the connection reported last before its next segment, and at that time:
a timer that fires later belongs to no segment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labstack.core.events import Event
from labstack.core.units import SECOND

if TYPE_CHECKING:
    from labstack.observe.trace import Trace

COLUMNS = (
    "time s", "host", "what", "no", "flags", "seq", "ack", "len", "state", "cwnd", "ssthresh", "in_flight",
    "snd_wnd", "srtt s", "rto s",
)  # fmt: skip
_HEARD = {"tcp.state", "tcp.window"}
AT_ONCE = SECOND // 1000
"""In real time, to deal with a segment takes a moment."""
Place = tuple[str, str, str]
"""A connection at one end: host, local and peer as "address:port"."""


class _Known:
    """What a connection has reported so far."""

    __slots__ = ("fields", "rows", "since", "state", "waiting")

    def __init__(self) -> None:
        self.state: str | None = None
        self.fields: dict[str, Any] = {}
        self.waiting: list[Any] | None = None
        self.since = 0
        self.rows: list[tuple[Any, ...]] = []

    def settle(self) -> None:
        """The row that waits is complete: nothing more came of its segment."""
        if self.waiting is None:
            return
        f = self.fields
        srtt, rto = f.get("srtt"), f.get("rto")
        self.rows.append(
            (
                *self.waiting, self.state, f.get("cwnd"), f.get("ssthresh"), f.get("in_flight"),
                f.get("peer_window"), None if srtt is None else srtt / SECOND,
                None if rto is None else rto / SECOND,
            )
        )  # fmt: skip
        self.waiting = None


def rows(trace: Trace, at: str | None = None) -> list[tuple[Any, ...]]:
    """The rows, in the order of time, `at` one host or at all. See `COLUMNS`."""
    shown = {(packet.device, packet.number) for packet in trace.packets}
    known: dict[Place, _Known] = {}
    for event in trace.events:
        if at is not None and event.host != at:
            continue
        name = event.rule.name
        if name in _HEARD:
            place = (event.host, str(event.fields.get("local")), str(event.fields.get("peer")))
            one = known.setdefault(place, _Known())
            if event.time > one.since + AT_ONCE:
                one.settle()
            if name == "tcp.state":
                one.state = str(event.fields.get("after"))
            else:
                one.fields = dict(event.fields)
        elif name in ("device.sent", "device.received"):
            _frame(trace, event, shown, known)
    for one in known.values():
        one.settle()
    # A machine on the way, or one that is not listened to, has no connection to tell of.
    found = [row for one in known.values() if one.state or one.fields for row in one.rows]
    return sorted(found, key=lambda row: (row[0], row[3]))


def windows(trace: Trace) -> dict[int, tuple[int, int]]:
    """For each segment with data, by its number: the bytes under way once it was sent, and as many as the
    congestion window and the peer's allow."""
    at = {column: place for place, column in enumerate(COLUMNS)}
    flows = {packet.number: packet.flow for packet in trace.packets}
    found: dict[int, tuple[int, int]] = {}
    later: dict[object, tuple[float, int]] = {}
    for row in reversed(rows(trace)):
        number, time, length = row[at["no"]], row[at["time s"]], row[at["len"]]
        if row[at["what"]] != "sent" or row[at["cwnd"]] is None or not length:
            continue
        # What is sent in one go is reported once, behind the last of it.
        then, before = later.get(flows[number], (0.0, 0))
        flight = row[at["in_flight"]]
        if then - time <= AT_ONCE / SECOND:
            flight = max(flight, before)
        found[number] = (flight, min(row[at["cwnd"]], row[at["snd_wnd"]]))
        later[flows[number]] = (time, flight - length)
    return found


def _frame(
    trace: Trace, event: Event, shown: set[tuple[str, int]], known: dict[Place, _Known]
) -> None:  # fmt: skip
    packet = trace.find(event)
    if packet is None or packet.tcp is None or packet.flow is None:
        return
    src, src_port, dst, dst_port = packet.flow
    local, peer = f"{src}:{src_port}", f"{dst}:{dst_port}"
    sent = event.rule.name == "device.sent"
    place = (event.host, local, peer) if sent else (event.host, peer, local)
    one = known.setdefault(place, _Known())
    one.settle()
    if (packet.device, packet.number) in shown:
        one.since = event.time
        one.waiting = [
            (event.time - trace.origin) / SECOND, event.host, "sent" if sent else "received", packet.number,
            packet.flags, packet.relative_seq, packet.relative_ack, packet.payload_length,
        ]  # fmt: skip
