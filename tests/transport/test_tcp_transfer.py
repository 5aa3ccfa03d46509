"""TCP under way: acknowledging, waiting, sending again, and never more than the peer and the path can bear.

RFC 9293 §3.8, RFC 6298, RFC 5681, RFC 6582. The peer is moved by hand, so each number here can be checked
against the clause that it comes from.
"""

import socket
from collections import Counter
from itertools import pairwise

import pytest

from labstack import Network, TcpConfig, ack, data_segment
from labstack.core.units import MILLISECOND
from labstack.headers.tcp import ACK, FIN, PSH, Options
from labstack.transport.tcp.receiver import scale_for
from labstack.transport.tcp.rtt import Rfc6298
from tests.scene import SECOND, Peer, Shot, Tape, connected, nothing_left, pair, pattern, read_all

MSS = Options(mss=1000).pack()
"""With this the peer makes arithmetic easy: segments of 1,000 bytes."""


def open_pair(net, peer_options=MSS, window=65535, **tcp):
    """The host has connected to the hand-moved peer; both, and the host's socket."""
    peer = Peer(net, tcp=TcpConfig(**tcp))
    s = peer.host.socket()
    s.setblocking(False)
    with pytest.raises(BlockingIOError):
        s.connect(("10.0.0.2", 80))
    peer.accept_from(window=window, options=peer_options)
    return peer, s


def flight(s):
    """The sending side of a socket's connection."""
    return s._connection.flight


def spans(shots, base):
    """(first byte, length) of each segment, counted from the sequence number `base`."""
    return [((shot.tcp.seq - base) % 2**32, len(shot.body)) for shot in shots if shot.tcp]


# --- acknowledging: RFC 9293 §3.8.6.3, RFC 5681 §4.2 ----------------------------------------------


@pytest.mark.feature(
    "TCP", "Every second full segment is acknowledged at once, a single one after at most 200 ms"
)
def test_every_second_full_segment_is_acknowledged_at_once():
    with Network() as net:
        peer, s = open_pair(net, b"")
        base = peer.snd_nxt
        for k in range(6):
            peer.tcp(ACK, bytes(1460))
            expected = [base + 1460 * (k + 1)] if k % 2 else []
            assert [shot.tcp.ack for shot in peer.take_all()] == expected


def test_a_single_segment_is_acknowledged_after_200_ms():
    with Network() as net:
        peer, s = open_pair(net)
        peer.tcp(ACK, b"one")
        net.sleep("199 ms")
        assert peer.quiet()
        net.sleep("1 ms")
        shot = peer.take()
        assert (shot.time, shot.tcp.ack) == (0.2, peer.snd_nxt)
        assert peer.quiet() and net.simulator.idle


def test_two_small_segments_wait_for_the_same_timer():
    with Network() as net:
        peer, s = open_pair(net)
        peer.tcp(ACK, b"one")
        net.sleep("100 ms")
        peer.tcp(ACK, b"two")
        net.sleep("1 s")
        (shot,) = peer.take_all()
        assert shot.time == 0.2, "measured from the first that waits"


def test_an_acknowledgement_rides_on_data():
    with Network() as net:
        peer, s = open_pair(net)
        peer.tcp(ACK, b"question")
        s.send(b"answer")
        net.sleep(1)
        shots = peer.take_all()
        assert shots[0].body == b"answer" and shots[0].tcp.ack == peer.snd_nxt
        assert all(shot.body for shot in shots), "no pure ACK was needed"


def test_no_delay_when_none_is_wanted():
    with Network() as net:
        peer, s = open_pair(net, delayed_ack=0)
        peer.tcp(ACK, b"x")
        assert peer.take().is_pure_ack


