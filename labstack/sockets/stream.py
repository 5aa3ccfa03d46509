"""Stream sockets: TCP as programs see it. A socket is a connection, or a listener, or neither yet.

    bind ──► listen ──► accept ──► a new socket, connected
      └────► connect ──────────────► connected: send, recv, shutdown, close

Errors are told once: what ended a connection is raised by the next call, or read by SO_ERROR, and then
forgotten, as BSD does. Chapter 25 of the book.
"""

from __future__ import annotations

import errno
import os
import socket as posix
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.units import MILLISECOND, SECOND
from labstack.sockets.info import TcpInfo, tcp_info
from labstack.sockets.options import NO_LINGER, c_int
from labstack.sockets.socket import (
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITALL,
    Address,
    Socket,
    error,
)
from labstack.transport.ports import Binding
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion.names import CONTROLS, by_name
from labstack.transport.tcp.connection import Connection
from labstack.transport.tcp.listener import Listener
from labstack.transport.tcp.states import State

if TYPE_CHECKING:
    from labstack.sockets.stack import Stack

T = TypeVar("T")
MUCH = 65536
"""Who sends so many bytes at once lends a hand with the acknowledgements."""
_LINGERING = frozenset({State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK})
"""Closed by the program, and something of ours is not acknowledged yet."""
_TIMERS = {
    "TCP_KEEPIDLE": ("keepalive_idle", SECOND),
    "TCP_KEEPINTVL": ("keepalive_interval", SECOND),
    "TCP_KEEPCNT": ("keepalive_probes", 1),
    "TCP_USER_TIMEOUT": ("user_timeout", MILLISECOND),
    "TCP_SYNCNT": ("syn_retries", 1),
}
"""Options that are a constant of TCP's: which one, and the unit that programs count it in."""


