"""Lost and found: what SACK, RACK and tail loss probes make of scripted losses.

RFC 2018, 2883, 6675, 8985. Two hosts and a wire of 20 ms each way (RTT 40 ms) on which given segments are
dropped; or a peer moved by hand. Each story counts round trips, time-outs and bytes sent twice.
"""

from itertools import pairwise

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.core.units import SECOND
from labstack.headers.tcp import ACK, Options
from labstack.transport.tcp.layer import Tcp
from labstack.transport.tcp.rack import Rack
from labstack.transport.tcp.recovery import NewReno
from labstack.transport.tcp.scoreboard import Ack
from tests.scene import MS, Peer, Tape, connected, nothing_left, pair, pattern, read_all

MSS = 1460
RTT = 40 * MS


def lose(*which, size=10 * MSS, then=0.0, a=None, b=None, **wire):
    """`a` sends `size` bytes, of which the wire drops the segments of these numbers; the tape, the hosts, and
    when all had arrived, counted from when the first was sent."""
    with Network(seed=1) as net:
        one, two, line = pair(net, wire={"delay": "20 ms", **wire}, a={"tcp": TcpConfig(**(a or {}))}, b=b)
        for number in which:
            line.drop(data_segment(number))
        one.ping("b")  # ARP is done with: the handshake takes one round trip
        s, t = connected(net, one, two)
        tape = Tape(net)
        came, times = [], []

        def read():
            while piece := t.recv(65536):
                came.append(piece)
                times.append(net.simulator.now)

        reader = two.spawn(read)
        began = net.simulator.now
        s.sendall(pattern(size))
        if then:
            net.sleep(then)
        s.close()
        reader.join()
        assert b"".join(came) == pattern(size)
        arrived = times[-1] - began
        t.close()
        net.run()
        nothing_left(net, (one, two))
        return tape, one, two, arrived


def again(tape, host):
    """(time in ms, what part of a round trip's story it is) of each segment sent a second time."""
    seen, found = set(), []
    for shot in tape.data(host):
        first = shot.tcp.seq not in seen
        seen.add(shot.tcp.seq)
        if not first:
            found.append((shot.at, tape.why(shot)[1]))
    return found


# --- several losses -------------------------------------------------------------------------------


@pytest.mark.feature("TCP", "Five of ten segments lost: all sent again within one round trip (SACK, RACK)")
def test_five_of_ten_are_sent_again_within_one_round_trip():
    tape, a, b, arrived = lose(1, 3, 5, 7, 9, then=0.5)
    assert a.counters["tcp.retransmitted"] == 5
    assert a.counters["tcp.retransmission_timeout"] == 0 and a.counters["tcp.fast_retransmit"] == 1
    # After a round trip the third, fourth and fifth of those that arrived each let a repair out (PRR), and a
    # round trip later these the other two; half of one more, and they are there.
    assert [at - tape.data(a)[0].at for at, _ in again(tape, a)] == [RTT] * 3 + [2 * RTT] * 2
    assert arrived == 2 * RTT + RTT // 2
    assert b.counters["tcp.out_of_window"] == 0, "nothing was sent twice for nothing"


def test_a_repair_that_waits_in_a_queue_is_not_taken_for_lost():
    """RFC 6675 §6: the time-out is counted from the repair, not from the last ACK that told something new."""
    patient = {"min_rto": 150 * MS, "tail_loss_probe": False}
    tape, one, _two, _arrived = lose(1, a=patient, rate="1 Mbit/s")
    assert len(again(tape, one)) == 1
    assert one.counters["tcp.fast_retransmit"] == 1 and "tcp.retransmission_timeout" not in one.counters


def test_with_newreno_each_loss_takes_a_round_trip():
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"}, a={"recovery": NewReno})
        for number in (1, 3, 5):
            line.drop(data_segment(number))
        s, t = connected(net, a, b)
        began = net.simulator.now
        reader = b.spawn(read_all, t)
        s.sendall(pattern(10 * MSS))
        net.sleep(0.5)
        s.close()
        assert reader.join() == pattern(10 * MSS)
        assert a.counters["tcp.retransmitted"] == 3
        assert type(s._connection.flight.recovery) is NewReno
        assert net.simulator.now - began > 3.5 * RTT


