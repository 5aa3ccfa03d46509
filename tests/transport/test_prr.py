"""Proportional rate reduction (RFC 9937): half of the window, and no silence on the way there."""

from collections import Counter
from itertools import pairwise

import pytest

from labstack import Network, data_segment
from labstack.transport.tcp.prr import ProportionalRate
from tests.scene import SECOND, Tape, connected, pair, pattern, read_all

MSS = 1460
AGAIN = ("tcp.fast_retransmit", "tcp.sent_later_arrived")


def test_of_what_arrives_half_is_sent():
    """Twenty segments under way, one lost, a window of ten to come: every second acknowledgement lets a
    segment out (RFC 9937 §7, the first example)."""
    reducing, in_flight, out = ProportionalRate(20 * MSS, 10 * MSS, 20 * MSS), 19, []
    for _ in range(19):  # nineteen segments behind the lost one arrive
        in_flight -= 1
        reducing.on_ack(MSS, in_flight * MSS, False, MSS)
        room = reducing.cwnd // MSS - in_flight
        out.append(room)
        reducing.sent(room * MSS)
        in_flight += room
    assert out[0] == 1, "the repair, at once"
    assert sum(out) == 10 and max(out) == 1 and in_flight == 10
    leave = [k for k, segments in enumerate(out) if segments]
    assert {later - earlier for earlier, later in pairwise(leave)} <= {1, 2, 3}, "evenly, but for odd bytes"


def test_when_too_much_is_lost_as_much_is_sent_as_arrives():
    """Fifteen of twenty lost: four are under way, far below the new window. Each that arrives lets one out,
    and one more where the acknowledgement moves on and shows no new loss (SafeACK): slow start."""
    reducing = ProportionalRate(20 * MSS, 10 * MSS, 5 * MSS)
    reducing.on_ack(MSS, 4 * MSS, False, MSS)
    assert reducing.cwnd == 5 * MSS
    reducing.sent(MSS)
    reducing.on_ack(MSS, 4 * MSS, True, MSS)
    assert reducing.cwnd == 6 * MSS
    reducing.on_ack(30 * MSS, 4 * MSS, True, MSS)
    assert reducing.cwnd == 10 * MSS, "never beyond the new window"


@pytest.mark.parametrize(
    ("lost", "repairs"),
    [
        (range(1, 16), [1]),  # the first repair, and no more before an answer comes
        ((7, 10, 11, 14, 17, 19, 21, 22, 23, 24, 26, 30), [1, 0]),  # later all that arrived was paid out
    ],
)
def test_what_a_timer_finds_to_be_lost_does_not_go_again_at_once(lost, repairs):
    """Segments have overtaken others here, so the reordering timer decides. With it nothing arrives, however
    much room the losses make."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms", "rate": "50 Mbit/s"})
        a.ping("b")
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        line.delay(data_segment(3), by="500 us")
        for size in (10, 20, 30):
            if size == 30:
                for number in lost:
                    line.drop(data_segment(number))
                tape = Tape(net)
            s.sendall(pattern(size * MSS))
            net.sleep("500 ms")
        s.close()
        assert len(reader.join()) == 60 * MSS
    times = Counter(event.time for name in AGAIN for event in tape.named(name, a))
    assert [times[event.time] for event in tape.named("tcp.reordering_timeout", a)] == repairs
    assert times.total() == len(lost) and a.counters["tcp.retransmission_timeout"] == 0


@pytest.mark.feature(
    "TCP", "While a loss is repaired, the window shrinks with what arrives: no silence (PRR)"
)
@pytest.mark.parametrize(("congestion", "left"), [("reno", 0.5), ("cubic", 0.7)])
def test_no_silence_after_a_cut(congestion, left):
    """A path of 20 segments' round trip at 12 ms a segment, kept full. After the loss new segments go on
    leaving, at the share of the rate that the new window is of the old one."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "60 ms", "rate": "2 Mbit/s", "queue": "1 MiB"},
            a={"congestion": congestion})  # fmt: skip
        s, t = connected(net, a, b)
        tape = Tape(net)
        reader = b.spawn(read_all, t)
        line.drop(data_segment(60))
        s.sendall(pattern(200 * MSS))
        s.close()
        assert reader.join() == pattern(200 * MSS)
    phases = [(event.time, event.fields["phase"]) for event in tape.named("tcp.phase", a)]
    begin = next(at for at, phase in phases if phase == "recovery")
    end = next(at for at, phase in phases if at > begin)
    [window] = {event.fields["ssthresh"] for event in tape.named("tcp.window", a) if begin < event.time < end}
    before = max(event.fields["in_flight"] for event in tape.named("tcp.window", a) if event.time < begin)
    assert window == round(left * before)
    sent = [event.time for event in tape.named("tcp.data", a) if begin <= event.time < end]
    # Acknowledgements come a frame's time apart, for a segment each, and the share of them that the new
    # window is lets one out: every second, or two of three; once a third is waited for, where odd bytes add
    # up.
    frame = 1538 * 8 * SECOND // 2_000_000
    gaps = [(later - earlier) // frame for earlier, later in pairwise(sent)]
    assert max(gaps) == 3 and gaps.count(3) == 1
    after = next(event for event in tape.named("tcp.window", a) if event.time >= end)
    assert abs(after.fields["in_flight"] - window) <= 2 * MSS
