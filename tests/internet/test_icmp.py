"""ICMP: the echo, the errors that must be sent, and those that must not."""

import errno
import socket

import pytest

from labstack import Network
from labstack.core.addresses import BROADCAST, IPv4Address
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import IPv4
from labstack.headers.tcp import SYN
from labstack.internet.icmp import BURST
from tests.scene import Peer, Tape, pair, settle

UNREACHABLE, TIME_EXCEEDED = 3, 11


def errors(peer):
    """The ICMP errors that the host has sent, each with what it quotes."""
    found = []
    for shot in peer.take_all():
        if shot.ip.protocol == 1:
            message = ICMP.parse(shot.body)
            if message.type in (UNREACHABLE, TIME_EXCEEDED):
                found.append((message.type, message.code, shot.body[8:], shot))
    return found


@pytest.mark.feature("ICMP", "An echo comes back with the same identifier, number and bytes")
@pytest.mark.parametrize("size", [0, 1, 18, 56, 1472])
def test_an_echo_comes_back_as_it_was_sent(size):
    with Network() as net:
        peer = Peer(net)
        data = bytes(k & 0xFF for k in range(size))
        peer.icmp(ICMP.echo_request(0x1234, 7), data)
        (reply,) = peer.take_all()
        message = ICMP.parse(reply.body)
        assert (message.type, message.code, message.identifier, message.sequence) == (0, 0, 0x1234, 7)
        assert reply.body[8:] == data
        assert (reply.ip.src, reply.ip.dst) == (peer.host_address, peer.address)


def test_ping_measures_the_way():
    with Network() as net:
        a, b, _ = pair(net, wire={"delay": "15 ms"})
        a.ping("b")
        assert a.ping("b", times=3) == [0.03, 0.03, 0.03]
        assert net.now == pytest.approx(0.06 + 2 + 0.03)


def test_ping_of_nobody():
    with Network() as net:
        a, b, _ = pair(net)
        assert a.ping("10.0.0.9", times=2, timeout=0.5) == [None, None]
        net.run()
        assert net.simulator.idle and not a.icmp.listeners


def test_an_echo_with_a_wrong_checksum_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        packet = bytearray(peer.datagram(1, ICMP.echo_request(1, 1).pack(b"data")))
        packet[-1] ^= 1
        peer.inject(peer.frame(bytes(packet)))
        assert peer.quiet() and dict(peer.host.counters) == {"icmp.bad_checksum": 1}


def test_an_echo_to_everyone_is_met_with_silence():
    with Network() as net:
        peer = Peer(net)
        peer.inject(
            peer.frame(
                peer.datagram(1, ICMP.echo_request(1, 1).pack(), dst=IPv4Address(b"\xff" * 4)), dst=BROADCAST
            )
        )
        assert peer.quiet()
        assert dict(peer.host.counters) == {"icmp.ignored": 1}


# --- errors that must be sent ---------------------------------------------------------------------


@pytest.mark.feature(
    "ICMP", "A closed port, an unknown protocol and a hop too many are reported, with the datagram quoted"
)
def test_a_closed_port_is_reported_with_the_datagram():
    with Network() as net:
        peer = Peer(net)
        peer.udp(7777, 9, b"is anybody there?")
        ((kind, code, quoted, shot),) = errors(peer)
        assert (kind, code) == (UNREACHABLE, 3)
        assert shot.ip.dst == peer.address
        inner = IPv4.parse(quoted)
        assert (inner.src, inner.dst, inner.protocol) == (peer.address, peer.host_address, 17)
        assert quoted[20:] == b"\x1e\x61\x00\x09\x00\x19" + quoted[26:28] + b"is anybody there?"
        assert peer.host.counters["udp.no_port"] == 1


def test_an_unknown_protocol_is_reported():
    with Network() as net:
        peer = Peer(net)
        peer.send_ip(132, b"SCTP?")
        ((kind, code, quoted, _),) = errors(peer)
        assert (kind, code) == (UNREACHABLE, 2)
        assert quoted[20:] == b"SCTP?"
        assert peer.host.counters["ipv4.unknown_protocol"] == 1


@pytest.mark.parametrize("size", [520, 521, 1400])
def test_a_report_quotes_what_fits_into_576_bytes(size):
    with Network() as net:
        peer = Peer(net)
        peer.udp(7777, 9, bytes(size))
        ((_, _, quoted, shot),) = errors(peer)
        assert len(quoted) == 548
        assert shot.ip.total_length == 576


