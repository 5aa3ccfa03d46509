"""Path MTU discovery: a link in the middle is narrower than both ends', and forged errors say that one is."""

import errno
import socket

import pytest

from labstack import Network
from labstack.core.addresses import IPAddress
from labstack.headers.icmp import ICMP, LENGTH
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from labstack.headers.tcp import ACK, Options
from labstack.internet.path_mtu import FLOOR, LIMIT, plateau
from tests.scene import SECOND, Peer, Tape, connected, pattern, read_all, settle

IP_MTU_DISCOVER, IP_MTU, IP_RECVERR = 10, 14, 11
DONT, WANT, DO = 0, 1, 2
B = "10.2.0.1"


def narrow(net, mtu, **options):
    """a — r1 — narrow — r2 — b: both ends' links carry 1,500 bytes."""
    a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254", **options)
    b = net.host("b", f"{B}/24", gateway="10.2.0.254")
    r1, r2 = net.router("r1"), net.router("r2")
    net.wire(a, r1.interface("eth0", "10.0.0.254/24"), delay="5 ms", rate="100 Mbit/s")
    net.wire(
        r1.interface("eth1", "10.1.0.1/24"), r2.interface("eth1", "10.1.0.2/24"),
        mtu=mtu, delay="5 ms", rate="100 Mbit/s",
    )  # fmt: skip
    net.wire(r2.interface("eth0", "10.2.0.254/24"), b, delay="5 ms", rate="100 Mbit/s")
    r1.route("10.2.0.0/24", via="10.1.0.2")
    r2.route("10.0.0.0/24", via="10.1.0.1")
    return a, b, r1


def forged(mtu, quoted):
    """What an attacker, who is on no router of the way, makes a host hear."""
    return ICMP.fragmentation_needed(mtu), quoted


def segments(peer):
    """The data that the host has sent since the last look, but for its acknowledgements."""
    return [shot for shot in peer.take_all() if shot.has_data]


def sent(peer):
    """The host has sent a full segment, and the peer has not answered: the host's socket, and the frame."""
    with peer.host.listen(80) as listener:
        peer.open_to(options=Options(mss=1460).pack())
        s, _ = listener.accept()
    s.sendall(pattern(1460))
    return s, peer.take()


def udp(host, discover, to=None):
    s = host.socket(socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, discover)
    s.bind(("", 9))
    s.settimeout(0)
    if to:
        s.connect(to)
    return s


# --- TCP --------------------------------------------------------------------------------------------


@pytest.mark.feature(
    "TCP",
    "A narrow link in the middle is discovered: shorter segments are sent at once, no time-out is waited for",
)
@pytest.mark.parametrize("recovery", ["Rack", "NewReno"])
def test_a_transfer_finds_the_narrow_link(recovery):
    from labstack.transport.tcp.rack import Rack
    from labstack.transport.tcp.recovery import NewReno

    with Network() as net:
        a, b, r1 = narrow(net, 1000, recovery={"Rack": Rack, "NewReno": NewReno}[recovery])
        s, t = connected(net, a, b)
        tape = Tape(net)
        begun = net.now
        reader = b.spawn(read_all, t)
        s.sendall(pattern(100_000))
        s.shutdown(socket.SHUT_WR)
        assert reader.join() == pattern(100_000)
        assert a.counters["tcp.retransmission_timeout"] == 0 and net.now - begun < 0.3
        data = tape.data(a)
        first = [shot for shot in data if shot.ip.total_length > 1000]
        assert len(first) == 10 == r1.counters["ipv4.too_big"], "the initial window, and not one more"
        again = data[len(first)]
        assert again.tcp.seq == first[0].tcp.seq and again.ip.total_length == 1000
        assert again.time - first[0].time < 0.011, (
            "as soon as the first error is here: one way there and back"
        )
        assert all(shot.ip.dont_fragment for shot in data)
        assert tape.named("ipv4.path_mtu", a)[0].fields["mtu"] == 1000
        assert "icmp.reported" in tape.why(again), "it can say that a router found it too long"
        s.close(), t.close()

        s, t = connected(net, a, b)  # what was learned holds for the next connection: it announces less, too
        assert [shot.options.mss for shot in tape.tcp(a) if shot.flags == "SYN"][-1] == 960
        s.sendall(bytes(10_000))
        s.close()
        assert len(read_all(t)) == 10_000 and r1.counters["ipv4.too_big"] == 10


@pytest.mark.feature("TCP", "One connection hears of a narrow link: the others to that host send less, too")
def test_what_one_connection_hears_holds_for_those_that_are_open():
    """Or for a datagram socket: a segment that is longer than the path is now known to be is not sent."""
    with Network() as net:
        a, b, r1 = narrow(net, 1000)
        ends = [connected(net, a, b, port) for port in (80, 81)]
        udp(a, DO).sendto(bytes(1400), (B, 9))
        net.run()
        assert r1.counters["ipv4.too_big"] == 1
        tape = Tape(net)
        for s, t in ends:
            begun = net.now
            reader = b.spawn(read_all, t)
            s.sendall(pattern(50_000))
            s.shutdown(socket.SHUT_WR)
            assert reader.join() == pattern(50_000)
            assert net.now - begun < 0.2 and a.counters["tcp.retransmission_timeout"] == 0
        assert {shot.ip.total_length for shot in tape.data(a)} == {1000, 1000 - 960 + 50_000 % 960}
        assert r1.counters["ipv4.too_big"] == 1