@pytest.mark.feature(
    "TCP", "Each segment out of order is answered by a duplicate ACK, and the gap's end by a full one"
)
def test_each_segment_out_of_order_is_a_duplicate_ack():
    with Network() as net:
        peer, s = open_pair(net)
        base = peer.snd_nxt
        for k in (1, 2, 3):
            peer.tcp(ACK, bytes([k]) * 100, seq=base + 100 * k)
            shot = peer.take()
            assert (shot.flags, shot.tcp.ack, shot.body) == ("ACK", base, b"")
        peer.tcp(ACK, bytes(100), seq=base)
        assert peer.take().tcp.ack == base + 400
        assert s.recv(1000) == bytes(100) + b"\1" * 100 + b"\2" * 100 + b"\3" * 100
        peer.tcp(ACK, bytes(100), seq=base)  # all of it old
        assert peer.take().tcp.ack == base + 400


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)])
@pytest.mark.parametrize("overlap", [0, 1, 37, 99])
def test_the_stream_is_whole_in_any_order_and_with_any_overlap(order, overlap):
    whole = pattern(400)
    with Network() as net:
        peer, s = open_pair(net)
        base = peer.snd_nxt
        for k in order:
            begin = max(100 * k - overlap, 0)
            peer.tcp(ACK, whole[begin : 100 * k + 100], seq=base + begin)
        net.sleep("200 ms")
        assert s.recv(1000) == whole
        assert peer.take_all()[-1].tcp.ack == base + 400


def test_separate_pieces_are_bounded_and_what_is_dropped_has_a_name():
    with Network() as net:
        peer, s = open_pair(net, max_holes=4)
        base = peer.snd_nxt
        for k in range(8):
            peer.tcp(ACK, b"x", seq=base + 2 * k + 1)
        assert dict(peer.host.counters) == {"tcp.too_many_holes": 4}
        peer.take_all()
        for k in range(8):  # what is in front of each piece: four pieces are there, and the fifth is not
            peer.tcp(ACK, b"y", seq=base + 2 * k)
        net.sleep("200 ms")
        assert peer.take_all()[-1].tcp.ack == base + 9
        assert s.recv(100) == b"yxyxyxyxy"


# --- the window: RFC 9293 §3.8.6 ------------------------------------------------------------------


@pytest.mark.parametrize(
    "buffer, shift",
    [
        (1, 0),
        (65535, 0),
        (65536, 0),
        (65537, 1),
        (131072, 1),
        (131073, 2),
        (1 << 20, 4),
        (1 << 30, 14),
        (1 << 40, 14),
    ],
)
def test_the_smallest_scale_that_says_it_all(buffer, shift):
    assert scale_for(buffer) == shift


def test_the_window_is_what_is_free_and_its_right_edge_never_moves_back():
    with Network() as net:
        peer, s = open_pair(net, receive_buffer=10_000)
        edges = []
        for size in (1000, 1000, 3000, 1, 999):
            peer.tcp(ACK | PSH, bytes(size))
            net.sleep(0.3)
            shot = peer.take_all()[-1]
            edges.append((shot.tcp.ack + shot.tcp.window) % 2**32)
            assert shot.tcp.ack == peer.snd_nxt
        assert edges == [edges[0]] * 5, "nothing is read: the edge stays"
        s.recv(6000)
        shot = peer.take()
        assert shot.is_pure_ack and (shot.tcp.ack + shot.tcp.window - edges[0]) % 2**32 == 6000


@pytest.mark.feature(
    "TCP", "A shut window is probed until it opens, however long that takes, and no time-out ends it"
)
def test_a_shut_window_is_probed_for_ever():
    with Network() as net:
        peer, s = open_pair(net, window=0)
        base = peer.rcv_nxt
        s.send(b"patience")
        times = []
        for _ in range(25):
            while peer.quiet():
                net.sleep("1 s")
            (probe,) = peer.take_all()
            assert spans([probe], base) == [(0, 1)]
            times.append(probe.time)
            peer.tcp(ACK, ack=base, window=0)
        gaps = [round(b - a) for a, b in pairwise(times)]
        assert gaps == [2, 4, 8, 16, 32] + [60] * 19
        assert s._connection.state.value == "ESTABLISHED"
        peer.tcp(ACK, ack=base, window=1000)
        (first,) = peer.take_all()
        peer.tcp(ACK, ack=base + len(first.body), window=1000)
        assert first.body + b"".join(shot.body for shot in peer.take_all()) == b"patience"