def test_without_sack_the_connection_takes_newreno():
    for own, peers, expected in ((True, True, Rack), (True, False, NewReno), (False, True, NewReno)):
        with Network() as net:
            config = [{"tcp": TcpConfig(sack=sack)} for sack in (own, peers)]
            a, b, _ = pair(net, a=config[0], b=config[1])
            s, t = connected(net, a, b)
            assert type(s._connection.flight.recovery) is expected


def test_the_reasons_of_what_is_sent_again():
    """The third segment behind the gap shows the first loss at once, and the others go with it."""
    tape, a, b, _ = lose(1, 2, 3, then=0.5)
    reasons = [reason for _, reason in again(tape, a)]
    assert reasons[0] == "tcp.fast_retransmit" and len(reasons) == 3
    assert set(reasons) <= {"tcp.fast_retransmit", "tcp.sent_later_arrived"}


@pytest.mark.feature("TCP", "Ten of ten lost: a tail loss probe after two round trips, and no time-out (TLP)")
def test_the_whole_flight_is_lost():
    tape, a, b, arrived = lose(*range(1, 11), then=0.5)
    assert a.counters["tcp.retransmission_timeout"] == 0
    assert a.counters["tcp.tail_loss_probe"] == 1
    # Two round trips until the probe, and one for its answer: it shows nine new losses, so it lets out one
    # segment. From then on each that is acknowledged, and shows no other loss, lets out two (RFC 9937:
    # as much as arrives, and a segment more), up to five under way, half of what had been: 1, 2, 4, and the
    # last 2.
    began = tape.data(a)[0].at
    repairs = [(at - began, why) for at, why in again(tape, a)]
    assert repairs[0] == (2 * RTT, "tcp.tail_loss_probe")
    assert repairs[1:] == [(k * RTT, "tcp.sent_later_arrived") for k in (3, 4, 4, 5, 5, 5, 5, 6, 6)]
    assert arrived == 6 * RTT + RTT // 2, "the time-out alone would have taken a second"


