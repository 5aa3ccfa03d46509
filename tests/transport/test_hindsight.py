"""Was anything lost at all? F-RTO, Eifel and D-SACK find out, and the window is as it was.

RFC 5682, RFC 3522, RFC 3708. Segments are held back on the wire so long that they look lost.
"""

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.headers.tcp import ACK, Options
from tests.scene import MS, Peer, connected, pair, pattern, read_all

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


# --- F-RTO, step by step: RFC 5682 §3.1 ---------------------------------------------------------------------


class Flight:
    """Ten segments of 1,000 bytes are under way, and the peer says nothing until the time-out: then only what
    each test makes it say. `size` is how many segments the program has written; numbers count from 1."""

    def __init__(self, size=30, sack=True):
        self.net = Network(seed=1)
        self.peer = Peer(self.net, tcp=TcpConfig(tail_loss_probe=False))
        self.host = self.peer.host
        listener = self.host.listen(80)
        self.window = 65535
        self.peer.open_to(options=Options(mss=1000, sack_permitted=sack).pack())
        self.socket, _ = listener.accept()
        self.socket.setblocking(False)
        self.base = self.peer.rcv_nxt
        self.control = self.socket._connection.flight.congestion
        self.before = self.control.cwnd, self.control.ssthresh
        self.socket.send(bytes(size * 1000))
        assert self.sent() == list(range(1, 11))
        self.net.sleep(1.01)
        assert self.sent() == [1], "step 1: the oldest again, and no other"
        assert self.control.cwnd == 1000

    def sent(self):
        """The segments that the host has sent since the last look."""
        return [(shot.tcp.seq - self.base) % 2**32 // 1000 + 1 for shot in self.peer.take_all()]

    def hears(self, upto, *pieces):
        """The peer has all segments up to this one, and these besides, from one to another. What that makes
        the host send."""
        blocks = tuple((self.base + (first - 1) * 1000, self.base + last * 1000) for first, last in pieces)
        options = Options(sack=blocks).pack() if pieces else b""
        self.peer.tcp(ACK, ack=self.base + upto * 1000, window=self.window, options=options)
        return self.sent()

    @property
    def was_for_nothing(self):
        """The time-out was taken back, and the windows are at least what they were."""
        back = self.control.cwnd >= self.before[0] and self.control.ssthresh == self.before[1]
        assert back is (self.host.counters["tcp.spurious"] == 1)
        return back


@pytest.mark.feature("TCP", "F-RTO: new bytes follow the first answer, and the second one decides (RFC 5682)")
def test_new_bytes_first_and_then_older_ones_arrive():
    """Steps 2b and 3b: nothing was lost, the path has become long."""
    flight = Flight()
    assert flight.hears(2) == [11, 12], "in place of 3 and 4"
    assert not flight.was_for_nothing
    assert flight.hears(4) == [13, 14], "what was taken for lost is under way, as before"
    assert flight.was_for_nothing
    assert flight.hears(6) and flight.host.counters["tcp.retransmitted"] == 1


def test_older_bytes_that_arrive_behind_a_gap_decide_too():
    """Step 3b, by SACK: the time-out was for nothing. But 2 is missing, and that is a loss as any other."""
    flight = Flight()
    assert flight.hears(1) == [11, 12]
    assert flight.hears(1, (3, 3))[0] == 2
    counters = flight.host.counters
    assert counters["tcp.spurious"] == counters["tcp.fast_retransmit"] == 1
    assert flight.control.cwnd == flight.control.ssthresh == 5000, "half of what it was"


def test_the_first_answer_proves_nothing():
    """Step 3a: 1 was lost, and so were 4 to 10; 2 and 3 had come, but the acknowledgements that said so were
    lost. What arrives next is new: the losses were real."""
    flight = Flight()
    assert flight.hears(3) == [11, 12]
    assert flight.hears(3, (11, 11)) == [4]
    assert flight.hears(3, (11, 12)) == [5]
    assert not flight.was_for_nothing and flight.control.cwnd <= 3000
    assert flight.hears(12)
    assert not flight.was_for_nothing


def test_a_duplicate_that_tells_nothing_is_no_proof():
    """Step 3a, its other case."""
    flight = Flight()
    assert flight.hears(3) == [11, 12]
    flight.hears(3)
    assert not flight.was_for_nothing
    flight.hears(3, (11, 12))
    assert flight.sent() == [] and flight.host.counters["tcp.retransmitted"] == 3


def test_an_answer_for_everything_is_no_proof():
    """Step 2a: 1 was lost, and with it all acknowledgements of the others."""
    flight = Flight()
    assert flight.hears(10) == [11, 12]
    assert flight.control.cwnd == 2000
    assert flight.hears(12)
    assert not flight.was_for_nothing


def test_a_loss_is_none_the_less_one_when_the_others_are_late():
    """Step 2: the others arrive, and 1 is still missing: it is repaired, and the window stays cut."""
    flight = Flight()
    for last in range(2, 11):
        flight.hears(0, (2, last))
    assert not flight.was_for_nothing
    assert flight.hears(10)
    assert not flight.was_for_nothing and flight.host.counters["tcp.retransmitted"] == 1


@pytest.mark.parametrize("size, window", [(10, 65535), (30, 8000)], ids=["all written", "no room"])
def test_without_new_bytes_repairs_go_on(size, window):
    """Step 2b, where there is nothing to send, or no room for it. The answers say nothing then; in the end
    the peer's word does, that all that was sent again came twice (RFC 3708)."""
    flight = Flight(size)
    flight.window = window
    assert flight.hears(2) == [3, 4]
    assert flight.hears(4) == [5, 6, 7]
    flight.hears(10)
    for number in (1, 3, 4, 5, 6):
        flight.hears(10, (number, number))
        assert not flight.was_for_nothing
    flight.hears(10, (7, 7))
    assert flight.was_for_nothing


def test_two_time_outs_for_the_same_segment():
    """Step 2, when the time-out expires again: the question is the same."""
    flight = Flight()
    flight.net.sleep(2)
    assert flight.sent() == [1]
    assert flight.hears(2) == [11, 12]
    assert flight.hears(4)
    assert flight.was_for_nothing


def test_a_time_out_while_another_is_repaired_asks_nothing():
    """Step 1: the new bytes of step 2b are lost too, and so is what was under way before."""
    flight = Flight()
    assert flight.hears(1) == [11, 12]
    flight.net.sleep(10)
    assert set(flight.sent()) == {2}
    assert flight.hears(2) == [3, 4], "repairs, and nothing new"
    flight.hears(4)
    assert not flight.was_for_nothing


def test_without_sack_repairs_go_on():
    """§2.1 is not done here: without SACK, a time-out is believed."""
    flight = Flight(sack=False)
    assert flight.hears(2) == [3, 4]
    flight.hears(4)
    assert not flight.was_for_nothing
