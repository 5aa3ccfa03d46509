"""Multicast on one link: one datagram to a group, a copy to each member, and to each of its sockets."""

import errno
import socket
import struct

import pytest

from labstack import Network
from labstack.core.addresses import MAC
from tests.scene import Peer, Tape, pair, pattern

GROUP = "239.1.2.3"
IP = socket.IPPROTO_IP


def bound(host, port=9, address=""):
    s = host.socket(socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.settimeout(0)
    return s


def member(host, *place, group=GROUP, interface="0.0.0.0"):
    s = bound(host, *place)
    s.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + socket.inet_aton(interface))
    return s


def waiting(s):
    got = []
    while True:
        try:
            got.append(s.recv(65535))
        except BlockingIOError:
            return got


@pytest.mark.feature("UDP", "One datagram to a group reaches every socket of its members, and no other host")
def test_every_member_gets_it():
    with Network() as net:
        a, b, _ = pair(net)
        first, second, other_port = member(b), bound(b, 9, GROUP), bound(b, 10)
        tape = Tape(net)
        s = bound(a, 5)
        s.sendto(b"to all of you", (GROUP, 9))
        net.run()
        assert [waiting(each) for each in (first, second, other_port)] == [[b"to all of you"]] * 2 + [[]]
        (shot,) = tape.sent(a)
        assert shot.ethernet.dst == MAC.parse("01:00:5e:01:02:03") and shot.ip.ttl == 1
        first.close()
        s.sendto(b"nobody is left", (GROUP, 9))
        net.run()
        assert waiting(second) == [] and dict(b.counters) == {"ipv4.not_for_me": 1}
        assert len(tape.sent(b)) == 0, "no error about what was sent to a group"


def test_a_long_one_is_cut_and_joined():
    with Network() as net:
        a, b, _ = pair(net)
        t = member(b)
        bound(a, 5).sendto(pattern(10_000), (GROUP, 9))
        net.run()
        assert waiting(t) == [pattern(10_000)]


@pytest.mark.feature("UDP", "IP_MULTICAST_TTL, IP_MULTICAST_LOOP and IP_MULTICAST_IF do what they say")
def test_ttl_and_loop():
    with Network() as net:
        a, b, _ = pair(net)
        mine, theirs = member(a), member(b)
        tape = Tape(net)
        s = bound(a, 5)
        assert [s.getsockopt(IP, name) for name in (socket.IP_MULTICAST_TTL, socket.IP_MULTICAST_LOOP)] == [
            1,
            1,
        ]
        s.sendto(b"one", (GROUP, 9))
        s.setsockopt(IP, socket.IP_MULTICAST_LOOP, b"\0")  # a byte will do
        s.setsockopt(IP, socket.IP_MULTICAST_TTL, 33)
        s.sendto(b"two", (GROUP, 9))
        net.run()
        assert waiting(mine) == [b"one"] and waiting(theirs) == [b"one", b"two"]
        s.setsockopt(IP, socket.IP_MULTICAST_LOOP, 1)
        s.setsockopt(IP, socket.IP_MULTICAST_TTL, 0)
        s.sendto(b"not beyond this host", (GROUP, 9))
        net.run()
        assert waiting(mine) == [b"not beyond this host"] and waiting(theirs) == []
        assert [shot.ip.ttl for shot in tape.sent(a) if shot.ip] == [1, 33]
        with pytest.raises(OSError) as caught:
            s.setsockopt(IP, socket.IP_MULTICAST_TTL, 256)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("form", ["address", "mreqn", "own address"])
def test_over_which_interface(form):
    with Network() as net:
        a = net.host("a")
        left, right = net.host("left", "10.0.0.2/24"), net.host("right", "10.1.0.2/24")
        net.wire(a.interface("eth0", "10.0.0.1/24"), left)
        net.wire(a.interface("eth1", "10.1.0.1/24"), right)
        one, two = member(left), member(right)
        s = bound(a, 5, "10.1.0.1" if form == "own address" else "")
        if form == "address":
            s.setsockopt(IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.1.0.1"))
            assert s.getsockopt(IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("10.1.0.1")
        elif form == "mreqn":
            s.setsockopt(IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", bytes(4), bytes(4), 2))
        s.sendto(b"to the right", (GROUP, 9))
        net.run()
        assert (waiting(one), waiting(two)) == ([], [b"to the right"])
        # A member on one link only does not hear what comes over the other.
        t = member(a, 7, interface="10.0.0.1")
        bound(right, 5).sendto(b"?", (GROUP, 7))
        bound(left, 5).sendto(b"!", (GROUP, 7))
        net.run()
        assert waiting(t) == [b"!"]


def test_joining_and_leaving_in_the_wrong_order():
    with Network() as net:
        a, b, _ = pair(net)
        s = bound(a)
        any_link, elsewhere = socket.inet_aton(GROUP) + bytes(4), socket.inet_aton(GROUP) + b"\x0a\0\0\x63"
        for name, value, number in (
            (socket.IP_DROP_MEMBERSHIP, any_link, errno.EADDRNOTAVAIL),
            (socket.IP_ADD_MEMBERSHIP, elsewhere, errno.ENODEV),
            (socket.IP_ADD_MEMBERSHIP, socket.inet_aton("10.0.0.2") + bytes(4), errno.EINVAL),
            (socket.IP_ADD_MEMBERSHIP, any_link[:7], errno.EINVAL),
            (socket.IP_ADD_MEMBERSHIP, any_link, None),
            (socket.IP_ADD_MEMBERSHIP, any_link, errno.EADDRINUSE),
            (socket.IP_DROP_MEMBERSHIP, any_link, None),
        ):
            if number is None:
                s.setsockopt(IP, name, value)
                continue
            with pytest.raises(OSError) as caught:
                s.setsockopt(IP, name, value)
            assert caught.value.errno == number
        for k in range(20):
            s.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, bytes((239, 0, 0, k)) + bytes(4))
        with pytest.raises(OSError) as caught:
            s.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, any_link)
        assert caught.value.errno == errno.ENOBUFS, "a table with a bound"
        s.close()
        assert len(a.ip.groups) == 1, "that of all hosts, for ever"


def test_no_error_about_a_datagram_to_a_group():
    with Network() as net:
        peer = Peer(net)
        member(peer.host, 10)
        bound(peer.host, 5).sendto(b"to a port that nobody has, looped back", (GROUP, 9))
        net.run()
        assert peer.host.counters["udp.no_port"] == 1
        assert [shot.ip.protocol for shot in peer.take_all() if shot.ip] == [17]
