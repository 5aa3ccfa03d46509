"""Explicit congestion notification: asked for, agreed, echoed and obeyed (RFC 3168 §6.1)."""

from functools import partial
from typing import Any

import pytest

from labstack import CoDel, Network, TcpConfig, data_segment, syn
from labstack.headers.ipv4 import CE, ECT_0, NOT_ECT, PROTO_TCP
from labstack.headers.tcp import ACK, AE, CWR, ECE, PSH, SYN, Options
from tests.bottleneck import Bottleneck
from tests.scene import MS, Peer, Tape, connected, pair, pattern, read_all

MSS = Options(mss=1000).pack()


def flags_of(shots):
    return [shot.tcp.flags & (ECE | CWR) for shot in shots]


def ecn_of(shots):
    return [shot.ip.ecn for shot in shots]


def data(peer: Peer, ecn: int, flags: int = 0, size: int = 100) -> None:
    """The peer sends the next bytes, with that code point."""
    body = peer.tcp_bytes(ACK | flags, bytes(size))
    peer.snd_nxt = (peer.snd_nxt + size) % 2**32
    peer.send_ip(PROTO_TCP, body, ecn=ecn)


def opened(net: Network, answer: int = ECE, options: bytes = MSS, **tcp: Any) -> tuple[Peer, Any]:
    """The host has connected, asking for ECN; the peer's answer had these flags."""
    peer = Peer(net, tcp=TcpConfig(ecn="request", **tcp))
    s = peer.host.socket()
    s.setblocking(False)
    with pytest.raises(BlockingIOError):
        s.connect(("10.0.0.2", 80))
    shot = peer.take()
    assert shot.tcp is not None and shot.tcp.flags == SYN | ECE | CWR and shot.ip.ecn == NOT_ECT
    peer.port, peer.host_port = shot.tcp.dst_port, shot.tcp.src_port
    peer.rcv_nxt, peer.snd_nxt = (shot.tcp.seq + 1) % 2**32, peer.iss
    peer.tcp(SYN | ACK | answer, options=options)
    assert flags_of([peer.take()]) == [0]
    return peer, s


# --- agreeing: §6.1.1 -----------------------------------------------------------------------------


@pytest.mark.parametrize("answer, agreed", [(ECE, True), (0, False), (ECE | CWR, False), (CWR, False)])
def test_an_answer_with_ece_alone_agrees(answer, agreed):
    with Network() as net:
        peer, s = opened(net, answer)
        s.send(bytes(3000))
        shots = peer.take_all()
        assert ecn_of(shots) == [ECT_0 if agreed else NOT_ECT] * 3
        assert s.info().ecn == agreed


@pytest.mark.parametrize(
    "ours, theirs, answer",
    [
        ("accept", ECE | CWR, ECE), ("request", ECE | CWR, ECE), ("off", ECE | CWR, 0),
        ("accept", AE | ECE | CWR, ECE),  # accurate ECN, RFC 9768 §3.1.2: who does not know it answers so
        ("accept", 0, 0), ("accept", ECE, 0), ("accept", CWR, 0),
    ],
)  # fmt: skip
def test_a_listener_agrees_to_what_it_is_asked_for(ours, theirs, answer):
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(ecn=ours))
        peer.host.listen(80)
        peer.snd_nxt = peer.iss
        peer.tcp(SYN | theirs, options=MSS)
        shot = peer.take()
        assert shot.tcp.flags == SYN | ACK | answer and shot.ip.ecn == NOT_ECT


@pytest.mark.parametrize("ours", ["off", "accept", "request"])
@pytest.mark.parametrize("theirs", ["off", "accept", "request"])
def test_two_hosts_agree_if_one_asks_and_none_refuses(ours, theirs):
    with Network() as net:
        a, b, _ = pair(net, a={"tcp": TcpConfig(ecn=ours)}, b={"tcp": TcpConfig(ecn=theirs)})
        s, t = connected(net, a, b)
        agreed = ours == "request" and theirs != "off"
        assert s._connection.ecn.agreed == t._connection.ecn.agreed == agreed


def test_a_syn_that_is_not_answered_comes_again_without():
    """§6.1.1.1: some old box on the way may drop what it does not know."""
    with Network() as net:
        config = {"tcp": TcpConfig(ecn="request")}
        a, b, wire = pair(net, wire={"delay": "10 ms"}, a=config, b=config)
        tape = Tape(net)
        wire.drop(syn(1))
        s, t = connected(net, a, b)
        assert flags_of(tape.tcp(a)[:2]) == [ECE | CWR, 0]
        assert not s._connection.ecn.agreed and not t._connection.ecn.agreed


