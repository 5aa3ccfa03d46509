"""A simulated wire: two ends, and between them a rate, a delay, and whatever goes wrong on the way.

        end 0                                                               end 1
    send queue ──▶ rate: one bit after the other ──▶ delay, faults ──▶ check sequence ──▶ receive

What crosses it is the exact Ethernet frame, padded to its minimum, with its 4-byte check sequence. In time it
costs 8 bytes more before it (the preamble) and 12 behind it (the gap). Both directions are independent (full
duplex). IEEE 802.3 clauses 3 and 4; chapter 03 of the book.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from labstack.core import units
from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.core.clock import Clock
from labstack.core.events import Counters, Events, Rule, Value
from labstack.core.node import Node
from labstack.core.randomness import Stream, stream
from labstack.core.units import MILLISECOND, SECOND
from labstack.headers.ethernet import FCS_LENGTH, MIN_FRAME, check_fcs, fcs
from labstack.headers.segmentation import segment
from labstack.physical.device import RECEIVED, SENT, Receive
from labstack.physical.faults import Fault, Match, Seen
from labstack.physical.queue import MARK, SEND, Discipline, DropTail, Verdict, Waiting, marked

PREAMBLE = 8
GAP = 12
_BYTE = 8 * SECOND
"""Divided by a rate, the nanoseconds that a byte takes."""

DEPARTED = Rule(
    "wire.departed", "the frame waited in the send queue, and now its first bit leaves", "IEEE 802.3 §4.2.8"
)
LOST = Rule("wire.lost", "the frame got lost on the wire")
DUPLICATED = Rule("wire.duplicated", "the frame arrives twice")
CORRUPTED = Rule("wire.corrupted", "a bit of the frame is flipped on the way")
DELAYED = Rule("wire.delayed", "the frame is held back on the way")
QUEUE_FULL = Rule(
    "wire.queue_full", "the send queue holds as many bytes as it may: the last to come is dropped"
)
QUEUE_DROPPED = Rule(
    "wire.queue_dropped",
    "frames have waited too long: its queue drops one, although there is room, so that a sender slows down",
    "RFC 7567 §2",
)
"""Fields of all three: `number`, `sender`, and `waited`, in nanoseconds."""
MARKED = Rule(
    "wire.marked",
    "frames have waited too long: this one is marked in place of dropped, for its sender understands that",
    "RFC 3168 §5",
)
BAD_FCS = Rule(
    "ethernet.bad_fcs", "the check sequence does not fit the frame: some bit is wrong", "IEEE 802.3 §3.2.9"
)


class End:
    """One end of a wire: a `Device`. `node` is the machine that it is plugged into, `waiting` what waits for
    the line to be free."""

    offload = 0

    def __init__(self, wire: Wire, mac: MAC, mtu: int) -> None:
        self.wire = wire
        self.name = wire.name
        self.mac = mac
        self.mtu = mtu
        self.node: Node | None = None
        self.peer: End
        self.waiting = wire.discipline(wire.queue)
        self._free_at = 0
        self._receive: Receive | None = None

    @property
    def queued(self) -> int:
        """Bytes that wait."""
        return self.waiting.queued

    def attach(self, receive: Receive) -> None:
        self._receive = receive

    def transmit(self, header: bytes, payload: Buffer, segment_size: int = 0) -> None:
        """Send a frame (see `Device`). It is copied, padded and given its check sequence here."""
        if segment_size:
            for piece in segment(header, payload, segment_size):
                self.transmit(*piece)
            return
        wire, frame = self.wire, b"".join((header, payload))
        number = next(wire.numbers)
        node, cause = self.node, 0
        if node is not None and node.events:
            cause = node.events.emit(SENT, number=number, device=wire.name, frame=frame, segment_size=0)
        if len(frame) < MIN_FRAME:
            frame = frame.ljust(MIN_FRAME, b"\0")
        frame += fcs(frame)
        now, waited_before = wire.clock.now, self.waiting.queued
        if self._free_at <= now and not waited_before:
            wire._carry(self, number, frame, cause)
        elif not self.waiting.put(Waiting(number, frame, cause, now)):
            wire._drop(self, QUEUE_FULL, number, cause, waited=0)
        elif not waited_before:
            wire.clock.call_at(self._free_at, self._next)

    def close(self) -> None:
        self.waiting = DropTail(0)
        self._receive = None

    def _next(self) -> None:
        """The line is free again: the next frame from the queue."""
        wire = self.wire
        now = wire.clock.now
        while (found := self.waiting.take(now)) is not None:
            waiting, verdict = found
            if verdict is not SEND and not self._signal(waiting, verdict, now - waiting.since):
                continue
            if wire.events:
                wire.events.cause = waiting.cause
                wire.events.emit(DEPARTED, number=waiting.number)
            wire._carry(self, waiting.number, waiting.frame, waiting.cause)
            break
        if self.waiting.queued:
            wire.clock.call_at(self._free_at, self._next)

    def _signal(self, waiting: Waiting, verdict: Verdict, waited: int) -> bool:
        """The sender is to slow down: mark the frame, or drop it. False if it is dropped."""
        frame = marked(waiting.frame) if verdict is MARK else None
        if frame is None:
            self.wire._drop(self, QUEUE_DROPPED, waiting.number, waiting.cause, waited=waited)
            return False
        waiting.frame = frame
        sender = self.node.name if self.node else ""
        self.wire._tell(MARKED, waiting.number, waiting.cause, sender=sender, waited=waited)
        return True

    def _arrive(self, number: int, frame: bytes, cause: int) -> None:
        node, receive = self.node, self._receive
        if node is None or receive is None:
            return
        events = node.events
        if events:
            events.cause = cause
            events.cause = events.emit(
                RECEIVED, number=number, device=self.wire.name, frame=frame[:-FCS_LENGTH]
            )
        if check_fcs(frame):
            receive(number, frame[:-FCS_LENGTH], 0)
        else:
            node.drop(BAD_FCS, number=number)
        if events:
            events.cause = 0


class Wire:
    """A cable between two machines.

    - `rate`: bits a second (`"10 Mbit/s"`), or None: no time at all; `delay`: from end to end (`"20 ms"`).
    - `queue`: bytes that may wait at each end for the line to be free (`"64 KiB"`); `discipline`: who goes
      next, and who is dropped or marked for having waited too long (a class, see `physical/queue`).
    - `loss`, `corrupt`, `duplicate`, `reorder`: the share of frames, from 0 to 1, to which that happens,
      drawn from seeded streams. A reordered frame is held back by up to `hold`.
    - `drop`, `delay`, `corrupt`, `duplicate` script what happens to chosen frames.

    Afterwards `chance["loss"]` and the like, `rate` and `propagation` (nanoseconds) may be changed at any
    time.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        name: str = "wire",
        rate: str | float | None = None,
        delay: str | float = 0,
        queue: str | int = "256 KiB",
        discipline: Callable[[int], Discipline] = DropTail,
        loss: float = 0.0,
        corrupt: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        hold: str | float | None = None,
        mtu: int = 1500,
        macs: tuple[MAC, MAC] = (MAC(b"\x02\0\0\0\0\1"), MAC(b"\x02\0\0\0\0\2")),
        random: Callable[[str], Stream] | None = None,
        frame_numbers: Iterator[int] | None = None,
        event_numbers: Iterator[int] | None = None,
    ) -> None:
        self.chance = {"loss": loss, "corrupt": corrupt, "duplicate": duplicate, "reorder": reorder}
        for what, share in self.chance.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{what}={share!r} is no share: write a number from 0 to 1, 0.02 for 2 %")
        if mtu < 68:
            raise ValueError(f"mtu={mtu!r} is too small for IPv4: write 68 or more bytes (RFC 791 §3.2)")
        self.clock = clock
        self.name = name
        self.rate = None if rate is None else units.rate(rate)
        self.propagation = units.duration(delay)
        self.queue = units.size(queue)
        self.discipline = discipline
        self.hold = max(self.propagation, MILLISECOND) if hold is None else units.duration(hold)
        self.counters = Counters()
        self.events = Events(name, lambda: clock.now, event_numbers)
        self.numbers = frame_numbers or count(1)
        self.faults: list[Fault] = []
        draw = random or (lambda purpose: stream(0, name, purpose))
        self._draws = {what: draw(what) for what in (*self.chance, "bit", "hold")}
        self.ends = (End(self, macs[0], mtu), End(self, macs[1], mtu))
        self.ends[0].peer, self.ends[1].peer = self.ends[1], self.ends[0]

    # --- what is to happen to chosen frames
    def drop(self, match: Match) -> Fault:
        """Lose the frames that `match` picks, such as `data_segment(3)`."""
        return self._script(Fault("drop", match))

    def delay(self, match: Match, by: str | float) -> Fault:
        """Hold the picked frames back `by` so long."""
        return self._script(Fault("delay", match, by=units.duration(by)))

    def duplicate(self, match: Match) -> Fault:
        """Deliver the picked frames twice."""
        return self._script(Fault("duplicate", match))

    def corrupt(self, match: Match, bit: int = 0) -> Fault:
        """Flip one bit of the picked frames; `bit` counts from the first bit of the destination address."""
        return self._script(Fault("corrupt", match, bit=bit))

    def _script(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def close(self) -> None:
        for end in self.ends:
            end.close()

    # --- the way
    def _carry(self, sender: End, number: int, frame: bytes, cause: int) -> None:
        """Take a frame whose first bit leaves now, and let it arrive: or not, or twice, or late, or wrong."""
        now, rate, copies = self.clock.now, self.rate, 1
        arrives = now + self.propagation
        if rate is not None:
            on_the_line = (PREAMBLE + len(frame)) * _BYTE // rate
            arrives += on_the_line
            sender._free_at = now + on_the_line + GAP * _BYTE // rate
        if self.faults:
            seen = Seen(number, sender.node.name if sender.node else "", frame[:-FCS_LENGTH])
            # Every match looks at every frame, also at one that an earlier fault drops: they count.
            for fault in [fault for fault in self.faults if fault.match(seen)]:
                fault.hits += 1
                if fault.action == "drop":
                    self._drop(sender, LOST, number, cause, scripted=True)
                    return
                if fault.action == "delay":
                    arrives += fault.by
                    self._tell(DELAYED, number, cause, by=fault.by)
                elif fault.action == "duplicate":
                    copies += 1
                elif fault.action == "corrupt":
                    frame = self._flip(frame, fault.bit, number, cause)
        draws, chance = self._draws, self.chance
        if chance["loss"] and draws["loss"]() < chance["loss"]:
            self._drop(sender, LOST, number, cause, scripted=False)
            return
        if chance["corrupt"] and draws["corrupt"]() < chance["corrupt"]:
            frame = self._flip(frame, int(draws["bit"]() * len(frame) * 8), number, cause)
        if chance["reorder"] and draws["reorder"]() < chance["reorder"]:
            by = int(draws["hold"]() * self.hold)
            arrives += by
            self._tell(DELAYED, number, cause, by=by)
        if chance["duplicate"] and draws["duplicate"]() < chance["duplicate"]:
            copies += 1
        receiver = sender.peer
        self.clock.call_at(arrives, partial(receiver._arrive, number, frame, cause))
        while copies > 1:
            copies -= 1
            copy = next(self.numbers)
            self._tell(DUPLICATED, copy, cause, of=number, frame=frame[:-FCS_LENGTH])
            self.clock.call_at(arrives, partial(receiver._arrive, copy, frame, cause))

    def _flip(self, frame: bytes, bit: int, number: int, cause: int) -> bytes:
        if not 0 <= bit < len(frame) * 8:
            return frame
        self._tell(CORRUPTED, number, cause, bit=bit)
        wrong = bytearray(frame)
        wrong[bit >> 3] ^= 0x80 >> (bit & 7)
        return bytes(wrong)

    def _tell(self, rule: Rule, number: int, cause: int, **fields: Value) -> None:
        self.counters.add(rule.name)
        if self.events:
            self.events.cause = cause
            self.events.emit(rule, number=number, **fields)

    def _drop(self, sender: End, rule: Rule, number: int, cause: int, **fields: Value) -> None:
        self._tell(rule, number, cause, sender=sender.node.name if sender.node else "", **fields)

    def __repr__(self) -> str:
        return f"<wire {self.name}>"
