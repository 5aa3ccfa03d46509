"""The BSD socket over labstack's transports: the calls, the errors and the blocking of `socket.socket`.

    socket.py     what every socket has: names, modes, options, readiness, the many faces of send and receive
    stream.py     TCP: connections and listeners
    datagram.py   UDP; and raw sockets, which see whole IP datagrams
    options.py    the table of what setsockopt and getsockopt know

A call does one of three things: it succeeds at once; or it waits until it can, by the driver's `block`; or,
if the socket does not block or its time-out passes, it raises. All of the waiting is in `_when`. Chapter 25
of the book.
"""

from __future__ import annotations

import errno
import operator
import os
import socket as posix
from collections.abc import Callable, Iterable
from copy import copy
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from labstack.core.addresses import ANY, IPAddress, IPv4Address
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.events import Rule
from labstack.core.units import SECOND
from labstack.sockets.options import decode, decode_text, encode, look_up

if TYPE_CHECKING:
    from io import IOBase

    from labstack.sockets.info import TcpInfo
    from labstack.sockets.stack import Stack

CALL = Rule("socket.call", "a program calls", "POSIX.1-2017, sockets")

# As plain numbers: Python's own are enums, whose arithmetic costs more than the call.
MSG_PEEK = int(posix.MSG_PEEK)
MSG_WAITALL = int(posix.MSG_WAITALL)
MSG_DONTWAIT = int(posix.MSG_DONTWAIT)
MSG_TRUNC = int(posix.MSG_TRUNC)
MSG_OOB = int(posix.MSG_OOB)