@pytest.mark.parametrize("closing", [False, True])
def test_beside_a_probe_an_ack_is_numbered_so_that_it_counts(closing):
    """The peer's window is shut: beyond it, where a probe is, no segment is acceptable (§3.10.7.4)."""
    with Network() as net:
        peer, s = open_pair(net, window=0)
        base = peer.rcv_nxt
        s.send(b"patience")
        net.sleep("2 s")
        assert spans(peer.take_all(), base) == [(0, 1)]
        for _ in range(2):
            peer.tcp(ACK, bytes(1460), ack=base, window=0)
        (answer,) = peer.take_all()
        assert answer.is_pure_ack
        assert (answer.tcp.seq - base) % 2**32 == 0 and answer.tcp.ack == peer.snd_nxt
        if closing:  # bytes are unread: a reset, and it counts
            s.close()
            (reset,) = peer.take_all()
            assert "RST" in reset.flags and (reset.tcp.seq - base) % 2**32 == 0


def test_what_an_ack_beside_a_probe_says_counts():
    """A peer that numbers it by its SND.NXT, behind its probe of our shut window, is understood too."""
    with Network() as net:
        peer, s = open_pair(net, receive_buffer=1000)
        base, first = peer.rcv_nxt, peer.snd_nxt
        peer.tcp(ACK, bytes(1000), ack=base)
        s.send(bytes(1000))
        peer.take_all()
        peer.tcp(ACK, b"?", ack=base)  # not taken in
        assert peer.take().tcp.ack == (first + 1000) % 2**32
        peer.tcp(ACK, ack=base + 1000)
        assert flight(s).recovery.outstanding == 0


@pytest.mark.feature("TCP", "Two programs that write all before they read, over small windows: both get all")
def test_two_that_write_first_and_read_then():
    with Network() as net:
        small = {"tcp": TcpConfig(receive_buffer=8000, send_buffer=8000)}
        a, b, _ = pair(net, wire={"delay": "5 ms"}, b=small)
        s, t = connected(net, a, b)

        def write_and_read():
            net.sleep("5 s")  # by then its window is shut, and was probed
            t.sendall(pattern(100_000, 1))
            t.shutdown(1)
            return read_all(t)

        program = b.spawn(write_and_read)
        s.sendall(pattern(100_000))  # it has room for all of it, and then reads
        s.shutdown(1)
        assert read_all(s) == pattern(100_000, 1)
        assert program.join() == pattern(100_000)
        assert net.now < 6, "no round trip waited for a probe"


def test_a_shut_window_whose_peer_is_gone_ends():
    with Network() as net:
        peer, s = open_pair(net, window=0, retries=5)
        s.send(b"hello?")
        net.run()
        with pytest.raises(TimeoutError):
            s.recv(1)
        nothing_left(net, [peer.host])


@pytest.mark.feature("TCP", "A lost window update does not hang the transfer")
def test_a_lost_window_update():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "5 ms"}, b={"tcp": TcpConfig(receive_buffer=5000)})
        s, t = connected(net, a, b)
        tape = Tape(net)
        s.settimeout(0)
        s.sendall(pattern(20_000))
        net.sleep(3)
        assert tape.acks(b)[-1].tcp.window == 0
        wire.drop(ack(1, sender="b"))  # the update is its next pure ACK
        assert t.recv(5000) == pattern(20_000)[:5000]
        s.shutdown(1)
        assert read_all(t) == pattern(20_000)[5000:]
        assert wire.counters["wire.lost"] == 1


def test_a_probe_that_is_answered_late_is_no_round_trip_time():
    """Karn's rule holds for probes too (RFC 6298 §3)."""
    with Network() as net:
        peer, s = open_pair(net, window=0)
        base = peer.rcv_nxt
        s.send(b"0123456789")
        for _ in range(6):
            while peer.quiet():
                net.sleep("1 s")
            peer.take_all()
            peer.tcp(ACK, ack=base, window=0)
        while peer.quiet():
            net.sleep("1 s")
        peer.take_all()
        peer.tcp(ACK, ack=base + 1, window=5000)  # the last probe was taken in: the window had opened unheard
        assert flight(s).rtt.srtt == 0, "what the handshake took, and no sample since"
        peer.take_all()


