"""Packet sockets: whole frames of the host's interfaces, as they come and go. Linux's AF_PACKET, packet(7).

    s = host.socket(SOCK_RAW, htons(ETH_P_ALL), AF_PACKET)     # every frame, its header first
    s = host.socket(SOCK_DGRAM, htons(0x0806), AF_PACKET)      # the inside of every ARP frame that comes

They see copies: the layers above get each frame all the same. Addresses are (interface, EtherType, kind,
hardware type, MAC address). A socket for every EtherType also sees what the host sends, but not what it sends
itself. What a host sends to itself touches no link, so no frame of it is seen. Nobody needs a permission: a
host has one user. Chapter 04 of the book.
"""

from __future__ import annotations

import errno
import socket as posix
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from labstack.core.addresses import BROADCAST, MAC
from labstack.core.checksum import Buffer
from labstack.core.clock import Waiters
from labstack.core.events import Rule
from labstack.headers.ethernet import LENGTH
from labstack.link.ethernet import Interface
from labstack.sockets.socket import MSG_PEEK, MSG_TRUNC, Socket, error
from labstack.transport.udp import OVERHEAD, QUEUE

if TYPE_CHECKING:
    from labstack.sockets.stack import Stack

QUEUE_FULL = Rule(
    "packet.queue_full",
    "the program does not read: its packet socket's queue is full, and the copy is dropped",
)

ETH_P_ALL = 3
ETH_P_802_2 = 4
"""What a frame counts as in which a length stands in the EtherType's place (IEEE 802.3)."""
SMALLEST_ETHERTYPE = 0x600
ARPHRD_ETHER = 1
HOST, TO_ALL, TO_GROUP, TO_OTHERS, OUTGOING = range(5)  # PACKET_HOST and so on

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP = 1, 2
PACKET_MR_PROMISC = 1
_MEMBERSHIP = struct.Struct("iHH8s")  # struct packet_mreq: interface, what, length, address

PacketAddress = tuple[str, int, int, int, bytes]


