"""Path MTU discovery beside Linux: labstack's router tells a Linux sender that its next link is narrower, and
routers of Linux's tell labstack, and each other's hosts."""

import hashlib
import socket
import subprocess
import sys
from contextlib import closing

import pytest

from labstack import Host, TcpConfig
from labstack.core.units import MILLISECOND
from labstack.linux import LinuxPeer
from labstack.physical.wire import Wire
from tests.scene import pattern, read_all

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


# --- routers of Linux's -------------------------------------------------------------------------------------

SIZE = 1_000_000
# Reads a stream to its end, sends it back from behind, and tells what came and how wide the way is (IP_MTU).
ECHO = """
import hashlib, socket, sys
listener = socket.create_server(("", 80))
print("done", flush=True)
s, _ = listener.accept()
s.settimeout(30)
pieces = []
while piece := s.recv(65536):
    pieces.append(piece)
whole = b"".join(pieces)
s.sendall(whole[::-1])
s.shutdown(socket.SHUT_WR)
print(hashlib.sha256(whole).hexdigest(), s.recv(1), s.getsockopt(0, 14), flush=True)
"""


class Machine:
    """Another network namespace inside the peer's: a shell in there does what it is told."""

    def __init__(self, linux: LinuxPeer) -> None:
        pipe = subprocess.PIPE
        self.shell = linux.run(["unshare", "--net", "sh", "-e"], stdin=pipe, stdout=pipe)
        self.do("ip link set lo up")

    def do(self, *commands: str) -> str:
        """Run these to their end; what they wrote. AssertionError with their complaint if one fails."""
        assert self.shell.stdin
        self.shell.stdin.write("\n".join([*commands, "echo done", ""]).encode())
        self.shell.stdin.flush()
        lines = []
        while (line := self.line()) != "done\n":
            lines.append(line)
        return "".join(lines)

    def line(self) -> str:
        assert self.shell.stdout
        line = self.shell.stdout.readline().decode()
        assert line, self.shell.output
        return line

    def close(self) -> None:
        assert self.shell.stdin and self.shell.stdout
        self.shell.kill()
        self.shell.wait(20)
        self.shell.stdin.close()
        self.shell.stdout.close()


def too_long(snmp: str) -> int:
    """Datagrams that a Linux router did not forward because the next link is narrower (FragFails)."""
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Ip:"))
    return int(dict(zip(names, values, strict=True))["FragFails"])


@pytest.mark.feature(
    "IPv4", "labstack and Linux, as senders, learn the path MTU from Linux's routers between them"
)
@pytest.mark.parametrize("offload", [False, True], ids=["plain", "offload"])
def test_both_learn_from_routers_of_linux(linux: LinuxPeer, offload: bool) -> None:
    """labstack ── 1500 ── near ── 1000 ── middle ── 1500 ── far: both ends announce 1,460 bytes, and neither
    sees the narrow link."""
    if linux.way == "container":
        pytest.skip("needs to make network namespaces")
    config = TcpConfig.linux(msl=20 * MILLISECOND)
    with (
        closing(Machine(linux)) as middle,
        closing(Machine(linux)) as far,
        closing(linux.host(offload=offload, tcp=config)) as host,
    ):
        near = f"""
            ip link add narrow mtu 1000 type veth peer name narrow mtu 1000 netns {middle.shell.pid}
            ip address add 10.8.0.1/24 dev narrow
            ip link set narrow up
            ip route add 10.9.0.0/24 via 10.8.0.2
            echo 1 > /proc/sys/net/ipv4/ip_forward"""
        linux.check(["sh", "-ec", near])
        middle.do(
            f"ip link add wide type veth peer name wide netns {far.shell.pid}",
            "ip address add 10.8.0.2/24 dev narrow",
            "ip address add 10.9.0.254/24 dev wide",
            "ip link set narrow up",
            "ip link set wide up",
            "ip route add default via 10.8.0.1",
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        )
        far.do(
            "ip address add 10.9.0.1/24 dev wide",
            "ip link set wide up",
            "ip route add default via 10.9.0.254",
            f"exec {sys.executable} -c '{ECHO}'",  # it says "done" itself, once it listens
        )
        sent = pattern(SIZE)
        with host.connect(("10.9.0.1", 80), timeout=30) as s:
            before = s.info().mss
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
            came = read_all(s)
            after = s.info().mss, s.getsockopt(socket.IPPROTO_IP, 14)
        assert hashlib.sha256(came).digest() == hashlib.sha256(sent[::-1]).digest()
        assert far.line() == f"{hashlib.sha256(sent).hexdigest()} b'' 1000\n"
        assert before == 1448 and after == (948, 1000)  # timestamps take 12 bytes of each segment
        assert 0 < too_long(linux.check(["cat", "/proc/net/snmp"]).stdout) <= 10, "labstack's first flight"
        assert 0 < too_long(middle.do("cat /proc/net/snmp")) <= 10, "Linux's"