LOOPBACK = IPv4Address(b"\x7f\0\0\1")

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
    kind = "socket"
    """What it is called when it shows itself."""

    def __init__(self, stack: Stack, type: int, proto: int = 0) -> None:
        self.type = posix.SocketKind(type)
        self.proto = proto
        self._stack = stack
        self._driver = stack.driver
        self._fileno = stack.next_fileno()
        self._timeout = posix.getdefaulttimeout()
        self._inheritable = False
        self._settings: dict[str, int] = {}
        """What `setsockopt` has set, by the option's name."""
        self._read_shut = False
        self._closed = False
        self._io_refs = 0  # open files made by makefile
        self._close_wanted = False
        self._copies = [1]  # how many sockets `dup` has made of it, itself included
        self._changed = Waiters()
        stack.sockets[self._fileno] = self

    # --- readiness, for selectors
    def readable(self) -> bool:
        """`recv`, `recvfrom` or `accept` would not wait: something is there, or the end, or an error."""
        raise NotImplementedError

    def writable(self) -> bool:
        """It is worth calling `send`, or a `connect` that did not wait is through, well or badly."""
        raise NotImplementedError

    def waiters(self, reading: bool, writing: bool) -> list[Waiters]:
        """What wakes when `readable()`, or `writable()`, may have become true. They are emptied by waking:
        who still waits adds itself again."""
        raise NotImplementedError

    # --- names and modes
    def fileno(self) -> int:
        """A number that is this socket's own on this host; −1 when closed. The operating system does not know
        it."""
        return -1 if self._closed else self._fileno

    def settimeout(self, seconds: float | None) -> None:
        """How long calls wait: None for ever, 0 not at all."""
        if seconds is not None and seconds < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = None if seconds is None else float(seconds)
        self._check_open()

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        return self._timeout != 0

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def get_inheritable(self) -> bool:
        """What `set_inheritable` was told: False, if nothing."""
        return self._inheritable

    def set_inheritable(self, inheritable: bool) -> None:
        """Remembered, and without effect: a process that is started shares no sockets with this one."""
        self._inheritable = bool(inheritable)

    def getsockname(self) -> Address:
        """Its own address and port; ("0.0.0.0", 0) before it has one."""
        self._check_open()
        local = self._local()
        return (str(local[0]), local[1]) if local is not None else (str(ANY), 0)

    def getpeername(self) -> Address:
        """The peer's address and port. Raises OSError (ENOTCONN) without one."""
        self._check_open()
        peer = self._peer()
        if peer is None:
            raise error(errno.ENOTCONN)
        return str(peer[0]), peer[1]

    @property
    def flow(self) -> tuple[IPAddress, int, IPAddress, int] | None:
        """By what its connection is known: own address and port, the peer's address and port. Still there
        when it is closed; None if it was never connected."""
        raise NotImplementedError

    # --- options
    def setsockopt(
        self, level: int, name: int, value: int | Buffer | None, optlen: int | None = None
    ) -> None:
        """Set an option of the table in `options.py`, by a number or by the bytes of the C structure. Raises
        OSError: ENOPROTOOPT for one that is not there, EINVAL for a value that it cannot have."""
        self._check_open()
        option = look_up(level, name, self.type)
        if value is None or option.least > option.most:
            raise error(errno.EINVAL if value is None else errno.ENOPROTOOPT)
        if option.format:
            self._set(option.name, decode(option, value))
        else:
            self._set_text(option.name, decode_text(value))

    def getsockopt(self, level: int, name: int, buflen: int = 0) -> Any:
        """An option's value: a number; with `buflen`, the bytes of the C structure, at most so many."""
        self._check_open()
        option = look_up(level, name, self.type, reading=True)
        return encode(option, self._get(option.name), buflen)

    def _set(self, name: str, value: int) -> None:
        """Keep an option; who has more to do about it overrides this."""
        self._settings[name] = value

    def _set_text(self, name: str, text: str) -> None:
        """The same for an option whose value is a text."""
        raise error(errno.ENOPROTOOPT)

    def _get(self, name: str) -> int | bytes:
        match name:
            case "SO_ERROR":
                return self._take_error()
            case "SO_TYPE":
                return int(self.type)
            case "SO_DOMAIN":
                return int(self.family)
            case "IP_TTL":
                return self._settings.get(name, 64)
        return self._settings.get(name, 0)

    def info(self) -> TcpInfo:
        """What TCP knows of the connection: round-trip time, windows, retransmissions. Raises OSError for any
        other socket."""
        raise error(errno.EOPNOTSUPP)

    # --- opening
    def bind(self, address: Address) -> None:
        """Take a local address and port; "" is every own address, port 0 any free port."""
        raise NotImplementedError

    def connect(self, address: Address) -> None:
        """Open a connection (stream), or fix the peer (datagram)."""
        raise NotImplementedError

    def connect_ex(self, address: Address) -> int:
        """`connect`, but an error's number in place of an exception; 0 when it succeeded."""
        try:
            self.connect(address)
        except posix.gaierror:
            raise
        except OSError as caught:
            if isinstance(caught, TimeoutError) and caught.errno is None:
                return errno.EAGAIN
            return caught.errno or errno.EIO
        return 0

    def listen(self, backlog: int = 128) -> None:
        """Let others connect; up to `backlog` connections wait for `accept`."""
        self._check_open()
        raise error(errno.EOPNOTSUPP)

    def accept(self) -> tuple[Socket, Address]:
        """The next connection as a new socket, and the peer's address."""
        self._check_open()
        raise error(errno.EOPNOTSUPP)

    def shutdown(self, how: int) -> None:
        """Close a direction: SHUT_WR says that no more comes, SHUT_RD reads no more, SHUT_RDWR does both."""
        raise NotImplementedError

    # --- sending
    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send to the peer; how many bytes were taken."""
        raise NotImplementedError

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Send all of `data`, waiting for room as often as it takes, but no longer than the time-out."""
        self.send(data, flags)

    def sendto(self, data: Buffer, *args: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`."""
        if len(args) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(args) + 1} given)")
        flags, address = args if len(args) == 2 else (0, args[0])
        return self._send_to(data, flags, address)

    def sendmsg(
        self,
        buffers: Iterable[Buffer],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: Address | None = None,
    ) -> int:
        """Send the buffers one behind the other, as one piece. There is no ancillary data: EINVAL."""
        items = list(ancdata)
        for item in items:
            if not isinstance(item, tuple) or len(item) != 3:
                raise TypeError("[sendmsg() ancillary data] expected a tuple of 3 values")
            operator.index(item[0]), operator.index(item[1]), memoryview(item[2])
        if items:
            raise error(errno.EINVAL)
        data = b"".join(memoryview(part).cast("B") for part in buffers)
        return self.send(data, flags) if address is None else self._send_to(data, flags, address)

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send a file from `offset` on, to its end or `count` bytes; how many that were. The file then stands
        behind the last of them."""
        return self._sendfile_use_send(file, offset, count)

    # Python's own: reads and sends. With sendfile(2), the system would write into a descriptor.
    def _sendfile_use_send(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        return posix.socket._sendfile_use_send(self, file, offset, count)  # type: ignore[attr-defined, no-any-return]

    def _check_sendfile_params(self, *params: Any) -> None:
        posix.socket._check_sendfile_params(self, *params)  # type: ignore[attr-defined]

    def _send_to(self, data: Buffer, flags: int, address: Address) -> int:
        raise NotImplementedError

    # --- receiving
    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Up to `bufsize` bytes: of the stream, b"" at its end; or of one datagram, the rest of which is
        lost."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        return self._receive(bufsize, flags)[0] if bufsize else b""

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """`recv` into a buffer, at most `nbytes` (0: as many as it holds); how many bytes that was."""
        view = self._room_in(buffer, nbytes)
        return _copy(self.recv(len(view), flags), [view])

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Address | None]:
        """`recv`, and who sent it; None on a stream, where that is the peer."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        return self._receive(bufsize, flags)[:2]

    def recvfrom_into(
        self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Address | None]:
        """`recvfrom` into a buffer; how many bytes that was, and who sent them."""
        view = self._room_in(buffer, nbytes)
        data, sender, _ = self._receive(len(view), flags)
        return _copy(data, [view]), sender

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[Any], int, Address | None]:
        """`recvfrom` with flags: (data, no ancillary data, flags, sender). The flag MSG_TRUNC says that the
        datagram was longer."""
        if bufsize < 0 or ancbufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        data, sender, told = self._receive(bufsize, flags)
        return data, [], told, sender

    def recvmsg_into(
        self, buffers: Iterable[bytearray | memoryview], ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[Any], int, Address | None]:
        """`recvmsg` into several buffers, one after the other."""
        if ancbufsize < 0:
            raise ValueError("invalid ancillary data buffer length")
        views = [_writable(buffer) for buffer in buffers]
        data, sender, told = self._receive(sum(map(len, views)), flags)
        return _copy(data, views), [], told, sender

    def _receive(self, size: int, flags: int) -> tuple[bytes, Address | None, int]:
        """Bytes, their sender, and the flags that `recvmsg` tells."""
        raise NotImplementedError

    def _room_in(self, buffer: bytearray | memoryview, nbytes: int) -> memoryview:
        view = _writable(buffer)
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        if nbytes > len(view):
            raise ValueError("buffer too small for requested bytes")
        return view[: nbytes or None]

    # --- files, copies, and the end
    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> IOBase:
        """A file over the stream, as `socket.socket.makefile` gives it."""
        return posix.socket.makefile(self, mode, buffering, **options)  # type: ignore[call-overload, no-any-return]

    def _decref_socketios(self) -> None:
        """A file that `makefile` gave was closed."""
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._close_wanted:
            self.close()

    def dup(self) -> Self:
        """A second socket over the same connection, listener or port, with a number and a time-out of its
        own. What is below is closed with the last of them."""
        self._check_open()
        new = copy(self)
        new._fileno = self._stack.next_fileno()
        new._io_refs = 0
        new._close_wanted = new._inheritable = False
        self._copies[0] += 1
        self._stack.sockets[new._fileno] = new
        return new

    def detach(self) -> int:
        """Close this object, but not what is below it: that waits under its number, which is returned, until
        `host.adopt(number)` or `socket.socket(fileno=number)` takes it up."""
        number = self.fileno()
        if not self._closed:
            self._stack.detached[number] = self._hand_over()
        return number

    def _hand_over(self) -> Self:
        """The same socket as another object. This one is closed."""
        new = self._again()
        self._closed = self._close_wanted = True
        return new

    def _again(self) -> Self:
        """A second object for the same socket: whichever is closed first closes it."""
        new = copy(self)
        new._timeout = posix.getdefaulttimeout()
        new._io_refs = 0
        new._close_wanted = False
        self._stack.sockets[self._fileno] = new
        return new

    def close(self) -> None:
        """Let go. What was written is still delivered; files of `makefile` keep the connection open until
        they close."""
        self._close_wanted = True
        if self._closed or self._io_refs > 0:
            return
        self._closed = True
        self._copies[0] -= 1
        with self._driver:
            self._call("close")
            if not self._copies[0]:
                self._let_go()
            self._changed.wake()
            self._stack.events.cause = 0
        other = self._stack.sockets.pop(self._fileno, self)
        other._closed = other._close_wanted = True

    def _let_go(self) -> None:
        """Close what is below."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return f"<{self.kind} socket, closed>"
        address, port = self.getsockname()
        return f"<{self.kind} socket {address}:{port}{self._state()}>"

    # --- what the kinds have to say
    def _local(self) -> tuple[IPAddress, int] | None:
        raise NotImplementedError

    def _peer(self) -> tuple[IPAddress, int] | None:
        raise NotImplementedError

    def _state(self) -> str:
        return ""

    def _take_error(self) -> int:
        """The number of what went wrong meanwhile, which is then forgotten; 0 for nothing."""
        raise NotImplementedError

    # --- how the calls wait
    def _when(
        self,
        ready: Callable[[], bool],
        act: Callable[[], T],
        waiters: Waiters,
        what: str,
        flags: int = 0,
        limit: str = "SO_RCVTIMEO",
        deadline: int | None = None,
    ) -> T:
        """Do `act` as soon as `ready`; wait for it as long as the time-out allows, or until the `deadline`
        that a caller of several such steps has reckoned from it (nanoseconds)."""
        driver, timeout = self._driver, self._timeout
        at_most = None if timeout is None else round(timeout * SECOND)
        patience = self._settings.get(limit, 0) if timeout is None else 0
        if patience:
            at_most = patience
        if at_most is not None and deadline is None:
            deadline = driver.now + at_most
        # Python waits for a socket with a time-out before it makes the call, which so is too late to be told
        # not to wait.
        waits = timeout != 0 if timeout is not None else not flags & MSG_DONTWAIT
        while True:
            if waits and not ready():  # asked without the lock, for that costs; under it again, to be certain
                left = None if deadline is None else max(deadline - driver.now, 0)
                if not driver.block(ready, [waiters], left, what):
                    raise error(errno.EAGAIN) if patience else TimeoutError("timed out")
            with driver:
                if ready():
                    return act()
            if not waits:
                raise error(errno.EAGAIN)

    def _call(self, name: str, **fields: int | str) -> None:
        """What follows is caused by this call of the program's."""
        events = self._stack.events
        if events:
            events.cause = 0
            events.cause = events.emit(CALL, call=name, socket=self._fileno, **fields)

    def _check_open(self) -> None:
        if self._closed:
            raise error(errno.EBADF)

    def _raise_error(self) -> None:
        number = self._take_error()
        if number:
            raise error(number)

    def _resolve(self, address: Any, call: str) -> tuple[IPAddress, int]:
        """An address as programs write it. Raises TypeError, OverflowError or gaierror for what is none."""
        if not isinstance(address, tuple):
            raise TypeError(f"{call}(): AF_INET address must be tuple, not {type(address).__name__}")
        if len(address) != 2:
            raise TypeError("AF_INET address must be a pair (host, port)")
        host, port = address
        if not isinstance(port, int):
            raise TypeError(f"'{type(port).__name__}' object cannot be interpreted as an integer")
        if isinstance(host, bytes | bytearray):
            host = host.decode()
        if not isinstance(host, str):
            raise TypeError(f"str, bytes or bytearray expected, not {type(host).__name__}")
        if not 0 <= port <= 65535:
            raise OverflowError(f"{call}(): port must be 0-65535.")
        return self._stack.resolve("255.255.255.255" if host == "<broadcast>" else host), port

    def _destination(self, address: Any, call: str) -> tuple[IPAddress, int]:
        """The same, to send to: every own address is then the loopback."""
        host, port = self._resolve(address, call)
        return LOOPBACK if host == ANY else host, port


def _writable(buffer: bytearray | memoryview) -> memoryview:
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError(f"read-write bytes-like object needed, not {type(buffer).__name__}")
    return view


def _copy(data: bytes, views: list[memoryview]) -> int:
    """Spread `data` over the buffers; how many bytes that was."""
    at = 0
    for view in views:
        piece = data[at : at + len(view)]
        view[: len(piece)] = piece
        at += len(piece)
    return at


def error(number: int) -> OSError:
    """The exception that Python raises for this number: ConnectionResetError for ECONNRESET, and so on."""
    return OSError(number, os.strerror(number))
