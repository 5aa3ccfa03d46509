"""AF_PACKET: whole frames, as they come and go; and one program that runs on Linux and on labstack."""

import socket
import struct
import sys
from contextlib import closing
from socket import SOCK_DGRAM, SOCK_RAW, htons

import pytest

from labstack import Network
from labstack.headers.arp import ARP
from labstack.headers.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4
from labstack.headers.ipv4 import IPv4
from labstack.linux import LinuxPeer
from labstack.sockets.packet import ETH_P_ALL, PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP, SOL_PACKET
from tests.scene import pair

AF_PACKET = 17
EXPERIMENT = 0x88B5  # IEEE 802: for experiments
EVERY = htons(ETH_P_ALL)


@pytest.fixture
def net():
    with Network() as network:
        yield network


@pytest.fixture
def two(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    return a, b


def read(s):
    """All that has come."""
    s.setblocking(False)
    try:
        while True:
            yield s.recvfrom(2000)
    except BlockingIOError:
        return


@pytest.mark.feature("Sockets", "AF_PACKET: a capture in a few lines, and frames made by hand")
def test_a_capture_by_hand(net, two):
    a, b = two
    every = a.socket(SOCK_RAW, EVERY, AF_PACKET)
    asked = b.socket(SOCK_DGRAM, htons(ETHERTYPE_ARP), AF_PACKET)
    a.ping("b")
    frames = list(read(every))
    kinds = [(sender[1], sender[2]) for _, sender in frames]
    assert kinds == [(ETHERTYPE_ARP, 4), (ETHERTYPE_ARP, 0), (ETHERTYPE_IPV4, 4), (ETHERTYPE_IPV4, 0)]
    mine, theirs = bytes(a["eth0"].mac), bytes(b["eth0"].mac)
    assert [sender[4] for _, sender in frames] == [mine, theirs] * 2
    assert frames[2][0][:12] == theirs + mine and IPv4.parse(frames[2][0][14:]).ttl == 64
    # Of one EtherType it sees what comes, and not what goes.
    [(question, sender)] = read(asked)
    assert str(ARP.parse(question).target_ip) == "10.0.0.2"
    assert sender == ("eth0", ETHERTYPE_ARP, 1, 1, mine)


def test_arp_by_hand(net, two):
    a, b = two
    s = a.socket(SOCK_RAW, htons(ETHERTYPE_ARP), AF_PACKET)
    s.bind(("eth0", 0))
    s.settimeout(1)
    mac = bytes(a["eth0"].mac)
    question = struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, bytes([10, 0, 0, 1]), b"", bytes([10, 0, 0, 2])
    )
    assert s.send(b"\xff" * 6 + mac + b"\x08\x06" + question) == 42
    answer = s.recv(100)
    assert answer[6:12] == bytes(b["eth0"].mac) and ARP.parse(answer[14:]).operation == 2


def test_an_ethertype_of_ones_own_is_not_unknown(net, two):
    a, b = two
    s, t = a.socket(SOCK_DGRAM, 0, AF_PACKET), b.socket(SOCK_DGRAM, htons(EXPERIMENT), AF_PACKET)
    to = ("eth0", EXPERIMENT, 0, 0, bytes(b["eth0"].mac))
    assert s.sendto(b"hello", to) == 5
    data, sender = t.recvfrom(100)
    assert data.rstrip(b"\0") == b"hello" and sender == ("eth0", EXPERIMENT, 0, 1, bytes(a["eth0"].mac))
    assert len(data) == 46, "a short frame comes with its padding"
    t.close()
    assert b.counters["ethernet.unknown_type"] == 0
    s.sendto(b"nobody", to)
    net.run()
    assert b.counters["ethernet.unknown_type"] == 1
    s.close()
    assert not a.watchers and not b.watchers


def test_frames_for_others_are_seen_by_who_asks_and_by_nobody_else(net, two):
    a, b = two
    s, t = a.socket(SOCK_RAW, 0, AF_PACKET), b.socket(SOCK_RAW, EVERY, AF_PACKET)
    s.bind(("eth0", EXPERIMENT))
    stranger = b"\2\0\0\0\0\x63" + bytes(a["eth0"].mac) + EXPERIMENT.to_bytes(2, "big") + bytes(46)
    seen = []
    with b:
        index = socket.if_nametoindex("eth0")
        assert socket.if_indextoname(index) == "eth0" and socket.if_nameindex() == [(index, "eth0")]
    promiscuous = struct.pack("iHH8s", index, 1, 0, b"")
    for change in (None, PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP):
        if change:
            t.setsockopt(SOL_PACKET, change, promiscuous)
        s.send(stranger)
        net.run()
        seen.append([sender[2] for _, sender in read(t)])
    assert seen == [[], [3], []]
    assert b.counters["ethernet.not_for_me"] == 3, "to the layers it is as strange as ever"
    t.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, promiscuous)
    t.close()
    assert b["eth0"].overhearing == 0


def test_a_queue_with_a_bound(net, two):
    a, b = two
    s, t = a.socket(SOCK_DGRAM, 0, AF_PACKET), b.socket(SOCK_DGRAM, htons(EXPERIMENT), AF_PACKET)
    t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1000)
    for _ in range(10):
        s.sendto(bytes(200), ("eth0", EXPERIMENT, 0, 0, bytes(b["eth0"].mac)))
    net.run()
    assert b.counters["packet.queue_full"] == 7
    assert b.ss().text.splitlines()[-1].split() == ["p_dgr", "UNCONN", "600", "0", "0x88b5:*", "*"]


