"""TCP's options: what the SYNs agree on, what a receiver reports, and what timestamps are good for.

RFC 2018 and RFC 2883 (SACK), RFC 7323 (timestamps). The examples are the RFCs' own where they give some.
"""

import random

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.headers.tcp import ACK, FIN, RST, SYN, Options
from tests.scene import MS, SECOND, Peer, Tape, connected, nothing_left, pair, pattern, read_all

SACK = Options(mss=1460, sack_permitted=True)
BOTH = Options(mss=1460, sack_permitted=True, timestamps=(7000, 0))


def listening(net, options, **tcp):
    """The hand-moved peer has connected with these options; it, the SYN's answer, and the host's socket."""
    peer = Peer(net, tcp=TcpConfig(**tcp))
    listener = peer.host.listen(80)
    answer = peer.open_to(80, options=options.pack())
    if options.timestamps and answer.options.timestamps:
        peer.tcp(ACK, options=stamped(options.timestamps[0], answer))
    s, _ = listener.accept()
    return peer, answer, s


def stamped(tsval, shot=None, **more):
    """Options with a time of the peer's, that echo what `shot` carries."""
    return Options(timestamps=(tsval, shot.options.timestamps[0] if shot else 0), **more).pack()


# --- what the SYNs agree on -----------------------------------------------------------------------


@pytest.mark.feature("TCP", "SACK and timestamps are offered, and used if the peer offers them too")
@pytest.mark.parametrize(
    "offered", [{}, {"sack": False}, {"timestamps": True}, {"sack": False, "timestamps": True}]
)
def test_a_syn_offers_what_the_configuration_says(offered):
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(**offered))
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        options = peer.await_syn().options
        assert options.sack_permitted is offered.get("sack", True)
        assert (options.timestamps is not None) is offered.get("timestamps", False)
        assert options.timestamps is None or options.timestamps[1] == 0, "there is nothing to echo yet"


@pytest.mark.parametrize("peers", [Options(), SACK, BOTH])
@pytest.mark.parametrize("own", [{}, {"sack": False}, {"timestamps": True}])
def test_an_answer_offers_back_only_what_both_want(peers, own):
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(**own))
        peer.host.listen(80)
        peer.port += 1
        options = peer.open_to(80, options=peers.pack()).options
        assert options.sack_permitted is (peers.sack_permitted and own.get("sack", True))
        used = peers.timestamps is not None and own.get("timestamps", False)
        assert (options.timestamps is not None) is used
        if used:
            assert options.timestamps[1] == 7000, "the echo of the SYN's time"


def test_the_profile_linux_has_timestamps_and_both_have_sack():
    assert (TcpConfig.rfc().sack, TcpConfig.rfc().timestamps) == (True, False)
    assert (TcpConfig.linux().sack, TcpConfig.linux().timestamps) == (True, True)


# --- SACK: RFC 2018 -------------------------------------------------------------------------------

EXAMPLES = {
    # RFC 2018 §7: segments of 500 bytes, the first of them (5000) is lost, or every second one.
    "the first is lost": (
        [5500, 6000, 6500],
        [[(5500, 6000)], [(5500, 6500)], [(5500, 7000)]],
    ),
    "every second one is lost": (
        [5500, 6500, 7500, 8500],
        [
            [(5500, 6000)],
            [(6500, 7000), (5500, 6000)],
            [(7500, 8000), (6500, 7000), (5500, 6000)],
            [(8500, 9000), (7500, 8000), (6500, 7000), (5500, 6000)],
        ],
    ),
    "the gaps close again": (
        [5500, 6500, 7500, 6000, 5000, 7000],
        [
            [(5500, 6000)],
            [(6500, 7000), (5500, 6000)],
            [(7500, 8000), (6500, 7000), (5500, 6000)],
            [(5500, 7000), (7500, 8000)],
            [(7500, 8000)],
            [],
        ],
    ),
}


