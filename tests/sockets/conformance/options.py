"""Options, and what a socket is."""

import socket
import struct
from socket import (
    IPPROTO_IP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    SO_LINGER,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
)

from tests.sockets.conformance.cases import case, each
from tests.sockets.conformance.worlds import RESET, told

FLAGS = {
    "SO_REUSEADDR": (SOL_SOCKET, socket.SO_REUSEADDR, 1),
    "SO_REUSEPORT": (SOL_SOCKET, socket.SO_REUSEPORT, 1),
    "SO_KEEPALIVE": (SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "SO_OOBINLINE": (SOL_SOCKET, socket.SO_OOBINLINE, 1),
    "SO_BROADCAST": (SOL_SOCKET, socket.SO_BROADCAST, 1),
    "IP_TTL": (IPPROTO_IP, socket.IP_TTL, 7),
    "IP_TTL 0": (IPPROTO_IP, socket.IP_TTL, 0),
    "IP_TTL 256": (IPPROTO_IP, socket.IP_TTL, 256),
    "IP_TTL as it was": (IPPROTO_IP, socket.IP_TTL, -1),
    "IP_RECVERR": (IPPROTO_IP, 11, 1),
    "IP_TOS": (IPPROTO_IP, socket.IP_TOS, 0x10),
    "IP_TOS with ECN": (IPPROTO_IP, socket.IP_TOS, 0x13),
    "IP_TOS 256": (IPPROTO_IP, socket.IP_TOS, 256),
    "IP_TOS -1": (IPPROTO_IP, socket.IP_TOS, -1),
    "TCP_NODELAY": (IPPROTO_TCP, socket.TCP_NODELAY, 1),
    "TCP_KEEPIDLE": (IPPROTO_TCP, socket.TCP_KEEPIDLE, 100),
    "TCP_KEEPINTVL": (IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    "TCP_KEEPCNT": (IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    "TCP_KEEPCNT 0": (IPPROTO_TCP, socket.TCP_KEEPCNT, 0),
    "TCP_QUICKACK off": (IPPROTO_TCP, socket.TCP_QUICKACK, 0),
    "TCP_QUICKACK 5": (IPPROTO_TCP, socket.TCP_QUICKACK, 5),
    "TCP_SYNCNT": (IPPROTO_TCP, socket.TCP_SYNCNT, 3),
    "TCP_SYNCNT 0": (IPPROTO_TCP, socket.TCP_SYNCNT, 0),
    "TCP_SYNCNT 128": (IPPROTO_TCP, socket.TCP_SYNCNT, 128),
    "TCP_USER_TIMEOUT": (IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
    "TCP_MAXSEG too small": (IPPROTO_TCP, socket.TCP_MAXSEG, 10),
    "SO_TYPE": (SOL_SOCKET, socket.SO_TYPE, 1),
    "SO_ACCEPTCONN": (SOL_SOCKET, socket.SO_ACCEPTCONN, 1),
    "SO_LINGER as a number": (SOL_SOCKET, socket.SO_LINGER, 1),
    "no such option": (SOL_SOCKET, 9999, 1),
    "no such TCP option": (IPPROTO_TCP, 9999, 1),
    "no such level": (99, 1, 1),
}  # fmt: skip


@each(**FLAGS)
def option_of_a_stream(w, option):
    level, name, value = option
    s = w.client()
    before = told(s.getsockopt, level, name)
    return before, told(s.setsockopt, level, name, value), told(s.getsockopt, level, name)


@each(**FLAGS)
def option_of_a_datagram(w, option):
    level, name, value = option
    s = w.client(SOCK_DGRAM)
    before = told(s.getsockopt, level, name)
    return before, told(s.setsockopt, level, name, value), told(s.getsockopt, level, name)


@each(stream=SOCK_STREAM, datagram=SOCK_DGRAM)
def what_a_socket_is(w, type):
    s = w.client(type)
    return [s.getsockopt(SOL_SOCKET, option) for option in (socket.SO_TYPE, 38, 39, socket.SO_ERROR)] + [
        s.family, s.type, s.proto, s.gettimeout(),
    ]  # fmt: skip


@each(tcp=(SOCK_STREAM, IPPROTO_TCP), udp=(SOCK_DGRAM, IPPROTO_UDP), crossed=(SOCK_STREAM, IPPROTO_UDP),
      crossed_too=(SOCK_DGRAM, IPPROTO_TCP), sequenced=(socket.SOCK_SEQPACKET, 0),
      unknown=(77, 0))  # fmt: skip
def kinds_and_protocols(w, kind):
    made = told(w.client, *kind)
    return made if isinstance(made, str) else (made.type, made.proto)


@case
def linger_as_bytes(w):
    s = w.client()
    before = s.getsockopt(SOL_SOCKET, SO_LINGER, 8)
    s.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 5))
    return before, s.getsockopt(SOL_SOCKET, SO_LINGER, 8), told(s.setsockopt, SOL_SOCKET, SO_LINGER, b"1")


@each(four=4, two=2, eight=8)
def an_option_as_bytes(w, size):
    return w.client().getsockopt(SOL_SOCKET, socket.SO_TYPE, size)


@case
def an_option_from_bytes(w):
    s = w.client()
    s.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("i", 1))
    return s.getsockopt(IPPROTO_TCP, socket.TCP_NODELAY)


@each(SO_RCVBUF=socket.SO_RCVBUF, SO_SNDBUF=socket.SO_SNDBUF)
def buffer_size(w, option):
    s = w.client()
    s.setsockopt(SOL_SOCKET, option, 40_000)
    return s.getsockopt(SOL_SOCKET, option)


def to_be_chosen(name):
    """Whether this machine lets us choose that algorithm: Linux may keep it to root."""
    with socket.socket() as s:
        return told(s.setsockopt, IPPROTO_TCP, socket.TCP_CONGESTION, name) is None


@each(reno=b"reno", unknown=b"nosuch", ended=b"reno\0more", empty=b"", a_number=1,
    **{"cubic": b"cubic"} if to_be_chosen(b"cubic") else {})  # fmt: skip
def congestion_control(w, name):
    s, t = w.pair()
    said = []
    for one in (w.client(), s):
        one.setsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        said.append(told(one.setsockopt, IPPROTO_TCP, socket.TCP_CONGESTION, name))
        said.append(one.getsockopt(IPPROTO_TCP, socket.TCP_CONGESTION, 16))
    s.sendall(bytes(100_000))
    return said, len(t.recv(100_000, socket.MSG_WAITALL))


@case
def an_accepted_connection_has_the_options_of_its_listener(w):
    listener = w.listener()
    for level, name, value in INHERITED:
        listener.setsockopt(level, name, value)
    s = w.client()
    s.connect(listener.getsockname())
    t, _ = listener.accept()
    return [t.getsockopt(level, name, 16) for level, name, _ in INHERITED]


INHERITED = [
    (IPPROTO_TCP, socket.TCP_CONGESTION, b"reno"),
    (IPPROTO_TCP, socket.TCP_KEEPIDLE, 100),
    (IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
    (IPPROTO_IP, socket.IP_TOS, 0x20),
    (IPPROTO_IP, socket.IP_TTL, 9),
]


@case
def options_are_inherited(w):
    listener = w.listener()
    listener.setsockopt(IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    s = w.client()
    s.connect(listener.getsockname())
    t, _ = listener.accept()
    return t.getsockopt(IPPROTO_TCP, socket.TCP_NODELAY), t.getsockopt(SOL_SOCKET, socket.SO_KEEPALIVE)


@case
def the_state_in_tcp_info(w):
    s, t = w.pair()
    listener = w.listener()
    states = [x.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 232)[0] for x in (s, t, listener, w.client())]
    t.close()
    w.settle()
    states.append(s.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 1)[0])
    return states, len(s.getsockopt(IPPROTO_TCP, socket.TCP_INFO, 104))


@case
def linger_zero_is_a_reset(w):
    s, t = w.pair()
    s.sendall(b"lost or not")
    s.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    w.settle()
    t.recv(100)
    s.close()
    w.settle()
    return told(t.recv, 1), told(t.recv, 1), told(t.send, b"x")


@case
def close_lingers_until_all_has_arrived(w):
    s, t = w.pair()
    s.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 5))
    s.sendall(b"x")
    began = w.now()
    s.close()
    return w.now() - began < 1, t.recv(9), t.recv(9)


@case
def close_lingers_no_longer_than_asked(w):
    s, t = w.pair()
    s.setblocking(False)
    while isinstance(told(s.send, bytes(1_000_000)), int):
        w.settle()
    s.setblocking(True)
    s.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 1))
    began = w.now()
    s.close()
    return 0.9 <= w.now() - began < 3