# --- the same program on Linux and here

PROGRAM = """
import errno, struct
from socket import *

def told(call, *args):
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    except (TypeError, ValueError, OverflowError) as error:
        return type(error).__name__

def facts(name):
    s, d = socket(AF_PACKET, SOCK_RAW, htons(3)), socket(AF_PACKET, SOCK_DGRAM, htons(0x88b5))
    mac = b"\\xff" * 6
    yield s.family, s.type, s.proto, s.getsockname(), d.getsockname()
    yield [told(getattr(s, call), *args) for call, *args in [
        ("getpeername",), ("connect", (name, 0)), ("listen",), ("accept",), ("shutdown", 2)]]
    yield [told(s.bind, address) for address in [
        ("nosuch", 0), (name,), name, ("", 3), (name, -1), (name, 70000)]]
    yield [told(s.send, bytes(20)), told(s.sendto, bytes(20), (name, 0)),
           told(s.sendto, bytes(13), (name, 0)),
           told(s.sendto, bytes(1514), (name, 0)), told(s.sendto, bytes(1600), (name, 0)),
           told(s.sendto, bytes(20), ("nosuch", 0)), told(s.sendto, b"x", 0, (name, 0, 0, 0, bytes(9)))]
    yield [told(d.send, b"x"), told(d.sendto, b"x", (name, 0x88b5)),
           told(d.sendto, b"x", (name, 1, 0, 0, b"12")),
           told(d.sendto, b"x", (name, 0x88b5, 0, 0, mac)), told(d.sendto, bytes(1501), (name, 1, 0, 0, mac)),
           told(d.sendto, bytes(1500), (name, 1, 0, 0, mac))]
    yield [told(d.bind, (name, 0)), d.getsockname()[1:4], told(d.send, b"x")]
    s.bind((name, 3))
    s.settimeout(0.5)
    while True:  # those that were sent before
        try:
            s.recv(10)
        except TimeoutError:
            break
    own = s.getsockname()[4]
    d.sendto(b"hello", (name, 0x88b5, 0, 0, mac))
    yield [s.recv(6, MSG_PEEK), s.recvmsg(6)[2] & MSG_TRUNC]
    s.send(mac + own + b"\\x88\\xb5" + bytes(46))
    yield told(s.recv, 100)  # nothing: it does not see its own
    d.sendto(b"hello", (name, 0x88b5, 0, 0, b"\\1\\0\\x5e\\0\\0\\1"))
    frame, address = s.recvfrom(100)
    yield frame[6:12] == own, frame[12:], address[1:4], address[4] == own
    yield [told(s.getsockopt, level, option) for level, option in [
        (SOL_SOCKET, SO_TYPE), (SOL_SOCKET, 38), (SOL_SOCKET, 39), (SOL_SOCKET, SO_ERROR),
        (IPPROTO_IP, IP_TTL), (IPPROTO_TCP, TCP_NODELAY), (263, 99)]]
    yield [told(s.setsockopt, 263, 1, struct.pack("iHH8s", index, 1, 0, b"")) for index in (
        if_nametoindex(name), 99)]
    yield told(s.setsockopt, 263, 1, b"short"), told(s.setsockopt, IPPROTO_IP, IP_TTL, 9)
    yield [told(socket, AF_PACKET, kind, 0) for kind in (SOCK_STREAM, SOCK_SEQPACKET, 99)]
    yield told(if_nametoindex, "nosuch"), told(if_indextoname, 99)
    z = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0)
    d.sendto(b"hello", (name, 0x88b5, 0, 0, mac))
    yield z.getsockname(), told(z.recv, 10)
"""


@pytest.mark.linux
@pytest.mark.feature("Sockets", "AF_PACKET: one program, and the same answers from Linux")
def test_the_same_program_on_linux_and_here():
    with LinuxPeer() as linux, closing(linux.host()) as host:
        source = f"{PROGRAM}\nfor fact in facts('{linux.tap}'):\n    print(fact)\n"
        there = linux.check([sys.executable, "-c", source]).stdout.splitlines()
        names = {}
        with host:
            exec(PROGRAM, names)
            here = [str(fact) for fact in names["facts"]("eth0")]
        assert here == there


@pytest.mark.linux
def test_linux_is_asked_by_hand():
    """ARP and ping, made here byte by byte, and answered by Linux."""
    with LinuxPeer() as linux, closing(linux.host()) as host, host:
        s = socket.socket(AF_PACKET, SOCK_RAW, htons(ETHERTYPE_ARP))
        s.bind(("eth0", 0))
        s.settimeout(5)
        mac = s.getsockname()[4]
        question = struct.pack(
            "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, socket.inet_aton(linux.host_address), b"",
            socket.inet_aton(linux.address),
        )  # fmt: skip
        s.send(b"\xff" * 6 + mac + b"\x08\x06" + question)
        answer = s.recv(100)
        told = linux.check(["ip", "link", "show", linux.tap]).stdout
        assert answer[22:28].hex(":") in told
        s.close()