@pytest.mark.feature("TCP", "A receiver names the pieces behind a gap, the latest first (SACK, RFC 2018)")
@pytest.mark.parametrize("story", EXAMPLES)
@pytest.mark.parametrize("wrap", [0, 2**32 - 1700])
def test_the_pieces_behind_a_gap_are_named_the_latest_first(story, wrap):
    arriving, expected = EXAMPLES[story]
    with Network() as net:
        peer = Peer(net)
        listener = peer.host.listen(80)
        peer.open_to(80, options=SACK.pack(), iss=(5000 - 1 + wrap) % 2**32)
        listener.accept()
        for seq, blocks in zip(arriving, expected, strict=True):
            peer.tcp(ACK, bytes(500), seq=(seq + wrap) % 2**32)
            got = peer.take().options.sack
            assert [tuple((edge - wrap) % 2**32 for edge in block) for block in got] == blocks


def test_a_fifth_piece_pushes_the_oldest_out():
    with Network() as net:
        peer, _, s = listening(net, SACK)
        base = peer.snd_nxt
        for k in range(6):
            peer.tcp(ACK, b"x", seq=base + 2 * k + 1)
            named = peer.take().options.sack
        assert [left - base for left, _ in named] == [11, 9, 7, 5]


def test_with_timestamps_three_pieces_fit():
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        base = peer.snd_nxt
        for k in range(6):
            peer.tcp(ACK, b"x", seq=base + 2 * k + 1, options=stamped(7001, answer))
            shot = peer.take()
        assert [left - base for left, _ in shot.options.sack] == [11, 9, 7]
        assert shot.tcp.header_length == 60 and shot.options.timestamps is not None


def test_no_blocks_for_a_peer_that_did_not_offer():
    with Network() as net:
        peer, _, s = listening(net, Options())
        peer.tcp(ACK, b"x", seq=peer.snd_nxt + 10)
        assert peer.take().tcp.header_length == 20


def test_a_full_segment_has_no_room_for_blocks_and_a_short_one_has():
    with Network() as net:
        peer, _, s = listening(net, SACK)
        peer.tcp(ACK, b"x", seq=peer.snd_nxt + 10)
        peer.take_all()
        s.send(bytes(1460) + bytes(100))
        s.shutdown(1)
        full, short = peer.take_all()
        assert (len(full.body), full.tcp.header_length) == (1460, 20)
        assert (len(short.body), len(short.options.sack)) == (100, 1)


# --- D-SACK: RFC 2883 -----------------------------------------------------------------------------


@pytest.mark.feature("TCP", "What arrives twice is told to the sender (D-SACK, RFC 2883)")
def test_what_comes_twice_is_told_once():
    """RFC 2883 §4.1: an old segment; each duplicate is reported in one ACK only."""
    with Network() as net:
        peer, _, s = listening(net, SACK, delayed_ack=0)
        base = peer.snd_nxt
        peer.tcp(ACK, bytes(500))
        peer.tcp(ACK, bytes(500))
        peer.take_all()
        peer.tcp(ACK, bytes(500), seq=base)
        shot = peer.take()
        assert (shot.tcp.ack, shot.options.sack) == (base + 1000, ((base, base + 500),))
        peer.tcp(ACK, bytes(500))
        assert peer.take().options.sack == ()


def test_a_duplicate_in_front_of_a_gap_stands_before_the_pieces():
    """RFC 2883 §4.1.2."""
    with Network() as net:
        peer, _, s = listening(net, SACK)
        base = peer.snd_nxt
        peer.tcp(ACK, bytes(500))
        peer.tcp(ACK, bytes(500), seq=base + 1000)
        peer.take_all()
        peer.tcp(ACK, bytes(500), seq=base)
        assert peer.take().options.sack == ((base, base + 500), (base + 1000, base + 1500))


def test_a_duplicate_behind_a_gap_stands_before_the_piece_that_holds_it():
    """RFC 2883 §4.1.3 and §4.2."""
    with Network() as net:
        peer, _, s = listening(net, SACK)
        base = peer.snd_nxt
        for at in (1000, 1500):
            peer.tcp(ACK, bytes(500), seq=base + at)
        peer.take_all()
        peer.tcp(ACK, bytes(500), seq=base + 1000)
        assert peer.take().options.sack == ((base + 1000, base + 1500), (base + 1000, base + 2000))
        peer.tcp(ACK, bytes(500), seq=base + 1250)
        assert peer.take().options.sack == ((base + 1250, base + 1750), (base + 1000, base + 2000))


