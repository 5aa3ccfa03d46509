"""Multicast between Linux and labstack, on the link between them."""

import socket
import sys

import pytest

from labstack.linux import LinuxPeer

from .conftest import wait_until

pytestmark = pytest.mark.linux

MEMBER = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("", 9))
s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + socket.inet_aton(sys.argv[1]))
s.setsockopt(0, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
print("ready", flush=True)
data, _ = s.recvfrom(100)
print(data.decode(), flush=True)
s.sendto(b"from Linux", ("239.1.2.3", 10))
"""


@pytest.mark.feature("UDP", "Linux and labstack hear each other in a multicast group")
def test_each_hears_the_other(linux: LinuxPeer) -> None:
    host = linux.host()
    program = linux.run([sys.executable, "-c", MEMBER, linux.address])
    wait_until(lambda: "ready" in program.output, "Linux is a member")
    s = host.socket(socket.SOCK_DGRAM)
    s.bind(("", 10))
    s.settimeout(10)
    s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + bytes(4))
    s.sendto(b"from labstack", ("239.1.2.3", 9))
    assert s.recv(100) == b"from Linux"
    assert program.wait(10) == 0 and "from labstack" in program.output
    host.close()
