"""The BSD calls: what they return, how they wait, and the errors that programs know."""

import errno
import socket

import pytest

from labstack import Network
from tests.scene import connected, nothing_left, pair, pattern, read_all


@pytest.fixture
def net():
    with Network() as network:
        yield network


@pytest.fixture
def two(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    return a, b


def test_a_page_through_makefile(net, two):
    a, b = two
    listener = b.listen(80)

    def serve():
        s, _ = listener.accept()
        with s, s.makefile("rwb") as file:
            assert file.readline() == b"GET / HTTP/1.0\r\n"
            file.write(b"HTTP/1.0 200 OK\r\n\r\n" + pattern(10_000))

    program = b.spawn(serve)
    with a.connect(("b", 80)) as s:
        s.sendall(b"GET / HTTP/1.0\r\n")
        page = s.makefile("rb").read()
    assert page == b"HTTP/1.0 200 OK\r\n\r\n" + pattern(10_000)
    program.join()


def test_a_file_keeps_the_connection_open(net, two):
    s, t = connected(net, *two)
    file = s.makefile("rb")
    s.close()
    t.sendall(b"still there\n")
    assert file.readline() == b"still there\n"
    file.close()
    assert t.recv(1) == b""


def test_names_of_both_ends(net, two):
    a, b = two
    listener = b.listen(80)
    assert listener.getsockname() == ("0.0.0.0", 80)
    s = a.connect(("b", 80))
    t, peer = listener.accept()
    assert s.getpeername() == t.getsockname() == ("10.0.0.2", 80)
    assert peer == t.getpeername() == s.getsockname() and peer[0] == "10.0.0.1"


def test_an_unknown_name(net, two):
    with pytest.raises(socket.gaierror):
        two[0].connect(("nowhere", 80))


@pytest.mark.feature(
    "Sockets", "Calls that would wait raise BlockingIOError, TimeoutError, or wait, as asked"
)
def test_three_ways_to_wait(net, two):
    s, t = connected(net, *two)
    s.setblocking(False)
    with pytest.raises(BlockingIOError) as caught:
        s.recv(1)
    assert caught.value.errno == errno.EAGAIN
    began = net.now
    s.settimeout(1.5)
    with pytest.raises(TimeoutError, match="timed out"):
        s.recv(1)
    assert net.now - began == 1.5
    s.settimeout(None)
    two[1].spawn(lambda: (two[1].sleep(2), t.send(b"x")))
    assert s.recv(1) == b"x"
    assert net.now - began == pytest.approx(3.505)


def test_a_connect_that_does_not_wait(net, two):
    a, b = two
    listener = b.listen(80)
    s = a.socket()
    s.setblocking(False)
    assert s.connect_ex(("b", 80)) == errno.EINPROGRESS
    assert s.connect_ex(("b", 80)) == errno.EALREADY
    net.sleep(0.1)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert s.connect_ex(("b", 80)) == errno.EISCONN
    t, _ = listener.accept()
    s.send(b"hello")
    assert t.recv(10) == b"hello"


def test_a_connect_that_does_not_wait_and_fails(net, two):
    s = two[0].socket()
    s.setblocking(False)
    assert s.connect_ex(("b", 81)) == errno.EINPROGRESS
    net.sleep(0.1)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_who_was_refused_may_try_again(net, two):
    a, b = two
    s = a.socket()
    with pytest.raises(ConnectionRefusedError):
        s.connect(("b", 80))
    listener = b.listen(80)
    s.connect(("b", 80))
    listener.accept()


def test_sendall_waits_for_room_and_send_takes_what_fits(net, two):
    s, t = connected(net, *two)
    s.setblocking(False)
    total = 0
    with pytest.raises(BlockingIOError):
        while True:
            total += s.send(bytes(100_000))
            net.sleep(0.2)
    # A full send buffer here and a full receive buffer there, but for less than a segment at its end.
    assert (2 << 20) - 1460 < total <= 2 << 20
    s.setblocking(True)
    reader = two[1].spawn(read_all, t)
    s.sendall(bytes(3_000_000))
    s.close()
    assert len(reader.join()) == total + 3_000_000


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_small_buffers_by_socket_option(net, two, size):
    a, b = two
    listener = b.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    listener.bind(("", 80))
    listener.listen()
    s = a.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    s.connect(("b", 80))
    t, _ = listener.accept()
    reader = b.spawn(read_all, t)
    s.sendall(pattern(200))
    s.close()
    assert reader.join() == pattern(200)


def test_peek_and_recv_into(net, two):
    s, t = connected(net, *two)
    s.sendall(b"0123456789")
    net.sleep(1)
    assert t.recv(4, socket.MSG_PEEK) == b"0123"
    buffer = bytearray(20)
    assert t.recv_into(buffer, 4) == 4 and t.recv_into(memoryview(buffer)[4:]) == 6
    assert bytes(buffer[:10]) == b"0123456789"


def test_the_end_of_a_stream_is_an_empty_read_as_often_as_one_asks(net, two):
    s, t = connected(net, *two)
    s.sendall(b"bye")
    s.close()
    assert [t.recv(10) for _ in range(3)] == [b"bye", b"", b""]


def test_sending_to_a_peer_that_has_gone(net, two):
    s, t = connected(net, *two)
    t.close()
    net.sleep(1)
    s.send(b"nobody reads this")
    net.sleep(1)
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            s.send(b"x")
    assert s.recv(1) == b""


def test_calls_on_the_wrong_kind_of_socket(net, two):
    a, b = two
    s, t = connected(net, a, b)
    fresh, listener, datagram = a.socket(), a.listen(80), a.socket(socket.SOCK_DGRAM)
    for call, number in (
        (lambda: fresh.send(b"x"), errno.EPIPE),
        (lambda: fresh.recv(1), errno.ENOTCONN),
        (lambda: fresh.accept(), errno.EINVAL),
        (lambda: fresh.getpeername(), errno.ENOTCONN),
        (lambda: fresh.shutdown(1), errno.ENOTCONN),
        (lambda: listener.recv(1), errno.ENOTCONN),
        (lambda: listener.connect(("b", 80)), errno.EISCONN),
        (lambda: s.listen(), errno.EINVAL),
        (lambda: s.connect(("b", 80)), errno.EISCONN),
        (lambda: datagram.listen(), errno.EOPNOTSUPP),
        (lambda: datagram.send(b"x"), errno.EDESTADDRREQ),
        (lambda: s.setsockopt(99, 99, 1), errno.ENOPROTOOPT),
        (lambda: a.socket(77), errno.EINVAL),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == number
    s.close()
    for call in (
        lambda: s.send(b"x"),
        lambda: s.recv(1),
        lambda: s.getsockname(),
        lambda: s.connect(("b", 1)),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    assert s.fileno() == -1 and t.fileno() > 0
    s.close()


@pytest.mark.feature("Sockets", "A port is taken from bind on; SO_REUSEADDR lets a server start again")
def test_a_port_is_taken_from_bind_on(net, two):
    a, b = two
    one, other = b.socket(), b.socket()
    one.bind(("", 80))
    with pytest.raises(OSError) as caught:
        other.bind(("", 80))
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as caught:
        other.bind(("10.0.0.1", 80))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    one.close()
    other.bind(("", 80))
    other.listen()


def test_any_free_port_is_a_different_one_each_time(net, two):
    ports = set()
    sockets = []
    for _ in range(300):
        s = two[0].socket()
        s.bind(("", 0))
        ports.add(s.getsockname()[1])
        sockets.append(s)
    assert len(ports) == 300


def test_a_server_starts_again_over_connections_in_time_wait(net, two):
    a, b = two
    s, t = connected(net, a, b)
    t.close()
    assert s.recv(1) == b""
    s.close()
    net.sleep(1)
    (left,) = b.tcp.connections.values()
    assert left.state.value == "TIME-WAIT"
    plain = b.socket()
    with pytest.raises(OSError) as caught:
        plain.bind(("", 80))
    assert caught.value.errno == errno.EADDRINUSE
    b.listen(80)  # with SO_REUSEADDR, as servers do


def test_a_bound_client_leaves_from_its_port(net, two):
    a, b = two
    listener = b.listen(80)
    s = a.socket()
    s.bind(("10.0.0.1", 4321))
    s.connect(("b", 80))
    _, peer = listener.accept()
    assert peer == ("10.0.0.1", 4321)


def test_a_listener_at_one_address_and_one_at_all(net, two):
    a, b = two
    everywhere = b.listen(80)
    with pytest.raises(OSError):
        b.socket().bind(("10.0.0.2", 80))
    everywhere.close()
    here = b.listen(80, "10.0.0.2")
    a.connect(("b", 80))
    here.accept()
    with pytest.raises(ConnectionRefusedError):
        b.connect(("127.0.0.1", 80))


def test_closing_a_listener_wakes_who_accepts(net, two):
    listener = two[1].listen(80)
    program = two[1].spawn(listener.accept)
    net.run()
    listener.close()
    with pytest.raises(OSError) as caught:
        program.join()
    assert caught.value.errno == errno.EBADF


def test_closing_a_socket_wakes_who_writes(net, two):
    a, b = two
    s, t = connected(net, a, b)
    program = a.spawn(s.sendall, bytes(10_000_000))
    net.sleep(10)
    s.close()
    with pytest.raises(OSError):
        program.join()
    t.close()
    net.run()
    nothing_left(net, two)


def test_a_shut_down_reader_reads_the_end(net, two):
    s, t = connected(net, *two)
    program = two[0].spawn(s.recv, 10)
    net.sleep(1)
    s.shutdown(socket.SHUT_RD)
    assert program.join() == b""
    assert s.recv(10) == b""


def test_options_read_back(net, two):
    s, _ = connected(net, *two)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == 1460
    for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_REUSEADDR)):
        s.setsockopt(level, option, 1)
        assert s.getsockopt(level, option) == 1


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none(net, two, port):
    with pytest.raises(OverflowError):
        two[0].connect(("b", port))


def test_a_socket_tells_what_it_is(net, two):
    a, b = two
    listener = b.listen(80)
    assert repr(listener) == "<stream socket 0.0.0.0:80 LISTEN>"
    s = a.connect(("b", 80))
    assert repr(s) == f"<stream socket 10.0.0.1:{s.getsockname()[1]} → 10.0.0.2:80 ESTABLISHED>"
    s.close()
    assert repr(s) == "<stream socket, closed>"