def test_a_window_that_opens_lets_the_whole_of_it_go():
    with Network() as net:
        peer, s = open_pair(net, window=0)
        base = peer.rcv_nxt
        s.send(bytes(3500))
        net.sleep(1)
        peer.take_all()
        peer.tcp(ACK, ack=base, window=3500)
        # What probed the window was not kept, and goes again with the rest; the last, short piece waits
        # (Nagle).
        assert spans(peer.take_all(), base) == [(0, 1000), (1000, 1000), (2000, 1000)]
        peer.tcp(ACK, ack=base + 3000, window=3500)
        assert spans(peer.take_all(), base) == [(3000, 500)]


@pytest.mark.feature(
    "TCP", "No silly windows: neither small steps offered, nor small segments sent into them"
)
def test_a_receiver_offers_no_small_steps():
    with Network() as net:
        peer, s = open_pair(net, receive_buffer=5000)
        peer.tcp(ACK, bytes(5000))
        net.sleep(1)
        assert peer.take_all()[-1].tcp.window == 0
        for _ in range(14):
            s.recv(100)
            assert peer.quiet(), "1,400 bytes are less than a segment: no offer"
        s.recv(100)
        assert peer.take().tcp.window == 1500  # now one of 1,460 fits


def test_a_sender_sends_no_small_piece_into_a_large_window_that_is_nearly_full():
    with Network() as net:
        peer, s = open_pair(net, window=4500)
        base = peer.rcv_nxt
        s.send(bytes(9000))
        assert spans(peer.take_all(), base) == [(0, 1000), (1000, 1000), (2000, 1000), (3000, 1000)], (
            "500 bytes of window stay unused"
        )
        peer.tcp(ACK, ack=base + 1000, window=3600)  # 100 more: still nothing worth sending
        assert peer.quiet()
        peer.tcp(ACK, ack=base + 2000, window=3000)
        assert spans(peer.take_all(), base) == [(4000, 1000)]


def test_a_window_that_is_half_of_all_it_ever_was_is_no_silly_one():
    with Network() as net:
        peer, s = open_pair(net, window=600)
        base = peer.rcv_nxt
        s.send(bytes(5000))
        assert spans(peer.take_all(), base) == [(0, 600)]
        peer.tcp(ACK, ack=base + 600, window=300)
        assert spans(peer.take_all(), base) == [(600, 300)]
        peer.tcp(ACK, ack=base + 900, window=299)
        assert peer.quiet()
        net.sleep(1.5)  # the override: RFC 9293 §3.8.6.2.1
        assert spans(peer.take_all(), base)[0] == (900, 299)


def test_window_scaling_reaches_beyond_64_kib():
    with Network() as net:
        peer, s = open_pair(
            net,
            Options(mss=1000, window_scale=3).pack(),
            window=10_000,
            initial_window=1000,
            send_buffer=1 << 20,
        )
        base = peer.rcv_nxt
        s.send(bytes(200_000))
        assert sum(n for _, n in spans(peer.take_all(), base)) == 10_000, "a SYN's window is not scaled"
        peer.tcp(ACK, ack=base + 10_000, window=12_500)
        assert sum(n for _, n in spans(peer.take_all(), base)) == 100_000, "all others are"


# --- small segments: Nagle, RFC 9293 §3.7.4 -------------------------------------------------------


@pytest.mark.feature("TCP", "Nagle: one small segment under way at a time; TCP_NODELAY switches it off")
@pytest.mark.parametrize("nodelay", [False, True])
def test_nagle(nodelay):
    with Network() as net:
        peer, s = open_pair(net)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        base = peer.rcv_nxt
        for k in range(5):
            s.send(b"%d" % k)
        got = peer.take_all()
        if nodelay:
            assert [shot.body for shot in got] == [b"0", b"1", b"2", b"3", b"4"]
            return
        assert [shot.body for shot in got] == [b"0"]
        peer.tcp(ACK, ack=base + 1)
        assert [shot.body for shot in peer.take_all()] == [b"1234"]
        peer.tcp(ACK, ack=base + 5)
        s.send(bytes(2500))
        assert [len(shot.body) for shot in peer.take_all()] == [1000, 1000]
        peer.tcp(ACK, ack=base + 2005)
        assert [len(shot.body) for shot in peer.take_all()] == [500]


