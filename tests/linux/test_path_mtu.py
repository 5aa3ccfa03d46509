"""Path MTU discovery with Linux as the sender: labstack's router says that its next link is narrower."""

import sys

import pytest

from labstack import Host
from labstack.linux import LinuxPeer
from labstack.physical.wire import Wire
from tests.scene import read_all

pytestmark = pytest.mark.linux

SEND = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80), timeout=20)
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
s.sendall(bytes(k * 7 & 255 for k in range(300_000)))
s.shutdown(1)
s.recv(1)
print(s.getsockopt(0, 14))  # IP_MTU
"""


@pytest.mark.feature(
    "IPv4", "Linux, the sender, learns the path MTU from labstack's router, and lowers its segments"
)
def test_linux_learns_from_our_router(linux: LinuxPeer) -> None:
    router = linux.host("r", forwarding=True)
    far = Host("far", router.driver)
    wire = Wire(router.driver, mtu=1000)
    wire.ends[0].node, wire.ends[1].node = router.node, far.node
    router.interface("eth1", "10.9.0.254/24", device=wire.ends[0])
    far.interface("eth0", "10.9.0.1/24", device=wire.ends[1])
    far.route("0.0.0.0/0", via="10.9.0.254")
    linux.check(["ip", "route", "add", "10.9.0.0/24", "via", linux.host_address])
    # Its own link is the narrow one; it announces 1,460 bytes all the same, as if that lay behind another.
    far.tcp.network.mtu = lambda dst: 1480  # type: ignore[method-assign]
    with far.listen(80) as listener:
        program = linux.run([sys.executable, "-c", SEND, "10.9.0.1"])
        listener.settimeout(20)
        s, _ = listener.accept()
        s.settimeout(20)
        assert read_all(s) == bytes(k * 7 & 255 for k in range(300_000))
        s.close()
        assert program.wait(20) == 0
        assert program.output == "1000\n"
    assert 0 < router.counters["ipv4.too_big"] <= 10, "the first flight, and not one more"
    far.close()
    router.close()
