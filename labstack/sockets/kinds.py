"""Which class serves which type of socket, and which protocols go with it."""

from __future__ import annotations

import errno
import os
import socket as posix
from typing import TYPE_CHECKING

from labstack.sockets.datagram import DatagramSocket, RawSocket
from labstack.sockets.packet import PacketSocket
from labstack.sockets.socket import Socket
from labstack.sockets.stream import StreamSocket

if TYPE_CHECKING:
    from labstack.sockets.stack import Stack


AF_PACKET = 17
"""Linux's number; Python has a name for it only there."""


def open_socket(
    stack: Stack, type: int = posix.SOCK_STREAM, proto: int = 0, family: int = posix.AF_INET
) -> Socket:
    """A new socket. Raises OSError: EAFNOSUPPORT for another family than AF_INET and AF_PACKET, EINVAL for a
    type that is none, ESOCKTNOSUPPORT for one that the family does not have, EPROTONOSUPPORT for a protocol
    that does not go with it."""
    if family == AF_PACKET and type in (posix.SOCK_RAW, posix.SOCK_DGRAM):
        return PacketSocket(stack, type, proto)
    if family == AF_PACKET and type == posix.SOCK_STREAM:
        raise OSError(errno.ESOCKTNOSUPPORT, os.strerror(errno.ESOCKTNOSUPPORT))
    if family not in (posix.AF_INET, AF_PACKET):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    match type, proto:
        case posix.SOCK_STREAM, 0 | posix.IPPROTO_TCP:
            return StreamSocket(stack, proto)
        case posix.SOCK_DGRAM, 0 | posix.IPPROTO_UDP:
            return DatagramSocket(stack, posix.SOCK_DGRAM, proto)
        case posix.SOCK_RAW, _ if 0 < proto < 256:
            return RawSocket(stack, proto)
        case ((posix.SOCK_STREAM | posix.SOCK_DGRAM | posix.SOCK_RAW), _):
            number = errno.EPROTONOSUPPORT
        case ((posix.SOCK_SEQPACKET | posix.SOCK_RDM), _):
            number = errno.ESOCKTNOSUPPORT
        case _:
            number = errno.EINVAL
    raise OSError(number, os.strerror(number))


def adopt(stack: Stack, fileno: int) -> Socket:
    """The open socket with this number, as a new object. Raises OSError (EBADF) if there is none."""
    found = stack.sockets.get(fileno)
    if found is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    stack.detached.pop(fileno, None)
    return found._again()
