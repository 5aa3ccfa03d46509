"""Datagram sockets: UDP, and raw IP. What is sent together arrives together, or not at all.

    UDP    payloads of one port; the socket gets a port when it first sends, if it was not bound
    raw    whole IP datagrams of one protocol, headers included: copies of what the host itself handles too

A raw socket is not `host.raw()`, which takes the datagrams away from the host's own transport. Chapters 16
and 25 of the book.
"""

from __future__ import annotations

import errno
import socket as posix
from typing import TYPE_CHECKING

from labstack.core.addresses import ANY, IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.events import Rule
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import IPv4 as IPv4Header
from labstack.internet.layer import ERRNO, Trouble
from labstack.sockets.multicast import ADD, DROP, VIA, Memberships
from labstack.sockets.options import c_int
from labstack.sockets.socket import LOOPBACK, MSG_OOB, MSG_PEEK, MSG_TRUNC, Address, Socket, error
from labstack.transport.udp import OVERHEAD, QUEUE, Discover, Endpoint

if TYPE_CHECKING:
    from labstack.sockets.stack import Stack

RAW_QUEUE_FULL = Rule(
    "raw.queue_full", "the program does not read: its raw socket's queue is full, and the copy is dropped"
)
_LASTING = {Trouble.PORT_UNREACHABLE, Trouble.PROTOCOL_UNREACHABLE, Trouble.PROHIBITED}
Place = tuple[IPAddress, int]


