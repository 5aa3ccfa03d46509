"""The scoreboard: every stretch of the stream that is under way, and what has become of it.

    under way ──▶ over        acknowledged, or sent once more (then a new entry stands in its place)
        │  └────▶ arrived     the peer has it, behind a gap: its SACK blocks say so (RFC 2018)
        └───────▶ lost        someone has decided so; it waits to be sent again

Who decides what is lost stands in `recovery` (NewReno) and `rack`; both are built on this. It also measures
how fast bytes are delivered: each stretch remembers how much had been delivered when it was sent
(draft-cheng-iccrg-delivery-rate-estimation). Chapter 20 of the book.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from labstack.core.seq import HALF, MASK, seq_le, seq_lt, seq_sub
from labstack.core.units import SECOND
from labstack.transport.tcp import rules
from labstack.transport.tcp.congestion import AckSample, LossEvent
from labstack.transport.tcp.receiver import Block


class Fate(Enum):
    """What has become of a stretch."""

    UNDER_WAY = "sent, and nothing is known of it"
    ARRIVED = "the peer has it, behind a gap"
    LOST = "taken for lost, and not sent again yet"
    OVER = "acknowledged, or sent once more"


UNDER_WAY, ARRIVED, LOST, OVER = Fate


@dataclass(slots=True, eq=False)
class Sent:
    """A stretch of the stream: sequence numbers from `seq` up to, not including, `end`."""

    seq: int
    end: int
    sent_at: int
    number: int
    """Of the transmission: a later one has a higher number, also in the same nanosecond."""
    retransmitted: bool
    # What had been delivered when this was sent, when that was, and when the newest of it had been sent: the
    # rate is measured between then and its own acknowledgement.
    delivered: int
    delivered_at: int
    first_sent_at: int
    app_limited: bool
    fate: Fate = UNDER_WAY


@dataclass(slots=True)
class Ack:
    """An acknowledgement as recovery sees it. Nanoseconds."""

    number: int
    """All in front of this has arrived."""
    advanced: int
    """How many numbers of these are acknowledged for the first time."""
    duplicate: bool
    """As RFC 5681 §2 defines it."""
    now: int
    cwnd_limited: bool
    """The congestion window, and not the program or the peer, held the sender back."""
    blocks: tuple[Block, ...]
    """What has arrived besides, as SACK names it."""
    echoed_at: int | None
    """When the segment was sent whose timestamp it echoes, if it has one."""
    more: bool = False
    """A segment that was never sent is waiting, and the peer's window has room for it."""

    @property
    def tells_twice(self) -> bool:
        """The first block tells of something that came twice (D-SACK): it lies in front of `number`, or
        inside of the second block (RFC 2883 §4)."""
        if not self.blocks:
            return False
        (left, right), *others = self.blocks
        inside = bool(others) and seq_le(others[0][0], left) and seq_le(right, others[0][1])
        return inside or seq_lt(left, self.number)