@pytest.mark.parametrize(
    ("lost", "after"),
    [
        # The first answer comes after a round trip, and the probe two later, with segment 10; for a single
        # segment 200 ms more, which the peer may take to acknowledge it (RFC 8985 §7.2).
        ((10,), 3 * RTT + 200 * MS + RTT // 2),
        # The probe's answer lets one segment out, 9 or 8.
        ((9, 10), 4 * RTT + RTT // 2),
        # That of 8 lets out 9: there is room for two, and no more are missing.
        ((8, 9, 10), 5 * RTT + RTT // 2),
    ],
)
def test_the_tail_is_lost(lost, after):
    tape, a, b, arrived = lose(*lost, then=0.5)
    assert a.counters["tcp.retransmission_timeout"] == 0 and a.counters["tcp.tail_loss_probe"] == 1
    assert arrived == after
    assert a.counters["tcp.retransmitted"] == len(lost)


def test_a_probe_is_believed_although_all_before_it_waited_in_a_queue():
    """The probe has the line for itself: it is answered sooner than any of those before, but the SYN was not
    slower. So it is the probe that is answered, and no time-out is needed."""
    tape, a, b, arrived = lose(9, 10, then=0.5, rate="10 Mbit/s")
    assert a.counters["tcp.retransmission_timeout"] == 0 and a.counters["tcp.tail_loss_probe"] == 1
    # There goes the probe, back comes its answer with one block, there goes the repair: 1,500 bytes of IP
    # are 1,526 on the line before the gap, 52 are 78, at 800 ns a byte.
    [probe, repair] = again(tape, a)
    assert repair[0] - probe[0] == RTT + (1526 + 78) * 800
    assert arrived == repair[0] - tape.data(a)[0].at + RTT // 2 + 1526 * 800


def test_a_probe_that_repairs_the_only_loss_cuts_the_window_all_the_same():
    """RFC 8985 §7.4.2: otherwise the loss would go unnoticed by congestion control."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"})
        line.drop(data_segment(10))
        s, t = connected(net, a, b)
        b.spawn(read_all, t)
        s.sendall(pattern(10 * MSS))
        net.sleep(0.5)
        congestion = s._connection.flight.congestion
        assert a.counters["tcp.tail_loss_probe"] == 1 and a.counters["tcp.probe_repaired"] == 0
        before = congestion.cwnd
        s.sendall(pattern(2 * MSS))  # whose acknowledgement says that the probe's end is behind
        net.sleep(0.5)
        assert a.counters["tcp.probe_repaired"] == 1 and congestion.cwnd < before


def test_a_probe_for_nothing_costs_nothing():
    """The acknowledgements are late: the probe's copy comes twice, D-SACK says so, and nothing is cut."""
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms"})
        a.ping("b")
        s, t = connected(net, a, b)
        b.spawn(read_all, t)
        line.delay(data_segment(10), by="120 ms")
        s.sendall(pattern(10 * MSS))
        net.sleep(1)
        s.sendall(pattern(2 * MSS))
        net.sleep(1)
        assert a.counters["tcp.tail_loss_probe"] == 1 and a.counters["tcp.probe_repaired"] == 0
        assert s._connection.flight.congestion.ssthresh == 1 << 30, "never cut"


@pytest.mark.feature("TCP", "Without probes the retransmission time-out repairs a lost tail (RFC 6298)")
def test_the_time_out_remains_where_there_are_no_probes():
    tape, a, b, arrived = lose(*range(1, 11), then=3, a={"tail_loss_probe": False})
    assert a.counters["tcp.retransmission_timeout"] == 1 and a.counters["tcp.tail_loss_probe"] == 0
    assert arrived > SECOND
    assert again(tape, a)[0] == (tape.data(a)[0].at + SECOND, "tcp.retransmitted")


def test_a_single_segment_waits_for_the_peers_delayed_acknowledgement_too():
    tape, a, b, _ = lose(1, size=100, then=1)
    first, probe = tape.data(a)
    assert probe.at - first.at == 2 * RTT + 200 * MS


def test_a_probe_carries_new_bytes_if_there_are_some():
    """RFC 8985 §7.3: the congestion window does not hold a probe back."""
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(initial_window=3))
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        peer.accept_from(options=Options(mss=1000, sack_permitted=True).pack())
        base = peer.rcv_nxt
        s.send(bytes(10_000))
        assert [shot.tcp.seq - base for shot in peer.take_all()] == [0, 1000, 2000]
        net.sleep("100 ms")
        assert [shot.tcp.seq - base for shot in peer.take_all()] == [3000]


def test_a_probe_never_reaches_below_what_is_acknowledged():
    """What the persist timer forced into a small window is the last segment too (RFC 8985 §7.3)."""
    with Network() as net:
        peer = Peer(net)
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        peer.accept_from(options=Options(mss=1000, sack_permitted=True).pack())
        base = peer.rcv_nxt
        s.send(bytes(50))
        peer.take_all()
        peer.tcp(ACK, ack=base + 50, window=40)
        s.send(bytes(100))
        assert peer.quiet(), "a silly window"
        net.sleep(1.1)
        [forced] = peer.take_all()
        assert (forced.tcp.seq - base, len(forced.body)) == (50, 40)
        peer.tcp(ACK, ack=base + 50, window=41)  # it is lost, and a byte more may come
        net.sleep(0.5)
        [probe] = peer.take_all()
        assert (probe.tcp.seq - base, len(probe.body)) == (50, 40)
        peer.tcp(ACK, ack=base + 90, window=1000)
        peer.take_all()
        peer.tcp(ACK, ack=base + 150)
        assert flight_is_empty(s)


def test_a_retransmission_that_is_lost_again_is_found_without_a_time_out():
    """What NewReno cannot see: the same segment is lost twice (RFC 8985 §3.2)."""
    tape, a, b, arrived = lose(2, 12, size=30 * MSS)
    sent = [shot for shot in tape.data(a) if shot.tcp.seq == tape.data(a)[1].tcp.seq]
    assert a.counters["tcp.retransmission_timeout"] == 0
    assert len(sent) in (2, 3)


@pytest.mark.parametrize("lost", [(1,), (2, 3), (1, 10), (5, 6, 7, 8, 9, 10), tuple(range(2, 11))])
@pytest.mark.parametrize("first", [2**32 - 7000, 2**32 - 1, 2**31 - 3000])
def test_any_losses_round_the_wrap(monkeypatch, lost, first):
    monkeypatch.setattr(Tcp, "_initial_number", lambda self, name: first)
    tape, a, b, arrived = lose(*lost, then=0.5)
    assert a.counters["tcp.retransmission_timeout"] == 0
    assert a.counters["tcp.retransmitted"] == len(lost)


# --- reordering -----------------------------------------------------------------------------------


@pytest.mark.feature("TCP", "A segment overtaken within a quarter of a round trip is not sent again (RACK)")
def test_what_is_only_late_is_not_sent_again():
    with Network(seed=1) as net:
        a, b, line = pair(net, wire={"delay": "20 ms", "rate": "50 Mbit/s"})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        line.delay(data_segment(3), by="500 us")  # two segments overtake it
        s.sendall(pattern(10 * MSS))
        net.sleep(0.2)
        assert s._connection.flight.recovery.reordering_seen
        line.delay(data_segment(13), by="5 ms")  # and now all that follow do
        s.sendall(pattern(10 * MSS))
        s.close()
        assert reader.join() == pattern(10 * MSS) * 2
        net.sleep(1)
        assert a.counters["tcp.retransmitted"] == 0 and a.counters["tcp.fast_retransmit"] == 0


def reordered(seed, **config):
    """A path on which every tenth frame takes 15 ms longer; how many segments were sent again."""
    with Network(seed=seed) as net:
        a, b, line = pair(
            net,
            wire={"delay": "20 ms", "rate": "20 Mbit/s", "queue": "1 MiB"},
            a={"tcp": TcpConfig(**config)},
        )
        s, t = connected(net, a, b)
        for k in range(10, 3000, 10):
            line.delay(data_segment(k), by="15 ms")
        reader = b.spawn(read_all, t)
        s.sendall(pattern(2_000_000))
        s.close()
        assert len(reader.join()) == 2_000_000
        return a, s


@pytest.mark.feature("TCP", "The peer's D-SACKs widen the reordering window until nothing is sent in vain")
def test_d_sack_adapts_the_reordering_window():
    a, s = reordered(1)
    with_sack = a.counters["tcp.retransmitted"]
    plain, _ = reordered(1, sack=False)
    assert plain.counters["tcp.retransmitted"] > 100, "three duplicates are no sign of a loss here"
    assert with_sack < 20


def test_a_d_sack_is_heeded_once_a_round_trip():
    config = TcpConfig()
    rack = Rack(MSS, config)
    for k in range(10):
        rack.on_sent(k * MSS, MSS, k, False)
    for k in (1, 2, 3):
        rack.on_ack(Ack(k * MSS, MSS, False, 40 * MS, True, ((0, MSS),), None))
    assert rack._multiplier == 2
    rack.on_ack(Ack(10 * MSS, 7 * MSS, False, 41 * MS, True, (), None))
    rack.on_sent(10 * MSS, MSS, 42 * MS, False)
    rack.on_ack(Ack(11 * MSS, MSS, False, 80 * MS, True, ((0, MSS),), None))
    assert rack._multiplier == 3


# --- the scoreboard -------------------------------------------------------------------------------


def test_blocks_count_in_whole_segments_and_a_long_stretch_is_cut_between_them():
    rack = Rack(1000, TcpConfig())
    rack.on_sent(0, 10_000, 0, False)  # a long piece, as for a device that segments
    rack.on_sent(10_000, 500, 0, False)
    rack.on_ack(Ack(0, 0, True, 10 * MS, True, ((2500, 5500),), None))
    assert rack.in_flight == 10_500 - 2000, "3000 to 5000: whole segments"
    for at in range(1, 2500, 7):  # a peer that names single bytes
        rack.on_ack(Ack(0, 0, True, 10 * MS, True, ((at, at + 1),), None))
    assert len(rack._sent) < 20
    rack.on_ack(Ack(10_500, 10_500, False, 11 * MS, True, (), None))
    assert (rack.in_flight, rack.outstanding) == (0, 0)


def test_blocks_that_cannot_be_are_ignored():
    rack = Rack(1000, TcpConfig())
    for k in range(4):
        rack.on_sent(1000 * k, 1000, 0, False)
    for block in ((3000, 3000), (3000, 2000), (3000, 9000), (2**31, 2**31 + 5), (8000, 9000)):
        rack.on_ack(Ack(0, 0, True, 1, True, (block,), None))
        assert rack.in_flight == 4000


def test_a_peer_that_takes_back_what_it_had_named():
    """RFC 2018 §8: after the time-out all is sent again."""
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(tail_loss_probe=False))
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        peer.accept_from(options=Options(mss=1000, sack_permitted=True).pack())
        base = peer.rcv_nxt
        s.send(bytes(10_000))
        peer.take_all()
        net.sleep("10 ms")
        peer.tcp(ACK, ack=base, options=Options(sack=((base + 1000, base + 10_000),)).pack())
        assert [shot.tcp.seq - base for shot in peer.take_all()] == [0]
        peer.tcp(ACK, ack=base + 1000)  # and of all the others nothing is left
        came = set()
        for _ in range(40):
            net.sleep("500 ms")
            for shot in peer.take_all():
                came.add((shot.tcp.seq - base) // 1000)
            have = next(k for k in range(1, 20) if k not in came)
            peer.tcp(ACK, ack=base + 1000 * min(have, 10))
        assert came >= set(range(1, 10)) and flight_is_empty(s)


def flight_is_empty(s):
    return s._connection.flight.recovery.outstanding == 0


def test_samples_count_each_byte_once_whatever_is_lost_or_repeated():
    from labstack.transport.tcp.congestion.reno import Reno

    seen = []

    class Curious(Reno):
        def on_ack(self, sample):
            seen.append(sample)
            super().on_ack(sample)

    with Network(seed=3) as net:
        a, b, _ = pair(
            net,
            wire={"delay": "10 ms", "rate": "8 Mbit/s", "loss": 0.02, "reorder": 0.02, "duplicate": 0.02},
            a={"congestion": Curious},
        )
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(1_000_000))
        s.close()
        reader.join()
        net.sleep(1)
        assert sum(sample.acked for sample in seen) == 1_000_001 == seen[-1].delivered
        assert all(x.delivered <= y.delivered for x, y in pairwise(seen))
        assert all(0 <= sample.prior_delivered <= sample.delivered for sample in seen)
        # Nothing was delivered faster than the line: 1,460 of 1,538 bytes are payload.
        most = 1e6 * 1460 / 1538
        assert max(sample.delivery_rate for sample in seen) < 1.05 * most


def test_what_is_sent_after_a_pause_tells_nothing_of_the_path():
    rack = Rack(1000, TcpConfig())
    rack.on_sent(0, 1000, 0, False)
    rack.on_sent(1000, 1000, 5 * MS, True)  # the program had paused
    rack.on_sent(2000, 1000, 5 * MS, False)
    samples = [rack.on_ack(Ack(1000 * k, 1000, False, (40 + k) * MS, True, (), None))[0] for k in (1, 2, 3)]
    assert [sample.app_limited for sample in samples] == [False, True, True]
    rack.on_sent(3000, 1000, 50 * MS, False)
    assert rack.on_ack(Ack(4000, 1000, False, 90 * MS, True, (), None))[0].app_limited is False


# --- the window is taken back ---------------------------------------------------------------------


def test_a_peer_that_shrinks_its_window_gets_all_in_the_end():
    """RFC 9293 §3.8.6: what lies behind the new edge may still be sent again; nothing new is."""
    with Network() as net:
        peer = Peer(net)
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        peer.accept_from(window=8000, options=Options(mss=1000, sack_permitted=True).pack())
        base = peer.rcv_nxt
        s.send(bytes(20_000))
        assert len(peer.take_all()) == 8
        net.sleep("10 ms")
        peer.tcp(ACK, ack=base + 2000, window=1000)
        net.sleep(2)
        assert all(shot.tcp.seq - base < 8000 for shot in peer.take_all()), "nothing beyond what was sent"
        for upto in range(3000, 21_000, 1000):
            peer.tcp(ACK, ack=base + upto, window=1000)
            net.sleep("200 ms")
            peer.take_all()
        assert flight_is_empty(s)
