"""A listening port: connections that others ask for, until the program accepts them (RFC 9293 §3.10.1,
§3.10.7.2).

    a SYN  ──▶  half open: our SYN, ACK is not answered yet  ──▶  ready: the program may accept

Both together never hold more than the backlog. What comes then is dropped, and the peer tries again; or, with
SYN cookies, it is answered and forgotten, until the peer brings back what was said (see `cookies`).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from zlib import crc32

from labstack.core.addresses import IPAddress
from labstack.core.clock import Waiters
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.connection import Connection
from labstack.transport.tcp.states import State

if TYPE_CHECKING:
    from labstack.transport.ports import Binding
    from labstack.transport.tcp.layer import Tcp


class Listener:
    """A passive open. `local` is (address, port); the address 0.0.0.0 stands for every own one."""

    def __init__(self, tcp: Tcp, binding: Binding, backlog: int, config: TcpConfig) -> None:
        self.local = binding.address, binding.port
        self.binding = binding
        self.backlog = max(backlog, 1)
        self.config = config
        self.state = State.LISTEN
        self.half_open: dict[Connection, None] = {}
        """In the order in which they came."""
        self.ready: deque[Connection] = deque()
        self.readable = Waiters()
        self.cookies_until = 0
        """Up to then an ACK may bring back a cookie that this port gave out, in nanoseconds."""
        self.group = [self]
        """All that listen at this address and port, by SO_REUSEPORT: they share what comes, and this list."""
        self._tcp = tcp

    def share_of(self, peer: IPAddress, port: int) -> Listener:
        """Whose the connections from there are: one of the group, for the same peer the same."""
        return self.group[crc32(peer + port.to_bytes(2, "big")) % len(self.group)]

    @property
    def full(self) -> bool:
        return len(self.half_open) + len(self.ready) >= self.backlog

    @property
    def cookies(self) -> bool:
        """It is full of connections that are half open, and gives out cookies."""
        return self.config.syn_cookies and len(self.ready) < self.backlog

    def changed(self, connection: Connection) -> None:
        """One of its connections got through the handshake, or died before that."""
        del self.half_open[connection]
        if connection.state is not State.CLOSED:
            self.ready.append(connection)
            self.readable.wake()

    def accept(self) -> Connection | None:
        """The connection that has been ready longest, or None."""
        return self.ready.popleft() if self.ready else None

    def close(self) -> None:
        """Stop listening. Connections that nobody accepted are reset."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._tcp.forget_listener(self)
        for connection in [*self.half_open, *self.ready]:
            connection.abort()
        self.half_open.clear()
        self.ready.clear()
        self.readable.wake()