def test_a_segment_half_of_which_is_old():
    """RFC 2883 §4.2.1: the part that came twice, and the stream goes on."""
    with Network() as net:
        peer, _, s = listening(net, SACK, delayed_ack=0)
        base = peer.snd_nxt
        peer.tcp(ACK, bytes(500))
        peer.take_all()
        peer.tcp(ACK, bytes(500), seq=base + 250)
        shot = peer.take()
        assert (shot.tcp.ack, shot.options.sack) == (base + 750, ((base + 250, base + 500),))


# --- timestamps: RFC 7323 -------------------------------------------------------------------------


@pytest.mark.feature("TCP", "Timestamps in every segment, and 12 bytes less of payload (RFC 7323)")
def test_every_segment_carries_its_time_and_is_shorter():
    config = TcpConfig(timestamps=True)
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"}, a={"tcp": config}, b={"tcp": config})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(100_000))
        s.close()
        assert reader.join() == pattern(100_000)
        t.close()
        shots = tape.tcp()
        assert all(shot.options.timestamps for shot in shots)
        assert max(len(shot.body) for shot in tape.data(a)) == 1448
        assert max(len(shot.frame) for shot in shots) == 1514
        first, *_, last = tape.data(a)
        passed = last.options.timestamps[0] - first.options.timestamps[0]
        assert passed == (last.at - first.at) // MS > 50, "in milliseconds"
        assert len(tape.acks(b)) < 45, "two full segments are still two full segments: one ACK for both"


def test_clocks_of_connections_begin_apart():
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(timestamps=True))
        peer.host.listen(80)
        seen = set()
        for _ in range(5):
            peer.port += 1
            seen.add(peer.open_to(80, options=BOTH.pack()).options.timestamps[0])
        assert len(seen) == 5 and max(seen) - min(seen) > 10**6


def test_the_first_of_those_that_wait_for_an_acknowledgement_is_echoed():
    """RFC 7323 §4.3 and §5.3 R3."""
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        base = peer.snd_nxt
        peer.tcp(ACK, bytes(100), options=stamped(7100, answer))
        peer.tcp(ACK, bytes(100), options=stamped(7200, answer))
        net.sleep("300 ms")
        assert peer.take_all()[-1].options.timestamps[1] == 7100, "the earlier of two that one ACK answers"
        peer.tcp(ACK, bytes(100), seq=base + 300, options=stamped(7300, answer))
        assert peer.take().options.timestamps[1] == 7100, "what lies behind a gap is not echoed"
        peer.tcp(ACK, bytes(100), seq=base + 200, options=stamped(7400, answer))
        assert peer.take().options.timestamps[1] == 7400, "what closes it is"


@pytest.mark.feature(
    "TCP", "PAWS: a leftover of an earlier round of the sequence numbers is dropped (RFC 7323)"
)
def test_an_old_duplicate_is_dropped_by_its_time():
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True, delayed_ack=0)
        peer.tcp(ACK, b"new", options=stamped(8000, answer))
        peer.take_all()
        here = peer.snd_nxt
        peer.tcp(ACK, b"OLD", seq=here, options=stamped(7999, answer))
        shot = peer.take()
        assert (shot.flags, shot.tcp.ack) == ("ACK", here), "it is told what is waited for"
        assert peer.host.counters["tcp.old_timestamp"] == 1
        peer.tcp(ACK, b"young", seq=here, options=stamped(8000, answer))
        assert s.recv(100) == b"newyoung"


def test_times_are_compared_round_the_wrap_and_forgotten_after_24_days():
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        peer.tcp(ACK, b"a", options=stamped(7000 + 2**31 - 1, answer))
        peer.tcp(ACK, b"b", options=stamped(7001 + 2**31, answer))
        peer.tcp(ACK, b"c", options=stamped(2**32 - 5, answer))
        peer.take_all()
        peer.tcp(ACK, b"d", options=stamped(5, answer))
        assert s.recv(100) == b"abcd"
        net.sleep(24 * 24 * 3600 + 1.0)
        peer.tcp(ACK, b"e", options=stamped(3, answer))
        assert s.recv(100) == b"e"


def test_a_reset_is_believed_whatever_its_time():
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        peer.tcp(RST, seq=peer.snd_nxt)
        with pytest.raises(ConnectionResetError):
            s.recv(1)