def routed(net):
    r = net.router("r")
    a, b = (
        net.host("a", "10.0.0.1/24", gateway="10.0.0.254"),
        net.host("b", "10.1.0.1/24", gateway="10.1.0.254"),
    )
    wires = [
        net.wire(a, r.interface("eth0", "10.0.0.254/24")),
        net.wire(b, r.interface("eth1", "10.1.0.254/24")),
    ]
    return a, r, b, wires


@pytest.mark.parametrize("ttl, arrives", [(1, False), (2, True)])
def test_a_router_reports_a_time_to_live_used_up(ttl, arrives):
    with Network() as net:
        a, r, b, _ = routed(net)
        heard = []
        a.icmp.listeners.append(
            lambda src, hops, message, body: heard.append((str(src), message.type, message.code))
        )
        a.icmp.echo(a.resolve("b"), 1, 1, b"", ttl=ttl)
        net.run()
        assert heard == [("10.1.0.1", 0, 0)] if arrives else [("10.0.0.254", TIME_EXCEEDED, 0)]
        assert r.counters["ipv4.ttl_exceeded"] == (not arrives)


def test_a_router_without_a_route_reports_it_to_the_connecting_program():
    with Network() as net:
        a, r, b, _ = routed(net)
        with pytest.raises(OSError, match="unreachable"):
            a.connect(("192.0.2.1", 80))
        assert r.counters["ipv4.no_route"] == 1
        assert not a.tcp.connections


def test_a_host_takes_a_datagram_whose_time_to_live_is_used_up():
    with Network() as net:
        peer = Peer(net)
        s = peer.host.socket(socket.SOCK_DGRAM)
        s.bind(("", 9))
        peer.udp(7, 9, b"just in time", ttl=1)
        assert s.recv(100) == b"just in time"


# --- and those that must not (RFC 1122 §3.2.2) ----------------------------------------------------


def test_no_error_about_an_error():
    with Network() as net:
        peer = Peer(net)
        about = peer.datagram(17, b"\0\1\0\2\0\x08\0\0")
        for kind in (3, 4, 5, 11, 12):
            # An error that came to a router for a place it does not know would call for another.
            peer.send_ip(1, ICMP(kind, 0).pack(about), dst=peer.host_address)
        assert errors(peer) == []


def test_a_router_sends_no_error_about_an_error():
    with Network() as net:
        peer = Peer(net, forwarding=True)
        about = peer.datagram(17, b"\0\1\0\2\0\x08\0\0")
        nowhere = IPv4Address(b"\xc0\0\2\1")
        peer.icmp(ICMP(3, 1), about, dst=nowhere)
        peer.icmp(ICMP(11, 0), about, dst=peer.address, ttl=1)
        assert errors(peer) == []
        assert peer.host.counters["ipv4.no_route"] == 1 and peer.host.counters["ipv4.ttl_exceeded"] == 1
        peer.icmp(ICMP.echo_request(1, 1), b"", dst=nowhere)  # about an echo it may
        assert [(kind, code) for kind, code, _, _ in errors(peer)] == [(UNREACHABLE, 0)]


@pytest.mark.parametrize("dst", [b"\xff" * 4, b"\x0a\0\0\xff"])
def test_no_error_about_a_broadcast(dst):
    with Network() as net:
        peer = Peer(net)
        peer.inject(peer.frame(peer.datagram(17, b"\0\1\0\2\0\x08\0\0", dst=IPv4Address(dst)), dst=BROADCAST))
        peer.inject(peer.frame(peer.datagram(132, b"x", dst=IPv4Address(dst)), dst=BROADCAST))
        assert peer.quiet()


def test_no_error_about_what_came_in_a_broadcast_frame():
    with Network() as net:
        peer = Peer(net)
        peer.inject(peer.frame(peer.datagram(17, b"\0\1\0\2\0\x08\0\0"), dst=BROADCAST))
        assert peer.quiet()


def test_no_error_about_a_later_fragment():
    with Network() as net:
        peer = Peer(net, forwarding=True)
        nowhere = IPv4Address(b"\xc0\0\2\1")
        peer.send_ip(17, bytes(16), dst=nowhere, fragment_offset=5)
        assert peer.quiet()
        peer.send_ip(17, bytes(16), dst=nowhere, more_fragments=True)
        assert len(errors(peer)) == 1


@pytest.mark.parametrize("src", [b"\0\0\0\0", b"\x0a\0\0\xff"])
def test_no_error_to_no_single_host(src):
    with Network() as net:
        peer = Peer(net)
        peer.udp(1, 2, b"x", src=IPv4Address(src))
        assert peer.quiet()