class Scoreboard:
    """The half of a `Recovery` that keeps the books. Segments carry up to `mss` bytes."""

    reason = rules.RETRANSMIT
    # The class's, for it is seldom set: objects with 30 attributes of their own, or more, do not share the
    # names of these, and Python takes longer to find them.

    def __init__(self, mss: int) -> None:
        self.outstanding = 0
        self.in_recovery = self.after_timeout = self.spurious = False
        self.reordering_deadline: int | None = None
        self.min_rtt: int | None = None
        """The shortest round trip so far, in nanoseconds."""
        self._mss = mss
        self._sent: deque[Sent] = deque()  # in the order of sequence numbers
        self._by_time: deque[Sent] = deque()  # in the order of sending; only those under way count
        self._lost: deque[Sent] = deque()  # to be sent again, the first first; only those lost count
        self._recover: int | None = None  # an episode of loss ends when all in front of this has arrived
        self._lost_bytes = self._arrived_bytes = self._arrived = 0
        self._known: tuple[Block, ...] = ()  # the last acknowledgement's blocks: nothing new is in them
        self._number = 0  # of the last transmission
        self._delivered = self._delivered_at = self._first_sent_at = 0
        self._limited_until = -1  # what is sent until so much is delivered tells nothing of the path's rate

    @property
    def in_flight(self) -> int:
        """The pipe of RFC 6675 §4: sent, and neither acknowledged, nor arrived, nor lost."""
        return self.outstanding - self._lost_bytes - self._arrived_bytes

    @property
    def mss(self) -> int:
        return self._mss

    @mss.setter
    def mss(self, mss: int) -> None:
        self._mss = mss
        self._lose_all(lambda at, sent: seq_sub(sent.end, sent.seq) > mss)

    # --- going out
    def on_sent(self, seq: int, size: int, now: int, app_limited: bool) -> None:
        """A stretch goes out, for the first time or again."""
        if app_limited:
            self._limited_until = self._delivered + self.in_flight
        sent, end = self._sent, (seq + size) & MASK
        if not sent:
            self._first_sent_at = self._delivered_at = now
        elif (seq - sent[-1].end) & MASK >= HALF:
            seq = self._send_again(seq, end, now)
            size = seq_sub(end, seq)
        if size > 0:
            sent.append(self._stamp(seq, end, now, False))
            self.outstanding += size

    def _stamp(self, seq: int, end: int, now: int, again: bool) -> Sent:
        self._number += 1
        new = Sent(
            seq, end, now, self._number, again, self._delivered, self._delivered_at, self._first_sent_at,
            self._delivered <= self._limited_until,
        )  # fmt: skip
        self._by_time.append(new)
        return new

    def _send_again(self, seq: int, end: int, now: int) -> int:
        """What lies on the board is sent once more: it gets new entries. Where the board ends."""
        while self._by_time and self._by_time[0].fate is OVER:
            self._by_time.popleft()  # a probe that the peer may leave unacknowledged for ever
        sent, at = self._sent, self._find(seq)
        if sent[at].seq != seq:
            self._split(at, seq)
            at += 1
        while at < len(sent) and seq_lt((old := sent[at]).seq, end):
            if seq_lt(end, old.end):
                self._split(at, end)
            if old.fate is not ARRIVED:
                if old.fate is LOST:
                    self._lost_bytes -= seq_sub(old.end, old.seq)
                old.fate = OVER
                sent[at] = self._stamp(old.seq, old.end, now, True)
            at += 1
        return sent[-1].end

    def _find(self, seq: int) -> int:
        """The place of the stretch that holds `seq`."""
        first = self._sent[0].seq
        return bisect_left(self._sent, seq_sub(seq, first) + 1, key=lambda sent: seq_sub(sent.end, first))

    def _split(self, at: int, seq: int) -> None:
        """Cut a stretch in two before the number `seq`."""
        sent = self._sent[at]
        rest = replace(sent, seq=seq)
        sent.end = seq
        self._sent.insert(at + 1, rest)
        if sent.fate is not ARRIVED:
            beside = self._lost if sent.fate is LOST else self._by_time
            beside.insert(beside.index(sent) + 1, rest)

    # --- coming in
    def _deliver(self, ack: int, blocks: tuple[Block, ...]) -> list[Sent]:
        """Strike out what is acknowledged up to `ack`, and note what has arrived behind a gap. What it is
        that has been delivered, as was not known before."""
        newly, sent, gone = list[Sent](), self._sent, 0
        while sent:
            first = sent[0]
            if (ack - first.end) & MASK >= HALF:
                if not seq_lt(first.seq, ack):
                    break
                self._split(0, ack)
            sent.popleft()
            size = (first.end - first.seq) & MASK
            gone += size
            if first.fate is ARRIVED:
                self._arrived_bytes -= size
                self._arrived -= 1
                self._delivered -= size  # it was counted when it arrived
            else:
                if first.fate is LOST:
                    self._lost_bytes -= size
                newly.append(first)
            first.fate = OVER
        self.outstanding -= gone
        self._delivered += gone
        if blocks:
            for block in blocks:
                if sent and block not in self._known:
                    self._arrive(block, newly)
            self._known = blocks
        while self._by_time and self._by_time[0].fate is not UNDER_WAY:
            self._by_time.popleft()
        return newly

    def _arrive(self, block: Block, newly: list[Sent]) -> None:
        """The peer has this piece. It counts in whole segments: a peer that names single bytes does not make
        the board longer. A block that cannot be is ignored."""
        sent = self._sent
        first = sent[0].seq
        begin, end = max(seq_sub(block[0], first), 0), seq_sub(block[1], first)
        if not begin < end <= seq_sub(sent[-1].end, first):
            return
        self._cut((first + begin) & MASK, self._mss - 1)
        self._cut((first + end) & MASK, 0)
        # A piece that has grown is looked at from a segment before its old end on.
        grown = [seq_sub(right, first) - self._mss for left, right in self._known if left == block[0]]
        at = self._find((first + max(begin, min(max(grown, default=0), end - 1))) & MASK)
        while at < len(sent) and seq_sub((stretch := sent[at]).end, first) <= end:
            at += 1
            if stretch.fate is ARRIVED or seq_sub(stretch.seq, first) < begin:
                continue
            size = seq_sub(stretch.end, stretch.seq)
            if stretch.fate is LOST:
                self._lost_bytes -= size
            stretch.fate = ARRIVED
            self._arrived_bytes += size
            self._arrived += 1
            self._delivered += size
            newly.append(stretch)

    def _cut(self, seq: int, up: int) -> None:
        """Make `seq`, or the end of a whole segment next to it, the border between two stretches."""
        at = self._find(seq)
        if at < len(self._sent):
            sent = self._sent[at]
            whole = (seq_sub(seq, sent.seq) + up) // self._mss * self._mss
            if 0 < whole < seq_sub(sent.end, sent.seq):
                self._split(at, (sent.seq + whole) & MASK)

    def _sample(self, ack: Ack, newly: list[Sent], acked: int, in_flight: int, held: bool) -> AckSample:
        """What an acknowledgement tells congestion control: of `acked` bytes, those of `newly`. For the rate,
        bytes are counted from when the newest of them was sent, over the longer of two times: that of
        sending, and that of hearing of it."""
        now, newest, twice = ack.now, newly[-1], False
        for sent in newly:
            twice = twice or sent.retransmitted
            if sent.number > newest.number:
                newest = sent
        # Karn: what was sent twice tells no time, unless a timestamp says which of the two it was. Neither
        # does what waited behind it at the receiver.
        rtt: int | None = now - newest.sent_at
        if twice:
            rtt = None if ack.echoed_at is None else now - ack.echoed_at
        elif self.min_rtt is None or now - newest.sent_at < self.min_rtt:
            self.min_rtt = rtt
        interval = max(newest.sent_at - newest.first_sent_at, now - newest.delivered_at)
        if interval < (self.min_rtt or 0):
            interval = 0  # shorter than a round trip: it was the other transmission (§4.3 of the draft)
        rate = (self._delivered - newest.delivered) * SECOND // interval if interval else 0
        self._first_sent_at, self._delivered_at = newest.sent_at, now
        return AckSample(
            now, acked, 0, rtt, in_flight, self._delivered, newest.delivered, interval, rate,
            newest.app_limited, held, ack.cwnd_limited,
        )  # fmt: skip

    # --- what is lost
    def _lose(self, sent: Sent) -> int:
        """Take a stretch for lost; how many bytes."""
        size = seq_sub(sent.end, sent.seq)
        sent.fate = LOST
        self._lost_bytes += size
        self._lost.append(sent)
        return size

    def _lose_all(self, which: Callable[[int, Sent], bool]) -> None:
        """Of what is under way take those for lost that are picked by their place and themselves."""
        self._lost.clear()
        self._lost_bytes = 0
        for at, sent in enumerate(self._sent):
            if sent.fate is LOST or (sent.fate is UNDER_WAY and which(at, sent)):
                self._lose(sent)

    def next_lost(self) -> tuple[int, int] | None:
        """The first stretch to be sent again, as (seq, size)."""
        lost = self._lost
        while lost and lost[0].fate is not LOST:
            lost.popleft()
        if not lost:
            return None
        first = lost[0]
        return first.seq, min(seq_sub(first.end, first.seq), self._mss)

    def on_timeout(self, now: int) -> LossEvent:
        """The retransmission timer expired: what has had its time is lost."""
        in_flight = self.in_flight  # "in the network" (RFC 5681 §2): not what is known to have left it
        self.in_recovery, self.after_timeout = False, True
        self.reason, self.reordering_deadline = rules.RETRANSMIT, None
        # What acknowledgements say of that which was sent before must not begin an episode of its own (RFC
        # 6582 §4).
        self._recover = self._sent[-1].end if self._sent else None
        if self._sent and self._sent[0].fate is ARRIVED:
            self._forget_arrivals()
        self._lose_all(lambda at, sent: at == 0 or self._had_its_time(sent, now))
        return LossEvent(now, self._lost_bytes, in_flight)

    def _had_its_time(self, sent: Sent, now: int) -> bool:
        return True

    def _forget_arrivals(self) -> None:
        """The peer has thrown away what it had behind the gap, as it may (RFC 2018 §8): begin anew."""
        for sent in self._sent:
            if sent.fate is ARRIVED:
                sent.fate = UNDER_WAY
        self._delivered -= self._arrived_bytes
        self._arrived = self._arrived_bytes = 0
        self._known = ()