class DatagramSocket(Socket):
    """SOCK_DGRAM: a UDP socket."""

    kind = "datagram"

    def __init__(self, stack: Stack, type: int = posix.SOCK_DGRAM, proto: int = 0) -> None:
        super().__init__(stack, type, proto)
        self._endpoint: Endpoint | None = None
        self._bound_to: IPAddress = ANY
        self._write_shut = False
        self._groups = Memberships(stack.ip)

    # --- what it is
    def readable(self) -> bool:
        endpoint = self._endpoint
        if self._closed or endpoint is None:
            return False
        return bool(endpoint.queue) or bool(endpoint.error) or self._read_shut

    def writable(self) -> bool:
        return not self._closed

    def waiters(self, reading: bool, writing: bool) -> list[Waiters]:
        endpoint = self._endpoint
        return [self._changed, endpoint.readable] if reading and endpoint is not None else [self._changed]

    def _local(self) -> Place | None:
        return self._endpoint.local if self._endpoint is not None else None

    def _peer(self) -> Place | None:
        return self._endpoint.peer if self._endpoint is not None else None

    @property
    def flow(self) -> tuple[IPAddress, int, IPAddress, int] | None:
        endpoint = self._endpoint
        return (*endpoint.local, *endpoint.peer) if endpoint is not None and endpoint.peer else None

    def _take_error(self) -> int:
        endpoint = self._endpoint
        if endpoint is None:
            return 0
        number, endpoint.error = endpoint.error, 0
        return number

    def setsockopt(
        self, level: int, name: int, value: int | Buffer | None, optlen: int | None = None
    ) -> None:
        """As every socket's; and the options of multicast, whose values name a group and an interface."""
        if level != posix.IPPROTO_IP or name not in (ADD, DROP, VIA):
            super().setsockopt(level, name, value, optlen)
            return
        self._check_open()
        with self._driver:
            self._groups.set(name, value)
        self._apply()

    def _set(self, name: str, value: int) -> None:
        super()._set(name, value)
        self._apply()

    def _apply(self) -> None:
        endpoint = self._endpoint
        if endpoint is not None:
            with self._driver:
                endpoint.broadcast = bool(self._settings.get("SO_BROADCAST"))
                endpoint.ttl = self._settings.get("IP_TTL", 64)
                endpoint.group_ttl = self._settings.get("IP_MULTICAST_TTL", 1)
                endpoint.group_source = self._groups.source
                endpoint.loop = bool(self._settings.get("IP_MULTICAST_LOOP", 1))
                endpoint.tos = self._settings.get("IP_TOS", 0)
                endpoint.discover = Discover(self._settings.get("IP_MTU_DISCOVER", 0))
                endpoint.hears_all = bool(self._settings.get("IP_RECVERR"))
                endpoint.queue_limit = max(self._settings.get("SO_RCVBUF", QUEUE), 1)

    def _get(self, name: str) -> int | bytes:
        match name:
            case "SO_RCVBUF" | "SO_SNDBUF":
                return self._settings.get(name, QUEUE)
            case "SO_PROTOCOL":
                return self.proto or int(posix.IPPROTO_UDP)
            case "SO_LINGER":
                return self._settings.get(name, -1)
            case "IP_MULTICAST_TTL" | "IP_MULTICAST_LOOP":
                return self._settings.get(name, 1)
            case "IP_MULTICAST_IF":
                return bytes(self._groups.source)
            case "IP_MTU":
                peer = self._peer()
                if peer is None:
                    raise error(errno.ENOTCONN)
                return self._stack.ip.mtu(peer[0]) + 20
        return super()._get(name)

    # --- opening
    def _open(self, address: IPAddress = ANY, port: int = 0) -> Endpoint:
        """The endpoint; a new one at this address if there is none yet."""
        if self._endpoint is None:
            self._endpoint = self._make(address, port)
            self._bound_to = address
            self._apply()
            self._changed.wake()
        return self._endpoint

    def _make(self, address: IPAddress, port: int) -> Endpoint:
        reuse, share = bool(self._settings.get("SO_REUSEADDR")), bool(self._settings.get("SO_REUSEPORT"))
        return self._stack.udp.bind(address, port, reuse, share)

    def bind(self, address: Address) -> None:
        self._check_open()
        local = self._resolve(address, "bind")
        if self._endpoint is not None:
            raise error(errno.EINVAL)
        with self._driver:
            self._open(*local)

    def connect(self, address: Address) -> None:
        """Fix the peer: only what it sends is received, and errors about what is sent to it are heard."""
        self._check_open()
        peer = self._destination(address, "connect")
        with self._driver:
            source = self._stack.ip.source_for(peer[0])
            endpoint = self._open()
            endpoint.peer = peer
            if self._bound_to == ANY:
                endpoint.local = source, endpoint.local[1]

    # --- sending
    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send one datagram to the peer. Raises OSError (EDESTADDRREQ) if none is fixed."""
        return self._send_one(data, flags, None)

    def _send_to(self, data: Buffer, flags: int, address: Address) -> int:
        self._check_open()
        return self._send_one(data, flags, self._destination(address, "sendto"))

    def _send_one(self, data: Buffer, flags: int, to: Place | None) -> int:
        self._check_open()
        if flags & MSG_OOB:
            raise error(errno.EOPNOTSUPP)
        view = memoryview(data).cast("B")
        with self._driver:
            self._raise_error()
            if self._write_shut:
                raise error(errno.EPIPE)
            target = to or self._peer()
            if target is None:
                raise error(errno.EDESTADDRREQ)
            endpoint = self._open()
            self._call("sendto", length=len(view))
            try:
                endpoint.send(view, target)
            finally:
                self._stack.events.cause = 0
        return len(view)

    # --- receiving
    def _receive(self, size: int, flags: int) -> tuple[bytes, Address | None, int]:
        self._check_open()
        if flags & MSG_OOB:
            raise error(errno.EOPNOTSUPP)
        self._wait_for_endpoint(flags)
        endpoint = self._endpoint
        if endpoint is None:
            raise error(errno.EBADF)

        def take() -> tuple[bytes, Address | None, int]:
            self._raise_error()
            if not endpoint.queue:
                if self._read_shut and not endpoint.closed:
                    return b"", None, 0
                raise error(errno.EBADF)
            data, (address, port) = endpoint.queue[0] if flags & MSG_PEEK else endpoint.take()
            return data[:size], (str(address), port), MSG_TRUNC if len(data) > size else 0

        return self._when(
            lambda: bool(endpoint.queue) or bool(endpoint.error) or endpoint.closed or self._read_shut,
            take,
            endpoint.readable,
            f"a datagram for {self._place()}",
            flags,
        )

    def _wait_for_endpoint(self, flags: int) -> None:
        """Without a port nothing can come; but another thread may get one by sending."""
        if self._endpoint is None:
            self._when(
                lambda: self._endpoint is not None or self._closed,
                lambda: None,
                self._changed,
                "a port, and a datagram for it",
                flags,
            )

    def _place(self) -> str:
        return f"port {self._endpoint.local[1]}" if self._endpoint is not None else "no port"

    # --- the end
    def shutdown(self, how: int) -> None:
        """Nothing is sent, but calls return: `recv` with b"", `send` with EPIPE."""
        self._check_open()
        if c_int(how) not in (posix.SHUT_RD, posix.SHUT_WR, posix.SHUT_RDWR):
            raise error(errno.EINVAL)
        endpoint = self._endpoint
        if endpoint is None or endpoint.peer is None:
            raise error(errno.ENOTCONN)
        with self._driver:
            if how != posix.SHUT_WR:
                self._read_shut = True
                endpoint.readable.wake()
            if how != posix.SHUT_RD:
                self._write_shut = True

    def _let_go(self) -> None:
        self._groups.close()
        if self._endpoint is not None:
            self._endpoint.close()


class RawSocket(DatagramSocket):
    """SOCK_RAW: the IP datagrams of one protocol number, `proto`. Ports mean nothing here: they are 0.

    Received are whole datagrams, header first. Sent is what comes behind the header; with IP_HDRINCL (and for
    IPPROTO_RAW) the program writes the header too, of which destination, source, protocol, TTL and TOS count.
    """

    kind = "raw"

    def __init__(self, stack: Stack, proto: int) -> None:
        super().__init__(stack, posix.SOCK_RAW, proto)
        if proto == posix.IPPROTO_RAW:
            self._settings["IP_HDRINCL"] = 1
        with self._driver:
            self._open()  # it hears from the beginning on

    def _make(self, address: IPAddress, port: int) -> Endpoint:
        return RawEndpoint(self._stack, self.proto, self._settings)

    def bind(self, address: Address) -> None:
        """Hear only what is sent to this own address."""
        self._check_open()
        local, _ = self._resolve(address, "bind")
        if local != ANY and not self._stack.ip.is_own(local):
            raise error(errno.EADDRNOTAVAIL)
        endpoint = self._open()
        with self._driver:
            self._bound_to, endpoint.local = local, (local, 0)

    def connect(self, address: Address) -> None:
        super().connect(address)
        endpoint = self._open()
        assert endpoint.peer is not None
        endpoint.peer = endpoint.peer[0], 0

    @property
    def waiting(self) -> int:
        """Bytes that have come and are not read."""
        return sum(len(data) for data, _ in self._endpoint.queue) if self._endpoint is not None else 0

    def _place(self) -> str:
        return f"protocol {self.proto}"


class RawEndpoint(Endpoint):
    """A raw socket's place in the network layer."""

    def __init__(self, stack: Stack, protocol: int, settings: dict[str, int]) -> None:
        super().__init__((ANY, 0))
        self._stack = stack
        self._protocol = protocol
        self._settings = settings
        stack.ip.onlookers.setdefault(protocol, []).append(self)

    def copy(self, header: IPv4Header, datagram: Buffer) -> None:
        """A datagram of the protocol has arrived."""
        if self.local[0] not in (ANY, header.dst) or (self.peer and self.peer[0] != header.src):
            return
        size = len(datagram)
        if self.queued + size + OVERHEAD > self.queue_limit:
            self._stack.node.drop(RAW_QUEUE_FULL, protocol=self._protocol, length=size)
            return
        self.queue.append((bytes(datagram), (header.src, 0)))
        self.queued += size + OVERHEAD
        self.readable.wake()

    def trouble(self, kind: Trouble, dst: IPAddress) -> bool:
        """A datagram of the protocol, sent to `dst`, ran into trouble. A connected socket hears of what will
        not get better; one with IP_RECVERR of everything."""
        connected = self.peer is not None and self.peer[0] == dst
        mine = self.hears_all or (connected and kind in _LASTING)
        if mine:
            self.error = ERRNO[kind]
            self.readable.wake()
        return mine

    def send(self, data: Buffer, to: Place) -> None:
        """Raises OSError: EINVAL for a header that is none, and what the network layer raises."""
        ip, src = self._stack.ip, self.local[0] if self.local[0] not in (ANY, LOOPBACK) else None
        dst, protocol, ttl, tos = to[0], self._protocol, self.ttl, self.tos
        if self._settings.get("IP_HDRINCL"):
            try:
                header = IPv4Header.parse_quoted(data)
            except HeaderError:
                raise error(errno.EINVAL) from None
            protocol, ttl, tos = header.protocol, header.ttl, header.dscp << 2 | header.ecn
            data = memoryview(data)[header.header_length :]
            src = header.src if header.src != ANY else None
        ip.send(
            dst, protocol, bytes(data), src=src, ecn=tos & 3, ttl=ttl, dscp=tos >> 2,
            may_fragment=self.discover is not Discover.DO, broadcast=self.broadcast,
        )  # fmt: skip

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            others = self._stack.ip.onlookers[self._protocol]
            others.remove(self)
            if not others:
                del self._stack.ip.onlookers[self._protocol]
            self.readable.wake()
