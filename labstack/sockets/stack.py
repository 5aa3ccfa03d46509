"""What a socket needs of its host: the transports, the driver that waits, and names."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Protocol

from labstack.core.addresses import IPAddress
from labstack.core.clock import Driver
from labstack.core.events import Events
from labstack.core.node import Node
from labstack.internet.ipv4 import IPv4
from labstack.link.ethernet import Interface, Watcher
from labstack.transport.tcp.layer import Tcp
from labstack.transport.udp import Udp

if TYPE_CHECKING:
    from labstack.sockets.socket import Socket


class Stack(Protocol):
    """A host, as its sockets see it."""

    node: Node
    ip: IPv4
    tcp: Tcp
    udp: Udp
    driver: Driver
    sockets: MutableMapping[int, Socket]
    """Its open sockets by their `fileno()`."""
    detached: dict[int, Socket]
    """Those that `detach` has left without an object of the program's."""
    interfaces: dict[str, Interface]
    watchers: list[Watcher]
    """Who sees the frames of all its interfaces."""

    @property
    def events(self) -> Events: ...

    def resolve(self, name: str) -> IPAddress:
        """The address of a host; "" is every own address. Raises socket.gaierror for an unknown name."""

    def next_fileno(self) -> int: ...