def test_nagle_does_not_hold_the_last_bytes_before_a_fin():
    with Network() as net:
        peer, s = open_pair(net)
        s.send(b"one")
        s.send(b"two")
        s.shutdown(1)
        shots = peer.take_all()
        assert [shot.body for shot in shots] == [b"one", b"two"]
        assert "FIN" in shots[-1].flags


def test_push_is_on_the_last_segment_of_what_was_written():
    with Network() as net:
        peer, s = open_pair(net)
        s.send(bytes(2500))
        flags = [shot.flags for shot in peer.take_all()]
        assert ["PSH" in f for f in flags] == [False, False] and len(flags) == 2  # 500 bytes wait: Nagle
        peer.tcp(ACK)
        assert "PSH" in peer.take().flags


# --- sending again: RFC 6298 ----------------------------------------------------------------------


def test_the_estimator_is_the_rfcs_arithmetic():
    estimator = Rfc6298(TcpConfig(min_rto=0))
    assert estimator.rto == SECOND
    srtt = rttvar = None
    for ms in (100, 100, 150, 80, 400, 100, 100):
        r = ms * MILLISECOND
        if srtt is None:
            srtt, rttvar = r, r / 2
        else:
            rttvar = 0.75 * rttvar + 0.25 * abs(srtt - r)
            srtt = 0.875 * srtt + 0.125 * r
        estimator.sample(r)
        assert estimator.srtt == pytest.approx(srtt, abs=50)
        assert estimator.rto == pytest.approx(srtt + max(MILLISECOND, 4 * rttvar), abs=300)


def test_the_linux_profile_stays_a_margin_above_the_round_trip():
    """Else a queue that fills within one round trip, as in slow start, would pass for a loss."""
    estimator = Rfc6298(TcpConfig.linux())
    for _ in range(60):
        estimator.sample(100 * MILLISECOND)
    assert estimator.rto == estimator.srtt + 200 * MILLISECOND == 300 * MILLISECOND


def test_the_time_out_has_a_floor_and_a_ceiling():
    estimator = Rfc6298(TcpConfig())
    estimator.sample(1000)
    assert estimator.rto == SECOND
    for _ in range(10):
        estimator.back_off()
    assert estimator.rto == 60 * SECOND


def test_a_time_out_doubles_each_time_and_one_new_measurement_mends_it():
    with Network() as net:
        peer, s = open_pair(net)
        base = peer.rcv_nxt
        s.send(b"x")
        net.sleep(8)
        assert [shot.time for shot in peer.take_all()] == [0, 1, 3, 7]
        peer.tcp(ACK, ack=base + 1)
        assert flight(s).rtt.srtt == 0, "sent four times: Karn's rule gives no measurement"
        assert flight(s).rtt.rto == 8 * SECOND, "and the back-off stays (RFC 6298 §5)"
        s.send(b"y")
        peer.take()
        net.sleep("100 ms")
        peer.tcp(ACK, ack=base + 2)
        assert flight(s).rtt.srtt == 100 * MILLISECOND // 8 and flight(s).rtt.rto == SECOND


def test_each_new_acknowledgement_starts_the_timer_anew():
    with Network() as net:
        peer, s = open_pair(net)
        base = peer.rcv_nxt
        s.send(bytes(2000))
        peer.take_all()
        net.sleep("900 ms")
        peer.tcp(ACK, ack=base + 1000)
        rto = flight(s).rtt.rto
        assert peer.quiet()
        net.simulator.run(net.simulator.now + rto - 1)
        assert peer.quiet()
        net.simulator.run(net.simulator.now + 1)
        assert spans(peer.take_all(), base) == [(1000, 1000)]


def test_after_a_lost_syn_the_connection_begins_carefully():
    """RFC 5681 §3.1: one segment; RFC 6298 §5.7: a time-out of 3 s."""
    with Network() as net:
        peer = Peer(net)
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        net.sleep(1.5)
        peer.take()
        peer.accept_from(options=MSS)
        base = peer.rcv_nxt
        s.send(bytes(5000))
        assert spans(peer.take_all(), base) == [(0, 1000)]
        began = net.now
        net.sleep(2.9)
        assert peer.quiet()
        net.sleep(0.2)
        assert [shot.time - began for shot in peer.take_all()] == [3]


