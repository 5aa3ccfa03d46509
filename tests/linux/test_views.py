"""What labstack says of its host is what Linux, at the other end, says in `ss`, `ip` and `arp`."""

import sys
from contextlib import closing

import pytest

from labstack.linux import LinuxPeer

pytestmark = pytest.mark.linux

PROGRAM = """
import socket
server = socket.create_server(("", 9), backlog=7)
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("", 99))
connection, _ = server.accept()
print("accepted", flush=True)
connection.recv(1000, socket.MSG_WAITALL | socket.MSG_PEEK)
connection.sendall(b"answer")
input()
"""


def words(text):
    """A table as Linux prints it: its lines, in words."""
    return [line.split() for line in text.splitlines()]


@pytest.mark.feature(
    "Looking into it", "ss, addresses, routes and arp of a host agree with what Linux sees of it"
)
def test_both_ends_say_the_same():
    with LinuxPeer() as linux, closing(linux.host()) as host:
        program = linux.run([sys.executable, "-c", PROGRAM], stdin=-1, stdout=-1)
        linux.wait_for_port(99, protocol="udp")
        listener, datagrams = host.listen(9, backlog=7), host.socket(2)
        datagrams.bind(("", 99))
        s = host.connect((linux.address, 9))
        assert program.stdout.readline() == b"accepted\n"
        s.sendall(bytes(999))
        host.sleep("100 ms")

        # The sockets. Each end has a listener, a UDP port, and one end of the connection.
        there = {(row[0], row[1]): row for row in words(linux.check(["ss", "-Htuan"]).stdout)}
        here = {(row[0], row[1]): list(row) for row in host.ss().rows}
        for key in [("tcp", "LISTEN"), ("udp", "UNCONN")]:
            assert here[key] == there[key][:6]
        netid, state, unread, unacknowledged, own, peer = there["tcp", "ESTAB"][:6]
        assert (unread, unacknowledged) == ("999", "0")
        assert here["tcp", "ESTAB"] == [netid, state, "0", "0", peer, own]
        s.sendall(b"x")
        s.recv(1, 2)  # MSG_PEEK: it has come
        here = {(row[0], row[1]): list(row) for row in host.ss().rows}
        assert here["tcp", "ESTAB"] == [netid, state, "6", "0", peer, own]

        # The addresses and the neighbours.
        [neighbour] = words(linux.check(["ip", "neighbour", "show", "dev", linux.tap]).stdout)
        [_, eth0] = [dict(zip(host.addresses().columns, row, strict=True)) for row in host.addresses().rows]
        assert (neighbour[0], neighbour[2]) == (host.address, eth0["MAC"])
        [known] = [dict(zip(host.arp().columns, row, strict=True)) for row in host.arp().rows]
        link = linux.check(["ip", "link", "show", linux.tap]).stdout
        assert known["address"] == linux.address and f"link/ether {known['MAC']}" in link
        assert f"mtu {eth0['mtu']}" in link and known["state"] == "REACHABLE"
        counted = linux.check(["ip", "-s", "link", "show", linux.tap]).stdout.splitlines()
        assert counted[3].split()[1] == eth0["tx"], "what Linux has received is what we have sent"

        # The routes: the network that both are on is connected.
        connected = [row[0] for row in words(linux.check(["ip", "route"]).stdout) if "kernel" in row]
        rows = [dict(zip(host.routes().columns, row, strict=True)) for row in host.routes().rows]
        assert connected == [row["prefix"] for row in rows if row["origin"] == "connected"]

        # A neighbour that does not answer.
        silent = host.socket(2)
        silent.sendto(b"x", ("192.168.77.99", 9))
        asked = {row[0]: dict(zip(host.arp().columns, row, strict=True)) for row in host.arp().rows}
        assert asked["192.168.77.99"]["state"] == "INCOMPLETE" and not asked["192.168.77.99"]["MAC"]
        for each in (listener, datagrams, silent, s):
            each.close()
