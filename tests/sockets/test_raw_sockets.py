"""Raw sockets: whole IP datagrams of one protocol, as copies."""

import errno
import socket
from socket import IPPROTO_ICMP, IPPROTO_IP, IPPROTO_TCP, SOCK_DGRAM, SOCK_RAW

import pytest

from labstack import Network
from labstack.core.addresses import IPAddress
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import IPv4
from labstack.sockets.options import IP_RECVERR
from tests.scene import pair


@pytest.fixture
def net():
    with Network() as network:
        yield network


@pytest.fixture
def two(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    return a, b


@pytest.mark.feature("Sockets", "Raw sockets: IP datagrams of any protocol, copied, and sent with any header")
def test_a_ping_by_hand(net, two):
    a, b = two
    s = a.socket(SOCK_RAW, IPPROTO_ICMP)
    s.settimeout(1)
    s.setsockopt(IPPROTO_IP, socket.IP_TTL, 9)
    heard = b.socket(SOCK_RAW, IPPROTO_ICMP)
    s.sendto(ICMP.echo_request(7, 1).pack(b"hello"), ("b", 0))
    datagram, sender = s.recvfrom(1000)
    assert sender == ("10.0.0.2", 0) and datagram[20] == 0 and datagram.endswith(b"hello")
    asked = heard.recv(1000)  # a copy: the host answered all the same
    assert IPv4.parse(asked).ttl == 9 and asked[20] == 8


def test_a_protocol_that_nobody_has(net, two):
    a, b = two
    s, t = a.socket(SOCK_RAW, 253), b.socket(SOCK_RAW, 253)
    s.connect(("b", 0))
    s.send(b"experiment")
    datagram, sender = t.recvfrom(100)
    assert sender == ("10.0.0.1", 0) and datagram[20:] == b"experiment"
    net.run()
    assert b.counters["ipv4.unknown_protocol"] == 0
    t.close()
    s.send(b"nobody")
    net.run()
    assert b.counters["ipv4.unknown_protocol"] == 1 and not b.ip.onlookers


def test_the_header_too(net, two):
    a, b = two
    s, t = a.socket(SOCK_RAW, socket.IPPROTO_RAW), b.socket(SOCK_RAW, 253)
    header = IPv4(IPAddress.parse("10.0.0.1"), IPAddress.parse("10.0.0.2"), 253, 24, ttl=3)
    s.sendto(header.pack() + b"mine", ("b", 0))
    datagram = t.recv(100)
    assert datagram[20:] == b"mine" and IPv4.parse(datagram).ttl == 3
    with pytest.raises(OSError) as caught:
        s.sendto(b"short", ("b", 0))
    assert caught.value.errno == errno.EINVAL


def test_tcp_segments_are_copied_and_filtered_by_peer_and_address(net, two):
    a, b = two
    every, here, there, peer = (b.socket(SOCK_RAW, IPPROTO_TCP) for _ in range(4))
    here.bind(("10.0.0.2", 0))
    there.bind(("127.0.0.1", 0))
    peer.connect(("10.0.0.1", 0))
    b.listen(80)
    a.connect(("b", 80)).close()
    net.run()
    counts = []
    for s in (every, here, there, peer):
        s.setblocking(False)
        counts.append(0)
        try:
            while s.recv(100):
                counts[-1] += 1
        except BlockingIOError:
            pass
    assert counts[0] == counts[1] == counts[3] >= 3 and counts[2] == 0


def test_a_queue_with_a_bound(net, two):
    a, b = two
    s, t = a.socket(SOCK_RAW, 253), b.socket(SOCK_RAW, 253)
    t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1000)
    for _ in range(10):
        s.sendto(bytes(200), ("b", 0))
    net.run()
    assert b.counters["raw.queue_full"] == 7


@pytest.mark.parametrize("connected, asks, hears", [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_who_hears_that_a_protocol_is_unknown(net, two, connected, asks, hears):
    a, _ = two
    s = a.socket(SOCK_RAW, 253)
    s.setsockopt(IPPROTO_IP, IP_RECVERR, asks)
    if connected:
        s.connect(("b", 0))
    s.sendto(b"x", ("b", 0))
    net.run()
    assert s.readable() == hears
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == (errno.ENOPROTOOPT if hears else 0)
    assert a.counters["ipv4.unknown_quote"] == (not hears)


def test_a_traceroute_by_hand(net):
    """What passes is told by routers to a raw socket that listens for it, and to who sent it if that asks."""
    a, b, r = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.1.1/24"), net.router("r")
    for number, host in enumerate((a, b)):
        net.wire(host, r.interface(f"eth{number}", f"10.0.{number}.254/24"))
        host.route("0.0.0.0/0", via=f"10.0.{number}.254")
    sender, listener = a.socket(SOCK_DGRAM), a.socket(SOCK_RAW, IPPROTO_ICMP)
    sender.setsockopt(IPPROTO_IP, IP_RECVERR, 1)
    told = []
    for ttl in (1, 2):
        sender.setsockopt(IPPROTO_IP, socket.IP_TTL, ttl)
        sender.sendto(b"x", ("10.0.1.1", 33434))
        datagram, (hop, _) = listener.recvfrom(1000)
        told.append((hop, datagram[20], sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
    assert told == [("10.0.0.254", 11, errno.EHOSTUNREACH), ("10.0.1.1", 3, errno.ECONNREFUSED)]


def test_a_broadcast_reaches_every_program_with_the_port(net, two):
    a, b = two
    sockets = [b.socket(SOCK_DGRAM) for _ in range(3)]
    for s in sockets:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("", 67))
    s = a.socket(SOCK_DGRAM)
    with pytest.raises(PermissionError):
        s.sendto(b"x", ("<broadcast>", 67))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"all", ("<broadcast>", 67))
    assert [t.recv(9) for t in sockets] == [b"all"] * 3
    s.sendto(b"one", ("b", 67))
    net.run()
    assert [t.readable() for t in sockets] == [False, False, True]  # the newest
