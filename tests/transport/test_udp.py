"""UDP: ports, whole datagrams, errors that come back, and a queue with a bound."""

import errno
import socket

import pytest

from labstack import Network
from labstack.core.addresses import IPv4Address
from labstack.transport.udp import OVERHEAD, QUEUE
from tests.scene import Peer, Tape, pair, pattern


def datagram(host, port=None, address=""):
    s = host.socket(socket.SOCK_DGRAM)
    if port is not None:
        s.bind((address, port))
    s.settimeout(0)
    return s


@pytest.mark.feature("UDP", "Datagrams arrive whole, with their sender's address, and can be answered")
@pytest.mark.parametrize("size", [0, 1, 2, 511, 1471, 1472])
def test_a_datagram_there_and_back(size):
    with Network() as net:
        a, b, _ = pair(net)
        s, t = datagram(a), datagram(b, 9)
        assert s.sendto(pattern(size), ("b", 9)) == size
        net.run()
        data, sender = t.recvfrom(65535)
        assert data == pattern(size)
        assert sender == ("10.0.0.1", s.getsockname()[1])
        t.sendto(data[::-1], sender)
        net.run()
        assert s.recvfrom(65535) == (pattern(size)[::-1], ("10.0.0.2", 9))


@pytest.mark.parametrize("size, error", [(1472, None), (1473, None), (65507, None), (65508, errno.EMSGSIZE)])
def test_what_does_not_fit_is_an_error_and_nothing_is_sent(size, error):
    with Network() as net:
        a, b, _ = pair(net)
        tape = Tape(net)
        s = datagram(a)
        if error is None:
            s.sendto(bytes(size), ("b", 9))
        else:
            with pytest.raises(OSError) as caught:
                s.sendto(bytes(size), ("b", 9))
            assert caught.value.errno == error
        net.run()
        assert bool(tape.sent(a)) is (error is None)


def test_the_largest_datagram_of_all_goes_to_oneself():
    with Network() as net:
        a, b, _ = pair(net)
        s, t = datagram(a), datagram(a, 9)
        s.sendto(pattern(65507), ("localhost", 9))
        net.run()
        assert t.recv(65535) == pattern(65507)
        with pytest.raises(OSError) as caught:
            s.sendto(bytes(65508), ("localhost", 9))
        assert caught.value.errno == errno.EMSGSIZE


def test_a_read_that_is_too_short_cuts_the_datagram():
    with Network() as net:
        a, b, _ = pair(net)
        s, t = datagram(a), datagram(b, 9)
        s.sendto(b"0123456789", ("b", 9))
        s.sendto(b"next", ("b", 9))
        net.run()
        assert t.recv(4, socket.MSG_PEEK) == b"0123"
        assert t.recv(4) == b"0123"
        assert t.recv(4) == b"next"


@pytest.mark.feature("UDP", "A connected socket hears that its port is closed; another does not")
def test_a_connected_socket_hears_that_its_port_is_closed():
    with Network() as net:
        a, b, _ = pair(net)
        s, deaf = datagram(a), datagram(a, 7)
        s.connect(("b", 9))
        s.send(b"hello?")
        deaf.sendto(b"hello?", ("b", 9))
        net.run()
        with pytest.raises(ConnectionRefusedError):
            s.recv(10)
        with pytest.raises(BlockingIOError):
            s.recv(10)  # it is told once
        with pytest.raises(BlockingIOError):
            deaf.recv(10)
        s.send(b"again")
        net.run()
        with pytest.raises(ConnectionRefusedError):
            s.send(b"the next call hears of it")
        assert b.counters["udp.no_port"] == 3


def test_a_connected_socket_takes_only_its_peers_datagrams():
    with Network() as net:
        peer = Peer(net)
        s = datagram(peer.host, 9)
        s.connect(("10.0.0.2", 5))
        peer.udp(6, 9, b"wrong port")
        peer.udp(5, 9, b"wrong host", src=IPv4Address(b"\x0a\0\0\3"))
        peer.udp(5, 9, b"right")
        assert s.recv(100) == b"right"
        assert peer.host.counters["udp.no_port"] == 2
        assert s.getpeername() == ("10.0.0.2", 5) and s.getsockname() == ("10.0.0.1", 9)