def test_no_timer_runs_when_nothing_is_under_way():
    with Network() as net:
        peer, s = open_pair(net)
        base = peer.rcv_nxt
        s.send(b"x")
        peer.take()
        assert not net.simulator.idle
        peer.tcp(ACK, ack=base + 1)
        assert net.simulator.idle


# --- losses: RFC 5681 §3.2, RFC 6582 --------------------------------------------------------------


def ten_under_way(net, **tcp):
    """Ten segments of 1,000 bytes are sent; more wait. `base` is the first byte's number."""
    peer, s = open_pair(net, **tcp)
    base = peer.rcv_nxt
    s.send(bytes(30_000))
    assert spans(peer.take_all(), base) == [(k * 1000, 1000) for k in range(10)]
    net.sleep("100 ms")
    return peer, s, base


@pytest.mark.feature(
    "Congestion control", "Three duplicate ACKs: the segment they wait for is sent again at once"
)
def test_the_third_duplicate_sends_again_at_once():
    with Network() as net:
        peer, s, base = ten_under_way(net)
        peer.tcp(ACK, ack=base + 1000)  # segment 2 is lost
        sent = spans(peer.take_all(), base)
        assert sent == [(10_000, 1000), (11_000, 1000)], (
            "slow start: one for the one acknowledged, and one more"
        )
        for _ in range(2):
            peer.tcp(ACK, ack=base + 1000)
            assert (1000, 1000) not in spans(peer.take_all(), base)
        peer.tcp(ACK, ack=base + 1000)
        assert spans(peer.take_all(), base) == [(1000, 1000)]
        assert peer.host.counters["tcp.fast_retransmit"] == 1


def test_limited_transmit_sends_new_data_on_the_first_two_duplicates():
    """RFC 3042."""
    with Network() as net:
        peer, s, base = ten_under_way(net)
        for k in range(2):
            peer.tcp(ACK, ack=base)
            assert spans(peer.take_all(), base) == [(10_000 + 1000 * k, 1000)]


def test_one_loss_halves_the_window_once():
    with Network() as net:
        peer, s, base = ten_under_way(net)
        for _ in range(9):
            peer.tcp(ACK, ack=base)
        congestion = flight(s).congestion
        assert congestion.ssthresh == congestion.cwnd == 5000
        sent = spans(peer.take_all(), base)
        assert sent.count((0, 1000)) == 1
        peer.tcp(ACK, ack=base + 10_000 + 1000 * sum(at >= 10_000 for at, _ in sent))
        assert flight(s).recovery.in_recovery is False
        assert (congestion.ssthresh, congestion.cwnd) == (5000, 5000)


@pytest.mark.feature(
    "Congestion control", "NewReno: several losses in one window, one each round trip, one cut of the window"
)
@pytest.mark.parametrize("lost", [(0, 4), (0, 1), (2, 9), (0, 3, 6), (0, 1, 2), (1, 5, 9), (0, 8, 9)])
def test_several_losses_in_one_window(lost):
    with Network() as net:
        peer, s, base = ten_under_way(net)
        have = {k for k in range(10) if k not in lost}

        def first_missing():
            return next(k for k in range(100) if k not in have)

        # The receiver's part: an ACK for each segment that arrives, in order of sending.
        arrived = set()
        for k in sorted(have):
            arrived.add(k)
            peer.tcp(ACK, ack=base + 1000 * next(n for n in range(100) if n not in arrived))
        repaired, rounds, cuts = [], 0, set()
        while len(repaired) < len(lost) or flight(s).recovery.in_recovery:
            rounds += 1
            assert rounds < 10
            shots = spans(peer.take_all(), base)
            net.sleep("100 ms")
            for at, _ in shots:
                k = at // 1000
                if k in lost:
                    repaired.append(k)
                have.add(k)
                peer.tcp(ACK, ack=base + 1000 * first_missing())
                cuts.add(flight(s).congestion.ssthresh)
        assert repaired == sorted(lost), "each once, in order"
        assert rounds <= len(lost) + 1
        assert peer.host.counters["tcp.retransmission_timeout"] == 0
        assert peer.host.counters["tcp.fast_retransmit"] == 1
        cuts.discard(1 << 30)
        assert len(cuts) == 1, "one episode, one cut"


