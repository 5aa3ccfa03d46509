"""Ports, addresses that are none, and how long calls wait."""

import socket
import struct
from socket import (
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
)

from tests.sockets.conformance.cases import case, each
from tests.sockets.conformance.worlds import told


@each(streams=SOCK_STREAM, datagrams=SOCK_DGRAM)
def a_port_is_taken(w, type):
    one, other = w.server(type), w.server(type)
    one.bind((w.address, 0))
    address = one.getsockname()
    return told(other.bind, address), told(other.bind, ("", address[1]))


@each(streams=SOCK_STREAM, datagrams=SOCK_DGRAM)
def two_may_have_a_port_at_different_addresses(w, type):
    one, other = w.server(type), w.server(type)
    one.bind(("127.0.0.1", 0))
    return told(other.bind, ("127.0.0.2", one.getsockname()[1]))


@each(streams=SOCK_STREAM, datagrams=SOCK_DGRAM)
def streams_and_datagrams_have_ports_of_their_own(w, type):
    one = w.server(type)
    one.bind((w.address, 0))
    return told(w.server(SOCK_DGRAM if type == SOCK_STREAM else SOCK_STREAM).bind, one.getsockname())


@each(streams=SOCK_STREAM, datagrams=SOCK_DGRAM)
def both_reuse_the_port(w, type):
    one, other = w.server(type), w.server(type)
    for s in (one, other):
        s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    one.bind((w.address, 0))
    return told(other.bind, one.getsockname())


@each(streams=SOCK_STREAM, datagrams=SOCK_DGRAM)
def only_one_of_them_reuses_the_port(w, type):
    one, other = w.server(type), w.server(type)
    other.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    one.bind((w.address, 0))
    return told(other.bind, one.getsockname())


@case
def reuse_does_not_let_two_listen(w):
    one, other = w.server(), w.server()
    for s in (one, other):
        s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    one.bind((w.address, 0))
    one.listen()
    return told(other.bind, one.getsockname())


@each(plain=0, reusing=1)
def a_server_starts_again(w, reuse):
    listener = w.listener()
    address = listener.getsockname()
    s = w.client()
    s.connect(address)
    t, _ = listener.accept()
    listener.close()
    t.close()
    w.settle()
    s.close()
    w.settle()
    new = w.server()
    new.setsockopt(SOL_SOCKET, SO_REUSEADDR, reuse)
    return told(new.bind, address)


@case
def a_port_is_free_after_close(w):
    address = w.free_port()
    return told(w.server().bind, address)


@case
def an_address_of_somebody_else(w):
    return told(w.server().bind, ("192.0.2.1", 0)), told(w.server(SOCK_DGRAM).bind, ("192.0.2.1", 0))


@case
def listening_without_a_port_gets_one(w):
    s = w.server()
    s.listen()
    return w.own(s.getsockname())


@case
def ephemeral_ports_differ(w):
    sockets = [w.server() for _ in range(50)]
    for s in sockets:
        s.bind(("", 0))
    return len({s.getsockname()[1] for s in sockets})


ADDRESSES = {
    "text": "127.0.0.1:80",
    "a list": ["127.0.0.1", 80],
    "one part": ("127.0.0.1",),
    "three parts": ("127.0.0.1", 80, 0),
    "port as text": ("127.0.0.1", "80"),
    "port below zero": ("127.0.0.1", -1),
    "port too high": ("127.0.0.1", 65536),
    "host is no text": (127, 80),
    "nothing": None,
}  # fmt: skip


@each(**ADDRESSES)
def connect_to(w, address):
    return told(w.client().connect, address)


@each(**ADDRESSES)
def bind_to(w, address):
    return told(w.client().bind, address)


@each(**ADDRESSES)
def send_to(w, address):
    return told(w.client(SOCK_DGRAM).sendto, b"x", address)