def test_a_segment_without_its_time_is_dropped_and_the_connection_lives():
    """RFC 7323 §3.2."""
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        before = peer.host.counters["tcp.no_timestamp"]
        peer.tcp(ACK, b"bare", seq=peer.snd_nxt)
        assert peer.quiet() and peer.host.counters["tcp.no_timestamp"] == before + 1
        peer.tcp(ACK, b"whole", options=stamped(7001, answer))
        assert s.recv(100) == b"whole"


def test_a_reset_of_ours_carries_its_time():
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        peer.tcp(ACK, b"unread", options=stamped(7001, answer))
        s.close()
        shot = peer.take_all()[-1]
        assert "RST" in shot.flags and shot.options.timestamps[1] == 7001


# --- anything may stand in options ----------------------------------------------------------------


@pytest.mark.feature(
    "TCP", "Random SACK blocks and timestamps disturb nothing but the connection that sent them"
)
@pytest.mark.parametrize("seed", range(60))
def test_a_peer_that_reports_nonsense(seed):
    """Blocks of any kind, times of any kind: the books of what is under way stay true, and it ends."""
    draw = random.Random(seed)
    stamps = seed % 2 == 1
    with Network(seed=seed) as net:
        peer = Peer(net, tcp=TcpConfig(timestamps=stamps, msl=SECOND, fin_wait_2=SECOND, retries=4))
        listener = peer.host.listen(80)
        peer.iss, times = draw.choice((1000, 2**32 - 2000)), draw.getrandbits(32)
        offer = Options(mss=1000, sack_permitted=True, timestamps=(times, 0))
        answer = peer.open_to(80, options=offer.pack())
        if stamps:
            peer.tcp(ACK, options=stamped(times, answer))
        s, _ = listener.accept()
        listener.close()
        s.setblocking(False)
        s.send(pattern(20_000))
        flight = s._connection.flight
        base, highest = peer.rcv_nxt, 0
        for _ in range(40):
            for shot in peer.take_all():
                highest = max(highest, (shot.tcp.seq + len(shot.body) - base) % 2**32)
            around = [base, base + highest, base + highest // 2, draw.getrandbits(32), base - 1]
            blocks = tuple(
                tuple((draw.choice(around) + draw.randrange(-1500, 1500)) % 2**32 for _ in range(2))
                for _ in range(draw.choice((0, 1, 2, 3)))
            )
            echo = (answer.options.timestamps or (0,))[0] + draw.choice((0, 0, -1, 10**6, 2**31))
            options = Options(timestamps=(times, echo % 2**32) if stamps else None, sack=blocks)
            acked = draw.choice((0, 0, 0, highest // 3, highest))
            peer.tcp(ACK, draw.choice((b"", b"", b"x")), ack=base + acked, options=options.pack())
            net.sleep(draw.choice((0.0, 0.01, 0.3)))
            assert 0 <= flight.recovery.in_flight <= flight.recovery.outstanding <= 20_000
        s.close()
        net.run()
        nothing_left(net, [peer.host])


def test_isns_near_the_wrap_with_both_options(monkeypatch):
    from labstack.transport.tcp.layer import Tcp

    for first in (2**32 - 1, 2**32 - 3000, 2**31 - 5000):
        monkeypatch.setattr(Tcp, "_initial_number", lambda self, name, first=first: first)
        with Network(seed=5) as net:
            config = TcpConfig(timestamps=True)
            a, b, wire = pair(
                net,
                wire={"delay": "5 ms", "rate": "20 Mbit/s", "loss": 0.05, "reorder": 0.05, "duplicate": 0.05},
                a={"tcp": config},
                b={"tcp": config},
            )
            wire.drop(data_segment(2))
            s, t = connected(net, a, b)
            reader = b.spawn(read_all, t)
            s.sendall(pattern(200_000))
            s.close()
            assert reader.join() == pattern(200_000)


def test_flags_with_nonsense_in_options_open_no_doors():
    with Network() as net:
        peer, answer, s = listening(net, BOTH, timestamps=True)
        for flags in (SYN, SYN | ACK, FIN, 0):
            peer.tcp(flags, seq=peer.snd_nxt, options=stamped(7001, answer))
        assert s._connection.state.value == "ESTABLISHED"
