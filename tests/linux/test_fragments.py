"""Fragments, held against the Linux kernel's: it joins ours, we join its, and both refuse the same tricks."""

import socket
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from labstack import Host
from labstack.core.addresses import IPAddress
from labstack.headers.ethernet import ETHERTYPE_IPV4
from labstack.headers.ipv4 import PROTO_UDP, IPv4, pseudo_sum
from labstack.headers.udp import UDP
from labstack.internet.fragments import cut
from labstack.linux import LinuxPeer
from tests.scene import pattern

from .conftest import wait_until

pytestmark = pytest.mark.linux

SIZES = [0, 1, 1472, 1473, 2952, 2953, 40_000, 65_507]

ECHO = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
s.bind(("", 9))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(70000)
    print(len(data), flush=True)
    s.sendto(data[::-1], sender)
"""

ASK = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(10)
for size in map(int, sys.argv[2:]):
    data = bytes(k * 7 & 255 for k in range(size))
    s.sendto(data, (sys.argv[1], 9))
    assert s.recv(70000) == data[::-1], size
print("all the same")
"""


@pytest.fixture
def host(linux: LinuxPeer) -> Iterator[Host]:
    with linux.host() as host:
        yield host
        host.close()


@pytest.mark.feature(
    "IPv4", "Linux and labstack join each other's fragments, up to 65,507 bytes over UDP and ping"
)
def test_linux_joins_ours_and_we_join_its(linux: LinuxPeer, host: Host) -> None:
    server = linux.run([sys.executable, "-c", ECHO])
    wait_until(lambda: "ready" in server.output, "the echo listens")
    s = host.socket(socket.SOCK_DGRAM)
    s.settimeout(10)
    for size in SIZES:
        s.sendto(pattern(size), (linux.address, 9))
        assert s.recv(70_000) == pattern(size)[::-1]
    assert server.output.split() == ["ready", *map(str, SIZES)]
    assert not host.counters


def test_linux_asks_and_labstack_answers(linux: LinuxPeer, host: Host) -> None:
    s = host.socket(socket.SOCK_DGRAM)
    s.bind(("", 9))
    s.settimeout(10)

    def echo() -> None:
        for _ in SIZES:
            data, sender = s.recvfrom(70_000)
            s.sendto(data[::-1], sender)

    program = host.spawn(echo)
    assert (
        linux.check([sys.executable, "-c", ASK, linux.host_address, *map(str, SIZES)]).stdout
        == "all the same\n"
    )
    program.join()


def test_the_longest_ping_both_ways(linux: LinuxPeer, host: Host) -> None:
    said = linux.check(["ping", "-c", "3", "-i", "0.2", "-s", "65507", linux.host_address]).stdout
    assert "3 received" in said and "65515 bytes from" in said
    assert None not in host.ping(linux.address, times=2, size=65_507, interval=0.1, timeout=10)


def stories() -> dict[str, tuple[list[int], bool]]:
    """Which fragments of a datagram of five arrive, in order; whether it is joined then."""
    return {
        "in order": ([0, 1, 2, 3, 4], True),
        "the last first": ([4, 3, 2, 1, 0], True),
        "shuffled": ([2, 0, 4, 1, 3], True),
        "some twice": ([0, 0, 2, 1, 2, 3, 1, 4], True),
        "one missing": ([0, 1, 3, 4], False),
        "an overlap": ([0, -1, 1, 2, 3, 4], False),
        "an overlap at the end": ([4, 3, 2, -1, 1, 0], False),
    }


@pytest.mark.feature(
    "IPv4", "Linux and labstack join and refuse the same reordered, repeated and overlapping fragments"
)
@pytest.mark.parametrize("story", stories())
def test_the_same_fragments_have_the_same_fate(linux: LinuxPeer, host: Host, story: str) -> None:
    order, joined = stories()[story]
    server = linux.run([sys.executable, "-c", ECHO])
    wait_until(lambda: "ready" in server.output, "the echo listens")
    assert host.ping(linux.address) != [None]
    ours, theirs = IPAddress.parse(linux.host_address), IPAddress.parse(linux.address)
    mine = host.socket(socket.SOCK_DGRAM)
    mine.bind(("", 9))
    mine.settimeout(0)

    def packets(src: IPAddress, dst: IPAddress) -> Iterator[bytes]:
        data = pattern(7000)
        body = UDP(5, 9).pack(pseudo_sum(src, dst, PROTO_UDP, 8 + len(data)), data) + data
        header = IPv4(src, dst, PROTO_UDP, 20 + len(body), identification=77)
        pieces = [front + bytes(piece) for front, piece in cut(header, body, 1500)]
        second = IPv4.parse(pieces[1])
        overlap = replace(second, fragment_offset=second.fragment_offset - 1).pack() + pieces[1][20:]
        return (pieces[k] if k >= 0 else overlap for k in order)

    interface, mac = host["eth0"], host.arps["eth0"].cache.look_up(theirs, host.driver.now)
    assert mac is not None
    with host.driver:
        for packet in packets(ours, theirs):
            interface.send(mac, ETHERTYPE_IPV4, packet)
        for packet in packets(theirs, ours):
            host.ip.receive(interface, packet, 0, False)
    assert host.ping(linux.address) != [None]  # what was sent before has been handled by now
    if joined:
        wait_until(lambda: "7000" in server.output, "Linux has joined it")
        assert mine.recv(70_000) == pattern(7000)
    else:
        assert "7000" not in server.output
        with pytest.raises(BlockingIOError):
            mine.recv(70_000)
