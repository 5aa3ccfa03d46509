"""ECN with a Linux kernel, in both roles. The router that marks is the TAP, for the length of a test."""

import sys
from contextlib import closing
from typing import Any

import pytest

from labstack import Host, TcpConfig
from labstack.core.units import MILLISECOND
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import CE, ECT_0, IPv4
from labstack.linux import LinuxPeer
from labstack.linux_program import LinuxProgram
from tests.scene import pattern

pytestmark = pytest.mark.linux

SIZE = 2_000_000

SERVER = """
import socket, sys
with socket.create_server(("", 5000)) as listener:
    s, _ = listener.accept()
    if sys.argv[1] == "read":
        size = 0
        while piece := s.recv(65536):
            size += len(piece)
        print(size)
    else:
        s.sendall(bytes(int(sys.argv[2])))
        s.shutdown(socket.SHUT_WR)
        s.recv(1)
"""


class Marker:
    """Marks one ECN-capable frame in `every` on its way through a host's device. Long ones, too: what is cut
    later, or was not cut yet, counts once."""

    def __init__(self, host: Host, every: int, incoming: bool) -> None:
        self.every = every
        self.seen = self.marked = 0
        device: Any = host["eth0"].device
        with host.driver:
            if incoming:
                receive = host["eth0"]._receive
                device.attach(lambda number, frame, size: receive(number, self.mark(bytes(frame)), size))
            else:
                transmit = device.transmit
                device.transmit = lambda header, payload, size=0: transmit(self.mark(header), payload, size)

    def mark(self, frame: bytes) -> bytes:
        try:
            header = IPv4.parse_quoted(frame, 14)
        except HeaderError:
            return frame
        if frame[12:14] != b"\x08\x00" or header.ecn != ECT_0:
            return frame
        self.seen += 1
        if self.seen % self.every:
            return frame
        self.marked += 1
        header.ecn = CE
        return frame[:14] + header.pack() + frame[34:]


def serve(linux: LinuxPeer, *what: object) -> LinuxProgram:
    linux.check(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_ecn"])
    program = linux.run([sys.executable, "-c", SERVER, *map(str, what)])
    linux.wait_for_port(5000)
    return program


def config(**changes: Any) -> TcpConfig:
    return TcpConfig.linux(msl=20 * MILLISECOND, ecn="request", **changes)


@pytest.mark.feature("Real wires", "ECN with Linux: marks are echoed, and both slow down without a loss")
def test_linux_echoes_what_was_marked(linux: LinuxPeer) -> None:
    program = serve(linux, "read")
    with closing(linux.host(tcp=config())) as host:
        marker = Marker(host, 5, incoming=False)
        s = host.connect((linux.address, 5000), timeout=60)
        connection = s._connection
        s.sendall(pattern(SIZE))
        s.close()
        assert program.wait(60) == 0 and int(program.output) == SIZE
        assert connection.ecn.agreed
        # Each mark is answered, those of one window together; and Linux stops when it hears CWR.
        assert 2 <= host.counters["tcp.slow_down"] <= marker.marked
        assert host.counters["tcp.retransmitted"] == 0


def test_linux_slows_down_when_it_hears_the_echo(linux: LinuxPeer) -> None:
    program = serve(linux, "write", SIZE)
    with closing(linux.host(tcp=config())) as host:
        marker = Marker(host, 5, incoming=True)
        s = host.connect((linux.address, 5000), timeout=60)
        came = 0
        while piece := s.recv(65536):
            came += len(piece)
        info = linux.check(["ss", "-tin", "sport", "=", ":5000"]).stdout
        s.close()
        assert program.wait(60) == 0 and came == SIZE
        assert marker.marked > 5
        # More than one mark was news: in between Linux had said CWR.
        assert 2 <= host.counters["tcp.congestion_mark"] <= marker.marked
        assert "delivered_ce:" in info and "ssthresh:" in info, info


def test_linux_asks_and_labstack_agrees(linux: LinuxPeer) -> None:
    linux.check(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_ecn"])
    address = str(linux.host_address), 5000
    code = f"import socket; s = socket.create_connection({address}); s.sendall(bytes(5000)); s.recv(1)"
    with closing(linux.host(tcp=TcpConfig.linux(msl=20 * MILLISECOND))) as host:
        marker = Marker(host, 1000, incoming=True)
        listener = host.listen(5000)
        program = linux.run([sys.executable, "-c", code])
        listener.settimeout(60)
        s, _ = listener.accept()
        assert s._connection.ecn.agreed
        came = 0
        while came < 5000:
            came += len(s.recv(5000))
        assert marker.seen, "Linux sends its data ECN-capable"
        s.close()
        listener.close()
        assert program.wait(60) == 0
