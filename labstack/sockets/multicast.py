"""Multicast at a datagram socket: which groups it has joined, and over which interface it sends.

    s.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, group + address of the interface, 0.0.0.0: as routed)

The host hears a group on an interface for as long as a socket is its member there; a datagram for the group
then goes to every socket that is bound to its port. RFC 1112 §6.1, §7.1; chapter 14 of the book.
"""

from __future__ import annotations

import errno
import socket as posix
from typing import TYPE_CHECKING

from labstack.core.addresses import ANY, IPAddress, IPv4Address
from labstack.core.checksum import Buffer
from labstack.link.ethernet import Interface
from labstack.sockets.socket import error

if TYPE_CHECKING:
    from labstack.internet.ipv4 import IPv4

ADD, DROP, VIA = int(posix.IP_ADD_MEMBERSHIP), int(posix.IP_DROP_MEMBERSHIP), int(posix.IP_MULTICAST_IF)
LIMIT = 20  # groups that one socket may join, as on Linux


class Memberships:
    """Those of one socket."""

    def __init__(self, ip: IPv4) -> None:
        # The own address on the interface over which it sends; 0.0.0.0: the one that the routes name.
        self.source: IPAddress = ANY
        self._ip = ip
        self._joined: list[tuple[IPAddress, Interface]] = []

    def set(self, name: int, value: int | Buffer | None) -> None:
        """One of the three options, with the bytes of the C structure: `ip_mreq`, `ip_mreqn`, and for
        IP_MULTICAST_IF also `in_addr`. Raises OSError (EINVAL, ENODEV, EADDRNOTAVAIL, EADDRINUSE,
        ENOBUFS)."""
        raw = b"" if value is None or isinstance(value, int) else bytes(value)
        group = IPv4Address(raw[:4])
        address: IPAddress = IPv4Address(raw[4:8] or raw[:4])
        if len(raw) < (4 if name == VIA else 8) or not (name == VIA or group.is_multicast):
            raise error(errno.EINVAL)
        index = int.from_bytes(raw[8:12], "little")
        if name == VIA and not index and address == ANY:
            self.source = ANY
            return
        if not index and address == ANY:
            address = self._ip.source_for(group)  # the way to the group
        interface = self._interface(address, index)
        place = group, interface
        if name == VIA:
            self.source = next((own.address for own in interface.addresses), ANY)
        elif name == DROP and place not in self._joined:
            raise error(errno.EADDRNOTAVAIL)
        elif name == DROP:
            self._joined.remove(place)
            self._ip.leave(*place)
        elif place in self._joined or len(self._joined) >= LIMIT:
            raise error(errno.EADDRINUSE if place in self._joined else errno.ENOBUFS)
        else:
            self._joined.append(place)
            self._ip.join(*place)

    def _interface(self, address: IPAddress, index: int) -> Interface:
        """The interface with this number, counted from 1, or, without one, with this address."""
        interfaces = list(self._ip.interfaces.values())
        found = interfaces[index - 1 : index] if index else [i for i in interfaces if i.owns(address)]
        if not found:
            raise error(errno.ENODEV)
        return found[0]

    def close(self) -> None:
        """Leave all groups."""
        while self._joined:
            self._ip.leave(*self._joined.pop())
