"""Attacks, and what they cost: floods, guesses in another's name, and peers that keep no rule.

Each attack is bounded in what it takes: of memory, of segments sent in answer, of time until it is over. What
is thrown away is counted under a name.
"""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from labstack import Network, TcpConfig
from labstack.core.addresses import IPAddress
from labstack.headers.ipv4 import PROTO_TCP
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, Options
from tests.scene import MS, Peer, Shot, nothing_left, pattern, settle

KIB = 1024
STEP = 2**20 - 2000
"""A little less than the window that the host offers. Who tries every so many of the 2³² numbers hits it."""
SCALED = Options(mss=1460, window_scale=0).pack()
"""A SYN's options without which the window would be no larger than 65,535."""


def scene(net: Network, **constants: Any) -> Peer:
    """A peer that keeps nothing of what it hears, so that what is measured is the host's; and it is the
    host's way to everywhere else."""
    peer = Peer(net, tcp=TcpConfig(**constants))
    peer.host.route("0.0.0.0/0", via="10.0.0.2")
    peer.frames = deque(maxlen=0)  # type: ignore[assignment]
    return peer


class Liar(Peer):
    """A peer that answers each segment by itself, 5 ms later, as `lie` says. What it takes in is in `got`."""

    def __init__(self, net: Network, **constants: Any) -> None:
        super().__init__(net, tcp=TcpConfig(**constants))
        self.frames = deque(maxlen=0)  # type: ignore[assignment]
        self.lie: Callable[[Shot], None] = self.be_honest
        self.heard = 0
        self.got = bytearray()

    def transmit(self, header: bytes, payload: Any, segment_size: int = 0) -> None:
        super().transmit(header, payload, segment_size)
        while self.inbox and self.inbox[0].flags != "SYN, ACK":
            shot = self.inbox.popleft()
            if shot.tcp is not None and shot.tcp.dst_port == self.port:
                self.heard += 1
                clock = self.net.simulator
                clock.call_at(clock.now + 5 * MS, partial(self._answer, shot))

    def _answer(self, shot: Shot) -> None:
        if "RST" not in shot.flags:
            self.lie(shot)

    def say(self, ack: int, window: int = 65_535, options: bytes = b"") -> None:
        """An ACK of `ack` bytes from the beginning of the host's stream."""
        ack = (self.rcv_nxt + ack) % 2**32
        segment = self.tcp_bytes(ACK, ack=ack, window=window, options=options)
        self.inject(self.frame(self.datagram(PROTO_TCP, segment)))

    def take_in(self, shot: Shot) -> int:
        """Keep what is new; how much there is now, the FIN counted."""
        at = (shot.tcp.seq - self.rcv_nxt) % 2**32
        if at <= len(self.got):
            self.got[at:] = shot.body if at + len(shot.body) >= len(self.got) else self.got[at:]
        end = "FIN" in shot.flags and at + len(shot.body) == len(self.got)
        return len(self.got) + end

    def be_honest(self, shot: Shot) -> None:
        if shot.body or "FIN" in shot.flags:
            self.say(self.take_in(shot))


def victim(peer: Peer, **options: Any) -> Any:
    """The host's end of a connection that the peer has opened."""
    with peer.host.listen(80) as listener:
        peer.open_to(80, **options)
        s, _ = listener.accept()
    peer.take_all()
    return s


def connection(peer: Peer) -> Any:
    (only,) = peer.host.tcp.connections.values()
    return only