@case
def modes(w):
    s = w.client()
    seen = [(s.gettimeout(), s.getblocking())]
    for change in (
        lambda: s.settimeout(1.5), lambda: s.setblocking(False), lambda: s.setblocking(True),
        lambda: s.settimeout(0), lambda: s.settimeout(None), lambda: s.settimeout(2),
    ):  # fmt: skip
        change()
        seen.append((s.gettimeout(), s.getblocking(), s.timeout))
    return seen, told(s.settimeout, -1)


def slow(w, s, call):
    """A call that times out: what it says, and whether it took about that long."""
    s.settimeout(0.05)
    began = w.now()
    return call(), 0.045 <= w.now() - began < 1


@case
def recv_times_out(w):
    s, _ = w.pair()
    return slow(w, s, lambda: told(s.recv, 1))


@case
def recvfrom_times_out(w):
    _, t = w.datagrams()
    return slow(w, t, lambda: told(t.recvfrom, 1))


@case
def accept_times_out(w):
    listener = w.listener()
    return slow(w, listener, lambda: told(listener.accept))


@case
def connect_in_time(w):
    listener = w.listener()
    s = w.client()
    s.settimeout(5)
    return told(s.connect, listener.getsockname()), s.gettimeout()


@case
def after_a_time_out_all_goes_on(w):
    s, t = w.pair()
    t.settimeout(0.02)
    first = told(t.recv, 10)
    s.sendall(b"late")
    w.settle()
    return first, t.recv(10)


@case
def a_limit_as_an_option(w):
    s, t = w.pair()
    t.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    began = w.now()
    said = told(t.recv, 10)
    back = t.getsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    return said, 0.045 <= w.now() - began < 1, struct.unpack("ll", back)[0]


BOTH_WAYS = {
    f"{name} {first}{second}": (type, first, second)
    for name, type in (("streams", SOCK_STREAM), ("datagrams", SOCK_DGRAM))
    for first in "PAN"
    for second in "PAN"
}
"""P, A, N: by SO_REUSEPORT, by SO_REUSEADDR, not."""
WISH = {"P": (SO_REUSEPORT, 1), "A": (SO_REUSEADDR, 1), "N": (SO_REUSEADDR, 0)}


@each(**BOTH_WAYS)
def who_may_share_a_port(w, how):
    type, *wishes = how
    one, other = w.server(type), w.server(type)
    for s, wish in zip((one, other), wishes, strict=True):
        s.setsockopt(SOL_SOCKET, *WISH[wish])
    one.bind((w.address, 0))
    return told(other.bind, one.getsockname()), type == SOCK_STREAM and [told(s.listen) for s in (one, other)]


@case
def those_who_share_a_port_divide_the_connections(w):
    listeners = []
    address = (w.address, 0)
    for _ in range(3):
        s = w.server()
        s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        s.bind(address)
        s.listen(64)
        address = s.getsockname()
        listeners.append(s)
    clients = [w.client() for _ in range(40)]
    for s in clients:
        s.connect(address)
    w.settle()
    counts = []
    for listener in listeners:
        listener.setblocking(False)
        counts.append(0)
        while not isinstance(accepted := told(listener.accept), str):
            w.sockets.append(accepted[0])
            counts[-1] += 1
    listeners[0].close()
    late = [w.client() for _ in range(10)]
    return sum(counts), min(counts) > 0, [told(s.connect, address) for s in late]


@case
def those_who_share_a_port_divide_the_datagrams(w):
    servers = []
    address = (w.address, 0)
    for _ in range(3):
        s = w.server(SOCK_DGRAM)
        s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        s.bind(address)
        address = s.getsockname()
        servers.append(s)
    for number in range(40):
        w.client(SOCK_DGRAM).sendto(b"x", address)
        if number in (0, 39):
            w.settle()  # the first has to find the way
    counts = []
    for s in servers:
        s.setblocking(False)
        counts.append(0)
        while told(s.recv, 9) == b"x":
            counts[-1] += 1
    return sum(counts), min(counts) > 0
