"""Queues at the end of a wire: who is dropped, who is marked, and how long the others wait (RFC 8289, RFC
3168)."""

from functools import partial
from math import sqrt

import pytest

from labstack import CoDel, Network
from labstack.core.addresses import IPAddress
from labstack.core.events import Event
from labstack.core.units import MILLISECOND, SECOND
from labstack.headers.ethernet import check_fcs, fcs
from labstack.headers.ipv4 import CE, ECT_0, ECT_1, NOT_ECT, IPv4
from labstack.physical.device import RECEIVED
from labstack.physical.queue import DropTail, Verdict, Waiting, marked
from tests.bottleneck import Bottleneck
from tests.scene import Tape

MS = MILLISECOND


def frame(size=1518, ecn=NOT_ECT, number=0):
    """A frame with an IPv4 datagram in it, check sequence included."""
    source, destination = IPAddress.parse("10.0.0.1"), IPAddress.parse("10.0.0.2")
    header = IPv4(source, destination, 17, size - 18, 64, 0, ecn, number).pack()
    body = bytes(12) + b"\x08\x00" + header + bytes(size - 18 - len(header))
    return body + fcs(body)


def waiting(number, since, size=1518):
    return Waiting(number, bytes(size), 0, since)


class Line:
    """A queue whose frames leave one a `step`; what was said of each."""

    def __init__(self, queue, step):
        self.queue, self.step, self.now = queue, step, 0
        self.signals = []

    def leave(self, count):
        """`count` frames go, each after `step`."""
        for _ in range(count):
            self.now += self.step
            while (found := self.queue.take(self.now)) is not None:
                if found[1] is Verdict.SEND:
                    break
                self.signals.append(self.now)
                if found[1] is Verdict.MARK:
                    break


# --- the disciplines themselves -------------------------------------------------------------------


def test_the_drop_tail_counts_bytes():
    queue = DropTail(3000)
    assert queue.put(waiting(1, 0)) and not queue.put(waiting(2, 0)) and queue.put(waiting(3, 0, 1482))
    assert queue.queued == 3000
    assert [queue.take(1)[0].number for _ in range(2)] == [1, 3]
    assert queue.take(1) is None and queue.queued == 0


def filled(queue, count, since=0):
    for k in range(count):
        assert queue.put(waiting(k, since))
    return queue


def test_codel_lets_a_burst_pass():
    """Long waits for less than an interval mean nothing."""
    line = Line(filled(CoDel(1 << 20), 99), MS)
    line.leave(99)
    assert line.signals == []


def test_codel_lets_what_waits_less_than_the_target_pass():
    queue = CoDel(1 << 20)
    line = Line(queue, MS)
    for now in range(1000):
        while queue.queued < 4 * 1518:
            queue.put(waiting(now, now * MS))
        line.leave(1)
    assert line.signals == []