@pytest.mark.feature("ICMP", "Errors are limited in rate, and those not sent are counted")
def test_errors_are_limited_in_rate():
    with Network() as net:
        peer = Peer(net)
        peer.udp(1, 2, b"")  # so that the peer's MAC is known, and all at one moment
        assert len(errors(peer)) == 1
        for _ in range(BURST + 36):
            peer.inject(peer.frame(peer.datagram(17, b"\0\1\0\2\0\x08\0\0")))
        settle(net)
        assert len(errors(peer)) == BURST - 1
        assert peer.host.counters["icmp.limited"] == 37
        net.sleep("100 ms")
        for _ in range(20):
            peer.inject(peer.frame(peer.datagram(17, b"\0\1\0\2\0\x08\0\0")))
        assert len(errors(peer)) == 10  # one each 10 ms


# --- errors that come in --------------------------------------------------------------------------


def quoted_syn(peer, shot, change=None):
    raw = bytearray(shot.frame[14 : 14 + 28])
    if change is not None:
        raw[change] ^= 0xFF
    return bytes(raw)


@pytest.mark.parametrize(
    "code, error",
    [
        (0, errno.ENETUNREACH),
        (1, errno.EHOSTUNREACH),
        (2, errno.ENOPROTOOPT),
        (3, errno.ECONNREFUSED),
        (13, errno.EHOSTUNREACH),
    ],
)
def test_an_unreachable_port_or_host_ends_a_connection_attempt(code, error):
    with Network() as net:
        peer = Peer(net)
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        syn = peer.take()
        assert syn.tcp.flags == SYN
        peer.icmp(ICMP(UNREACHABLE, code), quoted_syn(peer, syn))
        with pytest.raises(OSError) as caught:
            s.send(b"x")
        assert caught.value.errno == error, "as on Linux"
        assert not peer.host.tcp.connections and net.simulator.idle


@pytest.mark.parametrize("change", [12, 16, 20, 22, 24, 27], ids=["src", "dst", "port", "port", "seq", "seq"])
def test_an_error_about_a_segment_that_was_never_sent_ends_nothing(change):
    with Network() as net:
        peer = Peer(net)
        s = peer.host.socket()
        s.setblocking(False)
        with pytest.raises(BlockingIOError):
            s.connect(("10.0.0.2", 80))
        peer.icmp(ICMP(UNREACHABLE, 3), quoted_syn(peer, peer.take(), change))
        assert len(peer.host.tcp.connections) == 1


def test_an_error_does_not_end_an_open_connection():
    with Network() as net:
        peer = Peer(net)
        peer.host.listen(80)
        peer.open_to(80)
        (connection,) = peer.host.tcp.connections.values()
        about = (
            IPv4(peer.host_address, peer.address, 6, 40).pack()
            + (80).to_bytes(2, "big")
            + peer.port.to_bytes(2, "big")
        )
        peer.icmp(ICMP(UNREACHABLE, 3), about + ((peer.rcv_nxt) % 2**32).to_bytes(4, "big"))
        assert connection.state.value == "ESTABLISHED"


@pytest.mark.parametrize("size", range(28))
def test_an_error_that_quotes_too_little_is_dropped_by_name(size):
    with Network() as net:
        peer = Peer(net)
        about = IPv4(peer.host_address, peer.address, 6, 40).pack() + bytes(8)
        peer.icmp(ICMP(UNREACHABLE, 3), about[:size])
        assert sum(peer.host.counters.values()) == 1, dict(peer.host.counters)


def test_an_error_about_nothing_of_ours_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        for protocol in (6, 17, 132):
            peer.icmp(
                ICMP(UNREACHABLE, 3), IPv4(peer.host_address, peer.address, protocol, 40).pack() + bytes(8)
            )
        peer.icmp(ICMP(UNREACHABLE, 3), IPv4(peer.address, peer.host_address, 6, 40).pack() + bytes(8))
        assert peer.quiet()
        assert sum(peer.host.counters.values()) == 4, dict(peer.host.counters)


def test_a_trace_says_why_an_error_was_sent():
    with Network() as net:
        a, b, _ = pair(net)
        tape = Tape(net)
        s = a.socket(socket.SOCK_DGRAM)
        s.sendto(b"x", ("b", 9))
        net.run()
        (report,) = [shot for shot in tape.sent(b) if shot.ip and shot.ip.protocol == 1]
        assert tape.why(report)[:2] == ["device.sent", "icmp.reported"]
        assert "socket.call" in tape.why(report), (
            "and behind all that stands the program that sent the datagram"
        )
