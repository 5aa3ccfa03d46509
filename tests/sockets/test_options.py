"""What options do: to the bytes on the wire, to the buffers, to the time that things take."""

import socket
from socket import IPPROTO_IP, IPPROTO_TCP, SO_RCVBUF, SO_SNDBUF, SOCK_DGRAM, SOCK_RAW, SOL_SOCKET, htons

import pytest

from labstack import Network
from labstack.headers.ipv4 import IPv4
from labstack.headers.tcp import ACK, SYN, TCP
from labstack.transport.tcp.config import TcpConfig
from tests.scene import pair


@pytest.fixture
def net():
    with Network(seed=1) as network:
        yield network


@pytest.fixture
def two(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    return a, b


def watch(host):
    """What passes the host's interface from now on: `seen()` gives each datagram's header and payload."""
    s = host.socket(SOCK_DGRAM, htons(3), 17)
    s.setblocking(False)

    def seen():
        while s.readable():
            data, (_, ethertype, *_) = s.recvfrom(2000)
            if ethertype == 0x0800:
                header = IPv4.parse(data)
                yield header, data[header.header_length : header.total_length]

    return seen


@pytest.mark.feature("Sockets", "IP_TTL and IP_TOS, of TCP, UDP and raw sockets")
def test_ttl_and_tos_on_the_wire(net, two):
    a, b = two
    seen = watch(a)
    listener = b.listen(80)
    listener.setsockopt(IPPROTO_IP, socket.IP_TTL, 40)
    stream, datagram, raw = a.socket(), a.socket(SOCK_DGRAM), a.socket(SOCK_RAW, 253)
    for s in (stream, datagram, raw):
        s.setsockopt(IPPROTO_IP, socket.IP_TTL, 9)
        s.setsockopt(IPPROTO_IP, socket.IP_TOS, 0xB9)
    stream.connect(("b", 80))
    stream.setsockopt(IPPROTO_IP, socket.IP_TTL, 8)
    stream.sendall(b"x")
    datagram.sendto(b"x", ("b", 9))
    raw.sendto(b"x", ("b", 0))
    net.run()
    marks = [(h.protocol, h.ttl, h.dscp, h.ecn) for h, _ in seen() if str(h.src) == "10.0.0.1"]
    # The two lower bits are TCP's own.
    assert marks[:3] == [(6, 9, 46, 0), (6, 9, 46, 0), (6, 8, 46, 0)]
    assert (17, 9, 46, 1) in marks and (253, 9, 46, 1) in marks
    seen = watch(a)
    accepted, _ = listener.accept()
    accepted.sendall(b"y")
    stream.recv(1)
    assert {h.ttl for h, _ in seen() if str(h.src) == "10.0.0.2"} == {40}


@pytest.mark.feature("Sockets", "SO_RCVBUF and SO_SNDBUF, before and while a connection lasts")
def test_buffers_of_a_connection_that_is_there(net, two):
    a, b = two
    listener = b.listen(80)
    listener.setsockopt(SOL_SOCKET, SO_RCVBUF, 20_000)
    s = a.connect(("b", 80))
    s.setsockopt(SOL_SOCKET, SO_SNDBUF, 30_000)
    t, _ = listener.accept()
    s.setblocking(False)

    def fill():
        sent = 0
        try:
            while True:
                sent += s.send(bytes(1000))
                net.sleep(0.1)
        except BlockingIOError:
            return sent

    assert 48_000 <= fill() <= 50_000
    t.setsockopt(SOL_SOCKET, SO_RCVBUF, 60_000)
    assert t.recv(1) == b"\0"  # it looks at its window, and tells
    net.sleep(1)
    assert 38_000 <= fill() <= 42_000
    s.setsockopt(SOL_SOCKET, SO_SNDBUF, 50_000)
    assert 19_000 <= fill() <= 21_000
    s.setsockopt(SOL_SOCKET, SO_SNDBUF, 1000)
    assert fill() == 0
    s.setblocking(True)
    s.shutdown(socket.SHUT_WR)
    rest = 0
    while data := t.recv(100_000):
        rest += len(data)
    assert 105_000 <= rest <= 113_000 and not any(data)


def test_the_window_of_the_first_segment(net, two):
    """A buffer of 65,536 bytes is one more than the field can say."""
    a, b = two
    seen = watch(a)
    b.listen(80)
    s = a.socket()
    s.setsockopt(SOL_SOCKET, SO_RCVBUF, 65_536)
    s.connect(("b", 80))
    syn = next(TCP.parse(data) for header, data in seen() if header.protocol == 6)
    assert syn.flags == SYN and syn.window == 65_535


@pytest.mark.parametrize("quick", [False, True])
def test_quickack(net, two, quick):
    a, b = two
    listener = b.listen(80)
    s = a.connect(("b", 80))
    t, _ = listener.accept()
    net.sleep(1)
    if quick:
        t.setsockopt(IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    before, seen = net.now, watch(a)
    s.sendall(b"x")
    while not any(str(h.src) == "10.0.0.2" and TCP.parse(data).flags == ACK for h, data in seen()):
        net.sleep(0.001)
    delay = TcpConfig().delayed_ack / 1e9
    assert net.now - before == pytest.approx(0.01 if quick else 0.01 + delay, abs=0.003)


def test_syncnt(net):
    a, _, wire = pair(net)
    wire.drop(lambda seen: seen.tcp is not None)
    s = a.socket()
    s.setsockopt(IPPROTO_TCP, socket.TCP_SYNCNT, 2)
    with pytest.raises(TimeoutError):
        s.connect(("b", 80))
    assert 1 + 2 + 4 <= net.now < 7.1, "the first, and two more"