@contextmanager
def memory_within(limit: int) -> Iterator[None]:
    """What happens inside leaves at most `limit` bytes more in use than there were, and never takes twice
    that meanwhile."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        gc.collect()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{kept} bytes are kept, and there were never more than {peak}")
    assert kept <= limit and peak <= 2 * limit


# --- floods ---------------------------------------------------------------------------------------


def stranger(k: int) -> IPAddress:
    return IPAddress.parse(f"192.168.{k // 250 % 250}.{1 + k % 250}")


@pytest.mark.feature(
    "TCP",
    "A flood of 100,000 SYNs costs less than 512 KiB; honest peers get in, and afterwards nothing is left",
)
@pytest.mark.parametrize("syns", [5_000, pytest.param(100_000, marks=pytest.mark.check)])
def test_a_flood_of_syns(syns):
    with Network(seed=1) as net:
        peer = scene(net, syn_cookies=True)
        listener = peer.host.listen(80, backlog=16)
        peer.host_port = 80

        def flood(first, count):
            for k in range(first, first + count):
                peer.tcp(SYN, seq=k, src=stranger(k), port=1024 + k % 60_000)
                if k % 50 == 0:
                    peer.inbox.clear()

        flood(0, 1000)  # the backlog is full, and what grows to a size of its own has grown
        with memory_within(512 * KIB):
            flood(1000, syns - 1000)
        assert len(peer.host.tcp.connections) == 16
        for k in range(20):
            peer.port = 100 + k
            peer.inbox.clear()
            peer.open_to(80)
            s, _ = listener.accept()
            peer.tcp(PSH | ACK, b"honest")
            assert s.recv(10) == b"honest"
            peer.tcp(RST)
            s.close()
        assert peer.host.counters["tcp.syn_cookie"] == syns - 16 + 20
        listener.close()
        net.run()
        nothing_left(net, [peer.host])


def test_without_cookies_a_flood_is_dropped_by_name():
    """And a half-open connection costs less than 12 KiB: no buffer is there before the first byte."""
    with Network(seed=1) as net:
        peer = scene(net)
        peer.host.listen(80, backlog=200)
        peer.host_port = 80
        with memory_within(200 * 12 * KIB):
            for k in range(2000):
                peer.tcp(SYN, seq=k, port=1024 + k)
                peer.inbox.clear()
        assert len(peer.host.tcp.connections) == 200
        assert drops(peer) == {"tcp.backlog_full": 1800}


@pytest.mark.parametrize("cookies", [False, True])
def test_a_host_has_only_so_many_connections(cookies):
    """Peers that get through the handshake, and then never say a word."""
    with Network() as net:
        peer = scene(net, max_connections=50, syn_cookies=cookies)
        listener = peer.host.listen(80, backlog=10)
        kept, peer.host_port = [], 80
        for k in range(200):
            peer.port, peer.snd_nxt = 1000 + k, 7
            peer.tcp(SYN)
            for answer in peer.take_all():
                peer.rcv_nxt = (answer.tcp.seq + 1) % 2**32
                peer.tcp(ACK)
            if listener.readable():
                kept.append(listener.accept()[0])
        assert len(kept) == len(peer.host.tcp.connections) == 50
        assert peer.host.counters["tcp.table_full"] == 150
        for s in kept:
            s.close()
        listener.close()
        net.run()
        nothing_left(net, [peer.host])


# --- guesses in another's name --------------------------------------------------------------------


def goes_on(peer: Peer, s: Any) -> None:
    """The connection is as it was: bytes go both ways."""
    peer.take_all()
    peer.tcp(PSH | ACK, b"from the peer")
    assert s.recv(100) == b"from the peer"
    s.sendall(b"from the host")
    assert peer.take_all()[-1].body == b"from the host"


def drops(peer: Peer) -> dict[str, int]:
    return {name: n for name, n in peer.host.counters.items() if name.startswith("tcp.") and n}


@pytest.mark.feature(
    "TCP", "Blind resets, SYNs, FINs and data at every window of the 2³² numbers: all fail, all are counted"
)
@pytest.mark.parametrize("flags", [RST, RST | ACK, SYN, SYN | ACK, FIN | ACK, PSH | ACK, 0])
def test_a_blind_attacker_tries_every_window(flags):
    """It knows addresses and ports, and sends one segment for each window's width: one of them is in the
    window for certain. It cannot know the acknowledgement's number, and guesses."""
    draw = random.Random(flags)
    with Network(seed=2) as net:
        peer = scene(net)
        s = victim(peer, options=SCALED)
        guesses, first = 0, draw.getrandbits(16)
        data = b"evil" if flags in (PSH | ACK, 0) else b""
        for seq in range(first, first + 2**32, STEP):
            if seq % 2**32 != peer.snd_nxt:
                guesses += 1
                peer.tcp(flags, data, seq=seq % 2**32, ack=draw.getrandbits(32) if flags & ACK else 0)
        counted = drops(peer)
        assert guesses > 4000
        assert sum(counted.values()) == guesses
        assert connection(peer).state.value == "ESTABLISHED"
        goes_on(peer, s)
        with pytest.raises(BlockingIOError):
            s.setblocking(False)
            s.recv(1)


