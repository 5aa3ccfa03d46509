"""Files over sockets, copies of sockets, and waiting for several."""

import io
import socket
from selectors import EVENT_READ, EVENT_WRITE
from socket import (
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
)

from tests.sockets.conformance.cases import case, each
from tests.sockets.conformance.worlds import told


@case
def a_file_of_lines(w):
    s, t = w.pair()
    with s.makefile("w", newline="\n") as out:
        out.write("one\ntwo\nthree")
    s.close()
    return t.makefile().readlines()


@case
def a_file_both_ways(w):
    s, t = w.pair()
    file = s.makefile("rwb")
    file.write(b"question\n")
    file.flush()
    w.settle()
    t.sendall(t.recv(100).upper())
    return file.readline(), file.readable(), file.writable(), file.mode if hasattr(file, "mode") else ""


@case
def a_file_keeps_the_connection(w):
    s, t = w.pair()
    file = s.makefile("rb")
    s.close()
    t.sendall(b"still there\n")
    line = file.readline()
    file.close()
    w.settle()
    return line, t.recv(1), s.fileno()


@case
def a_file_times_out(w):
    s, _ = w.pair()
    s.settimeout(0.02)
    file = s.makefile("rb")
    return told(file.read, 1), told(file.read, 1)


@case
def an_unbuffered_file_without_blocking(w):
    s, t = w.pair()
    s.setblocking(False)
    file = s.makefile("rb", buffering=0)
    before = file.read(4)
    t.sendall(b"01")
    w.settle()
    return before, file.read(4), file.name == s.fileno()


@each(r="r", rb="rb", w="w", wb="wb", rw="rw", rwb="rwb", x="x", text="text")
def file_modes(w, mode):
    s, _ = w.pair()
    made = told(s.makefile, mode)
    return made if isinstance(made, str) else type(made).__name__


class File(io.BytesIO):
    mode = "rb"


@each(all_of_it={}, from_the_middle={"offset": 4}, a_part={"count": 3}, both={"offset": 2, "count": 4},
      more_than_there_is={"count": 99}, nothing={"count": 0}, less_than_nothing={"count": -1})  # fmt: skip
def a_file_is_sent(w, options):
    s, t = w.pair()
    file = File(b"0123456789")
    sent = told(s.sendfile, file, **options)
    s.close()
    w.settle()
    return sent, file.tell() if isinstance(sent, int) else None, t.recv(100)


@each(text=(io.StringIO("x"), SOCK_STREAM), datagram=(io.BytesIO(b"x"), SOCK_DGRAM))
def a_file_that_cannot_be_sent(w, what):
    file, type = what
    s = w.pair()[0] if type == SOCK_STREAM else w.client(type)
    if type == SOCK_STREAM:
        s.setblocking(False)
    return told(s.sendfile, file)


@case
def a_second_socket_over_the_same_connection(w):
    s, t = w.pair()
    second = w._keep(s.dup())
    s.close()
    second.sendall(b"still there")
    w.settle()
    got = t.recv(100)
    second.close()
    w.settle()
    return got, t.recv(1), second.fileno(), told(s.dup)


@case
def a_context_closes(w):
    with w.client() as s:
        open_ = s.fileno() >= 0
    return open_, s.fileno()


@case
def not_inherited(w):
    s = w.client()
    before = s.get_inheritable()
    s.set_inheritable(True)
    return before, s.get_inheritable(), s.dup().get_inheritable()


@case
def detached_and_taken_up_by_its_number(w):
    s, t = w.pair()
    t.sendall(b"hello")
    number, told_number = s.fileno(), s.detach()
    again = told(s.detach)
    s.close()
    new = w.adopt(told_number)
    return told_number == number == new.fileno(), s.fileno(), again, told(s.recv, 1), new.recv(10)


@case
def detached_and_closed(w):
    s, t = w.pair()
    w.adopt(s.detach()).close()
    w.settle()
    return t.recv(1)