class PacketSocket(Socket):
    """AF_PACKET: SOCK_RAW for whole frames, SOCK_DGRAM for what is inside. `proto` is the EtherType in
    network byte order, as for `socket.socket`; 0 hears nothing until `bind` names another."""

    family = posix.AF_PACKET
    kind = "packet"

    def __init__(self, stack: Stack, type: int, proto: int = 0) -> None:
        super().__init__(stack, type, proto)
        self._endpoint = PacketEndpoint(stack, posix.ntohs(proto), whole=type == posix.SOCK_RAW)
        with self._driver:
            stack.watchers.append(self._endpoint.see)

    # --- what it is
    def readable(self) -> bool:
        return bool(self._endpoint.queue) and not self._closed

    def writable(self) -> bool:
        return not self._closed

    def waiters(self, reading: bool, writing: bool) -> list[Waiters]:
        return [self._changed, self._endpoint.readable]

    def getsockname(self) -> Any:
        """(interface, EtherType, 0, hardware type, MAC address); "" before it is bound."""
        self._check_open()
        endpoint = self._endpoint
        if endpoint.interface is None:
            return "", endpoint.ethertype, 0, 0, b""
        return endpoint.interface.name, endpoint.ethertype, 0, ARPHRD_ETHER, bytes(endpoint.interface.mac)

    def getpeername(self) -> Any:
        self._check_open()
        raise error(errno.EOPNOTSUPP)

    flow = None

    def _take_error(self) -> int:
        return 0

    @property
    def waiting(self) -> int:
        """Bytes that have come and are not read."""
        return sum(len(frame) for frame, _ in self._endpoint.queue)

    def __repr__(self) -> str:
        if self._closed:
            return "<packet socket, closed>"
        name, ethertype, *_ = self.getsockname()
        return f"<packet socket {name or 'any interface'} {ethertype:#06x}>"

    # --- options
    def setsockopt(
        self, level: int, name: int, value: int | Buffer | None, optlen: int | None = None
    ) -> None:
        """Options of SOL_SOCKET, and PACKET_ADD_MEMBERSHIP and PACKET_DROP_MEMBERSHIP, by which it sees
        frames for other machines too. Raises OSError: ENODEV without such an interface."""
        self._check_open()
        joins = level == SOL_PACKET and name in (PACKET_ADD_MEMBERSHIP, PACKET_DROP_MEMBERSHIP)
        if not joins:
            if level != posix.SOL_SOCKET:
                raise error(errno.ENOPROTOOPT)
            super().setsockopt(level, name, value, optlen)
            self._endpoint.queue_limit = max(self._settings.get("SO_RCVBUF", QUEUE), 1)
            return
        if value is None or isinstance(value, int) or len(value) < _MEMBERSHIP.size:
            raise error(errno.EINVAL)
        index, what, _, _ = _MEMBERSHIP.unpack_from(value)
        interfaces = list(self._stack.interfaces.values())
        if not 0 < index <= len(interfaces):
            raise error(errno.ENODEV)
        if what != PACKET_MR_PROMISC:
            return  # every frame to a group reaches the host as it is
        with self._driver:
            self._endpoint.overhear(interfaces[index - 1], name == PACKET_ADD_MEMBERSHIP)

    def getsockopt(self, level: int, name: int, buflen: int = 0) -> Any:
        """Options of SOL_SOCKET."""
        self._check_open()
        if level != posix.SOL_SOCKET:
            raise error(errno.ENOPROTOOPT)
        return super().getsockopt(level, name, buflen)

    def _get(self, name: str) -> int | bytes:
        if name in ("SO_RCVBUF", "SO_SNDBUF"):
            return self._settings.get(name, QUEUE)
        return 0 if name == "SO_PROTOCOL" else super()._get(name)

    # --- opening
    def bind(self, address: Any) -> None:
        """Hear one interface only: (interface, EtherType), of which 0 leaves the EtherType as it is. Raises
        OSError (ENODEV)."""
        self._check_open()
        interface, ethertype, _ = self._parse(address, "bind")
        with self._driver:
            self._endpoint.interface = interface
            self._endpoint.ethertype = ethertype or self._endpoint.ethertype

    def connect(self, address: Any) -> None:
        self._check_open()
        raise error(errno.EOPNOTSUPP)

    def shutdown(self, how: int) -> None:
        self._check_open()
        raise error(errno.EOPNOTSUPP)

    # --- sending
    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send a frame out of the interface that it is bound to. Raises OSError (ENXIO) if it is to none."""
        self._check_open()
        if self._endpoint.interface is None:
            raise error(errno.ENXIO)
        return self._transmit(self._endpoint.interface, data, self._endpoint.ethertype, None)

    def _send_to(self, data: Buffer, flags: int, address: Any) -> int:
        self._check_open()
        interface, ethertype, mac = self._parse(address, "sendto")
        return self._transmit(interface, data, ethertype, mac)

    def _transmit(self, interface: Interface, data: Buffer, ethertype: int, mac: bytes | None) -> int:
        """Raises OSError: EINVAL for less than a header, or without an address to put into one; EMSGSIZE for
        more than a frame holds."""
        view = memoryview(data).cast("B")
        front = b""
        if not self._endpoint.whole:
            if mac is None:
                raise error(errno.EINVAL)
            front = b"".join((mac[:6].ljust(6, b"\0"), interface.mac, ethertype.to_bytes(2, "big")))
        elif len(view) < LENGTH:
            raise error(errno.EINVAL)
        if len(front) + len(view) > interface.mtu + LENGTH:
            raise error(errno.EMSGSIZE)
        with self._driver:
            self._call("sendto", length=len(view))
            self._endpoint.sending = True
            try:
                interface.send_frame(front + view)
            finally:
                self._endpoint.sending = False
                self._stack.events.cause = 0
        return len(view)

    def _parse(self, address: Any, call: str) -> tuple[Interface, int, bytes]:
        """The interface, the EtherType and the MAC address of an address as programs write it."""
        if not isinstance(address, tuple):
            raise TypeError(f"{call}(): AF_PACKET address must be tuple, not {type(address).__name__}")
        if not 2 <= len(address) <= 5:
            raise TypeError("AF_PACKET address must be a tuple of two to five elements")
        name, ethertype = address[:2]
        mac = address[4] if len(address) == 5 else b""
        if not 0 <= ethertype <= 0xFFFF:
            raise OverflowError(f"{call}(): proto must be 0-65535.")
        if len(mac) > 8:
            raise ValueError("Hardware address must be 8 bytes or less")
        interface = self._stack.interfaces.get(name)
        if interface is None:
            raise error(errno.ENODEV)
        return interface, ethertype, bytes(mac)

    # --- receiving
    def _receive(self, size: int, flags: int) -> tuple[bytes, Any, int]:
        self._check_open()
        endpoint = self._endpoint

        def take() -> tuple[bytes, Any, int]:
            if not endpoint.queue:
                raise error(errno.EBADF)
            frame, sender = endpoint.queue[0] if flags & MSG_PEEK else endpoint.take()
            return frame[:size], sender, MSG_TRUNC if len(frame) > size else 0

        def ready() -> bool:
            return bool(endpoint.queue) or endpoint.closed

        return self._when(ready, take, endpoint.readable, "a frame", flags)

    def _let_go(self) -> None:
        self._endpoint.close()


class PacketEndpoint:
    """A packet socket's place at the interfaces."""

    def __init__(self, stack: Stack, ethertype: int, whole: bool) -> None:
        self.ethertype = ethertype
        self.interface: Interface | None = None
        self.whole = whole
        self.queue: deque[tuple[bytes, PacketAddress]] = deque()
        self.queued = 0
        self.queue_limit = QUEUE
        self.sending = False
        self.closed = False
        self.readable = Waiters()
        self._stack = stack
        self._overheard: list[Interface] = []

    def see(self, interface: Interface, frame: bytes, outgoing: bool) -> bool:
        """A frame passes an interface (`link/ethernet.Watcher`)."""
        ethertype = frame[12] << 8 | frame[13]
        if ethertype < SMALLEST_ETHERTYPE:
            ethertype = ETH_P_802_2
        meant = ethertype == self.ethertype and not outgoing
        if not (meant or (self.ethertype == ETH_P_ALL and not self.sending)):
            return False
        if self.interface not in (None, interface):
            return False
        data = frame if self.whole else frame[LENGTH:]
        if self.queued + len(data) + OVERHEAD > self.queue_limit:
            self._stack.node.drop(QUEUE_FULL, interface=interface.name, length=len(data))
            return meant
        kind = OUTGOING if outgoing else _kind(frame, interface.mac)
        self.queue.append((data, (interface.name, ethertype, kind, ARPHRD_ETHER, frame[6:12])))
        self.queued += len(data) + OVERHEAD
        self.readable.wake()
        return meant

    def take(self) -> tuple[bytes, PacketAddress]:
        data, sender = self.queue.popleft()
        self.queued -= len(data) + OVERHEAD
        return data, sender

    def overhear(self, interface: Interface, on: bool) -> None:
        """See frames for others too, or no more."""
        if on:
            self._overheard.append(interface)
            interface.overhearing += 1
        elif interface in self._overheard:
            self._overheard.remove(interface)
            interface.overhearing -= 1

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            while self._overheard:
                self.overhear(self._overheard[0], False)
            self._stack.watchers.remove(self.see)
            self.readable.wake()


def _kind(frame: bytes, own: MAC) -> int:
    if frame[:6] == own:
        return HOST
    if frame[:6] == BROADCAST:
        return TO_ALL
    return TO_GROUP if frame[0] & 1 else TO_OTHERS