def test_a_partial_acknowledgement_sends_again_at_once_even_when_duplicates_were_lost():
    """RFC 6582 §3.2, step 3."""
    with Network() as net:
        peer, s, base = ten_under_way(net)
        for _ in range(3):  # segments 1 and 2 are lost, and five of eight duplicate ACKs too
            peer.tcp(ACK, ack=base)
        assert spans(peer.take_all(), base).count((0, 1000)) == 1
        net.sleep("100 ms")
        peer.tcp(ACK, ack=base + 1000)
        assert (1000, 1000) in spans(peer.take_all(), base)


def test_a_time_out_takes_all_for_lost_and_begins_with_one():
    with Network() as net:
        peer, s, base = ten_under_way(net)
        net.sleep(1)
        assert spans(peer.take_all(), base) == [(0, 1000)]
        congestion = flight(s).congestion
        assert (congestion.cwnd, congestion.ssthresh) == (1000, 5000)
        peer.tcp(ACK, ack=base + 1000)
        assert spans(peer.take_all(), base) == [(1000, 1000), (2000, 1000)], "slow start again"
        # Only the first was lost: one acknowledgement for all is believed.
        peer.tcp(ACK, ack=base + 10_000)
        assert min(at for at, _ in spans(peer.take_all(), base)) == 10_000


def test_a_segment_lost_again_does_not_halve_the_threshold_again():
    with Network() as net:
        peer, s, base = ten_under_way(net)
        net.sleep(1)
        net.sleep(2)
        net.sleep(4)
        assert spans(peer.take_all(), base) == [(0, 1000)] * 3
        assert flight(s).congestion.ssthresh == 5000


def test_duplicates_after_a_time_out_start_no_fast_retransmit():
    """RFC 6582 §4.1: they stand for segments from before the time-out."""
    with Network() as net:
        peer, s, base = ten_under_way(net)
        net.sleep(1)
        peer.take_all()
        for _ in range(9):
            peer.tcp(ACK, ack=base)
        assert peer.host.counters["tcp.fast_retransmit"] == 0
        assert (0, 1000) not in spans(peer.take_all(), base)


@pytest.mark.parametrize(
    "fields",
    [{"data": b"x"}, {"window": 60_000}, {"flags": FIN | ACK}],
    ids=["with data", "a new window", "a FIN"],
)
def test_what_is_no_duplicate_is_not_counted_as_one(fields):
    with Network() as net:
        peer, s, base = ten_under_way(net)
        for k in range(4):
            if "window" in fields:
                peer.tcp(ACK, ack=base, window=60_000 + k)
            elif "data" in fields:
                peer.tcp(ACK, b"x", ack=base)
            else:
                peer.tcp(FIN | ACK, seq=peer.snd_nxt, ack=base)
        assert peer.host.counters["tcp.fast_retransmit"] == 0


@pytest.mark.parametrize("dropped", range(1, 16))
def test_any_single_loss_is_repaired_without_the_program_noticing(dropped):
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms", "rate": "10 Mbit/s"}, a={"tcp": TcpConfig(msl=SECOND)})
        fault = wire.drop(data_segment(dropped))
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(20_000))
        s.close()
        assert reader.join() == pattern(20_000)
        t.close()
        net.run()
        assert fault.hits == (dropped <= 14), "14 segments, and none sent again needlessly"
        assert a.counters["tcp.retransmitted"] == fault.hits
        nothing_left(net, (a, b))


@pytest.mark.parametrize("dropped", range(1, 10))
def test_any_single_lost_acknowledgement_costs_nothing(dropped):
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms", "rate": "10 Mbit/s"})
        s, t = connected(net, a, b)
        fault = wire.drop(ack(dropped))
        reader = b.spawn(read_all, t)
        s.sendall(pattern(60_000))
        s.close()
        assert reader.join() == pattern(60_000)
        assert fault.hits == 1 and a.counters["tcp.retransmitted"] == 0


# --- congestion: RFC 5681 §3.1 --------------------------------------------------------------------


