"""Five hundred connections at once from Linux, over a TAP, to each concurrent server; nothing is left."""

import gc
import sys
import threading
from contextlib import closing
from subprocess import PIPE

import pytest

from labstack.linux import LinuxPeer
from tests.programs.peers import HERE, wait_for_port
from tests.programs.test_a_thousand import SERVERS, descriptors

pytestmark = pytest.mark.linux
CLIENTS = f"""
import socket
them = [socket.create_connection(("{HERE}", 7)) for _ in range(500)]
for number, s in enumerate(them):
    s.sendall(b"n%d" % number)
print(all(s.recv(9) == b"N%d" % number for number, s in enumerate(them)))
input()
"""


@pytest.mark.feature("Sockets", "500 connections from Linux to a server of threads, of select, of asyncio")
@pytest.mark.parametrize("server", SERVERS)
def test_five_hundred_connections(server, capfd, caplog):
    gc.collect()
    before = descriptors(), set(threading.enumerate())
    serve_five_hundred(server)
    gc.collect()
    assert (descriptors(), set(threading.enumerate())) == before
    assert not capfd.readouterr().err and not caplog.records


def serve_five_hundred(server):
    with LinuxPeer() as linux, closing(linux.host()) as host:
        host.spawn(server)
        wait_for_port(host, 7)
        with linux.run([sys.executable, "-c", CLIENTS], stdin=PIPE, stdout=PIPE) as program:
            assert program.stdout.readline() == b"True\n", program.output
            assert len(host.tcp.connections) == 500
            program.communicate(b"\n")  # now they all close at once
        while host.tcp.connections or len(host.sockets) > 1:
            host.sleep("10 ms")
        assert [s.kind for s in host.sockets.values()] == ["stream"], "the one that listens"
        with host.driver as driver:
            assert not [timer for *_, timer in driver._heap if timer._fn], "no timer is left"