def test_an_answer_that_was_lost_says_the_same_again():
    with Network() as net:
        config = {"tcp": TcpConfig(ecn="request")}
        a, b, wire = pair(net, wire={"delay": "10 ms"}, a=config, b=config)
        wire.drop(syn(1, sender="b"))
        s, t = connected(net, a, b)
        # The second SYN came without: both ends know what the other knows.
        assert s._connection.ecn.agreed == t._connection.ecn.agreed


def test_two_that_connect_to_each_other_agree_too():
    with Network() as net:
        peer = Peer(net, tcp=TcpConfig(ecn="request"))
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        shot = peer.take()
        peer.port, peer.host_port = shot.tcp.dst_port, shot.tcp.src_port
        peer.rcv_nxt, peer.snd_nxt = (shot.tcp.seq + 1) % 2**32, peer.iss
        peer.tcp(SYN | ECE | CWR, options=MSS)
        assert peer.take().tcp.flags == SYN | ACK | ECE
        peer.tcp(ACK)
        assert s._connection.ecn.agreed


# --- receiving: §6.1.3 ----------------------------------------------------------------------------


@pytest.mark.feature(
    "Congestion control", "ECN: a mark is echoed on every ACK until the sender says that it slowed down"
)
def test_a_mark_is_echoed_until_the_peer_has_heard():
    with Network() as net:
        peer, s = opened(net, delayed_ack=0)
        answers = []
        for ecn, flags in [(ECT_0, 0), (CE, 0), (ECT_0, 0), (CE, 0), (ECT_0, CWR), (ECT_0, 0), (CE, CWR)]:
            data(peer, ecn, flags)
            answers += flags_of(peer.take_all())
        assert answers == [0, ECE, ECE, ECE, 0, 0, ECE]
        assert peer.host.counters["tcp.congestion_mark"] == 2
        s.send(bytes(100))
        assert flags_of(peer.take_all()) == [ECE], "on data too"


def test_a_mark_on_a_bare_ack_or_outside_the_window_says_nothing():
    with Network() as net:
        peer, s = opened(net, delayed_ack=0)
        peer.send_ip(PROTO_TCP, peer.tcp_bytes(ACK), ecn=CE)
        peer.send_ip(PROTO_TCP, peer.tcp_bytes(ACK, b"old", seq=peer.snd_nxt - 10), ecn=CE)
        assert flags_of(peer.take_all()) == [0], "what is expected, without an echo"


def test_without_an_agreement_nothing_is_echoed():
    with Network() as net:
        peer, s = opened(net, 0, delayed_ack=0)
        data(peer, CE)
        assert flags_of(peer.take_all()) == [0]


# --- sending: §6.1.2 ------------------------------------------------------------------------------


def test_the_sender_slows_down_once_for_each_window_and_says_so():
    with Network() as net:
        peer, s = opened(net, send_buffer=1 << 20)
        s.send(bytes(100_000))
        base, first = peer.rcv_nxt, peer.take_all()
        assert len(first) == 10 and ecn_of(first) == [ECT_0] * 10
        congestion = s._connection.flight.congestion
        for k in range(2, 11, 2):
            peer.tcp(ACK | ECE, ack=base + 1000 * k)
            assert congestion.ssthresh == 5000, "half of the ten under way, and no more than once"
        second = peer.take_all()
        assert [bool(f & CWR) for f in flags_of(second)] == [True] + [False] * (len(second) - 1)
        # Behind the CWR the peer starts anew: an echo now is another mark.
        cwnd = congestion.cwnd
        peer.tcp(ACK | ECE, ack=base + 11_000)
        assert congestion.ssthresh < 5000 and congestion.cwnd < cwnd
        assert peer.host.counters["tcp.slow_down"] == 2
        assert peer.host.counters["tcp.retransmitted"] == 0