@pytest.mark.feature(
    "Congestion control", "Slow start doubles the window each round trip, avoidance adds a segment"
)
def test_slow_start_doubles_and_avoidance_adds_one():
    with Network() as net:
        peer, s = open_pair(net, initial_window=2, send_buffer=1 << 20)
        base = peer.rcv_nxt
        s.send(bytes(500_000))
        congestion = flight(s).congestion
        windows, acked = [], 0
        for _ in range(12):
            sent = spans(peer.take_all(), base)
            windows.append(len(sent))
            net.sleep("100 ms")
            for at, size in sent:
                acked = at + size
                peer.tcp(ACK, ack=base + acked)
            if len(windows) == 4:
                congestion.ssthresh = congestion.cwnd  # from here on, avoidance
        assert windows[:5] == [2, 4, 8, 16, 32]
        assert windows[5:] == [33, 34, 35, 36, 37, 38, 39]


def test_a_window_that_is_not_used_does_not_grow():
    with Network() as net:
        peer, s = open_pair(net)
        base = peer.rcv_nxt
        for k in range(20):
            s.send(bytes(1000))
            peer.take_all()
            peer.tcp(ACK, ack=base + 1000 * (k + 1))
        assert flight(s).congestion.cwnd == 10_000


def test_an_acknowledgement_of_much_grows_the_window_by_two_segments_at_most():
    """RFC 3465 §2.3, L = 2."""
    with Network() as net:
        peer, s, base = ten_under_way(net)
        peer.tcp(ACK, ack=base + 10_000)
        assert flight(s).congestion.cwnd == 12_000


def test_never_more_than_both_windows_allow():
    with Network(seed=3) as net:
        a, b, wire = pair(
            net,
            wire={"delay": "10 ms", "rate": "20 Mbit/s", "loss": 0.02},
            b={"tcp": TcpConfig(receive_buffer=40_000)},
        )
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(1_000_000))
        s.close()
        reader.join()
        check_congestion_window(tape)
        check_receive_window(tape)


def check_congestion_window(tape):
    """Whenever `a` has sent new bytes, no more are under way than its congestion window allows. In a recovery
    that window is reached little by little: of what leaves the network, a share is sent, new window to old
    (RFC 9937)."""
    new, phase, under_way = False, "", 0
    checked = Counter()
    for event in tape.events:
        if event.host != "a":
            continue
        if event.rule.name == "tcp.phase":
            phase, began, left, sent = event.fields["phase"], under_way, 0, 0
        if event.rule.name == "tcp.data":
            new = True
        elif event.rule.name == "tcp.window":
            before, under_way, cwnd = under_way, event.fields["in_flight"], event.fields["cwnd"]
            if phase == "recovery":
                left += max(before - under_way, 0)
                sent += max(under_way - before, 0)
                assert under_way <= cwnd or sent <= left * cwnd / began
                checked["beyond"] += under_way > cwnd
            elif new:
                assert under_way <= cwnd
                checked["new"] += 1
            new = False
    assert checked["new"] > 100 and checked["beyond"] > 50


def check_receive_window(tape):
    """No byte of `a`'s lies beyond the furthest edge that `b` has offered, as far as `a` had heard."""
    allowed = None
    for event in tape.events:
        if event.host != "a" or event.rule.name not in ("device.sent", "device.received"):
            continue
        shot = Shot(event.time, event.host, bytes(event.fields["frame"]), 0, 0)
        if not shot.tcp:
            continue
        if event.rule.name == "device.received":
            edge = (shot.tcp.ack + shot.tcp.window) % 2**32
            if allowed is None or (edge - allowed) % 2**32 < 2**31:
                allowed = edge
        elif shot.body:
            assert allowed is not None and (allowed - shot.tcp.seq - len(shot.body)) % 2**32 < 2**31
    assert allowed is not None


def test_the_path_is_full_and_no_fuller():
    """A TCP that leaves the line idle, or sends bytes twice, shows here."""
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms", "rate": "10 Mbit/s", "queue": "4 MiB"})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(2_000_000))
        s.close()
        reader.join()
        least = 2_000_000 / 1460 * 1538 * 8 / 10e6
        assert least < net.now < 1.1 * least
        assert a.counters["tcp.retransmitted"] == 0