@pytest.mark.parametrize("ecn", [True, False])
def test_codel_signals_after_an_interval_and_then_ever_sooner(ecn):
    """§5.5: the n-th signal comes interval / √(n − 1) after the one before."""
    line = Line(filled(CoDel(1 << 22, ecn=ecn), 2500), MS // 4)
    line.leave(2000)
    first, *others = line.signals
    # 5 ms until a wait is too long, and then 100 ms.
    assert first == pytest.approx(105 * MS, abs=MS)
    assert len(others) > 5
    at = first
    for n, signal in enumerate(others, 1):
        at += 100 * MS / sqrt(n)
        assert signal == pytest.approx(at, abs=MS // 2), n


def test_codel_stops_when_the_wait_is_short_and_goes_on_where_it_was():
    queue = CoDel(1 << 22)
    line = Line(filled(queue, 1600), MS // 4)
    line.leave(1590)
    before = len(line.signals)
    assert before > 4
    line.leave(20)
    assert queue.take(line.now) is None
    filled(queue, 1000, line.now)
    began = line.now
    line.leave(900)
    again = line.signals[before:]
    # Not from the beginning: the step is that of the signals there were.
    assert again[0] - began == pytest.approx(105 * MS, abs=MS)
    assert again[1] - again[0] < 60 * MS


def test_one_frame_is_no_queue():
    """§5.4: what is left in the queue is less than a frame, however long it waited."""
    line = Line(filled(CoDel(1 << 20), 2), SECOND)
    line.leave(2)
    assert line.signals == []


# --- marks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ecn", [NOT_ECT, ECT_0, ECT_1, CE])
def test_a_mark_changes_two_bits_and_what_follows_from_them(ecn):
    before = frame(ecn=ecn, number=4711)
    after = marked(before)
    if ecn == NOT_ECT:
        assert after is None
        return
    assert after is not None and check_fcs(after)
    header = IPv4.parse(after, 14)  # verifies the checksum
    assert header.ecn == CE
    header.ecn = ecn
    assert after[:14] + header.pack() + after[34:-4] == before[:-4]


@pytest.mark.parametrize(
    "other", [bytes(12) + b"\x08\x06" + bytes(50), bytes(12) + b"\x08\x00" + bytes(50)], ids=["ARP", "no IP"]
)
def test_what_is_no_datagram_cannot_be_marked(other):
    assert marked(other) is None


# --- on the wire ----------------------------------------------------------------------------------


def flood(net, ecn, **options):
    """200 frames at once on a wire that needs 1.2 ms for each; the tape, and the wire."""
    a, b = net.host("a"), net.host("b")
    a.interface("eth0")
    b.interface("eth0")
    wire = net.wire(a, b, rate="10 Mbit/s", queue="1 MiB", **options)
    tape = Tape(net)
    for number in range(200):
        wire.ends[0].transmit(frame(ecn=ecn, number=number)[:-4], b"")
    net.run()
    return tape, wire


def received(tape: Tape) -> list[Event]:
    return [event for event in tape.events if event.rule is RECEIVED]


@pytest.mark.feature(
    "Physical layer", "CoDel drops, or marks, what has waited too long, and says how long it was"
)
def test_a_drop_says_how_long_the_frame_waited():
    with Network() as net:
        tape, wire = flood(net, NOT_ECT, discipline=CoDel)
        drops = tape.named("wire.queue_dropped")
        assert len(drops) == wire.counters["wire.queue_dropped"] == 200 - len(received(tape)) > 1
        for event in drops:
            assert event.fields["waited"] == event.time, "all came at once"
            assert event.fields["sender"] == "a"
        assert not tape.named("wire.marked") and wire.ends[0].queued == 0


def test_a_mark_arrives_with_the_frame():
    with Network() as net:
        tape, wire = flood(net, ECT_0, discipline=CoDel)
        marks = {event.fields["number"] for event in tape.named("wire.marked")}
        came = {event.fields["number"]: IPv4.parse(event.fields["frame"], 14).ecn for event in received(tape)}
        assert len(came) == 200 and len(marks) > 1
        assert {number for number, ecn in came.items() if ecn == CE} == marks
        assert wire.counters["wire.queue_dropped"] == 0


def test_parameters_are_a_matter_of_partial():
    with Network() as net:
        gentle = partial(CoDel, target="500 ms")
        tape, _ = flood(net, ECT_0, discipline=gentle)
        assert len(received(tape)) == 200 and not tape.named("wire.marked")
    with Network() as net:
        deaf = partial(CoDel, ecn=False)
        tape, _ = flood(net, ECT_0, discipline=deaf)
        assert tape.named("wire.queue_dropped") and not tape.named("wire.marked")


def test_a_discipline_of_ones_own():
    class LastFirst(DropTail):
        """The newest first, and the fifth is dropped."""

        taken = 0

        def take(self, now):
            self._queue.reverse()
            found = super().take(now)
            self._queue.reverse()
            LastFirst.taken += 1
            return found if found is None or LastFirst.taken != 5 else (found[0], Verdict.DROP)

    with Network() as net:
        tape, wire = flood(net, NOT_ECT, discipline=LastFirst)
        order = [event.fields["number"] for event in received(tape)]
        assert order == [1, *(n for n in range(200, 1, -1) if n != 196)]
        assert wire.counters["wire.queue_dropped"] == 1


@pytest.mark.feature(
    "Congestion control", "CoDel keeps the wait at a bottleneck short, where a full queue is seconds"
)
def test_the_wait_at_a_bottleneck():
    """One flow, a buffer of ten round trips, and how long a frame waits in it."""
    waits = {}
    for discipline in (DropTail, CoDel):
        with Network() as net:
            scene = Bottleneck(
                net, ["cubic"], rate="5 Mbit/s", rtt="50 ms", queue="300 KiB", discipline=discipline
            )
            (share,) = scene.run(14, warm_up=7)
            waits[discipline] = sum(scene.queue) / len(scene.queue) * 8 / 5e6
            assert share > 0.75
    assert waits[DropTail] > 0.15 and waits[CoDel] < 0.02


def test_the_queue_chart_shows_drops_and_marks_where_they_happen():
    for ecn in (NOT_ECT, ECT_0):
        with Network() as net:
            a, b = net.host("a"), net.host("b")
            a.interface("eth0")
            b.interface("eth0")
            wire = net.wire(a, b, rate="10 Mbit/s", queue="1 MiB", discipline=CoDel)
            trace = net.capture(wire)
            for number in range(200):
                wire.ends[0].transmit(frame(ecn=ecn, number=number)[:-4], b"")
            net.run()
        chart = trace.queue()
        signals = chart.marks if ecn else chart.drops
        assert len(signals) > 1 and len(chart.drops) + len(chart.marks) == len(signals)
        assert signals[0][0] == pytest.approx(0.105, abs=0.003)
        levels = chart.levels["a", wire.name]
        assert levels[-1][1] == 0, "what is dropped leaves the queue too"
        assert max(level for _, level in levels) == 199 * 1518
        words = "marked" if ecn else "dropped"
        assert f"{len(signals)} {words}" in chart.summary
        odd = [packet for packet in trace.packets if packet.remarks]
        assert {packet.remarks[0] for packet in odd} == {"marked: congestion" if ecn else "dropped by queue"}