def test_a_retransmission_is_not_ecn_capable_and_a_loss_is_told_too():
    """§6.1.5; and §6.1.2: whatever the reason, the next new data says that the window was reduced."""
    with Network() as net:
        peer, s = opened(net, send_buffer=1 << 20)
        s.send(bytes(100_000))
        base = peer.rcv_nxt
        peer.take_all()
        for _ in range(3):
            peer.tcp(ACK, ack=base)
        again = [shot for shot in peer.take_all() if shot.tcp.seq == base]
        assert ecn_of(again) == [NOT_ECT] and flags_of(again) == [0]
        peer.tcp(ACK, ack=base + 12_000)  # two more came by limited transmit
        new = peer.take_all()
        assert flags_of(new)[0] == CWR and set(ecn_of(new)) == {ECT_0}


def test_a_tail_loss_probe_of_new_bytes_is_new_data_and_tells_of_a_cut():
    """It may be the first new data behind the cut: without CWR in it the peer would go on with its echo, and
    the window would be cut again for the same mark."""
    with Network() as net:
        peer, s = opened(net, options=Options(mss=1000, sack_permitted=True).pack(), send_buffer=1 << 20)
        s.send(bytes(100_000))
        base = peer.rcv_nxt
        peer.take_all()
        peer.tcp(ACK | ECE, ack=base + 2000)
        net.sleep(0.2)
        (probe,) = peer.take_all()
        assert peer.host.counters["tcp.tail_loss_probe"] == 1 and probe.tcp.seq == base + 10_000
        assert flags_of([probe]) == [CWR] and ecn_of([probe]) == [ECT_0]


def test_a_probe_is_not_ecn_capable():
    """§6.1.6."""
    with Network() as net:
        peer, s = opened(net)
        peer.tcp(ACK, window=0)
        s.send(b"patience")
        net.sleep(2)
        shots = peer.take_all()
        assert shots and set(ecn_of(shots)) == {NOT_ECT}


def test_a_fin_and_an_ack_are_not_ecn_capable():
    with Network() as net:
        peer, s = opened(net, delayed_ack=0)
        data(peer, ECT_0, PSH)
        s.recv(100)
        s.close()
        assert ecn_of(peer.take_all()) == [NOT_ECT, NOT_ECT]


# --- the whole way --------------------------------------------------------------------------------


@pytest.mark.feature("Congestion control", "ECN: a queue that marks slows a flow down without losing a byte")
@pytest.mark.parametrize("control", ["reno", "cubic"])
def test_a_bottleneck_that_marks(control):
    with Network() as net:
        scene = Bottleneck(
            net, [control], rate="5 Mbit/s", rtt="40 ms", queue="300 KiB", discipline=CoDel,
            tcp=TcpConfig(ecn="request", receive_buffer=1 << 20),
        )  # fmt: skip
        (share,) = scene.run(12, warm_up=2)
        (flow,) = scene.flows
        marks = scene.wire.counters["wire.marked"]
        assert scene.wire.counters["wire.queue_dropped"] == scene.wire.counters["wire.queue_full"] == 0
        assert flow.client.counters["tcp.retransmitted"] == 0
        assert 0 < flow.client.counters["tcp.slow_down"] <= marks
        assert share > 0.8
        assert sum(scene.queue) / len(scene.queue) < 25_000


def test_what_does_not_ask_is_dropped_where_others_are_marked():
    with Network() as net:
        scene = Bottleneck(
            net, ["cubic"], rate="5 Mbit/s", rtt="40 ms", queue="300 KiB", discipline=partial(CoDel),
            tcp=TcpConfig(ecn="off"),
        )  # fmt: skip
        scene.run(6)
        assert scene.wire.counters["wire.marked"] == 0 < scene.wire.counters["wire.queue_dropped"]


def test_bytes_are_whole_with_losses_and_marks_together():
    with Network(seed=5) as net:
        config = {"tcp": TcpConfig(ecn="request")}
        a, b, wire = pair(
            net, a=config, b=config,
            wire={
                "rate": "5 Mbit/s", "delay": "10 ms", "loss": 0.01,
                "discipline": partial(CoDel, target="2 ms", interval="20 ms"),
            },
        )  # fmt: skip
        wire.drop(data_segment(40, last=44))
        s, t = connected(net, a, b)
        reader, other = b.spawn(read_all, t), a.spawn(read_all, s)
        s.sendall(pattern(400_000))
        t.sendall(pattern(400_000, 1))
        s.shutdown(1)
        t.shutdown(1)
        assert reader.join() == pattern(400_000) and other.join() == pattern(400_000, 1)
        assert wire.counters["wire.marked"] > 0 < a.counters["tcp.slow_down"]
        assert net.simulator.now > 100 * MS