def test_an_error_about_a_way_that_is_gone_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        s, first = sent(peer)
        quoted = first.frame[14 : 14 + 28]
        for route in peer.host.ip.routes:
            peer.host.ip.remove(route)
        peer.icmp(*forged(1000, quoted))
        assert dict(peer.host.counters) == {"ipv4.no_route": 1}


def test_below_what_a_host_believes_too_the_others_send_less():
    """Routers cut 552 bytes; this host cuts nothing for a connection or a socket that wants no fragments."""
    with Network() as net:
        a, b, r1 = narrow(net, 296)
        s, t = connected(net, a, b)
        quiet = udp(a, DO, (B, 9))
        quiet.send(bytes(1000))
        net.run()
        tape = Tape(net)
        s.sendall(pattern(20_000))
        s.close()
        assert read_all(t) == pattern(20_000)
        shots = [shot for shot in tape.sent(a) if shot.ip]
        assert max(shot.ip.total_length for shot in shots) == FLOOR
        assert not any(shot.ip.more_fragments or shot.ip.fragment_offset for shot in shots)
        for _ in range(2):  # the router's answer to the first one, and this host's to another
            with pytest.raises(OSError) as caught:
                quiet.send(bytes(1000))
            assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize("mtu", [68, 296, 551])
def test_a_link_narrower_than_a_host_believes_is_crossed_in_fragments(mtu):
    with Network() as net:
        a, b, r1 = narrow(net, mtu)
        s, t = connected(net, a, b)
        tape = Tape(net)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(30_000))
        s.shutdown(socket.SHUT_WR)
        assert reader.join() == pattern(30_000)
        sizes = {shot.ip.total_length for shot in tape.data(a) if not shot.ip.dont_fragment}
        assert max(sizes) == FLOOR and not b.ip.fragments.waiting
        assert a.counters["tcp.retransmission_timeout"] == 0


def test_the_floor_can_be_lowered_to_the_least_of_ipv4():
    with Network() as net:
        a, b, r1 = narrow(net, 296)
        a.ip.path_mtus.floor = 68
        s, t = connected(net, a, b)
        tape = Tape(net)
        s.sendall(pattern(5000))
        s.close()
        assert read_all(t) == pattern(5000)
        assert max(shot.ip.total_length for shot in tape.data(a)[10:]) == 296
        assert all(shot.ip.dont_fragment for shot in tape.tcp(a))


def test_a_router_that_does_not_say_how_much_fits():
    """RFC 1191 §5: the next of the MTUs that there are."""
    with Network() as net:
        peer = Peer(net)
        s, first = sent(peer)
        assert first.ip.total_length == 1500
        peer.icmp(ICMP.fragmentation_needed(0), first.frame[14 : 14 + 28])
        assert peer.take().ip.total_length == 1492
    assert [plateau(size) for size in (65535, 1500, 1492, 600, 69, 68, 20)] == [
        32000,
        1492,
        1006,
        508,
        68,
        68,
        68,
    ]


@pytest.mark.feature(
    "TCP",
    "A forged 'fragmentation needed' is believed only with a sequence number under way, and never below 552",
)
@pytest.mark.parametrize(
    "off, believed", [(-1, False), (0, True), (1459, True), (1460, False), (2**31, False)]
)
def test_a_forged_error_must_quote_what_is_under_way(off, believed):
    with Network() as net:
        peer = Peer(net)
        s, first = sent(peer)
        quoted = bytearray(first.frame[14 : 14 + 28])
        quoted[24:28] = ((first.tcp.seq + off) % 2**32).to_bytes(4, "big")
        peer.icmp(*forged(0x20, bytes(quoted)))
        again = segments(peer)
        assert bool(again) is believed
        assert peer.host.counters["tcp.soft_error"] == (not believed)
        if believed:
            assert [len(shot.body) for shot in again] == [FLOOR - 40, FLOOR - 40, 1460 - 2 * (FLOOR - 40)]
            assert not again[0].ip.dont_fragment
        assert peer.host.ip.mtu(peer.address) == (FLOOR if believed else 1500) - 20


def test_an_error_makes_no_path_wider_and_repeats_nothing():
    with Network() as net:
        peer = Peer(net)
        s, first = sent(peer)
        quoted = first.frame[14 : 14 + 28]
        peer.icmp(*forged(1000, quoted))
        assert len(segments(peer)) == 2
        for mtu in (1000, 1200, 1500, 65535):
            peer.icmp(*forged(mtu, quoted))
        assert segments(peer) == [] and peer.host.counters["ipv4.no_news"] == 4