class StreamSocket(Socket):
    """SOCK_STREAM: a TCP socket."""

    kind = "stream"

    def __init__(self, stack: Stack, proto: int = 0) -> None:
        super().__init__(stack, posix.SOCK_STREAM, proto)
        self._binding: Binding | None = None
        self._connection: Connection | None = None
        self._listener: Listener | None = None
        self._config: TcpConfig = stack.tcp.config
        self._connecting = False

    # --- what it is
    def readable(self) -> bool:
        if self._closed:
            return False
        if self._listener is not None:
            return bool(self._listener.ready)
        connection = self._connection
        # Without a connection the call would fail at once: no waiting either.
        return connection is None or self._read_shut or connection.can_read()

    def writable(self) -> bool:
        """A third of the buffer is free, as on Linux, or a `connect` is through, well or badly."""
        if self._closed or self._listener is not None:
            return False
        return self._connection is None or self._connection.can_write()

    def waiters(self, reading: bool, writing: bool) -> list[Waiters]:
        found = [self._changed]
        if self._connection is not None:
            if reading:
                found.append(self._connection.readable)
            if writing:
                found.append(self._connection.writable)
        elif reading and self._listener is not None:
            found.append(self._listener.readable)
        return found

    def _local(self) -> tuple[IPAddress, int] | None:
        part = self._connection or self._listener
        if part is not None:
            return part.local
        binding = self._binding
        return (binding.address, binding.port) if binding is not None else None

    def _peer(self) -> tuple[IPAddress, int] | None:
        connection = self._connection
        if connection is None or connection.state in (State.SYN_SENT, State.CLOSED):
            return None
        return connection.peer

    @property
    def flow(self) -> tuple[IPAddress, int, IPAddress, int] | None:
        connection = self._connection
        return (*connection.local, *connection.peer) if connection is not None else None

    def _state(self) -> str:
        if self._connection is not None:
            return f" → {self._connection.names['peer']} {self._connection.state.value}"
        return " LISTEN" if self._listener is not None else ""

    def _take_error(self) -> int:
        connection = self._connection
        if connection is None:
            return 0
        number, connection.error = connection.error, 0
        return number

    # --- options
    def _set(self, name: str, value: int) -> None:
        super()._set(name, value)
        match name:
            case "SO_RCVBUF":
                self._configure(receive_buffer=max(value, 1), auto_tuning=False)
            case "SO_SNDBUF":
                self._configure(send_buffer=max(value, 1), send_tuning=False)
            case "TCP_MAXSEG":
                self._config = replace(self._config, mss=value)
            case "TCP_NODELAY":
                self._configure(nagle=not value)
            case "SO_KEEPALIVE":
                self._configure(keepalive=bool(value))
            case "SO_OOBINLINE":
                self._configure(oob_inline=bool(value))
            case "IP_TTL":
                self._configure(ttl=value)
            case "IP_TOS":  # the other two bits are TCP's own, for ECN
                self._settings[name] = value & 0xFC
                self._configure(dscp=value >> 2)
            case "TCP_QUICKACK":
                self._settings[name] = int(bool(value))
                self._configure(delayed_ack=0 if value else self._stack.tcp.config.delayed_ack)
            case _ if name in _TIMERS:
                field, unit = _TIMERS[name]
                self._configure(**{field: value * unit or None})
        if self._listener is not None:
            self._listener.config = self._config

    def _set_text(self, name: str, text: str) -> None:
        """TCP_CONGESTION. Raises OSError (ENOENT) for a name that nobody has."""
        if text not in CONTROLS:
            raise error(errno.ENOENT)
        self._configure(congestion=text)
        if self._listener is not None:
            self._listener.config = self._config

    def _configure(self, **constants: Any) -> None:
        """Change constants of this socket, also of the connection that it has already."""
        self._config = replace(self._config, **constants)
        if self._connection is not None:
            with self._driver:
                self._connection.configure(replace(self._connection.config, **constants))

    def _get(self, name: str) -> int | bytes:
        connection, config = self._connection, self._config
        match name:
            case "SO_RCVBUF":
                return config.receive_buffer
            case "SO_SNDBUF":
                return config.send_buffer
            case "TCP_MAXSEG":
                return connection.mss if connection is not None else config.mss or 536
            case "TCP_NODELAY":
                return int(not config.nagle)
            case "SO_ACCEPTCONN":
                return int(self._listener is not None)
            case "SO_PROTOCOL":
                return int(posix.IPPROTO_TCP)
            case "SO_LINGER":
                return self._settings.get(name, NO_LINGER)
            case "TCP_CONGESTION":
                made_by = by_name(config.congestion)
                own = getattr(made_by, "__name__", type(made_by).__name__).lower()
                return own.encode().ljust(16, b"\0")
            case "TCP_INFO":
                return self.info().pack()
            case "IP_MTU":
                if connection is None:
                    raise error(errno.ENOTCONN)
                return self._stack.ip.mtu(connection.peer[0]) + 20
            case "SO_KEEPALIVE":
                return int(config.keepalive)
            case "TCP_QUICKACK":
                return self._settings.get(name, 1)
            case _ if name in _TIMERS:
                field, unit = _TIMERS[name]
                return (getattr(config, field) or 0) // unit
        return super()._get(name)

    def info(self) -> TcpInfo:
        self._check_open()
        with self._driver:
            return tcp_info(self._connection, State.LISTEN if self._listener else State.CLOSED)

    # --- opening
    def bind(self, address: Address) -> None:
        self._check_open()
        local = self._resolve(address, "bind")
        if self._binding is not None or self._connection is not None:
            raise error(errno.EINVAL)
        reuse, share = bool(self._settings.get("SO_REUSEADDR")), bool(self._settings.get("SO_REUSEPORT"))
        with self._driver:
            self._binding = self._stack.tcp.bind(*local, reuse, share)

    def listen(self, backlog: int = 128) -> None:
        self._check_open()
        if self._connection is not None:
            raise error(errno.EINVAL)
        with self._driver:
            if self._listener is not None:
                self._listener.backlog = max(backlog, 1)
                return
            if self._binding is None:
                self._binding = self._stack.tcp.bind()
            self._listener = self._stack.tcp.listen(self._binding, backlog, self._config)
            self._changed.wake()

    def accept(self) -> tuple[Socket, Address]:
        self._check_open()
        listener = self._listener
        if listener is None:
            raise error(errno.EINVAL)
        connection = self._when(
            lambda: bool(listener.ready) or listener.state is State.CLOSED,
            listener.accept,
            listener.readable,
            f"a connection to port {listener.local[1]}",
        )
        if connection is None:
            raise error(errno.EBADF if self._closed else errno.EINVAL)
        new = StreamSocket(self._stack, self.proto)
        new._connection = connection
        new._config = connection.config
        new._settings.update(self._settings)
        return new, (str(connection.peer[0]), connection.peer[1])

    def connect(self, address: Address) -> None:
        """Waits for the handshake; a socket that does not block raises BlockingIOError, and is writable when
        it is through. A failed attempt may be followed by another."""
        self._check_open()
        peer = self._destination(address, "connect")
        if self._listener is not None:
            raise error(errno.EISCONN)
        new = self._connection is None
        if new:
            self._start_connecting(peer)
            if self._timeout == 0:
                raise BlockingIOError(errno.EINPROGRESS, os.strerror(errno.EINPROGRESS))
        elif not self._connecting:
            raise error(errno.EISCONN)
        connection = self._connection
        assert connection is not None
        if connection.opening and self._timeout == 0:
            raise error(errno.EALREADY)
        opening = new or connection.opening
        who = f"{connection.names['peer']} to agree"
        self._when(
            lambda: not connection.opening, lambda: None, connection.writable, who, limit="SO_SNDTIMEO"
        )
        self._connecting = False
        if connection.state is State.CLOSED:
            # Closed without an error: by a reset that SO_ERROR has told already, or by another thread.
            number = self._take_error() or errno.ECONNABORTED
            self._connection = None
            raise error(number)
        if not opening:
            raise error(errno.EISCONN)

    def _start_connecting(self, peer: tuple[IPAddress, int]) -> None:
        local = (self._binding.address, self._binding.port) if self._binding is not None else None
        with self._driver:
            self._call("connect", to=f"{peer[0]}:{peer[1]}")
            try:
                self._connection = self._stack.tcp.connect(peer, local, self._config)
                self._connecting = True
                self._changed.wake()
            finally:
                self._stack.events.cause = 0

    # --- sending
    def send(self, data: Buffer, flags: int = 0) -> int:
        """Queue `data` for sending, and return how many bytes were taken: all of them if the socket blocks;
        with a time-out or without blocking, as many as there is room for, at least one."""
        view = memoryview(data).cast("B")
        return self._send_all(view, flags, None, self._timeout is None and not flags & MSG_DONTWAIT)

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        view = memoryview(data).cast("B")
        deadline = None
        if self._timeout:
            deadline = self._driver.now + round(self._timeout * SECOND)
        at = self._send_all(view, flags, deadline, False)
        while at < len(view):
            at += self._send_all(view[at:], flags, deadline, False)

    def _send_to(self, data: Buffer, flags: int, address: Address) -> int:
        # A stream goes to its peer, whatever the address says.
        self._destination(address, "sendto")
        return self.send(data, flags)

    def _send_all(self, view: memoryview, flags: int, deadline: int | None, whole: bool) -> int:
        connection = self._sending()
        urgent = bool(flags & MSG_OOB)

        def write() -> int:
            if at and (connection.error or not connection.state.can_send):
                return 0  # the next call hears of it; what was taken is told first
            self._raise_error()
            self._call("send", length=len(view) - at)
            try:
                return connection.write(view[at:] if at else view, urgent)
            finally:
                self._stack.events.cause = 0

        at = 0
        while True:
            if not connection.opening and (connection.has_room() or not len(view)):
                with self._driver:
                    taken = write()
                    self._driver.carry_on(taken >= MUCH)
            else:
                what = f"room to send to {connection.names['peer']}"
                ready, wakes = connection.can_write, connection.writable
                taken = self._when(ready, write, wakes, what, flags, "SO_SNDTIMEO", deadline)
            at += taken
            if not whole or not taken or at == len(view):
                return at

    def _sending(self) -> Connection:
        self._check_open()
        if self._connection is None:
            raise error(errno.EPIPE)  # as Linux has it; POSIX says ENOTCONN
        return self._connection

    # --- receiving
    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Up to `bufsize` bytes, at least one; b"" when the peer has closed its direction. With MSG_WAITALL,
        all of them, if the socket blocks and the stream does not end before."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if flags & MSG_OOB:
            return self._receive_urgent(flags)[:bufsize]
        if not bufsize:
            return b""
        if flags & MSG_WAITALL and self._timeout is None and not flags & MSG_DONTWAIT:
            return self._receive_all(bufsize, flags)
        peek = bool(flags & MSG_PEEK)
        return self._take(lambda connection: connection.read(bufsize, peek), b"", flags)

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        if flags:
            return super().recv_into(buffer, nbytes, flags)
        view = self._room_in(buffer, nbytes)
        return self._take(lambda connection: connection.read_into(view), 0, 0) if len(view) else 0

    def _receive(self, size: int, flags: int) -> tuple[bytes, Address | None, int]:
        return self.recv(size, flags), None, 0

    def _receive_urgent(self, flags: int) -> bytes:
        """MSG_OOB: the peer's urgent byte, once, without waiting. Raises OSError: EINVAL if there is none, it
        was read already, or it stays in the stream (SO_OOBINLINE); EAGAIN if it is only announced."""
        connection = self._receiving()
        with self._driver:
            urgent = connection.urgent
            if urgent.mark is None or connection.config.oob_inline or urgent.byte == b"":
                raise error(errno.EINVAL)
            if urgent.byte is None:
                raise error(errno.EAGAIN)
            byte = urgent.byte
            if not flags & MSG_PEEK:
                urgent.byte = b""
            return byte

    def sockatmark(self) -> bool:
        """Whether the next byte to be read is the peer's urgent one, or the first behind it (POSIX; on other
        sockets Python programs ask by ioctl SIOCATMARK)."""
        connection = self._receiving()
        with self._driver:
            return connection.urgent.at_mark

    def _receive_all(self, size: int, flags: int) -> bytes:
        """MSG_WAITALL. Where it only looks, it cannot see more than the buffer holds. Woken for half a buffer
        at a time, so that the peer's window does not shut meanwhile."""
        if flags & MSG_PEEK:
            whole = min(size, self._receiving().receiver.limit)
            return self._take(lambda connection: connection.read(size, True), b"", flags, whole)
        pieces: list[bytes] = []
        missing = size
        while missing:
            connection = self._receiving()
            if pieces and connection.error and not connection.receiver.available:
                break  # the next call hears of it
            rest = missing
            enough = max(min(rest, connection.receiver.limit // 2), 1)
            connection.low_water = enough
            try:
                piece = self._take(lambda connection: connection.read(rest, False), b"", flags, enough)  # noqa: B023
            except BlockingIOError:
                with self._driver:  # SO_RCVTIMEO is over: what is there is the answer
                    pieces.append(connection.read(missing))
                if not any(pieces):
                    raise
                break
            finally:
                connection.low_water = 1
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _take(self, take: Callable[[Connection], T], nothing: T, flags: int, least: int = 1) -> T:
        """What `take` finds in the connection, as soon as there are `least` bytes; `nothing` at the stream's
        end."""
        connection = self._receiving()
        receiver = connection.receiver

        def ready() -> bool:
            if self._read_shut or receiver.available >= least:
                return True
            return connection.can_read() and (least == 1 or not connection.state.can_receive)

        def act() -> T:
            if not receiver.available:
                # What came after the end was read: that it ended is the answer, now and later.
                if not self._read_shut and not receiver.finished:
                    self._raise_error()
                return nothing
            self._call("recv")
            try:
                return take(connection)
            finally:
                self._stack.events.cause = 0

        return self._when(ready, act, connection.readable, f"bytes from {connection.names['peer']}", flags)

    def _receiving(self) -> Connection:
        self._check_open()
        if self._connection is None:
            raise error(errno.ENOTCONN)
        return self._connection

    # --- the end
    def shutdown(self, how: int) -> None:
        """SHUT_WR sends a FIN behind the last byte. A listener that is shut down listens no more."""
        self._check_open()
        if c_int(how) not in (posix.SHUT_RD, posix.SHUT_WR, posix.SHUT_RDWR):
            raise error(errno.EINVAL)
        connection, listener = self._connection, self._listener
        if listener is not None:
            if how != posix.SHUT_WR:
                with self._driver:
                    listener.close()
                    self._listener = None
                    self._changed.wake()
            return
        if connection is None or connection.state is State.CLOSED:
            raise error(errno.ENOTCONN)
        with self._driver:
            if how != posix.SHUT_WR:
                self._read_shut = True
                connection.readable.wake()
            if how != posix.SHUT_RD:
                self._call("shutdown")
                connection.shutdown()
                self._stack.events.cause = 0

    def close(self) -> None:
        """Let go. What was written is still delivered, unless SO_LINGER with 0 seconds asks for a reset; with
        more, `close` waits so long for the peer to acknowledge it."""
        already = self._closed
        super().close()
        linger, connection = self._settings.get("SO_LINGER", NO_LINGER), self._connection
        if already or not self._closed or connection is None or self._copies[0] or linger <= 0:
            return
        what = f"{connection.names['peer']} to acknowledge everything"
        done = [connection.writable]
        self._driver.block(lambda: connection.state not in _LINGERING, done, linger * SECOND, what)

    def _let_go(self) -> None:
        connection, listener = self._connection, self._listener
        if connection is not None:
            if self._settings.get("SO_LINGER", NO_LINGER) == 0 and not connection.orphan:
                connection.orphan = True
                connection.abort()
            else:
                connection.close()
        if listener is not None:
            listener.close()
        if self._binding is not None:
            self._stack.tcp.release(self._binding)
