"""Was anything lost at all? F-RTO, Eifel and D-SACK find out, and the window is as it was.

RFC 5682, RFC 3522, RFC 3708. Segments are held back on the wire so long that they look lost.
"""

import pytest

from labstack import Network, TcpConfig, data_segment
from tests.scene import MS, connected, pair, pattern, read_all

MSS = 1460


def late(size=40, hold=None, far=False, **config):
    """`a` sends 10 segments, then `size` more, of which the wire holds number `hold` back for 30 ms; or it
    has become a long way, 700 ms. The host, and its connection's windows before and after."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"}, a={"tcp": TcpConfig(**config)},
            b={"tcp": TcpConfig(**config)})  # fmt: skip
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(10 * MSS))
        net.sleep("5 s")
        control = s._connection.flight.congestion
        before = control.cwnd, control.ssthresh
        if hold:
            line.delay(data_segment(hold), by="30 ms")
        if far:
            line.propagation = 700 * MS
        s.sendall(pattern(size * MSS))
        net.sleep("10 s")
        s.close()
        assert reader.join() == pattern(10 * MSS) + pattern(size * MSS)
        return a, before, (control.cwnd, control.ssthresh)


@pytest.mark.feature("TCP", "A time-out for nothing is noticed, and the window given back (F-RTO)")
def test_a_time_out_for_nothing():
    """The first answers come after 1.4 s, and the time-out after one. What they say to have arrived was sent
    once, and before the time-out."""
    a, before, after = late(far=True, tail_loss_probe=False)
    assert a.counters["tcp.retransmission_timeout"] == 1 and a.counters["tcp.spurious"] == 1
    assert after[0] >= before[0] and after[1] == before[1], "as if there had been no time-out"
    assert a.counters["tcp.retransmitted"] <= 3, "and not the whole flight again"


def test_what_is_known_to_be_late_is_not_taken_for_lost_in_the_same_moment():
    """The first answer comes 90 ms after the repair, longer than any round trip so far: by that alone it
    could be the repair's, and all that was sent before the repair would be lost."""
    with Network(seed=1) as net:
        impatient = TcpConfig(min_rto=200 * MS, tail_loss_probe=False)
        a, b, line = pair(net, wire={"delay": "10 ms", "rate": "10 Mbit/s"}, a={"tcp": impatient})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        a.spawn(s.sendall, pattern(600 * MSS))
        net.sleep("60 ms")
        line.propagation = 300 * MS
        net.sleep("10 s")
        s.close()
        assert reader.join() == pattern(600 * MSS)
        assert a.counters["tcp.retransmission_timeout"] == a.counters["tcp.spurious"] == 1
        assert a.counters["tcp.retransmitted"] == 1 and a.counters["tcp.fast_retransmit"] == 0


def test_a_time_out_for_good_reason():
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"}, a={"tcp": TcpConfig(tail_loss_probe=False)})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        for number in range(1, 11):
            line.drop(data_segment(number))
        s.sendall(pattern(40 * MSS))
        s.close()
        assert reader.join() == pattern(40 * MSS)
        assert a.counters["tcp.retransmission_timeout"] == 1 and a.counters["tcp.spurious"] == 0


def test_a_time_out_for_a_hole_among_what_has_arrived_is_none_for_nothing():
    """Segment 1 is lost, and so is its repair: what arrives after the time-out is what was lost."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"}, a={"tcp": TcpConfig(tail_loss_probe=False)})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        for number in (1, 11):
            line.drop(data_segment(number))
        s.sendall(pattern(10 * MSS))
        s.close()
        assert reader.join() == pattern(10 * MSS)
        assert a.counters["tcp.retransmission_timeout"] == 1 and a.counters["tcp.spurious"] == 0
        assert s._connection.flight.congestion.ssthresh < 10 * MSS


@pytest.mark.feature("TCP", "An old timestamp's echo shows that a repair was for nothing (Eifel, RFC 3522)")
@pytest.mark.parametrize("timestamps", [True, False])
def test_one_segment_late(timestamps):
    """Nothing else is under way. With timestamps the first answer tells; without, the peer's word that it
    came twice."""
    a, before, after = late(size=1, far=True, tail_loss_probe=False, timestamps=timestamps)
    assert a.counters["tcp.retransmission_timeout"] == 1 and a.counters["tcp.spurious"] == 1
    assert after == before


@pytest.mark.feature("TCP", "A repair that came twice was for nothing: the window is given back (D-SACK)")
def test_a_segment_that_was_overtaken():
    """One segment arrives behind twenty others: it looks lost, is sent again, and comes twice."""
    a, before, after = late(hold=5)
    assert a.counters["tcp.fast_retransmit"] == 1 and a.counters["tcp.retransmitted"] == 1
    assert a.counters["tcp.spurious"] == 1
    assert after[1] == before[1] and after[0] >= before[0]


def test_two_cuts_are_not_given_back_for_one():
    """A loss that was one, and then a segment overtaken in the same window: the cut stays."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        line.drop(data_segment(3))
        line.delay(data_segment(5), by="30 ms")
        s.sendall(pattern(30 * MSS))
        net.sleep("5 s")
        s.close()
        assert reader.join() == pattern(30 * MSS)
        assert a.counters["tcp.spurious"] == 0
        assert s._connection.flight.congestion.ssthresh < 30 * MSS
