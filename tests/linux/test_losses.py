"""Losses between labstack and a Linux kernel, with SACK and timestamps on and off: both ends find and repair
them. What loses frames is the TAP, for the length of a test: every so many frames with bytes, one.
"""

import hashlib
import itertools
import sys
from contextlib import closing
from typing import Any

import pytest

from labstack import Host, TcpConfig
from labstack.core.units import MILLISECOND
from labstack.linux import LinuxPeer
from labstack.linux_program import LinuxProgram
from labstack.transport.tcp.rack import Rack
from tests.scene import pattern

pytestmark = pytest.mark.linux

SIZE = 1_000_000

SERVER = """
import hashlib, socket, sys
with socket.create_server(("", 5000)) as listener:
    s, _ = listener.accept()
    if sys.argv[1] == "read":
        whole = hashlib.sha256()
        while piece := s.recv(65536):
            whole.update(piece)
        print(whole.hexdigest())
    else:
        s.sendall(bytes(int(sys.argv[2])))
        s.shutdown(socket.SHUT_WR)
        s.recv(1)
"""
OPTIONS = [
    {"sack": sack, "timestamps": stamps} for sack, stamps in itertools.product((True, False), repeat=2)
]
# Without SACK each segment of a long piece takes a round trip, or a time-out: one piece is enough.
MOST = {True: 100, False: 1}


class Loser:
    """Loses one in `every` frames with TCP payload, `most` in all, on the way in or out. (They are long, in
    both directions: many segments in one.)"""

    def __init__(self, host: Host, every: int, most: int, incoming: bool) -> None:
        self.every, self.most = every, most
        self.seen = self.lost = 0
        device: Any = host["eth0"].device
        with host.driver:
            if incoming:
                receive = host["eth0"]._receive
                device.attach(
                    lambda number, frame, size: self.loses(len(frame)) or receive(number, frame, size)
                )
            else:
                transmit = device.transmit
                device.transmit = lambda header, payload, size=0: (
                    self.loses(len(header) + len(payload)) or transmit(header, payload, size)
                )

    def loses(self, size: int) -> bool:
        self.seen += size > 200
        lost = size > 200 and self.lost < self.most and self.seen % self.every == self.every // 2
        self.lost += lost
        return lost


def serve(linux: LinuxPeer, *what: object) -> LinuxProgram:
    program = linux.run([sys.executable, "-c", SERVER, *map(str, what)])
    linux.wait_for_port(5000)
    return program


def config(options: dict[str, bool]) -> TcpConfig:
    return TcpConfig.linux(msl=20 * MILLISECOND, **options)


def counts(linux: LinuxPeer) -> dict[str, int]:
    """TcpExt of the peer's kernel."""
    names, values = (
        line.split()[1:]
        for line in linux.check(["cat", "/proc/net/netstat"]).stdout.splitlines()
        if line.startswith("TcpExt:")
    )
    return dict(zip(names, map(int, values), strict=True))


@pytest.mark.feature("Real wires", "Losses on the way to Linux: its SACK blocks drive labstack's recovery")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_we_send_is_lost(linux: LinuxPeer, options: dict[str, bool]) -> None:
    program = serve(linux, "read")
    with closing(linux.host(tcp=config(options))) as host:
        loser = Loser(host, 7, MOST[options["sack"]], incoming=False)
        s = host.connect((linux.address, 5000), timeout=60)
        flight, agreed = s._connection.flight, s._connection.agreed
        s.sendall(pattern(SIZE))
        s.close()
        assert program.wait(60) == 0
        assert program.output.strip() == hashlib.sha256(pattern(SIZE)).hexdigest()
        assert agreed.sack is options["sack"] and agreed.timestamps.on is options["timestamps"]
        assert isinstance(flight.recovery, Rack) is options["sack"]
        assert loser.lost and host.counters["tcp.retransmitted"] >= loser.lost
        # Of a long piece that is lost whole, duplicates alone may not tell: then it takes the time-out.
        assert host.counters["tcp.fast_retransmit"] >= options["sack"]


@pytest.mark.feature("Real wires", "Losses on the way from Linux: labstack's SACK blocks drive its recovery")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_linux_sends_is_lost(linux: LinuxPeer, options: dict[str, bool]) -> None:
    serve(linux, "write", SIZE)
    with closing(linux.host(tcp=config(options))) as host:
        loser = Loser(host, 7, MOST[options["sack"]], incoming=True)
        s = host.connect((linux.address, 5000), timeout=60)
        size = 0
        while piece := s.recv(65536):
            size += len(piece)
        seen = counts(linux)
        s.close()
        assert size == SIZE and loser.lost
        assert (seen["TCPSackRecovery"] >= 1) is options["sack"]
        assert seen["PAWSEstab"] == 0
