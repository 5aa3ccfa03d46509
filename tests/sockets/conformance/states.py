"""Each call in each state that a socket can be in: what it returns, or which error it is."""

import functools
import socket
from selectors import EVENT_READ, EVENT_WRITE
from socket import (
    MSG_PEEK,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SO_LINGER,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
)

from tests.sockets.conformance.cases import CASES, select_now
from tests.sockets.conformance.worlds import RESET, told


def fresh(w):
    return w.client()


def bound(w):
    s = w.server()
    s.bind((w.address, 0))
    return s


def listening(w):
    return w.listener()


def connected(w):
    return w.pair()[0]


def accepted(w):
    return w.pair()[1]


def with_data(w):
    s, t = w.pair()
    t.sendall(b"0123456789")
    w.settle()
    return s


def peer_closed(w):
    s, t = w.pair()
    t.close()
    w.settle()
    return s


def peer_gone(w):
    """Closed, and then surprised by data."""
    s, t = w.pair()
    t.close()
    w.settle()
    s.send(b"x")
    w.settle()
    return s


def was_reset(w):
    s, t = w.pair()
    t.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    t.close()
    w.settle()
    return s


def reset_with_data(w):
    s, t = w.pair()
    t.sendall(b"0123456789")
    w.settle()
    t.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    t.close()
    w.settle()
    return s


def shut_for_writing(w):
    s, _ = w.pair()
    s.shutdown(SHUT_WR)
    w.settle()
    return s


def shut_for_reading(w):
    s, _ = w.pair()
    s.shutdown(SHUT_RD)
    return s


def shut_for_both(w):
    s, _ = w.pair()
    s.shutdown(SHUT_RDWR)
    w.settle()
    return s


def closed(w):
    s = w.client()
    s.close()
    return s


def refused(w):
    s = w.client()
    s.setblocking(False)
    s.connect_ex(w.free_port())
    w.settle()
    return s


def listener_shut(w):
    s = w.listener()
    s.shutdown(SHUT_RDWR)
    return s


def datagram(w):
    return w.client(SOCK_DGRAM)


def bound_datagram(w):
    return w.datagrams()[1]


def connected_datagram(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    return s


def datagram_waiting(w):
    s, t = w.datagrams()
    s.sendto(b"0123456789", t.getsockname())
    w.settle()
    return t


def refused_datagram(w):
    s = w.client(SOCK_DGRAM)
    s.connect(w.free_port(SOCK_DGRAM))
    s.send(b"x")
    w.settle()
    return s


def closed_datagram(w):
    s = w.client(SOCK_DGRAM)
    s.close()
    return s


STATES = [
    fresh, bound, listening, connected, accepted, with_data, peer_closed, peer_gone, was_reset,
    reset_with_data, shut_for_writing, shut_for_reading, shut_for_both, closed, refused, listener_shut,
    datagram, bound_datagram, connected_datagram, datagram_waiting, refused_datagram, closed_datagram,
]  # fmt: skip


def named(w, call):
    """A name that a socket tells, or its error."""
    result = told(call)
    return result if isinstance(result, str) else w.own(result)


def received(result, w):
    """A result that may hold an address."""
    return (
        tuple(w.own(part) if isinstance(part, tuple) else part for part in result)
        if isinstance(result, tuple)
        else result
    )


def to_server(w, s):
    return w.address, 9 if s.type == SOCK_STREAM else 4444


CALLS = {
    "send": lambda w, s: told(s.send, b"x"),
    "send nothing": lambda w, s: told(s.send, b""),
    "sendall": lambda w, s: told(s.sendall, b"x"),
    "sendto": lambda w, s: told(s.sendto, b"x", (w.address, 4444)),
    "sendmsg": lambda w, s: told(s.sendmsg, [b"x", b"y"]),
    "recv": lambda w, s: told(s.recv, 4),
    "recv nothing": lambda w, s: told(s.recv, 0),
    "recv twice": lambda w, s: [told(s.recv, 10), told(s.recv, 10)],
    "recv until the end": lambda w, s: [told(s.recv, 4) for _ in range(5)],
    "peek, then recv": lambda w, s: [told(s.recv, 4, MSG_PEEK), told(s.recv, 8)],
    "recv_into": lambda w, s: told(s.recv_into, bytearray(4)),
    "recvfrom": lambda w, s: received(told(s.recvfrom, 4), w),
    "recvmsg": lambda w, s: received(told(s.recvmsg, 4), w),
    "accept": lambda w, s: told(s.accept),
    "listen": lambda w, s: told(s.listen),
    "bind": lambda w, s: told(s.bind, ("", 0)),
    "connect": lambda w, s: told(s.connect_ex, w.free_port()),
    "getsockname": lambda w, s: named(w, s.getsockname),
    "getpeername": lambda w, s: named(w, s.getpeername),
    "shutdown, writing": lambda w, s: told(s.shutdown, SHUT_WR),
    "shutdown, reading": lambda w, s: told(s.shutdown, SHUT_RD),
    "shutdown, both": lambda w, s: told(s.shutdown, SHUT_RDWR),
    "shutdown, neither": lambda w, s: told(s.shutdown, 17),
    "SO_ERROR twice": lambda w, s: [told(s.getsockopt, SOL_SOCKET, socket.SO_ERROR) for _ in range(2)],
    "SO_ERROR, then recv": lambda w, s: [told(s.getsockopt, SOL_SOCKET, socket.SO_ERROR), told(s.recv, 20)],
    "accepting": lambda w, s: told(s.getsockopt, SOL_SOCKET, socket.SO_ACCEPTCONN),
    "setblocking": lambda w, s: told(s.setblocking, False),
    "settimeout": lambda w, s: (told(s.settimeout, 0), s.gettimeout()),
    "fileno": lambda w, s: s.fileno() >= 0,
    "close twice": lambda w, s: (told(s.close), told(s.close)),
    "ready": lambda w, s: select_now(w, s, EVENT_READ | EVENT_WRITE),
}  # fmt: skip


def in_state(call, state, world):
    s = state(world)
    if s.fileno() >= 0:
        s.setblocking(False)
    return call(world, s)


for _state in STATES:
    for _name, _call in CALLS.items():
        CASES[f"{_state.__name__.replace('_', ' ')}: {_name}"] = functools.partial(in_state, _call, _state)
