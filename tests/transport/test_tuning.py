"""Buffers: fixed, or growing with what the path and the program need."""

import socket

import pytest

from labstack import Network, TcpConfig
from labstack.headers.tcp import SYN, Options
from tests.scene import Tape, connected, pair, pattern, read_all

LONG = {"rate": "100 Mbit/s", "delay": "25 ms", "queue": "2 MiB"}  # 625,000 bytes on the way
SHORT = {"rate": "10 Mbit/s", "delay": "10 ms"}  # 25,000 bytes


def download(b, s, t, size):
    """`b` reads at `t` the bytes that are sent at `s`; the size of its buffer in the end."""
    reader, receiver = b.spawn(read_all, t), t._connection.receiver
    s.sendall(bytes(size))
    s.close()
    assert len(reader.join()) == size
    return receiver.limit


def receive(config, wire, size):
    """The rate at which `b` gets `size` bytes, in Mbit/s, and its buffer in the end."""
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=wire, b={"tcp": config})
        s, t = connected(net, a, b)
        began = net.simulator.now
        limit = download(b, s, t, size)
        return size * 8e3 / (net.simulator.now - began), limit


@pytest.mark.feature(
    "TCP", "A receive buffer grows with what the path holds and the program reads (auto-tuning)"
)
def test_a_buffer_grows_to_what_the_path_holds():
    fixed, _ = receive(TcpConfig(receive_buffer=65535), LONG, 10_000_000)
    large, _ = receive(TcpConfig(), LONG, 10_000_000)
    tuned, limit = receive(TcpConfig(auto_tuning=True), LONG, 10_000_000)
    assert fixed < 65535 * 8 / 0.05 / 1e6  # a window a round trip
    assert tuned > 0.85 * large > 5 * fixed
    assert 625_000 < limit <= 1 << 20


def test_a_short_path_needs_no_large_buffer():
    rate, limit = receive(TcpConfig(auto_tuning=True), SHORT, 2_000_000)
    assert rate > 9 and limit == 65536


def test_a_program_that_does_not_read_gets_no_larger_buffer():
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, b={"tcp": TcpConfig(auto_tuning=True)})
        s, t = connected(net, a, b)
        s.send(bytes(500_000))
        net.sleep(5)
        assert t._connection.receiver.available == t._connection.receiver.limit == 65536


def together(net, a, b, ends, size, half):
    """All ends of `a` send so many bytes, at once, and are closed: how large the buffers of the halves that
    `half` picks were together, at most."""
    readers = [b.spawn(read_all, t) for _, t in ends]
    writers = [a.spawn(s.sendall, bytes(size)) for s, _ in ends]
    largest = 0
    while not all(writer.done for writer in writers):
        net.sleep(0.01)
        largest = max(largest, sum(half(s, t).limit for s, t in ends))
    for s, _ in ends:
        s.close()
    assert all(len(reader.join()) == size for reader in readers)
    for _, t in ends:
        t.close()
    return largest


@pytest.mark.feature("TCP", "Tuned receive buffers grow until those of a host hold 1 MiB together")
def test_connections_share_what_there_is():
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, b={"tcp": TcpConfig(auto_tuning=True)})
        ends = [connected(net, a, b, 80 + k) for k in range(4)]
        assert 900_000 < together(net, a, b, ends, 3_000_000, lambda s, t: t._connection.receiver) <= 1 << 20
        net.run()
        # They are over, and gave back what they had.
        assert download(b, *connected(net, a, b, 90), 10_000_000) > 625_000


def test_of_many_connections_none_grows():
    """Seventeen times 65,536 bytes is more than there is to share."""
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, b={"tcp": TcpConfig(auto_tuning=True)})
        ends = [connected(net, a, b, 80 + k) for k in range(17)]
        s, t = ends[0]
        reader = b.spawn(read_all, t)
        s.sendall(bytes(1_000_000))
        s.close()
        assert len(reader.join()) == 1_000_000
        assert {t._connection.receiver.limit for _, t in ends} == {1 << 16}


def test_who_waits_for_old_segments_offers_nothing():
    """Twenty connections in TIME-WAIT, of 65,536 bytes each, would be more than there is."""
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, b={"tcp": TcpConfig(auto_tuning=True)})
        for k in range(20):
            s, t = connected(net, a, b, 100 + k)
            t.close()
            assert not s.recv(1)
            s.close()
            net.sleep(0.2)
        assert len(b.tcp.connections) == 20
        assert download(b, *connected(net, a, b), 10_000_000) > 625_000


def test_who_sets_the_buffer_keeps_it():
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, b={"tcp": TcpConfig(auto_tuning=True)})
        s, t = connected(net, a, b)
        t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        assert download(b, s, t, 5_000_000) == 100_000


# --- the send buffer ----------------------------------------------------------------------------------------


