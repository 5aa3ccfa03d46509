"""Datagrams: whole or not at all, to whom, and errors that come back."""

import socket
from socket import (
    IPPROTO_IP,
    MSG_PEEK,
    MSG_TRUNC,
    SHUT_RDWR,
    SO_ERROR,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOL_SOCKET,
)

from tests.sockets.conformance.cases import case, each
from tests.sockets.conformance.worlds import told


@each(empty=b"", one=b"x", some=bytes(1000), many=bytes(range(256)) * 5)
def a_datagram_arrives_whole(w, data):
    s, t = w.datagrams()
    sent = s.sendto(data, t.getsockname())
    got, sender = t.recvfrom(65536)
    return sent, got == data, w.own(sender), sender[1] == s.getsockname()[1]


@case
def each_call_is_a_datagram(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    for data in (b"one", b"", b"three"):
        s.send(data)
    return [t.recv(100) for _ in range(3)]


@case
def what_does_not_fit_is_lost(w):
    s, t = w.datagrams()
    for data in (b"0123456789", b"next"):
        s.sendto(data, t.getsockname())
    return t.recv(4), t.recv(100)


@case
def a_cut_datagram_says_so(w):
    s, t = w.datagrams()
    for data in (b"0123456789", b"next"):
        s.sendto(data, t.getsockname())
    first, second = t.recvmsg(4), t.recvmsg(4)
    return first[0], first[1], first[2] == MSG_TRUNC, second[0], second[2]


@case
def looking_at_a_datagram(w):
    s, t = w.datagrams()
    s.sendto(b"0123", t.getsockname())
    w.settle()
    peeks = [t.recvfrom(2, MSG_PEEK)[0] for _ in range(2)]
    t.setblocking(False)
    return peeks, t.recv(10), told(t.recv, 10)


@case
def a_datagram_into_buffers(w):
    s, t = w.datagrams()
    for _ in range(3):
        s.sendto(b"0123456789", t.getsockname())
    w.settle()
    buffer, one, other = bytearray(8), bytearray(3), bytearray(4)
    size = t.recv_into(buffer, 4)
    size2, sender = t.recvfrom_into(buffer)
    told_flags = t.recvmsg_into([one, other])
    return (
        size, size2, bytes(buffer), w.own(sender), told_flags[0], told_flags[2] == MSG_TRUNC,
        bytes(one), bytes(other),
    )  # fmt: skip


@case
def answers(w):
    s, t = w.datagrams()
    s.sendto(b"question", t.getsockname())
    data, sender = t.recvfrom(100)
    t.sendto(b"answer", sender)
    data2, sender2 = s.recvfrom(100)
    return data, data2, sender2 == t.getsockname()


@case
def flags_before_the_address(w):
    s, t = w.datagrams()
    return s.sendto(b"xy", 0, t.getsockname()), t.recv(9), told(s.sendto, b"x")


@case
def a_message_in_parts_is_one_datagram(w):
    s, t = w.datagrams()
    return s.sendmsg([b"01", b"23"], [], 0, t.getsockname()), t.recv(9)


@case
def sendmsg_without_a_peer(w):
    s, _ = w.datagrams()
    return told(s.sendmsg, [b"x"])


@case
def who_sends_gets_a_port(w):
    s, t = w.datagrams()
    before = w.own(s.getsockname())
    s.sendto(b"x", t.getsockname())
    return before, w.own(s.getsockname())


@case
def a_connected_datagram_socket(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    return w.own(s.getsockname()), s.getpeername() == t.getsockname(), s.send(b"x"), t.recv(9)


@case
def a_connected_socket_hears_its_peer_only(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    stranger = w.server(SOCK_DGRAM)
    stranger.sendto(b"stranger", s.getsockname())
    t.sendto(b"peer", s.getsockname())
    w.settle()
    s.setblocking(False)
    return told(s.recv, 100), told(s.recv, 100)


@case
def a_connected_socket_may_send_elsewhere(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    _, other = w.datagrams()
    s.sendto(b"x", other.getsockname())
    return other.recv(9)


@case
def connected_to_one_and_then_to_another(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    _, other = w.datagrams()
    s.connect(other.getsockname())
    s.send(b"x")
    return other.recv(9), s.getpeername() == other.getsockname()


@case
def the_connected_one_has_precedence(w):
    """Two sockets share a port; one of them is connected to the sender."""
    s, t = w.datagrams()
    s.bind((w.client_address, 0))
    one, other = w.server(SOCK_DGRAM), w.server(SOCK_DGRAM)
    for both in (one, other):
        both.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    one.bind(("", 0))
    other.bind(("", one.getsockname()[1]))
    one.connect(s.getsockname())
    s.sendto(b"x", (w.address, one.getsockname()[1]))
    w.settle()
    for both in (one, other):
        both.setblocking(False)
    return told(one.recv, 9), told(other.recv, 9)


@case
def of_two_that_share_a_port_the_newer_hears(w):
    s, _ = w.datagrams()
    one, other = w.server(SOCK_DGRAM), w.server(SOCK_DGRAM)
    for both in (one, other):
        both.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    one.bind((w.address, 0))
    other.bind(one.getsockname())
    s.sendto(b"x", one.getsockname())
    w.settle()
    for both in (one, other):
        both.setblocking(False)
    return told(one.recv, 9), told(other.recv, 9)


@case
def nobody_has_that_port(w):
    s = w.client(SOCK_DGRAM)
    s.connect(w.free_port(SOCK_DGRAM))
    first = s.send(b"x")
    w.settle()
    return first, told(s.recv, 1), s.send(b"x")


@case
def an_unconnected_socket_hears_of_no_errors(w):
    s = w.client(SOCK_DGRAM)
    address = w.free_port(SOCK_DGRAM)
    s.sendto(b"x", address)
    w.settle()
    s.setblocking(False)
    return told(s.recv, 1), told(s.sendto, b"x", address)


@case
def too_long_for_a_datagram(w):
    s, t = w.datagrams()
    return told(s.sendto, bytes(65508), t.getsockname()), told(s.sendto, bytes(70000), t.getsockname())


@case
def a_broadcast_takes_permission(w):
    s = w.client(SOCK_DGRAM)
    return told(s.sendto, b"x", ("255.255.255.255", 9))


@case
def a_queue_that_is_full_forgets_the_newest(w):
    s, t = w.datagrams()
    t.setsockopt(SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendto(b"are you there?", t.getsockname())  # the way is known from now on
    t.recv(100)
    for number in range(400):
        s.sendto(bytes([number & 0xFF]) * 100, t.getsockname())
    w.settle()
    t.setblocking(False)
    got = []
    while isinstance(data := told(t.recv, 200), bytes):
        got.append(data[0])
    return got == list(range(len(got))), 0 < len(got) < 400


@case
def a_shut_datagram_socket(w):
    s, t = w.datagrams()
    s.connect(t.getsockname())
    s.shutdown(SHUT_RDWR)
    return told(s.send, b"x"), told(s.recv, 1)


@case
def a_reader_of_datagrams_waits(w):
    s, t = w.datagrams()
    program = w.spawn(t.recvfrom, 10)
    w.settle()
    s.sendto(b"now", t.getsockname())
    return program.join()[0]


@each(connected=(True, False), asking=(False, True), both=(True, True), neither=(False, False))
def who_hears_that_nobody_is_there(w, how):
    connected, asking = how
    s = w.client(SOCK_DGRAM)
    s.setsockopt(IPPROTO_IP, 11, asking)  # IP_RECVERR
    if connected:
        s.connect(w.free_port(SOCK_DGRAM))
        s.send(b"x")
    else:
        s.sendto(b"x", w.free_port(SOCK_DGRAM))
    w.settle()
    return s.getsockopt(SOL_SOCKET, SO_ERROR), s.getsockopt(SOL_SOCKET, SO_ERROR)