@pytest.mark.parametrize("flags", [RST, SYN])
def test_questions_to_a_flood_of_near_guesses_are_few(flags):
    """Each guess is in the window, and might be answered by a question; no more than two a second are."""
    with Network(seed=3) as net:
        peer = scene(net)
        s = victim(peer)
        for k in range(5000):
            peer.tcp(flags, seq=peer.snd_nxt + 1 + k)
            net.sleep("1 ms")
        assert 5 <= len(peer.take_all()) <= 10
        assert drops(peer) == {"tcp.bad_reset" if flags == RST else "tcp.bad_syn": 5000}
        goes_on(peer, s)


# --- peers that keep no rule ----------------------------------------------------------------------


def write_all_it_takes(s: Any) -> int:
    """What a program that does not wait gets rid of, in bytes."""
    s.setblocking(False)
    written = 0
    with pytest.raises(BlockingIOError):
        while True:
            written += s.send(pattern(50_000))
    return written


def ends(net: Network, peer: Peer, s: Any) -> None:
    """The program closes; the peer goes on as before, and it is over all the same."""
    s.close()
    closed = net.now
    net.run(until=closed + 1200)
    nothing_left(net, [peer.host])


@pytest.mark.feature(
    "TCP", "A window shut for ever costs a probe a minute, and ends when the program has closed"
)
@pytest.mark.parametrize("room", [0, 1, 3000])
def test_a_peer_that_never_reads(room):
    """It takes a little, and then answers each probe for a day: there is no room."""
    with Network(seed=4) as net:
        peer = Liar(net)
        s = victim(peer, window=room)
        peer.lie = lambda shot: peer.say(min(room, peer.take_in(shot)), max(room - len(peer.got), 0))
        with memory_within(1100 * KIB):
            write_all_it_takes(s)
            net.sleep(24 * 3600)
        assert connection(peer).state.value == "ESTABLISHED", "RFC 9293 §3.8.6.1: as long as it answers"
        assert 24 * 59 < peer.heard < 24 * 60 + 30
        ends(net, peer, s)


@pytest.mark.check
def test_a_hundred_peers_that_never_read():
    with Network(seed=4) as net:
        peer = scene(net, send_buffer=100_000)
        with memory_within(100 * 120_000):
            for k in range(100):
                peer.port = 2000 + k
                s = victim(peer, window=0)
                write_all_it_takes(s)
                s.close()
        net.run(until=net.now + 1200)
        nothing_left(net, [peer.host])


@pytest.mark.feature(
    "TCP", "A peer that shrinks its window, again and again: no storm of segments, and no byte is lost"
)
@pytest.mark.parametrize("seed", range(5))
def test_a_peer_that_shrinks_its_window(seed):
    draw = random.Random(seed)
    with Network(seed=seed) as net:
        peer = Liar(net, send_buffer=200_000)
        s = victim(peer)

        def shrink(shot: Shot) -> None:
            peer.say(peer.take_in(shot) if draw.random() < 0.2 else len(peer.got) // 2,
                draw.choice((0, 0, 1, 100, 1460, 5000, 65_535)))  # fmt: skip

        peer.lie = shrink
        write_all_it_takes(s)
        net.sleep(600)
        assert peer.heard < 500
        peer.lie = peer.be_honest
        peer.say(len(peer.got))
        net.sleep(120)
        assert peer.got == pattern(50_000) * 4
        assert peer.heard < 1000
        ends(net, peer, s)


@pytest.mark.feature("TCP", "Acknowledgments of the future change nothing, and are answered twice a second")
def test_a_peer_that_acknowledges_the_future():
    with Network(seed=6) as net:
        peer = Liar(net)
        s = victim(peer)
        peer.lie = lambda shot: None
        s.sendall(bytes(50_000))
        settle(net)
        flight = connection(peer).flight
        before = flight.sender.snd_una, flight.congestion.cwnd
        sent, peer.heard = peer.heard, 0
        assert sent == 10
        with memory_within(32 * KIB):
            for k in range(900):
                peer.say(14_601 + draw_ahead(k))
                net.sleep("1 ms")
        assert (flight.sender.snd_una, flight.congestion.cwnd) == before
        assert drops(peer) == {"tcp.bad_ack": 900}
        assert peer.heard <= 3, "answers and a tail loss probe"
        peer.lie = peer.be_honest
        net.sleep(5)
        ends(net, peer, s)


def draw_ahead(k: int) -> int:
    return (k * k * 2_654_435_761) % (2**31 - 20_000)


