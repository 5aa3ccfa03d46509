"""Streams: bytes there and back, ends and resets, connecting and listening."""

import functools
import socket
import struct
from selectors import EVENT_READ, EVENT_WRITE
from socket import (
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITALL,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SO_LINGER,
    SO_OOBINLINE,
    SO_REUSEADDR,
    SOL_SOCKET,
)

from tests.sockets.conformance.cases import case, each, select_now
from tests.sockets.conformance.worlds import RESET, told


def echo(s):
    while data := s.recv(1000):
        s.sendall(data)
    s.close()


@each(one=1, some=1000, many=300_000)
def what_is_sent_comes_back(w, size):
    s, t = w.pair()
    w.spawn(echo, t)
    data = bytes(i * 7 & 0xFF for i in range(size))
    sender = w.spawn(s.sendall, data)
    got = b""
    while len(got) < size:
        got += s.recv(65536)
    sender.join()
    s.shutdown(SHUT_WR)
    return got == data, s.recv(1)


@case
def the_end_is_read_again_and_again(w):
    s, t = w.pair()
    s.sendall(b"bye")
    s.close()
    w.settle()
    return [t.recv(10) for _ in range(3)]


@case
def half_closed(w):
    s, t = w.pair()
    s.sendall(b"question")
    s.shutdown(SHUT_WR)
    w.settle()
    asked = t.recv(100), t.recv(100)
    t.sendall(b"answer")
    t.close()
    w.settle()
    return asked, s.recv(100), s.recv(100)


@case
def data_after_reading_was_shut(w):
    s, t = w.pair()
    t.sendall(b"before")
    w.settle()
    s.shutdown(SHUT_RD)
    return s.recv(100), s.recv(100), told(s.send, b"x")


@case
def shut_down_twice(w):
    s, _ = w.pair()
    return [told(s.shutdown, SHUT_WR) for _ in range(2)]


@case
def a_reader_waits_for_the_writer(w):
    s, t = w.pair()
    program = w.spawn(t.recv, 10)
    w.settle()
    s.sendall(b"now")
    return program.join()


@case
def a_reader_hears_of_the_end(w):
    s, t = w.pair()
    program = w.spawn(t.recv, 10)
    w.settle()
    s.close()
    return program.join()


@case
def a_reader_hears_of_a_reset(w):
    s, t = w.pair()
    program = w.spawn(told, t.recv, 10)
    w.settle()
    s.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    s.close()
    return program.join()


@case
def closing_with_unread_bytes_is_a_reset(w):
    s, t = w.pair()
    s.sendall(b"unread")
    w.settle()
    t.close()
    w.settle()
    return told(s.recv, 1), told(s.recv, 1), told(s.send, b"x")


@case
def waitall_waits_for_all(w):
    s, t = w.pair()
    program = w.spawn(t.recv, 10, MSG_WAITALL)
    for piece in (b"01", b"234", b"56789abc"):
        s.sendall(piece)
        w.settle()
    return program.join(), t.recv(10)


@case
def waitall_ends_with_the_stream(w):
    s, t = w.pair()
    program = w.spawn(t.recv, 10, MSG_WAITALL)
    s.sendall(b"01")
    w.settle()
    s.close()
    return program.join()


@case
def waitall_that_only_looks(w):
    s, t = w.pair()
    program = w.spawn(t.recv, 4, MSG_WAITALL | MSG_PEEK)
    s.sendall(b"01")
    w.settle()
    s.sendall(b"2345")
    return program.join(), t.recv(10)


@case
def waitall_with_a_time_out_takes_what_is_there(w):
    s, t = w.pair()
    s.sendall(b"01")
    w.settle()
    t.settimeout(5)
    return t.recv(10, MSG_WAITALL)