class Card(Peer):
    """A peer whose device takes long pieces, and would make segments of `segment_size` bytes of them."""

    offload = 40_000

    def __init__(self, net):
        self.pieces = []
        super().__init__(net)

    def transmit(self, header, payload, segment_size=0):
        super().transmit(header, payload)
        if datagram := self.frames[-1].ip:
            self.pieces.append((segment_size, datagram.dont_fragment))


@pytest.mark.parametrize("mtu, size, whole", [(1000, 960, True), (300, FLOOR - 40, False)])
def test_of_a_long_piece_each_segment_must_fit(mtu, size, whole):
    with Network() as net:
        peer = Card(net)
        s, _ = sent(peer)
        peer.tcp(ACK, ack=peer.rcv_nxt + 1460)
        peer.host.ip.narrow(peer.address, mtu)
        peer.pieces.clear()
        s.sendall(pattern(10 * 1460))
        assert set(peer.pieces) == {(size, whole)}
        assert peer.host.counters["tcp.no_way"] == 1, "the one that was too long"


# --- UDP --------------------------------------------------------------------------------------------


@pytest.mark.feature(
    "UDP", "IP_MTU_DISCOVER: with DF, what the path does not carry is EMSGSIZE; IP_MTU says what it does"
)
def test_a_socket_that_wants_no_fragments_hears_how_much_fits():
    with Network() as net:
        a, b, r1 = narrow(net, 1000)
        s, t = udp(a, DO, (B, 9)), udp(b, DONT)
        with pytest.raises(OSError) as caught:
            s.send(bytes(1473))
        assert caught.value.errno == errno.EMSGSIZE, "more than the first link carries"
        s.send(bytes(1472))
        net.run()
        with pytest.raises(OSError) as caught:
            s.send(bytes(973))
        assert caught.value.errno == errno.EMSGSIZE, "the router's answer to the one before"
        assert s.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1000
        with pytest.raises(OSError) as caught:
            s.send(bytes(973))
        assert caught.value.errno == errno.EMSGSIZE
        s.send(pattern(972))
        net.run()
        assert t.recv(2000) == pattern(972)
        assert s.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == DO


def test_a_socket_that_does_not_mind_cuts_what_the_path_does_not_carry():
    with Network() as net:
        a, b, r1 = narrow(net, 1000)
        s, t = udp(a, WANT), udp(b, DONT)
        s.sendto(pattern(1400), (B, 9))
        net.run()
        with pytest.raises(BlockingIOError):
            t.recv(2000)  # the first one found out
        tape = Tape(net)
        s.sendto(pattern(1400), (B, 9))
        s.sendto(pattern(900), (B, 9))
        net.run()
        assert (t.recv(2000), t.recv(2000)) == (pattern(1400), pattern(900))
        sent = [(shot.ip.total_length, shot.ip.dont_fragment) for shot in tape.sent(a) if shot.ip]
        assert sent == [(996, False), (452, False), (928, True)]
        assert r1.counters["ipv4.too_big"] == 1


def test_what_was_learned_is_forgotten_after_ten_minutes():
    with Network() as net:
        a, b, r1 = narrow(net, 1000)
        s = udp(a, DO)
        s.sendto(bytes(1400), (B, 9))
        net.run()
        there = IPAddress.parse(B)
        assert a.ip.mtu(there) == 980
        net.run(until=net.now + 599)
        assert a.ip.mtu(there) == 980
        net.run(until=net.now + 2)
        assert a.ip.mtu(there) == 1480 and not a.ip.path_mtus.known


def test_nobody_believes_an_error_about_what_may_be_cut_or_was_not_sent():
    with Network() as net:
        peer = Peer(net)
        there = peer.address
        udp(peer.host, DONT)
        quoted = IPv4(peer.host_address, there, PROTO_UDP, 1500).pack() + b"\0\x09\0\x09\5\xc8\0\0"
        peer.icmp(*forged(552, quoted))
        ping = (
            IPv4(peer.host_address, there, PROTO_ICMP, 1500).pack() + ICMP.echo_request(1, 1).pack()[:LENGTH]
        )
        peer.icmp(*forged(552, ping))
        nobody = IPv4(peer.host_address, there, PROTO_TCP, 1500).pack() + b"\0\x50\x13\x88" + bytes(4)
        peer.icmp(*forged(552, nobody))
        assert not peer.host.ip.path_mtus.known and peer.host.ip.mtu(there) == 1480


@pytest.mark.feature("IPv4", "Path MTUs are kept in a table with a bound, for ten minutes")
def test_the_table_is_bounded():
    with Network() as net:
        peer = Peer(net)
        ip = peer.host.ip
        peer.host.route("0.0.0.0/0", via="10.0.0.2")
        for k in range(LIMIT + 5):
            ip.narrow(IPAddress.parse(f"192.0.{k // 256}.{k % 256}"), 1000)
        assert len(ip.path_mtus.known) == LIMIT
        assert peer.host.counters["ipv4.path_mtu_evicted"] == 5
        assert ip.mtu(IPAddress.parse("192.0.0.4")) == 1480 and ip.mtu(IPAddress.parse("192.0.0.5")) == 980
        settle(net)
        assert net.simulator.now < SECOND