def send(config, size=4_000_000):
    """The rate at which `a` sends over the long path, in Mbit/s, and its buffer in the end."""
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, a={"tcp": config})
        s, t = connected(net, a, b)
        began, sender = net.simulator.now, s._connection.flight.sender
        download(b, s, t, size)
        return size * 8e3 / (net.simulator.now - began), sender.limit


@pytest.mark.feature("TCP", "A send buffer follows the congestion window (auto-tuning)")
def test_a_send_buffer_grows_to_what_the_path_holds():
    """What is not acknowledged has to be kept: 65,536 bytes of it a round trip are a tenth of this path."""
    fixed, small = send(TcpConfig(send_buffer=65536))
    large, _ = send(TcpConfig())
    tuned, limit = send(TcpConfig(send_tuning=True))
    assert fixed < 65536 * 8 / 0.05 / 1e6 and small == 65536
    assert tuned > 0.99 * large > 5 * fixed
    assert 2 * 500_000 < limit <= 1 << 20
    assert send(TcpConfig(send_tuning=True, send_buffer=200_000))[1] == 200_000


def test_a_program_with_little_to_send_gets_no_larger_buffer():
    assert send(TcpConfig(send_tuning=True), 20_000)[1] == 65536


def test_who_is_tuned_by_name_and_who_is_not():
    assert TcpConfig.linux().send_tuning and not TcpConfig.rfc().send_tuning
    with Network(seed=1) as net:
        linux, rfc, _ = pair(net, a={"tcp": TcpConfig.linux()})
        s, t = connected(net, linux, rfc)
        assert [end._connection.flight.sender.limit for end in (s, t)] == [65536, 1 << 20]


@pytest.mark.feature("TCP", "Tuned send buffers grow until those of a host hold 1 MiB together")
def test_send_buffers_share_what_there_is():
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, a={"tcp": TcpConfig(send_tuning=True)})
        ends = [connected(net, a, b, 80 + k) for k in range(8)]
        assert (
            900_000 < together(net, a, b, ends, 500_000, lambda s, t: s._connection.flight.sender) <= 1 << 20
        )
        net.sleep(1)
        # They wait for old segments, and gave back what they had: there is room for another.
        assert len(a.tcp.connections) == 8
        s, t = connected(net, a, b, 90)
        sender = s._connection.flight.sender
        download(b, s, t, 2_000_000)
        assert sender.limit > 900_000


def test_who_sets_the_send_buffer_keeps_it():
    """SO_SNDBUF ends that tuning and not the other one, SO_RCVBUF the other; SO_KEEPALIVE ends neither."""
    limits = []
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF, socket.SO_KEEPALIVE):
        with Network(seed=1) as net:
            a, b, _ = pair(net, wire=LONG, a={"tcp": TcpConfig(auto_tuning=True, send_tuning=True)})
            s, t = connected(net, a, b)
            s.setsockopt(socket.SOL_SOCKET, option, 100_000)
            halves = s._connection.flight.sender, s._connection.receiver
            download(b, s, t, 2_000_000)
            limits.append([half.limit for half in halves])
    assert [limits[0][0], limits[1][1]] == [100_000, 100_000]
    assert [limits[0][1], limits[2][1]] == [65536, 65536] and min(limits[1][0], limits[2][0]) > 500_000


def test_waiting_for_more_than_a_tuned_buffer_holds():
    """MSG_WAITALL is woken for half of what the buffer holds now, and so it grows; a look sees no more."""
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire=LONG, b={"tcp": TcpConfig(auto_tuning=True)})
        s, t = connected(net, a, b)
        writer = a.spawn(s.sendall, pattern(1_000_000))
        assert t.recv(1_000_000, socket.MSG_PEEK | socket.MSG_WAITALL) == pattern(65536)
        assert t.recv(1_000_000, socket.MSG_WAITALL) == pattern(1_000_000)
        writer.join()


# --- the window's scale -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", [True, False])
def test_a_buffer_of_65536_bytes_needs_no_scale(scaling):
    """The field says 65,535 in the SYN and, while nothing is unread, in every segment; the shift is 0."""
    with Network(seed=1) as net:
        config = TcpConfig(receive_buffer=65536, window_scaling=scaling)
        a, b, _ = pair(net, wire=SHORT, a={"tcp": config}, b={"tcp": config})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(100_000))
        s.close()
        assert reader.join() == pattern(100_000)
        sent = tape.tcp()
        assert [Options.parse(shot.tcp.options).window_scale for shot in sent if shot.tcp.flags & SYN] == [
            0 if scaling else None
        ] * 2
        assert {shot.tcp.window for shot in sent if shot.sender == "a"} == {65535}
        assert {shot.tcp.window for shot in sent if shot.sender == "b" and shot.tcp.flags & SYN} == {65535}
        assert max(shot.tcp.window for shot in sent) == 65535
