"""The BSD socket over labstack's transports: the calls, the errors and the blocking of `socket.socket`.

A call does one of three things: it succeeds at once; or it waits until it can, by the driver's `block`; or,
if the socket does not block or its time-out passes, it raises. All of the waiting is in `_when`. Chapter 25
of the book.
"""

from __future__ import annotations

import errno
import os
import socket as posix
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from labstack.core.addresses import ANY, IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.events import Rule
from labstack.core.units import SECOND
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.connection import Connection
from labstack.transport.tcp.layer import Binding
from labstack.transport.tcp.listener import Listener
from labstack.transport.tcp.states import State
from labstack.transport.udp import UdpEndpoint

if TYPE_CHECKING:
    from io import IOBase

    from labstack.sockets.stack import Stack

CALL = Rule("socket.call", "a program calls", "POSIX.1-2017, sockets")

# As plain numbers: Python's own are enums, whose arithmetic costs more than the call.
MSG_PEEK = int(posix.MSG_PEEK)

T = TypeVar("T")
Address = tuple[str, int]


class Socket:
    """A socket of one host: `host.socket()`, `host.connect(…)`, `host.listen(…)`. Use it as one of
    `socket.socket`.

    Addresses are (host, port); a host is an IPv4 address or a name that the network knows. Raises the errors
    that `socket.socket` raises: `ConnectionRefusedError`, `TimeoutError`, `BlockingIOError`,
    `BrokenPipeError`, `OSError`.
    """

    family = posix.AF_INET

    def __init__(self, stack: Stack, type: int = posix.SOCK_STREAM, proto: int = 0) -> None:
        if type not in (posix.SOCK_STREAM, posix.SOCK_DGRAM):
            raise OSError(errno.EPROTONOSUPPORT, f"socket type {type} is none of SOCK_STREAM and SOCK_DGRAM")
        self.type = type
        self.proto = proto
        self._stack = stack
        self._driver = stack.driver
        self._fileno = stack.next_fileno()
        self._timeout: float | None = None
        self._binding: Binding | None = None
        self._connection: Connection | None = None
        self._listener: Listener | None = None
        self._endpoint: UdpEndpoint | None = None
        self._config: TcpConfig = stack.tcp.config
        self._reuse = False
        self._broadcast = False
        self._keepalive = False
        self._failed = False  # to connect
        self._read_shut = False
        self._closed = False
        self._io_refs = 0  # open files made by makefile
        self._close_wanted = False
        self._changed = Waiters()
        stack.sockets[self._fileno] = self

    # --- readiness, for selectors
    def readable(self) -> bool:
        """`recv`, `recvfrom` or `accept` would not wait: something is there, or the end, or an error."""
        if self._closed:
            return False
        if self._listener is not None:
            return bool(self._listener.ready)
        if self._connection is not None:
            return self._read_shut or self._connection.can_read()
        if self.type == posix.SOCK_STREAM:
            return True  # it is not connected: the call would fail at once
        endpoint = self._endpoint
        return endpoint is not None and (bool(endpoint.queue) or bool(endpoint.error))

    def writable(self) -> bool:
        """It is worth calling `send` (a third of the buffer is free, as on Linux), or a `connect` that did
        not wait is through, well or badly."""
        if self._closed or self._listener is not None:
            return False
        return self._connection is None or self._connection.can_write()

    def waiters(self, reading: bool, writing: bool) -> list[Waiters]:
        """What wakes when `readable()`, or `writable()`, may have become true. They are emptied by waking:
        who still waits adds itself again."""
        found = [self._changed]
        if self._connection is not None:
            if reading:
                found.append(self._connection.readable)
            if writing:
                found.append(self._connection.writable)
        elif reading and self._listener is not None:
            found.append(self._listener.readable)
        elif reading and self._endpoint is not None:
            found.append(self._endpoint.readable)
        return found

    # --- names and modes
    def fileno(self) -> int:
        """A number that is this socket's own on this host; −1 when closed. The operating system does not know
        it."""
        return -1 if self._closed else self._fileno

    def settimeout(self, seconds: float | None) -> None:
        """How long calls wait: None for ever, 0 not at all."""
        if seconds is not None and seconds < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def getsockname(self) -> Address:
        self._check_open()
        for part in (self._connection, self._listener, self._endpoint):
            if part is not None:
                return str(part.local[0]), part.local[1]
        binding = self._binding
        return (str(binding.address), binding.port) if binding is not None else (str(ANY), 0)

    def getpeername(self) -> Address:
        self._check_open()
        connection, endpoint = self._connection, self._endpoint
        peer = connection.peer if connection is not None else endpoint.peer if endpoint is not None else None
        if peer is None or (connection is not None and connection.state in (State.SYN_SENT, State.CLOSED)):
            raise _error(errno.ENOTCONN)
        return str(peer[0]), peer[1]

    @property
    def flow(self) -> tuple[IPAddress, int, IPAddress, int] | None:
        """By what its connection is known: own address and port, the peer's address and port. Still there
        when it is closed; None if it was never connected."""
        part = self._connection or self._endpoint
        return (*part.local, *part.peer) if part is not None and part.peer is not None else None

    def setsockopt(self, level: int, option: int, value: int | bytes, optlen: int | None = None) -> None:
        """SO_REUSEADDR, SO_BROADCAST, SO_KEEPALIVE (kept, no effect yet), SO_RCVBUF, SO_SNDBUF, TCP_NODELAY,
        TCP_MAXSEG, IP_TTL."""
        self._check_open()
        number = value if isinstance(value, int) else int.from_bytes(value, "little")
        match level, option:
            case posix.SOL_SOCKET, posix.SO_REUSEADDR:
                self._reuse = bool(number)
            case posix.SOL_SOCKET, posix.SO_BROADCAST:
                self._broadcast = bool(number)
                if self._endpoint is not None:
                    self._endpoint.broadcast = self._broadcast
            case posix.SOL_SOCKET, posix.SO_KEEPALIVE:
                self._keepalive = bool(number)
            case posix.SOL_SOCKET, posix.SO_RCVBUF:
                self._config = replace(self._config, receive_buffer=number)
            case posix.SOL_SOCKET, posix.SO_SNDBUF:
                self._config = replace(self._config, send_buffer=number)
            case posix.IPPROTO_TCP, posix.TCP_MAXSEG:
                self._config = replace(self._config, mss=number)
            case posix.IPPROTO_TCP, posix.TCP_NODELAY:
                self._config = replace(self._config, nagle=not number)
                if self._connection is not None:
                    with self._driver:
                        self._connection.flight.sender.nagle = not number
            case _:
                raise _error(errno.ENOPROTOOPT)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int:
        self._check_open()
        match level, option:
            case posix.SOL_SOCKET, posix.SO_ERROR:
                return self._take_error()
            case posix.SOL_SOCKET, posix.SO_TYPE:
                return self.type
            case posix.SOL_SOCKET, posix.SO_REUSEADDR:
                return int(self._reuse)
            case posix.SOL_SOCKET, posix.SO_BROADCAST:
                return int(self._broadcast)
            case posix.SOL_SOCKET, posix.SO_KEEPALIVE:
                return int(self._keepalive)
            case posix.SOL_SOCKET, posix.SO_ACCEPTCONN:
                return int(self._listener is not None)
            case posix.SOL_SOCKET, posix.SO_RCVBUF:
                return self._config.receive_buffer
            case posix.SOL_SOCKET, posix.SO_SNDBUF:
                return self._config.send_buffer
            case posix.IPPROTO_TCP, posix.TCP_NODELAY:
                return int(not self._config.nagle)
            case posix.IPPROTO_TCP, posix.TCP_MAXSEG:
                return self._connection.mss if self._connection else self._config.mss or 536
        raise _error(errno.ENOPROTOOPT)

    # --- opening
    def bind(self, address: Address) -> None:
        """Take a local address and port; "" is every own address, port 0 any free port."""
        self._check_open()
        if self._binding is not None or self._endpoint is not None or self._connection is not None:
            raise _error(errno.EINVAL)
        local = self._stack.resolve(address[0]), _port(address)
        with self._driver:
            if self.type == posix.SOCK_DGRAM:
                self._bind_datagram(*local)
                return
            self._binding = self._stack.tcp.bind(*local, self._reuse)

    def _bind_datagram(self, address: IPAddress, port: int) -> UdpEndpoint:
        endpoint = self._stack.udp.bind(address, port, self._reuse)
        endpoint.broadcast = self._broadcast
        self._endpoint = endpoint
        self._changed.wake()
        return endpoint

    def listen(self, backlog: int = 128) -> None:
        """Let others connect; up to `backlog` connections wait for `accept`."""
        self._check_open()
        if self.type != posix.SOCK_STREAM:
            raise _error(errno.EOPNOTSUPP)
        if self._connection is not None:
            raise _error(errno.EINVAL)
        with self._driver:
            if self._listener is not None:
                self._listener.backlog = max(backlog, 1)
                return
            if self._binding is None:
                self._binding = self._stack.tcp.bind()
            self._listener = self._stack.tcp.listen(self._binding, backlog, self._config)
            self._changed.wake()

    def accept(self) -> tuple[Socket, Address]:
        """The next connection as a new socket, and the peer's address."""
        listener = self._listener
        if listener is None:
            self._check_open()
            raise _error(errno.EINVAL)
        connection = self._when(
            lambda: bool(listener.ready) or listener.state is State.CLOSED,
            listener.accept,
            listener.readable,
            f"a connection to port {listener.local[1]}",
        )
        if connection is None:
            raise _error(errno.EBADF if self._closed else errno.ECONNABORTED)
        new = Socket(self._stack)
        new._connection = connection
        new._config = connection.config
        return new, (str(connection.peer[0]), connection.peer[1])

    def connect(self, address: Address) -> None:
        """Open a connection (stream), or fix the peer (datagram). Waits for the handshake; a socket that does
        not block raises BlockingIOError, and is writable when it is through."""
        self._check_open()
        peer = self._stack.resolve(address[0]), _port(address)
        if self.type == posix.SOCK_DGRAM:
            with self._driver:
                endpoint = self._endpoint or self._bind_datagram(ANY, 0)
                endpoint.peer = peer
                if endpoint.local[0] == ANY:
                    endpoint.local = self._stack.udp.network.source_for(peer[0]), endpoint.local[1]
            return
        if self._listener is not None:
            raise _error(errno.EOPNOTSUPP)
        if self._connection is None or self._failed:
            local = (self._binding.address, self._binding.port) if self._binding is not None else None
            with self._driver:
                self._call("connect", to=f"{peer[0]}:{peer[1]}")
                self._failed = False
                try:
                    self._connection = self._stack.tcp.connect(peer, local, self._config)
                    self._changed.wake()
                finally:
                    self._stack.events.cause = 0
            if self._timeout == 0:
                raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))
        elif self._connection.state is not State.SYN_SENT:
            raise _error(errno.EISCONN)
        elif self._timeout == 0:
            raise _error(errno.EALREADY)
        connection = self._connection
        who = f"{peer[0]}:{peer[1]} to agree"
        self._when(lambda: not connection.opening, lambda: None, connection.writable, who)
        if connection.state is State.CLOSED:
            # Another try may follow, as on Linux. Closed without an error: by another thread of the
            # program's.
            self._failed = True
            self._raise_error()
            raise _error(errno.ECONNABORTED)

    def connect_ex(self, address: Address) -> int:
        """`connect`, but an error's number in place of an exception; 0 when it succeeded."""
        try:
            self.connect(address)
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                return errno.EAGAIN
            return error.errno or errno.EIO
        return 0

    # --- streams
    def send(self, data: Buffer, flags: int = 0) -> int:
        """Queue as much of `data` as there is room for, at least a byte; how many bytes that was."""
        if self.type == posix.SOCK_DGRAM:
            return self._send_datagram(data, None)
        connection = self._connected()
        view = memoryview(data).cast("B")

        def write() -> int:
            self._raise_error()
            self._call("send", length=len(view))
            try:
                return connection.write(view)
            finally:
                self._stack.events.cause = 0

        if connection.has_room() and not connection.opening:
            with self._driver:
                return write()
        return self._when(
            connection.can_write, write, connection.writable, f"room to send to {connection.names['peer']}"
        )

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Queue all of `data`, waiting for room as often as it takes."""
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view) or not at:
            at += self.send(view[at:], flags)
            if not len(view):
                return

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Up to `size` bytes, at least one; b"" when the peer has closed its direction."""
        if self.type == posix.SOCK_DGRAM:
            return self.recvfrom(size, flags)[0]
        return self._take(lambda connection: connection.read(size, bool(flags & MSG_PEEK)), b"")

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """`recv` into a buffer; how many bytes that was."""
        view = memoryview(buffer).cast("B")[: nbytes or None]
        if self.type == posix.SOCK_DGRAM or flags & MSG_PEEK:
            data = self.recv(len(view), flags)
            view[: len(data)] = data
            return len(data)
        return self._take(lambda connection: connection.read_into(view), 0)

    def _take(self, take: Callable[[Connection], T], nothing: T) -> T:
        """What `take` finds in the connection, as soon as there is something; `nothing` at the stream's
        end."""
        connection = self._connected()

        def ready() -> bool:
            return self._read_shut or connection.can_read()

        def act() -> T:
            if not connection.receiver.available:
                if not self._read_shut:
                    self._raise_error()
                return nothing
            self._call("recv")
            try:
                return take(connection)
            finally:
                self._stack.events.cause = 0

        return self._when(ready, act, connection.readable, f"bytes from {connection.names['peer']}")

    def shutdown(self, how: int) -> None:
        """Close a direction: SHUT_WR sends a FIN behind the last byte, SHUT_RD reads no more, SHUT_RDWR does
        both."""
        connection = self._connection
        if connection is None or connection.state is State.CLOSED:
            raise _error(errno.ENOTCONN)
        with self._driver:
            if how in (posix.SHUT_RD, posix.SHUT_RDWR):
                self._read_shut = True
                connection.readable.wake()
            if how in (posix.SHUT_WR, posix.SHUT_RDWR):
                self._call("shutdown")
                connection.shutdown()
                self._stack.events.cause = 0

    # --- datagrams
    def sendto(self, data: Buffer, *args: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`."""
        if self.type != posix.SOCK_DGRAM:
            return self.send(data)
        address = args[-1]
        return self._send_datagram(data, (self._stack.resolve(address[0]), _port(address)))

    def _send_datagram(self, data: Buffer, to: tuple[IPAddress, int] | None) -> int:
        self._check_open()
        view = memoryview(data).cast("B")
        with self._driver:
            endpoint = self._endpoint or self._bind_datagram(ANY, 0)
            self._raise_error()
            target = to or endpoint.peer
            if target is None:
                raise _error(errno.EDESTADDRREQ)
            self._call("sendto", length=len(view))
            try:
                endpoint.send(view, target)
            finally:
                self._stack.events.cause = 0
        return len(view)

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Address]:
        """The next datagram, cut off at `size` bytes, and who sent it."""
        if self.type != posix.SOCK_DGRAM:
            return self.recv(size, flags), self.getpeername()
        self._check_open()
        endpoint = self._endpoint
        if endpoint is None:
            with self._driver:
                endpoint = self._bind_datagram(ANY, 0)

        def take() -> tuple[bytes, Address]:
            self._raise_error()
            if not endpoint.queue:
                raise _error(errno.EBADF)
            data, (address, port) = endpoint.queue[0] if flags & MSG_PEEK else endpoint.take()
            return data[:size], (str(address), port)

        return self._when(
            lambda: bool(endpoint.queue) or bool(endpoint.error) or endpoint.closed,
            take,
            endpoint.readable,
            f"a datagram for port {endpoint.local[1]}",
        )

    # --- files, and the end
    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> IOBase:
        """A file over the stream, as `socket.socket.makefile` gives it."""
        return posix.socket.makefile(self, mode, buffering, **options)  # type: ignore[call-overload, no-any-return]

    def _decref_socketios(self) -> None:
        """A file that `makefile` gave was closed."""
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._close_wanted:
            self.close()

    def close(self) -> None:
        """Let go. What was written is still delivered; files of `makefile` keep the connection open until
        they close."""
        self._close_wanted = True
        if self._closed or self._io_refs > 0:
            return
        self._closed = True
        with self._driver:
            self._call("close")
            for part in (self._connection, self._listener, self._endpoint):
                if part is not None:
                    part.close()
            if self._binding is not None:
                self._stack.tcp.release(self._binding)
            self._changed.wake()
            self._stack.events.cause = 0
        self._stack.sockets.pop(self._fileno, None)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = "stream" if self.type == posix.SOCK_STREAM else "datagram"
        if self._closed:
            return f"<{kind} socket, closed>"
        address, port = self.getsockname()
        state = ""
        if self._connection is not None:
            state = f" → {self._connection.peer[0]}:{self._connection.peer[1]} {self._connection.state.value}"
        elif self._listener is not None:
            state = " LISTEN"
        return f"<{kind} socket {address}:{port}{state}>"

    # --- how the calls wait
    def _when(self, ready: Callable[[], bool], act: Callable[[], T], waiters: Waiters, what: str) -> T:
        """Do `act` as soon as `ready`; wait for it as long as the time-out allows."""
        driver = self._driver
        deadline = None if self._timeout is None else driver.now + round(self._timeout * SECOND)
        while True:
            with driver:
                if ready():
                    return act()
            if self._timeout == 0:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            left = None if deadline is None else max(deadline - driver.now, 0)
            if not driver.block(ready, [waiters], left, what):
                raise TimeoutError("timed out")

    def _call(self, name: str, **fields: int | str) -> None:
        """What follows is caused by this call of the program's."""
        events = self._stack.events
        if events:
            events.cause = 0
            events.cause = events.emit(CALL, call=name, socket=self._fileno, **fields)

    def _connected(self) -> Connection:
        self._check_open()
        if self._connection is None:
            raise _error(errno.ENOTCONN)
        return self._connection

    def _check_open(self) -> None:
        if self._closed:
            raise _error(errno.EBADF)

    def _take_error(self) -> int:
        part = self._connection or self._endpoint
        if part is None:
            return 0
        error, part.error = part.error, 0
        return error

    def _raise_error(self) -> None:
        error = self._take_error()
        if error:
            raise _error(error)


def _port(address: Address) -> int:
    port = address[1]
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    return port


def _error(number: int) -> OSError:
    """The exception that Python raises for this number: ConnectionResetError for ECONNRESET, and so on."""
    return OSError(number, os.strerror(number))