@case
def two_objects_for_one_socket(w):
    s, _ = w.pair()
    other = w.adopt(s.fileno())
    s.close()
    result = told(other.recv, 1), told(other.setblocking, False)
    w.sockets.remove(other)  # Python's knows of no closing
    other.detach()
    return result


@case
def nobody_has_this_number(w):
    s = w.client()
    number = s.fileno()
    s.close()
    return told(w.adopt, number)


@case
def the_default_time_out_is_that_of_every_new_socket(w):
    socket.setdefaulttimeout(5)
    try:
        s, t = w.pair()
        return s.gettimeout(), t.gettimeout(), s.dup().gettimeout(), w.adopt(s.detach()).gettimeout()
    finally:
        socket.setdefaulttimeout(None)


@each(
    nothing=object(),
    two=(0, 0),
    four=(0, 0, b"", 0),
    no_level=(object(), 0, b""),
    no_type=(0, object(), b""),
    no_data=(0, 0, object()),
)
def ancillary_data_that_is_none(w, item):
    s, _ = w.pair()
    return told(s.sendmsg, [b"x"], [item])


@case
def room_for_less_than_no_ancillary_data(w):
    s, _ = w.pair()
    return told(s.recvmsg, 1, -1), told(s.recvmsg_into, [bytearray(1)], -1)


@case
def into_what_cannot_be_written(w):
    s, t = w.pair()
    t.sendall(b"x")
    return (
        told(s.recv_into, b"full"),
        told(s.recvfrom_into, b"full"),
        told(s.recvmsg_into, [b"full"]),
        s.recv(1),
    )


@each(stream=SOCK_STREAM, datagram=SOCK_DGRAM)
def shutting_down_in_a_direction_that_is_no_number(w, kind):
    return told(w.client(kind).shutdown, 1 << 40), told(w.client(kind).shutdown, None)


@case
def raw_without_a_protocol(w):
    return told(w.client, SOCK_RAW, 0)


@case
def a_selector_waits(w):
    s, t = w.pair()
    with w.selector() as selector:
        selector.register(s, EVENT_READ, "it")
        before = selector.select(0)
        program = w.spawn(lambda: (w.sleep(0.02), t.sendall(b"x")))
        [(key, events)] = selector.select(5)
        program.join()
        again = len(selector.select(0))
        s.recv(10)
        return before, key.data, key.fileobj is s, events, again, selector.select(0)


@case
def a_selector_times_out(w):
    s, _ = w.pair()
    with w.selector() as selector:
        selector.register(s, EVENT_READ)
        began = w.now()
        return selector.select(0.05), 0.045 <= w.now() - began < 1


@case
def a_selector_is_modified(w):
    s, _ = w.pair()
    with w.selector() as selector:
        selector.register(s, EVENT_READ)
        before = selector.select(0)
        selector.modify(s, EVENT_WRITE, "now")
        [(key, events)] = selector.select(1)
        selector.unregister(s)
        return before, key.data, events, selector.select(0), len(selector.get_map())


@case
def a_selector_is_used_wrongly(w):
    s, _ = w.pair()
    with w.selector() as selector:
        selector.register(s, EVENT_READ)

        def said(call, *args):
            try:
                return call(*args)
            except (KeyError, ValueError) as error:
                return type(error).__name__

        return (
            said(selector.register, s, EVENT_READ), said(selector.register, w.client(), 0),
            said(selector.register, w.client(), 99), said(selector.unregister, w.client()),
            said(selector.modify, w.client(), EVENT_READ), said(selector.get_key, w.client()),
        )  # fmt: skip


@case
def a_closed_socket_is_silent_in_a_selector(w):
    s, t = w.pair()
    with w.selector() as selector:
        selector.register(s, EVENT_READ | EVENT_WRITE)
        s.close()
        return selector.select(0), selector.unregister(s).events