def grown_by(acks: list[int]) -> int:
    """The congestion window after these acknowledgements of ten segments under way, in bytes."""
    with Network(seed=7) as net:
        peer = Liar(net)
        s = victim(peer, options=Options(mss=1460).pack())
        peer.lie = lambda shot: None
        s.sendall(bytes(500_000))
        settle(net)
        assert peer.heard == 10
        for ack in acks:
            peer.say(ack)
        settle(net)
        return connection(peer).flight.congestion.cwnd


def test_a_peer_that_acknowledges_byte_by_byte_gains_nothing():
    """The window grows by what is acknowledged, not by how often (RFC 3465)."""
    assert grown_by(list(range(1, 14_601))) <= grown_by(list(range(1460, 14_601, 1460)))


def test_duplicate_acknowledgements_without_end():
    """Each says that a segment has left the network. It has to stop somewhere: at the peer's window."""
    with Network(seed=8) as net:
        peer = Liar(net)
        s = victim(peer, options=Options(mss=1460).pack())
        peer.lie = lambda shot: None
        s.sendall(bytes(500_000))
        settle(net)
        for _ in range(10_000):
            peer.say(0)
            settle(net)
        assert peer.heard * 1460 <= 65_535 + 2 * 1460
        peer.lie = peer.be_honest
        net.sleep(5)
        ends(net, peer, s)


@pytest.mark.parametrize("seed", range(3))
def test_a_peer_whose_selective_acknowledgements_are_nonsense(seed):
    draw = random.Random(seed)
    with Network(seed=seed) as net:
        peer = Liar(net)
        s = victim(peer, options=Options(mss=1460, sack_permitted=True).pack())
        peer.lie = lambda shot: None
        s.sendall(pattern(300_000))
        settle(net)
        with memory_within(128 * KIB):
            for _ in range(1000):
                edges = [(peer.rcv_nxt + draw.randrange(-3000, 100_000)) % 2**32 for _ in range(6)]
                blocks = tuple(zip(edges[::2], edges[1::2], strict=True))
                peer.say(0, options=Options(sack=blocks).pack())
                net.sleep("1 ms")
        assert peer.heard < 100
        peer.lie = peer.be_honest
        net.sleep(60)
        assert peer.got == pattern(300_000)
        ends(net, peer, s)


# --- peers that give too little, or too much at once ----------------------------------------------


@pytest.mark.feature(
    "TCP", "One byte a segment, and nobody reads: bounded by the buffer, few acknowledgments"
)
@pytest.mark.check
def test_a_peer_that_sends_one_byte_a_segment():
    with Network(seed=9) as net:
        peer = scene(net, receive_buffer=20_000)
        s = victim(peer)
        whole = pattern(30_000)
        with memory_within(64 * KIB):
            for k in range(20_000):
                peer.tcp(ACK, whole[k : k + 1])
            assert len(peer.take_all()) < 40
            for k in range(20_000, 23_000):
                peer.tcp(ACK, whole[k : k + 1])
                peer.inbox.clear()
        assert sum(drops(peer).values()) == 3000
        s.setblocking(False)
        assert s.recv(30_000) == whole[:20_000]
        s.close()
        net.run(until=net.now + 1200)
        nothing_left(net, [peer.host])


@pytest.mark.feature(
    "TCP", "Overlapping pieces with holes between: 256 at most are kept, the rest is counted"
)
@pytest.mark.parametrize("longest", [1, 100, 1460])
def test_a_peer_that_sends_overlapping_pieces_with_holes(longest):
    draw = random.Random(longest)
    with Network(seed=10) as net:
        peer = scene(net, receive_buffer=65_536)
        s = victim(peer)
        base, whole = peer.snd_nxt, pattern(65_000)
        with memory_within(200 * KIB):
            for _ in range(2000):
                at, size = draw.randrange(1, 64_900), draw.randint(1, longest)
                peer.tcp(ACK, whole[at : at + size], seq=base + at)
                peer.inbox.clear()
        assert len(connection(peer).receiver._pieces) <= 256
        assert connection(peer).receiver.available == 0
        assert (drops(peer).get("tcp.too_many_holes", 0) > 0) == (longest < 1460)
        for at in range(0, 65_000, 1000):
            peer.tcp(ACK, whole[at : at + 1000], seq=base + at)
        assert s.recv(70_000) == whole
        s.close()
        net.run(until=net.now + 1200)
        nothing_left(net, [peer.host])