def test_the_endpoint_that_fits_best_gets_it():
    with Network() as net:
        peer = Peer(net)
        wild, bound, joined = (peer.host.socket(socket.SOCK_DGRAM) for _ in range(3))
        for s, address in ((wild, ""), (bound, "10.0.0.1"), (joined, "")):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address, 9))
            s.settimeout(0)
        joined.connect(("10.0.0.2", 5))
        peer.udp(5, 9, b"for the connected one")
        peer.udp(6, 9, b"for the bound one")
        assert joined.recv(100) == b"for the connected one"
        assert bound.recv(100) == b"for the bound one"
        with pytest.raises(BlockingIOError):
            wild.recv(100)


@pytest.mark.feature(
    "UDP", "What a program does not read waits in a bounded queue; the rest is dropped by name"
)
def test_the_queue_is_bounded_by_bytes():
    with Network() as net:
        peer = Peer(net)
        s = datagram(peer.host, 9)
        fits = QUEUE // (1000 + OVERHEAD)
        for k in range(fits + 7):
            peer.udp(5, 9, b"%04d" % k + bytes(996))
        assert peer.host.counters["udp.queue_full"] == 7
        got = [int(s.recv(2000)[:4]) for _ in range(fits)]
        assert got == list(range(fits))
        peer.udp(5, 9, b"there is room again")
        assert s.recv(100) == b"there is room again"


def test_empty_datagrams_fill_the_queue_too():
    with Network() as net:
        peer = Peer(net)
        datagram(peer.host, 9)
        for _ in range(QUEUE // OVERHEAD + 5):
            peer.inject(peer.frame(peer.datagram(17, b"\0\5\0\x09\0\x08\0\0")))
        assert peer.host.counters["udp.queue_full"] == 5


def test_without_a_checksum_it_is_taken_with_a_wrong_one_it_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        s = datagram(peer.host, 9)
        peer.send_ip(17, b"\0\5\0\x09\0\x0c\0\0none")
        peer.send_ip(17, b"\0\5\0\x09\0\x0d\x12\x34wrong")
        assert s.recv(100) == b"none"
        with pytest.raises(BlockingIOError):
            s.recv(100)
        assert dict(peer.host.counters) == {"udp.bad_checksum": 1}


@pytest.mark.parametrize("length", [0, 7, 13, 65535])
def test_a_wrong_length_is_dropped_by_name(length):
    with Network() as net:
        peer = Peer(net)
        datagram(peer.host, 9)
        peer.send_ip(17, b"\0\5\0\x09" + length.to_bytes(2, "big") + bytes(2) + b"data")
        assert sum(peer.host.counters.values()) == 1 and peer.quiet()


def test_bytes_behind_the_udp_length_are_not_payload():
    with Network() as net:
        peer = Peer(net)
        s = datagram(peer.host, 9)
        peer.send_ip(17, b"\0\5\0\x09\0\x0a\0\0data")
        assert s.recv(100) == b"da"


def test_a_port_is_taken_once():
    with Network() as net:
        a, b, _ = pair(net)
        s = datagram(a, 9)
        with pytest.raises(OSError) as caught:
            datagram(a, 9)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError) as caught:
            datagram(a, 9, "10.0.0.2")
        assert caught.value.errno == errno.EADDRNOTAVAIL
        s.close()
        datagram(a, 9)


def test_ephemeral_ports_are_not_given_out_twice():
    with Network() as net:
        a, b, _ = pair(net)
        ports = [datagram(a, 0).getsockname()[1] for _ in range(500)]
        assert len(set(ports)) == 500 and min(ports) >= 49152


def test_a_closed_socket_frees_its_port_and_its_queue():
    with Network() as net:
        a, b, _ = pair(net)
        s = datagram(b, 9)
        datagram(a).sendto(b"x", ("b", 9))
        net.run()
        s.close()
        assert not b.udp.endpoints
        with pytest.raises(OSError) as caught:
            s.recv(1)
        assert caught.value.errno == errno.EBADF


def test_a_blocking_read_waits_for_the_datagram_and_no_longer_than_told():
    with Network() as net:
        a, b, _ = pair(net, wire={"delay": "30 ms"})
        t = b.socket(socket.SOCK_DGRAM)
        t.bind(("", 9))
        t.settimeout(0.25)
        with pytest.raises(TimeoutError):
            t.recv(10)
        assert net.now == 0.25

        def later():
            a.sleep(1)
            datagram(a).sendto(b"at last", ("b", 9))

        a.spawn(later)
        t.settimeout(None)
        assert t.recv(10) == b"at last"
        assert net.now == pytest.approx(0.25 + 1 + 3 * 0.03)
