"""What a host's administrator sees: sockets, counters, addresses, routes, neighbours."""

import socket

import pytest

from labstack import Network
from tests.scene import connected, pair


@pytest.fixture
def net():
    with Network() as network:
        yield network


@pytest.mark.feature("Sockets", "ss, netstat, addresses, routes and arp of a host, as text and as DataFrames")
def test_the_sockets_of_a_host(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    listener = b.listen(80, backlog=5)
    s = a.connect(("b", 80))
    s.sendall(b"x" * 100)
    net.sleep(1)
    datagrams = b.socket(socket.SOCK_DGRAM)
    datagrams.bind(("", 53))
    a.socket(socket.SOCK_DGRAM).sendto(b"query", ("b", 53))
    echoes = b.socket(socket.SOCK_RAW, socket.IPPROTO_ICMP)
    a.ping("b")
    port = s.getsockname()[1]
    assert [line.split() for line in b.ss().text.splitlines()] == [
        ["Netid", "State", "Recv-Q", "Send-Q", "Local", "Peer"],
        ["tcp", "LISTEN", "1", "5", "0.0.0.0:80", "0.0.0.0:*"],
        ["tcp", "ESTAB", "100", "0", "10.0.0.2:80", f"10.0.0.1:{port}"],
        ["udp", "UNCONN", "69", "0", "0.0.0.0:53", "0.0.0.0:*"],
        ["raw", "UNCONN", "84", "0", "0.0.0.0:1", "0.0.0.0:*"],
    ]
    listener.close()
    echoes.close()
    assert [row[1] for row in b.ss().rows] == ["UNCONN"]


def test_what_tcp_knows(net):
    a, b, wire = pair(net, wire={"delay": "5 ms"})
    s, t = connected(net, a, b)
    s.sendall(b"x" * 10_000)
    net.sleep(1)
    [row] = [dict(zip(a.ss(info=True).columns, row, strict=True)) for row in a.ss(info=True).rows]
    info = s.info()
    assert (info.state, info.phase, info.congestion) == ("ESTABLISHED", "slow start", "reno")
    assert row["State"] == "ESTAB" and row["congestion"] == "reno" and row["again"] == "0"
    assert int(row["cwnd"]) == info.cwnd >= 14_600 and row["srtt"].endswith(" ms")
    assert 0.010 <= info.srtt < 0.1 and info.rto == 1.0
    assert info.in_flight == info.unsent == 0 and not info.timers and t.info().unread == 10_000
    wire.drop(lambda frame: True)
    s.sendall(b"x")
    net.sleep(3)
    [row] = [dict(zip(a.ss(info=True).columns, row, strict=True)) for row in a.ss(info=True).rows]
    assert row["Send-Q"] == "1" and int(row["again"]) >= 1 and "retransmission" in row["timers"]
    assert s.info().tries >= 1


def test_tcp_info_as_linux_lays_it_out(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    s, _ = connected(net, a, b)
    s.sendall(bytes(20_000))
    net.sleep(1)
    packed, info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), s.info()
    assert len(packed) == 232 and packed[0] == 1
    words = [int.from_bytes(packed[at : at + 4], "little") for at in range(8, 104, 4)]
    assert words[0] == round(info.rto * 1e6) and words[2] == 1460 and words[15] == round(info.srtt * 1e6)
    assert words[18] == info.cwnd // 1460 and words[17] > 1 << 30
    assert int.from_bytes(packed[228:232], "little") == info.peer_window


def test_addresses_routes_neighbours_and_counters(net):
    a, b, _ = pair(net)
    a.route("0.0.0.0/0", via="10.0.0.2")
    a.ping("b")
    assert a.addresses().rows[1] == ("eth0", "UP", str(a["eth0"].mac), "10.0.0.1/24", "1500", "2", "2")
    assert [row[:3] for row in a.routes().rows] == [
        ("10.0.0.0/24", "", "eth0"), ("0.0.0.0/0", "10.0.0.2", "eth0"),
    ]  # fmt: skip
    assert [row[:3] for row in a.arp().rows] == [("10.0.0.2", str(b["eth0"].mac), "eth0")]
    a.socket(socket.SOCK_DGRAM).sendto(b"x", ("b", 9))
    net.run()
    assert ("udp.no_port", "1") in b.netstat().rows


def test_as_data_frames(net):
    pytest.importorskip("pandas")
    a, b, _ = pair(net)
    connected(net, a, b)
    frame = b.ss(info=True).table()
    assert list(frame["State"]) == ["ESTAB"] and frame["cwnd"].iloc[0] > 0
    for view in (a.netstat(), a.addresses(), a.routes(), a.arp(), Network().host("empty").ss()):
        assert list(view.table().columns) == list(view.columns)
