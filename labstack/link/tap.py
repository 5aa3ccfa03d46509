"""The TAP: a network card whose cable ends in a file. What Linux sends on it, we read; what we write, Linux
receives.

    Linux kernel │ tap0 ══ /dev/net/tun │ labstack

Each `read` gives one whole Ethernet frame, each `write` sends one, without preamble and check sequence. In
front of every frame stand ten bytes, the *virtio header*, in which the two ends say what is unfinished about
it:

    flags  gso_type  hdr_len  gso_size  csum_start  csum_offset
     1        1         2        2          2            2       bytes, in the machine's byte order

With `offload` that is where the segment size goes: 64 KB segments cross the TAP in one piece, and nobody
computes a checksum over their payload. Without, the header is all zeros (carrying it costs nothing that can
be measured), and the TAP itself cuts such segments into frames and finishes each, as Linux does in software
for a card that cannot. TCP hands over the same pieces in both cases.

Linux: Documentation/networking/tuntap.rst and <linux/if_tun.h>; the header is that of VIRTIO 1.2 §5.1.6.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from itertools import count

from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.headers.ethernet import LENGTH as IP_AT
from labstack.headers.tcp import CHECKSUM_AT, CWR
from labstack.link.merging import merged, newest
from labstack.physical.device import RECEIVED, SENT, Receive, segment

TUN = "/dev/net/tun"

# From <linux/if_tun.h> and <linux/sockios.h>
TUNSETIFF, TUNGETIFF, TUNSETOFFLOAD = 0x400454CA, 0x800454D2, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO_ECN = 0x01, 0x02, 0x08
SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("16sH22x")

# From <linux/virtio_net.h>
NEEDS_CSUM = 1
GSO_TCPV4, GSO_ECN = 1, 0x80
_VIRTIO = struct.Struct("=BBHHHH")
_FINISHED = bytes(_VIRTIO.size)

MAX_PAYLOAD = 65_535 - 60 - 60
"""What always fits into one IPv4 datagram behind an IP and a TCP header with all their options, in bytes."""
MAX_FRAME = 65_535 + 64
"""No frame is longer: an IPv4 datagram, an Ethernet header, and room for tags."""

QUEUE_FULL = Rule("tap.queue_full", "the kernel has no room for another frame: it is dropped")
DOWN = Rule("tap.down", "the TAP is not up on the other side: the frame is dropped")
CLOSED = Rule("tap.closed", "the TAP is closed, or its interface is gone: the frame is dropped")

_DROPPED = {
    errno.EAGAIN: QUEUE_FULL,
    errno.ENOBUFS: QUEUE_FULL,
    errno.ENOMEM: QUEUE_FULL,
    errno.EIO: DOWN,
    errno.EBADF: CLOSED,
    errno.EBADFD if hasattr(errno, "EBADFD") else -1: CLOSED,
}


class Tap:
    """A `Device` (see `physical/device`) on a file descriptor of /dev/net/tun.

    Whoever owns the clock watches `fileno()` and calls `drain()` when there is something to read; `on_close`
    is called just before the descriptor is closed, so that the watching can end first. `node` gets the drops
    and the events. `offloads`: the kernel finishes what is handed over in one piece; else it is done here.
    `merges`: frames that nobody looks at one by one go up as one (see `merging`); who passes them on, rather
    than up, switches it off.
    """

    offload = MAX_PAYLOAD
    merges = True

    def __init__(self, fd: int, name: str, mtu: int, offload: bool = False, mac: MAC | None = None) -> None:
        self.name = name
        self.mtu = mtu
        self.mac = mac or random_mac()
        self.offloads = offload
        self.node: Node | None = None
        self.on_close: Callable[[], None] | None = None
        self._fd = fd
        self._numbers = count(1)
        self._receive: Receive | None = None
        # One buffer for all frames: a fresh one of 64 KB each time would cost more in page faults than all
        # else.
        self._virtio = bytearray(_VIRTIO.size)
        self._frame = memoryview(bytearray(MAX_FRAME))
        self._into: list[Buffer] = [self._virtio, self._frame]
        self._batch: list[list[Buffer]] = []
        self._taken = 0  # frames read since the last call of `drain`

    @classmethod
    def open(cls, name: str = "", *, offload: bool = False, mac: MAC | None = None) -> Tap:
        """Make a TAP called `name` (or as the kernel likes) in this network namespace, or take one that
        stands ready.

        Giving it an address and bringing it up is the other side's business (`ip address add`, `ip link set …
        up`). It vanishes when closed, unless it was made persistent. Raises OSError, in one sentence.
        """
        fd = open_tun()
        try:
            name = attach(fd, name)
            return cls.from_fd(fd, name, _mtu(name), offload, mac)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def from_fd(cls, fd: int, name: str, mtu: int, offload: bool = False, mac: MAC | None = None) -> Tap:
        """A TAP on a descriptor that somebody else opened and attached, with IFF_TAP, IFF_NO_PI and
        IFF_VNET_HDR.

        The descriptor belongs to the Tap from here on. Raises ValueError if its flags are others.
        """
        from fcntl import ioctl

        try:
            _, flags = _IFREQ.unpack(ioctl(fd, TUNGETIFF, bytes(_IFREQ.size)))
        except OSError:
            flags = 0
        wanted = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        if flags & wanted != wanted:
            raise ValueError(
                f"{name} was not opened as a TAP with a virtio header: use Tap.open, or attach(fd, name)"
            )
        ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO_ECN if offload else 0)
        os.set_blocking(fd, False)
        return cls(fd, name, mtu, offload, mac)

    def fileno(self) -> int:
        """The descriptor, readable when a frame waits; -1 once closed."""
        return self._fd

    def attach(self, receive: Receive) -> None:
        self._receive = receive

    # --- in -------------------------------------------------------------------------------------------------

    def drain(self, limit: int = 64) -> int:
        """Hand up the frames that wait, at most `limit`; return how many there were. Where nobody looks at
        them one by one, what can be merged goes up as one.

        Raises OSError when the interface behind the TAP is gone.
        """
        node, receive, fd = self.node, self._receive, self._fd
        self._taken = 0
        frames: Iterator[tuple[Buffer, int]]
        if not self.merges or (node is not None and node.events):
            frames = self._one_by_one(limit)
        else:
            frames = newest(self._one_by_one(limit) if self.offloads else merged(self._all_at_once(limit)))
        for frame, segment_size in frames:
            number = next(self._numbers)
            if receive is None:
                continue
            if node is not None and node.events:
                self._receive_aloud(node, receive, number, frame, segment_size)
            else:
                receive(number, frame, segment_size)
            if self._fd != fd:  # what we handed up led to our being closed
                break
        return self._taken

    def _one_by_one(self, limit: int) -> Iterator[tuple[memoryview, int]]:
        """The frames that wait, at most `limit`, each in the same buffer, with their segment sizes."""
        for _ in range(limit):
            length = self._read(self._into)
            if length < 0:
                return
            yield self._frame[:length], self._unfinished(length) if self._virtio[0] & NEEDS_CSUM else 0

    def _all_at_once(self, limit: int) -> list[memoryview]:
        """The frames that wait, all finished, each in a place of its own."""
        frames: list[memoryview] = []
        while len(frames) < limit:
            if len(frames) == len(self._batch):
                self._batch.append([bytearray(_VIRTIO.size), memoryview(bytearray(MAX_FRAME))])
            into = self._batch[len(frames)]
            length = self._read(into)
            if length < 0:
                break
            frames.append(memoryview(into[1])[:length])
        return frames

    def _read(self, into: list[Buffer]) -> int:
        """Read the next frame; its length, or -1 when none waits."""
        if self._fd < 0:
            return -1
        try:
            length = os.readv(self._fd, into) - _VIRTIO.size
        except BlockingIOError:
            return -1
        except OSError as error:
            if self._taken:
                return -1  # these first; the error will be there the next time
            raise OSError(
                error.errno, f"{self.name} is gone: its network namespace or interface ended"
            ) from None
        self._taken += 1
        return length

    def _receive_aloud(
        self, node: Node, receive: Receive, number: int, frame: Buffer, segment_size: int
    ) -> None:
        events = node.events
        events.cause = events.emit(RECEIVED, number=number, device=self.name, frame=bytes(frame))
        try:
            receive(number, frame, segment_size)
        finally:
            events.cause = 0

    def _unfinished(self, length: int) -> int:
        """The segment size, never 0, of the frame in the buffer, whose checksum nobody has computed."""
        gso_size: int
        start: int
        _, _, _, gso_size, start, offset = _VIRTIO.unpack(self._virtio)
        if gso_size:
            return gso_size
        header = (self._frame[start + 12] >> 4) * 4 if offset == CHECKSUM_AT else 8
        return max(1, length - start - header)

    # --- out ------------------------------------------------------------------------------------------------

    def transmit(self, header: bytes, payload: Buffer, segment_size: int = 0) -> None:
        """Send (see `Device`). What the kernel cannot take is dropped, and counted under the name of a
        rule."""
        if not segment_size:
            self._write(_FINISHED, header, payload, 0)
        elif self.offloads:
            self._write(_virtio_header(header, payload, segment_size), header, payload, segment_size)
        else:
            for front, piece in segment(header, payload, segment_size):
                self._write(_FINISHED, front, piece, 0)

    def _write(self, virtio: bytes, header: bytes, payload: Buffer, segment_size: int) -> None:
        number = next(self._numbers)
        node = self.node
        if node is not None and node.events:
            frame = b"".join((header, payload))
            node.events.emit(SENT, number=number, device=self.name, frame=frame, segment_size=segment_size)
        try:
            os.writev(self._fd, (virtio, header, payload))
        except OSError as error:
            rule = _DROPPED.get(error.errno or 0)
            if rule is None:
                raise
            if node is not None:
                node.drop(rule, number=number)

    def close(self) -> None:
        """Close the descriptor. What is sent afterwards is dropped. Closing twice does nothing."""
        if self._fd < 0:
            return
        if self.on_close is not None:
            self.on_close()
        fd, self._fd = self._fd, -1
        os.close(fd)

    def __repr__(self) -> str:
        how = " with offload" if self.offloads else ""
        return f"<TAP {self.name}{how}{' (closed)' if self._fd < 0 else ''}>"


def _virtio_header(header: bytes, payload: Buffer, segment_size: int) -> bytes:
    """What is left to do: the checksum, and cutting where the payload is longer than one segment."""
    tcp_at = IP_AT + (header[IP_AT] & 0xF) * 4
    if len(payload) <= segment_size:
        return _VIRTIO.pack(NEEDS_CSUM, 0, 0, 0, tcp_at, CHECKSUM_AT)
    # The piece behind the first must not repeat CWR (RFC 3168 §6.1.2); whoever cuts has to be told.
    kind = GSO_TCPV4 | GSO_ECN if header[tcp_at + 13] & CWR else GSO_TCPV4
    return _VIRTIO.pack(NEEDS_CSUM, kind, len(header), segment_size, tcp_at, CHECKSUM_AT)


def random_mac() -> MAC:
    """An address of our own making: unicast, and marked as locally administered (IEEE 802 §8.4)."""
    first, *rest = os.urandom(6)
    return MAC(bytes([first & 0xFC | 0x02, *rest]))


def open_tun() -> int:
    """A fresh descriptor of /dev/net/tun, bound to the network namespace of the caller. Raises OSError."""
    try:
        return os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, why_no_tun(error.errno)) from None


def why_no_tun(code: int | None) -> str:
    """Why /dev/net/tun cannot be opened, and what to do, in one sentence."""
    if code in (errno.EACCES, errno.EPERM):
        return f"{TUN} may not be opened by this user: let root run `chmod 666 {TUN}`, or run as root"
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"there is no {TUN}: `modprobe tun`, or start the container with `--device {TUN}`"
    return f"{TUN} cannot be opened: {os.strerror(code or 0)}"


def attach(fd: int, name: str = "") -> str:
    """Make the descriptor a TAP called `name`; return the name that the kernel gave. Raises OSError, in one
    sentence.

    It appears in the network namespace in which the descriptor was opened, whichever we are in.
    """
    from fcntl import ioctl

    raw = name.encode()
    if len(raw) > 15:
        raise OSError(errno.EINVAL, f"{name!r} is too long for the name of an interface: 15 bytes at most")
    try:
        answer = ioctl(fd, TUNSETIFF, _IFREQ.pack(raw, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    except OSError as error:
        raise OSError(error.errno, _why_no_tap(error.errno, name)) from None
    found: bytes = _IFREQ.unpack(answer)[0]
    return found.rstrip(b"\0").decode()


def _why_no_tap(code: int | None, name: str) -> str:
    if code == errno.EBUSY:
        return f"the TAP {name} is in use by another program: close that, or take another name"
    if code == errno.EPERM:
        return f"making the TAP {name} needs CAP_NET_ADMIN: use LinuxPeer, or run as root"
    if code == errno.EINVAL:
        return f"{name!r} cannot be a TAP: there is another interface of that name, or it is no name for one"
    return f"the TAP {name} cannot be made: {os.strerror(code or 0)}"


def _mtu(name: str) -> int:
    """The MTU of an interface in this network namespace, in bytes."""
    import socket
    from fcntl import ioctl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = ioctl(any_socket, SIOCGIFMTU, struct.pack("16si20x", name.encode(), 0))
    mtu: int = struct.unpack("16si20x", answer)[1]
    return mtu
