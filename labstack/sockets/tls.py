"""TLS over a socket: a filter between a program and any byte stream.

    plain = a.connect(("b", 443))
    tls = context.wrap_socket(plain, server_hostname="b")     # with `context.sslsocket_class = TLSSocket`

From then on the connection is that of `tls`, and `plain` is closed.

Nothing in TLS needs a descriptor. OpenSSL works between two buffers, and the socket fills the one and empties
the other:

    program ── write ──► ┌─────────┐ ── outgoing ──► socket.send
            ◄── read ─── └─────────┘ ◄─ incoming ─── socket.recv

`SSLContext.wrap_socket` makes whatever its `sslsocket_class` is, so a program gets one of these in place of
an `ssl.SSLSocket` and cannot tell; `with host:` sees to that.
"""

from __future__ import annotations

import errno
import socket as posix
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from labstack.core.units import SECOND
from labstack.sockets.socket import Socket

if TYPE_CHECKING:
    from io import IOBase

T = TypeVar("T")
HEADER = 5
"""Bytes before each record; the last two of them are its length (RFC 8446 §5.1)."""


class TLSSocket:
    """A socket whose bytes are encrypted. Calls, time-outs and errors are those of `ssl.SSLSocket`; the
    time-out counts for each time that the socket below waits, not for the whole call.

    Of a socket that does not block, calls raise SSLWantReadError or SSLWantWriteError, and are to be repeated
    when it is readable or writable.
    """

    def __init__(
        self,
        sock: Socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | None = None,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        assert context is not None
        if sock.type != posix.SOCK_STREAM:
            raise NotImplementedError("only stream sockets are supported")
        if server_side and server_hostname:
            raise ValueError("server_hostname can only be specified in client mode")
        if server_side and session is not None:
            raise ValueError("session can only be specified in client mode")
        if context.check_hostname and not server_hostname:
            raise ValueError("check_hostname requires server_hostname")
        try:
            sock.getpeername()
            connected = True
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            connected = False  # it listens, or will connect
        self.context = context
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.do_handshake_on_connect = do_handshake_on_connect
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self._sock = sock._hand_over()
        self._sock.settimeout(sock._timeout)
        self._session = session
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._header = b""  # what has come of the next record's
        self._left = 0  # bytes of the present record that are still to come
        self._unsent = bytearray()  # encrypted, and not yet taken by the socket
        self._written = 0  # bytes of the program's in `_unsent` whose `write` is still to be repeated
        self._sslobj: ssl.SSLObject | None = None  # by this name programs ask whether there is TLS
        if connected:
            try:
                self._begin()
            except (OSError, ValueError):
                self.close()
                raise

    @classmethod
    def _create(cls, *args: Any, **options: Any) -> TLSSocket:
        """What `SSLContext.wrap_socket` calls."""
        return cls(*args, **options)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What it says that it is: programs ask with `isinstance(…, ssl.SSLSocket)`."""
        return ssl.SSLSocket

    def _begin(self) -> None:
        """The socket below is connected: begin to speak TLS."""
        self._sslobj = self.context.wrap_bio(
            self._incoming, self._outgoing, self.server_side, self.server_hostname, self._session
        )
        if self.do_handshake_on_connect:
            if self._sock.gettimeout() == 0:
                raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
            self.do_handshake()

    # --- opening
    def do_handshake(self, block: bool = False) -> None:
        """Agree on keys with the peer. Raises SSLError, or SSLCertVerificationError, if that fails."""
        timeout = self._sock.gettimeout()
        if timeout == 0 and block:
            self._sock.settimeout(None)
        try:
            self._do(self._object().do_handshake)
        finally:
            self._sock.settimeout(timeout)

    def connect(self, address: tuple[str, int]) -> None:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        self._sock.connect(address)
        self._begin()

    def connect_ex(self, address: tuple[str, int]) -> int:
        try:
            self.connect(address)
        except ssl.SSLError:
            raise
        except OSError as error:
            return error.errno or errno.EAGAIN
        return 0

    def accept(self) -> tuple[TLSSocket, tuple[str, int]]:
        """The next connection, with TLS, and the peer's address."""
        new, address = self._sock.accept()
        options = (True, self.do_handshake_on_connect, self.suppress_ragged_eofs)
        return type(self)._create(new, *options, context=self.context), address

    # --- the stream
    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Up to `len` bytes, decrypted; or how many were put into `buffer`. Nothing at the end."""
        tls = self._object()
        try:
            return self._do(lambda: tls.read(len) if buffer is None else tls.read(len, buffer))
        except ssl.SSLEOFError:
            # The peer closed without saying so in TLS. Many do, and most programs do not mind.
            if not self.suppress_ragged_eofs:
                raise
        except ssl.SSLZeroReturnError:
            pass
        return b"" if buffer is None else 0

    def write(self, data: Any) -> int:
        """Encrypt and send; how many bytes of `data` that was: all, if it waits."""
        tls = self._object()
        if not self._written:
            self._flush()  # room for a little and no more: what is encrypted cannot be taken back
            with memoryview(data) as view:
                if not view.nbytes:
                    return 0
            self._written = self._do(lambda: tls.write(data), flush=False)
        self._flush()
        written, self._written = self._written, 0
        return written

    def send(self, data: Any, flags: int = 0) -> int:
        if self._sslobj is None:
            return self._sock.send(data, flags)
        self._no_flags(flags)
        return self.write(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self._sslobj is None:
            return self._sock.sendall(data, flags)
        self._no_flags(flags)
        with memoryview(data) as view, view.cast("B") as rest:
            at = 0
            while at < len(rest):
                at += self.write(rest[at:])

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        if self._sslobj is None:
            return self._sock.recv(size, flags)
        self._no_flags(flags)
        return bytes(self.read(size))

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        with memoryview(buffer) as view:
            size = nbytes or view.nbytes or 1024
        if self._sslobj is None:
            return self._sock.recv_into(buffer, size, flags)
        self._no_flags(flags)
        return int(self.read(size, buffer))

    def pending(self) -> int:
        """Bytes that are decrypted already: no selector knows of them."""
        return self._sslobj.pending() if self._sslobj is not None else 0

    def makefile(self, mode: str = "r", buffering: int | None = None, **options: Any) -> IOBase:
        return posix.socket.makefile(self, mode, buffering, **options)  # type: ignore[call-overload, no-any-return]

    @property
    def _io_refs(self) -> int:
        """How many files of `makefile` are open: they keep the socket below open, which counts them."""
        return self._sock._io_refs

    @_io_refs.setter
    def _io_refs(self, number: int) -> None:
        self._sock._io_refs = number

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        return posix.socket._sendfile_use_send(self, file, offset, count)  # type: ignore[attr-defined, no-any-return]

    def _check_sendfile_params(self, *args: Any) -> None:
        posix.socket._check_sendfile_params(self, *args)  # type: ignore[attr-defined]

    def sendto(self, *args: Any) -> int:
        raise ValueError("sendto not allowed on instances of TLSSocket")

    def sendmsg(self, *args: Any) -> int:
        raise NotImplementedError("sendmsg not allowed on instances of TLSSocket")

    recvfrom = recvfrom_into = sendto
    recvmsg = recvmsg_into = dup = sendmsg

    # --- the end
    def unwrap(self) -> TLSSocket:
        """Say in TLS that this is the end, hear it from the peer, and go on without: the same socket, in the
        clear."""
        if self._sslobj is None:
            raise ValueError(f"No SSL wrapper around {self}")
        self._do(self._sslobj.unwrap)
        self._sslobj = None
        return self

    def shutdown(self, how: int) -> None:
        self._sslobj = None
        self._sock.shutdown(how)

    def detach(self) -> int:
        self._sslobj = None
        fileno: int = self.__getattr__("detach")()
        return fileno

    def close(self) -> None:
        self._sock.close()
        if self._sock.fileno() < 0:
            self._sslobj = None

    def __enter__(self) -> TLSSocket:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- how it works
    def _object(self) -> ssl.SSLObject:
        if self._sslobj is None:
            self._sock.getpeername()  # says so if it is not connected, or closed
            raise ValueError("Read or write on closed or unwrapped SSL socket.")
        return self._sslobj

    def _do(self, step: Callable[[], T], flush: bool = True) -> T:
        """Take a step of TLS, and carry bytes between it and the socket until the step is done."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
                continue
            except ssl.SSLError:
                # Tell the peer what was wrong, if that can still be done.
                try:
                    self._flush()
                except OSError:
                    pass
                raise
            if flush:
                self._flush()
            return result

    def _fill(self) -> None:
        """Take from the socket at most the rest of one record. What is behind it stays there, so that a
        selector knows of it, and what comes after the end of TLS is not taken for TLS."""
        try:
            came = self._sock.recv(self._left or HEADER - len(self._header))
        except BlockingIOError:
            text = "The operation did not complete (read)"
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, text) from None
        if not came:
            self._incoming.write_eof()
            return
        self._incoming.write(came)
        if self._left:
            self._left -= len(came)
            return
        self._header += came
        if len(self._header) == HEADER:
            self._left = int.from_bytes(self._header[3:])
            self._header = b""

    def _flush(self) -> None:
        """Give what is encrypted to the socket. Another thread may do the same at the same time: the bytes
        leave in the order in which they were encrypted, and the socket takes them while the driver is ours.
        """
        sock = self._sock
        driver = sock._driver

        def ready() -> bool:
            return sock.writable() or sock.fileno() < 0

        while True:
            with driver:
                self._unsent += self._outgoing.read()
                if not self._unsent:
                    return
                if ready():
                    del self._unsent[: sock.send(self._unsent)]
                    continue
            timeout = sock.gettimeout()
            if timeout == 0:
                text = "The operation did not complete (write)"
                raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, text)
            wait = None if timeout is None else round(timeout * SECOND)
            if not driver.block(ready, sock.waiters(False, True), wait, f"room in {sock!r}"):
                raise TimeoutError("The write operation timed out")

    @staticmethod
    def _no_flags(flags: int) -> None:
        if flags:
            raise ValueError("non-zero flags not allowed in calls on TLSSocket")

    # --- what is known
    @property
    def session(self) -> ssl.SSLSession | None:
        return self._sslobj.session if self._sslobj is not None else None

    @session.setter
    def session(self, session: ssl.SSLSession | None) -> None:
        self._session = session
        if self._sslobj is not None:
            self._sslobj.session = session

    def __getattr__(self, name: str) -> Any:
        """What TLS knows (`version`, `cipher`, `getpeercert`, …) if there is TLS, and what the socket below
        knows."""
        if name.startswith("__"):
            raise AttributeError(name)
        tls = self.__dict__.get("_sslobj")
        if name in KNOWN_BY_TLS:
            nothing = None if name == "session_reused" else _nothing
            return getattr(tls, name) if tls is not None else nothing
        return getattr(self.__dict__["_sock"], name)

    def __repr__(self) -> str:
        return f"<TLS over {self._sock!r}>"


KNOWN_BY_TLS = frozenset({
    "version", "cipher", "shared_ciphers", "compression", "selected_alpn_protocol", "getpeercert",
    "get_channel_binding", "session_reused", "verify_client_post_handshake",
})  # fmt: skip


def _nothing(*args: object) -> None:
    """What a TLS that has not begun knows."""


def either(original: type[ssl.SSLSocket]) -> type:
    """A class for `SSLContext.sslsocket_class` that makes a TLSSocket over ours, and `original` over the
    operating system's."""

    class Either:
        @classmethod
        def _create(cls, sock: Any, *args: Any, **options: Any) -> Any:
            ours = isinstance(sock, Socket | TLSSocket)
            made: Any = TLSSocket if ours else original
            return made._create(sock, *args, **options)

    return Either
