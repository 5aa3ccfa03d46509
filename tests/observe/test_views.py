"""What a host's administrator sees: sockets, counters, addresses, routes, neighbours."""

import socket

import pytest

from labstack import Network, data_segment
from labstack.core.units import show_time
from labstack.transport.tcp.congestion.reno import Reno
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


class Steady(Reno):
    """Reno that paces: 146,000 bytes a second."""

    def __init__(self, mss, initial_window):
        super().__init__(mss, initial_window)
        self.pacing_rate = 146_000


def details(host):
    """The line of `ss` for each connection, by the names of its columns."""
    view = host.ss(info=True)
    return [dict(zip(view.columns, row, strict=True)) for row in view.rows]


@pytest.mark.feature(
    "TCP",
    "ss(info=True): state, queues, cwnd, ssthresh, in flight, pacing rate, SRTT, RTO, retransmissions, "
    "congestion control and timers of each connection",
)
def test_each_column_of_a_connection(net):
    a, b, wire = pair(net, wire={"delay": "5 ms"}, a={"congestion": Steady})
    s, t = connected(net, a, b)
    wire.drop(data_segment(50))  # of the hundred a second that leave
    s.sendall(bytes(300_000))
    net.sleep(1.01)
    [row], [far] = details(a), details(b)
    known, heard = s.info(), t.info()
    queued = known.unacknowledged + known.unsent
    assert (row["State"], row["Recv-Q"], row["Send-Q"]) == ("ESTAB", "0", str(queued))
    assert (row["congestion"], row["pacing rate"], row["again"]) == ("steady", "1.168 Mbit/s", "1")
    assert row["timers"].startswith("retransmission_timeout in ") and ", pacing in " in row["timers"]
    assert [int(row[name]) for name in ("cwnd", "ssthresh", "in flight")] == [
        known.cwnd, known.ssthresh, known.in_flight,
    ]  # fmt: skip
    assert known.ssthresh < 14_600 and known.in_flight and row["rto"] == "1 s"
    assert row["srtt"] == show_time(round(known.srtt * 1e6) * 1000)
    # Its peer has only listened, and Reno sends as acknowledgements allow.
    assert (far["Recv-Q"], far["Send-Q"]) == (str(heard.unread), "0") and heard.unread > 100_000
    assert (far["congestion"], far["pacing rate"], far["ssthresh"], far["in flight"]) == ("reno", "", "", "0")


def test_a_connection_that_opens_has_a_timer_and_no_window_yet(net):
    a, _, wire = pair(net)
    wire.drop(lambda frame: True)
    s = a.socket()
    s.setblocking(False)
    assert s.connect_ex(("b", 80))
    [row] = details(a)
    assert row["State"] == "SYN-SENT" and row["rto"] == "1 s" and row["timers"] == "handshake_timeout in 1 s"
    assert not any(row[name] for name in ("congestion", "cwnd", "ssthresh", "in flight", "pacing rate"))


def test_what_tcp_knows(net):
    a, b, wire = pair(net, wire={"delay": "5 ms"})
    s, t = connected(net, a, b)
    s.sendall(b"x" * 10_000)
    net.sleep(1)
    [row] = details(a)
    info = s.info()
    assert (info.state, info.phase, info.congestion) == ("ESTABLISHED", "slow start", "reno")
    assert row["State"] == "ESTAB" and row["congestion"] == "reno" and row["again"] == "0"
    assert int(row["cwnd"]) == info.cwnd >= 14_600 and row["srtt"].endswith(" ms")
    assert 0.010 <= info.srtt < 0.1 and info.rto == 1.0
    assert info.in_flight == info.unsent == 0 and not info.timers and t.info().unread == 10_000
    wire.drop(lambda frame: True)
    s.sendall(b"x")
    net.sleep(3)
    [row] = details(a)
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