@case
def waitall_whose_receive_time_is_over_takes_what_is_there(w):
    s, t = w.pair()
    t.setsockopt(SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
    s.sendall(b"01")
    w.settle()
    return t.recv(10, MSG_WAITALL), told(t.recv, 10, MSG_WAITALL)


@case
def waitall_is_more_than_the_buffer_holds(w):
    s, t = w.pair()
    program = w.spawn(s.sendall, bytes(5_000_000))
    data = t.recv(5_000_000, MSG_WAITALL)
    program.join()
    return len(data)


@case
def waitall_without_blocking_takes_what_is_there(w):
    s, t = w.pair()
    s.sendall(b"01")
    w.settle()
    t.setblocking(False)
    return t.recv(10, MSG_WAITALL), told(t.recv, 10, MSG_WAITALL)


@case
def dontwait_in_a_socket_that_blocks(w):
    s, t = w.pair()
    before = told(t.recv, 10, MSG_DONTWAIT)
    s.sendall(b"01")
    w.settle()
    return before, told(t.recv, 10, MSG_DONTWAIT)


@case
def dontwait_with_a_time_out_waits(w):
    s, t = w.pair()
    t.settimeout(0.02)
    return told(t.recv, 10, MSG_DONTWAIT)


@case
def a_blocking_send_takes_everything(w):
    s, t = w.pair()
    program = w.spawn(functools.partial(read_to_end, t))
    taken = s.send(bytes(5_000_000))
    s.close()
    return taken, len(program.join())


def read_to_end(s):
    pieces = []
    while piece := s.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


@case
def a_full_buffer(w):
    s, t = w.pair()
    s.setblocking(False)
    taken = 0
    for _ in range(1000):
        result = told(s.send, bytes(100_000))
        if isinstance(result, str):
            break
        taken += result
        w.settle()
    ready = select_now(w, s, EVENT_WRITE)
    return result, taken > 0, ready, told(s.send, b"x", MSG_DONTWAIT), told(s.sendall, b"x")


@case
def sendall_with_a_time_out(w):
    s, t = w.pair()
    s.settimeout(0.1)
    return told(s.sendall, bytes(40_000_000))


@case
def sendall_takes_anything_that_is_bytes(w):
    s, t = w.pair()
    s.sendall(bytearray(b"a"))
    s.sendall(memoryview(b"bc")[1:])
    s.sendall(struct.pack("<H", 0x6564))
    s.sendall(memoryview(b"fghi").cast("H"))
    return t.recv(8, MSG_WAITALL), told(s.send, "text")


@case
def recv_into_parts(w):
    s, t = w.pair()
    s.sendall(b"0123456789")
    w.settle()
    buffer = bytearray(20)
    sizes = t.recv_into(buffer, 4), t.recv_into(memoryview(buffer)[4:])
    return sizes, bytes(buffer[:10])


@each(too_many=21, negative=-1)
def recv_into_more_than_there_is_room(w, size):
    _, t = w.pair()
    return told(t.recv_into, bytearray(20), size)


@case
def recv_into_nothing(w):
    _, t = w.pair()
    return told(t.recv_into, bytearray())


@each(recv="recv", recvfrom="recvfrom", recvmsg="recvmsg")
def a_negative_size(w, call):
    _, t = w.pair()
    return told(getattr(t, call), -1)


@case
def messages_on_a_stream(w):
    s, t = w.pair()
    sent = s.sendmsg([b"01", bytearray(b"23"), memoryview(b"45")])
    w.settle()
    one, other = bytearray(4), bytearray(10)
    return sent, t.recvmsg(1), t.recvmsg_into([one, other]), bytes(one), bytes(other)


@case
def recvfrom_into_on_a_stream(w):
    s, t = w.pair()
    s.send(b"01")
    w.settle()
    return t.recvfrom_into(bytearray(9))


@case
def sendto_on_a_stream_goes_to_the_peer(w):
    s, t = w.pair()
    s.sendto(b"x", ("127.0.0.9", 9))
    w.settle()
    return t.recv(9)


@case
def names_of_both_ends(w):
    listener = w.listener()
    s = w.client()
    s.connect(listener.getsockname())
    t, peer = listener.accept()
    return (
        w.own(peer), peer == t.getpeername() == s.getsockname(), s.getpeername() == t.getsockname(),
        s.getpeername() == listener.getsockname(), t.gettimeout(), t.family, t.type,
    )  # fmt: skip


@case
def nobody_listens(w):
    return told(w.client().connect, w.free_port()), told(w.client().connect_ex, w.free_port())


@case
def who_was_refused_may_try_again(w):
    address = w.free_port()
    s = w.client()
    first = told(s.connect, address)
    listener = w.server()
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen()
    return first, told(s.connect, address), told(s.connect, address)


@case
def a_connect_that_does_not_wait(w):
    listener = w.listener()
    s = w.client()
    s.setblocking(False)
    first = s.connect_ex(listener.getsockname())
    w.settle()
    ready = select_now(w, s, EVENT_READ | EVENT_WRITE)
    error = s.getsockopt(SOL_SOCKET, socket.SO_ERROR)
    return first, ready, error, w.own(s.getpeername())


@case
def a_connect_that_does_not_wait_and_fails(w):
    s = w.client()
    s.setblocking(False)
    address = w.free_port()
    first = told(s.connect, address)
    w.settle()
    ready = select_now(w, s, EVENT_READ | EVENT_WRITE)
    return first, ready, told(s.connect, address)


@case
def asked_again_after_a_connect_that_failed(w):
    s = w.client()
    s.setblocking(False)
    address = w.free_port()
    s.connect_ex(address)
    w.settle()
    errors = [s.getsockopt(SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
    return errors, told(s.connect, address), told(s.connect, address)


@case
def connected_twice(w):
    s, t = w.pair()
    return told(s.connect, w.free_port()), told(t.connect, w.free_port())


@case
def a_client_leaves_from_its_port(w):
    listener = w.listener()
    s = w.client()
    s.bind(("", 0))
    port = s.getsockname()[1]
    s.connect(listener.getsockname())
    return listener.accept()[1][1] == port, w.own(s.getsockname())


@case
def to_every_own_address_is_to_oneself(w):
    listener = w.server()
    listener.bind(("", 0))
    listener.listen()
    s = w.server()
    s.connect(("0.0.0.0", listener.getsockname()[1]))
    return s.getpeername()[0], listener.accept()[1][0]


@case
def connecting_to_port_0(w):
    return told(w.client().connect, (w.address, 0))


@case
def more_than_one_may_wait_to_be_accepted(w):
    listener = w.listener(5)
    clients = [w.client() for _ in range(5)]
    for s in clients:
        s.connect(listener.getsockname())
    accepted = [listener.accept()[1] for _ in clients]
    listener.setblocking(False)
    return accepted == [s.getsockname() for s in clients], told(listener.accept)


@case
def bytes_sent_before_accept(w):
    listener = w.listener()
    s = w.client()
    s.connect(listener.getsockname())
    s.sendall(b"early")
    s.close()
    w.settle()
    t, _ = listener.accept()
    return t.recv(10), t.recv(10)


@case
def a_backlog_of_one(w):
    """How many fit in: one more than asked for."""
    listener = w.listener(1)
    clients = [w.client() for _ in range(4)]
    for s in clients:
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        w.settle()
    return [select_now(w, s, EVENT_WRITE) for s in clients]


@case
def a_backlog_below_zero(w):
    listener = w.server()
    listener.bind((w.address, 0))
    listener.listen(-5)
    s = w.client()
    return told(s.connect, listener.getsockname())


@case
def listening_again_changes_the_backlog(w):
    listener = w.listener(1)
    return told(listener.listen, 5)


@case
def closing_a_listener_resets_who_waits(w):
    listener = w.listener()
    s = w.client()
    s.connect(listener.getsockname())
    w.settle()
    listener.close()
    w.settle()
    return told(s.recv, 1)


@case
def a_listener_that_is_shut_down_wakes_who_accepts(w):
    listener = w.listener()
    program = w.spawn(told, listener.accept)
    w.settle()
    listener.shutdown(SHUT_RDWR)
    return program.join(), told(w.client().connect, listener.getsockname())


@case
def an_accepted_socket_blocks(w):
    listener = w.listener()
    listener.settimeout(5)
    w.client().connect(listener.getsockname())
    return listener.accept()[0].gettimeout()


# --- urgent data


def in_pieces(t, most=100):
    """What single calls of recv find, until there is no more."""
    t.setblocking(False)
    found = []
    while True:
        try:
            piece = t.recv(most)
        except BlockingIOError:
            return found
        found.append(piece)
        if not piece:
            return found


@each(nothing=b"", something=b"before")
def an_urgent_byte_is_read_apart(w, before):
    s, t = w.pair()
    s.send(b"abc" + before)
    s.send(b"xy!", MSG_OOB)
    s.send(b"after")
    w.settle()
    return t.recv(1, MSG_OOB), told(lambda: t.recv(1, MSG_OOB)), in_pieces(t)


@case
def an_urgent_byte_that_nobody_reads_is_passed_over(w):
    s, t = w.pair()
    s.send(b"xy!", MSG_OOB)
    s.send(b"after")
    w.settle()
    return in_pieces(t), told(lambda: t.recv(1, MSG_OOB))


@case
def an_urgent_byte_may_be_looked_at(w):
    s, t = w.pair()
    s.send(b"!", MSG_OOB)
    w.settle()
    return t.recv(1, MSG_OOB | MSG_PEEK), t.recv(1, MSG_OOB)


@case
def without_urgent_data_there_is_none_to_read(w):
    s, t = w.pair()
    s.send(b"ordinary")
    w.settle()
    return told(lambda: t.recv(1, MSG_OOB))


@case
def an_urgent_byte_left_in_its_place(w):
    s, t = w.pair()
    t.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)
    s.send(b"abc")
    s.send(b"xy!", MSG_OOB)
    s.send(b"after")
    w.settle()
    return told(lambda: t.recv(1, MSG_OOB)), in_pieces(t)


@case
def the_later_urgent_byte_counts(w):
    s, t = w.pair()
    s.send(b"one!", MSG_OOB)
    w.settle()
    s.send(b"two?", MSG_OOB)
    w.settle()
    return t.recv(1, MSG_OOB), in_pieces(t)


@case
def an_urgent_byte_alone_is_nothing_to_read(w):
    s, t = w.pair()
    s.send(b"!", MSG_OOB)
    w.settle()
    alone = select_now(w, t, EVENT_READ)
    s.send(b"after")
    w.settle()
    return alone, select_now(w, t, EVENT_READ), in_pieces(t)


@case
def the_end_behind_an_urgent_byte(w):
    s, t = w.pair()
    s.send(b"last!", MSG_OOB)
    s.close()
    w.settle()
    return t.recv(1, MSG_OOB), in_pieces(t)


@case
def urgent_bytes_both_ways(w):
    s, t = w.pair()
    s.send(b"there!", MSG_OOB)
    t.send(b"back?", MSG_OOB)
    w.settle()
    return t.recv(1, MSG_OOB), s.recv(1, MSG_OOB), in_pieces(s), in_pieces(t)
