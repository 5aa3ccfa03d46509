"""Urgent data at the socket: the byte that is read apart, and the mark in the stream. (What single calls find
is compared with the machine's own sockets: conformance/streams.py.)"""

import errno
from socket import MSG_OOB, SO_OOBINLINE, SOL_SOCKET

import pytest

from labstack import Network, TcpConfig
from tests.scene import connected, pair


@pytest.fixture
def ends():
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire={"delay": "10 ms"}, b={"tcp": TcpConfig(receive_buffer=4000)})
        s, t = connected(net, a, b)
        yield net, s, t


@pytest.mark.feature("TCP", "Urgent data: MSG_OOB, SO_OOBINLINE and the mark, as Linux's sockets have them")
def test_the_mark(ends):
    net, s, t = ends
    s.send(b"before")
    s.send(b"ab!", MSG_OOB)
    s.send(b"after")
    net.sleep(1)
    assert t.recv(1, MSG_OOB) == b"!" and not t.sockatmark()
    assert t.recv(100) == b"beforeab" and t.sockatmark()
    assert t.recv(100) == b"after" and not t.sockatmark()


def test_the_mark_in_its_place(ends):
    net, s, t = ends
    t.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
    s.send(b"ab!", MSG_OOB)
    s.send(b"after")
    net.sleep(1)
    assert t.recv(100) == b"ab" and t.sockatmark()
    assert t.recv(100) == b"!after" and not t.sockatmark()
    with pytest.raises(OSError) as caught:
        t.recv(1, MSG_OOB)
    assert caught.value.errno == errno.EINVAL


def test_what_is_urgent_is_known_before_the_window_lets_it_through(ends):
    """The program at the other end does not read, and its buffer is full: it hears all the same."""
    net, s, t = ends
    s.send(bytes(10_000))
    net.sleep(1)
    s.send(b"stop!", MSG_OOB)
    net.sleep(0.1)
    with pytest.raises(BlockingIOError):
        t.recv(1, MSG_OOB)
    while not t.sockatmark():
        t.recv(4000)
    assert t.recv(1, MSG_OOB) == b"!"
    assert s._connection.urgent.snd_up is None or not net.sleep(1)


def test_an_acknowledged_urgent_byte_is_urgent_no_more(ends):
    net, s, t = ends
    s.send(b"!", MSG_OOB)
    net.sleep(1)
    trace = net.capture()
    s.send(b"x")
    net.sleep(1)
    assert [p.flags for p in trace.packets if p.payload] == ["PSH, ACK"]
