"""What `setsockopt` and `getsockopt` know: one line an option, with the C type of its value.

An option that is not here raises ENOPROTOOPT, as on any system that does not have it. Sizes are what the
program asked for; Linux doubles them for its own bookkeeping, and says so. Chapter 25 of the book.
"""

from __future__ import annotations

import errno
import os
import socket as posix
import struct
from dataclasses import dataclass

from labstack.core.checksum import Buffer
from labstack.core.units import MICROSECOND, SECOND

BIG = (1 << 31) - 1
NO_LINGER = -1
"""SO_LINGER is off."""

SO_DOMAIN = 39  # Python's socket module has no name for the two
SO_PROTOCOL = 38
IP_RECVERR = 11
IP_MTU = 14
IP_MTU_DISCOVER = 10

_TCP = frozenset({int(posix.SOCK_STREAM)})
_DATAGRAM = frozenset({int(posix.SOCK_DGRAM), int(posix.SOCK_RAW)})
_ANY = _TCP | _DATAGRAM


@dataclass(slots=True, frozen=True)
class Option:
    """An option: its `name`, the `format` of its C type (see `struct`; "" is a text or a structure as bytes),
    the values it takes (none when `least` > `most`: it can only be read), and the socket types that have
    it."""

    name: str
    format: str = "i"
    least: int = -BIG - 1
    most: int = BIG
    types: frozenset[int] = _ANY


def _read_only(name: str, format: str = "i", types: frozenset[int] = _ANY) -> Option:
    return Option(name, format, 1, 0, types)


SOCKET, IP, TCP = int(posix.SOL_SOCKET), int(posix.IPPROTO_IP), int(posix.IPPROTO_TCP)

TABLE = {
    # --- every socket
    (SOCKET, int(posix.SO_TYPE)): _read_only("SO_TYPE"),
    (SOCKET, SO_DOMAIN): _read_only("SO_DOMAIN"),
    (SOCKET, SO_PROTOCOL): _read_only("SO_PROTOCOL"),
    (SOCKET, int(posix.SO_ERROR)): _read_only("SO_ERROR"),
    (SOCKET, int(posix.SO_ACCEPTCONN)): _read_only("SO_ACCEPTCONN"),
    (SOCKET, int(posix.SO_REUSEADDR)): Option("SO_REUSEADDR"),
    (SOCKET, int(posix.SO_REUSEPORT)): Option("SO_REUSEPORT"),
    (SOCKET, int(posix.SO_KEEPALIVE)): Option("SO_KEEPALIVE"),
    (SOCKET, int(posix.SO_OOBINLINE)): Option("SO_OOBINLINE"),
    (SOCKET, int(posix.SO_BROADCAST)): Option("SO_BROADCAST"),
    (SOCKET, int(posix.SO_RCVBUF)): Option("SO_RCVBUF"),
    (SOCKET, int(posix.SO_SNDBUF)): Option("SO_SNDBUF"),
    (SOCKET, int(posix.SO_LINGER)): Option("SO_LINGER", "ii"),
    (SOCKET, int(posix.SO_RCVTIMEO)): Option("SO_RCVTIMEO", "ll"),
    (SOCKET, int(posix.SO_SNDTIMEO)): Option("SO_SNDTIMEO", "ll"),
    # --- IP
    (IP, int(posix.IP_TTL)): Option("IP_TTL", least=-1, most=255),
    (IP, int(posix.IP_TOS)): Option("IP_TOS"),
    (IP, IP_RECVERR): Option("IP_RECVERR"),
    (IP, IP_MTU_DISCOVER): Option("IP_MTU_DISCOVER", least=0, most=2, types=_DATAGRAM),
    (IP, int(posix.IP_MULTICAST_TTL)): Option("IP_MULTICAST_TTL", least=-1, most=255, types=_DATAGRAM),
    (IP, int(posix.IP_MULTICAST_LOOP)): Option("IP_MULTICAST_LOOP", types=_DATAGRAM),
    (IP, int(posix.IP_MULTICAST_IF)): _read_only("IP_MULTICAST_IF", types=_DATAGRAM),
    (IP, IP_MTU): _read_only("IP_MTU"),
    (IP, int(posix.IP_HDRINCL)): Option("IP_HDRINCL", types=frozenset({int(posix.SOCK_RAW)})),
    # --- TCP
    (TCP, int(posix.TCP_NODELAY)): Option("TCP_NODELAY", types=_TCP),
    (TCP, int(posix.TCP_MAXSEG)): Option("TCP_MAXSEG", least=88, most=32767, types=_TCP),
    (TCP, int(posix.TCP_KEEPIDLE)): Option("TCP_KEEPIDLE", least=1, most=32767, types=_TCP),
    (TCP, int(posix.TCP_KEEPINTVL)): Option("TCP_KEEPINTVL", least=1, most=32767, types=_TCP),
    (TCP, int(posix.TCP_KEEPCNT)): Option("TCP_KEEPCNT", least=1, most=127, types=_TCP),
    (TCP, int(posix.TCP_USER_TIMEOUT)): Option("TCP_USER_TIMEOUT", least=0, types=_TCP),
    (TCP, int(posix.TCP_INFO)): _read_only("TCP_INFO", "", types=_TCP),
    (TCP, int(posix.TCP_CONGESTION)): Option("TCP_CONGESTION", "", types=_TCP),
    (TCP, int(posix.TCP_QUICKACK)): Option("TCP_QUICKACK", types=_TCP),
    (TCP, int(posix.TCP_SYNCNT)): Option("TCP_SYNCNT", least=1, most=127, types=_TCP),
}  # fmt: skip


def look_up(level: int, name: int, type: int, reading: bool = False) -> Option:
    """The option of a socket of this type. Raises OSError: ENOPROTOOPT; reading one of another protocol's,
    EOPNOTSUPP, as Linux does."""
    option = TABLE.get((level, name))
    if option is None or type not in option.types:
        own = (SOCKET, IP, TCP) if type in _TCP else (SOCKET, IP, int(posix.IPPROTO_UDP))
        number = errno.EOPNOTSUPP if reading and level not in own else errno.ENOPROTOOPT
        raise OSError(number, os.strerror(number))
    return option


def decode(option: Option, value: int | Buffer) -> int:
    """The value as one number: a flag or size; for SO_LINGER the seconds, or NO_LINGER; for a time,
    nanoseconds. Raises OSError (EINVAL)."""
    size = struct.calcsize(option.format)
    packed = struct.pack("i", c_int(value)) if isinstance(value, int) else bytes(value)
    if option.name.startswith("IP_") and packed:
        packed = packed if len(packed) >= size else packed[:1].ljust(size, b"\0")  # a byte will do, as by BSD
    if len(packed) < size:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    first, *rest = struct.unpack(option.format, packed[:size])
    if option.name == "IP_TTL" and first in (0, -1):  # the one is none, the other stands for the usual one
        first = 64 if first else -2
    if option.name == "SO_LINGER":
        return max(rest[0], 0) if first else NO_LINGER
    if option.name == "IP_MULTICAST_TTL" and first == -1:
        return 1
    if option.name == "IP_TOS":
        return int(first) & 0xFF
    if option.format == "ll":
        return int(first) * SECOND + int(rest[0]) * MICROSECOND
    if not option.least <= first <= option.most:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return int(first)


def decode_text(value: int | Buffer) -> str:
    """The value as a text, which ends at the first zero byte. Raises OSError (EINVAL) for an empty one."""
    packed = struct.pack("i", c_int(value)) if isinstance(value, int) else bytes(value)
    if not packed:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return packed.split(b"\0")[0].decode("latin-1")


def c_int(value: int) -> int:
    """The number, if a C int can be it. Raises OverflowError."""
    if not -BIG - 1 <= value <= BIG:
        raise OverflowError("signed integer is greater than maximum" if value > 0 else "too small an integer")
    return value


def encode(option: Option, value: int | bytes, buflen: int) -> int | bytes:
    """What `getsockopt` returns: the number, or the first `buflen` bytes of the C value."""
    if buflen < 0 or buflen > 1024:
        raise OSError(errno.EINVAL, "getsockopt buflen out of range")
    if isinstance(value, bytes):
        return value[: buflen or 4] if buflen else int.from_bytes(value[:4], "little")
    if option.name == "SO_LINGER":
        packed = struct.pack("ii", value != NO_LINGER, max(value, 0))
    elif option.format == "ll":
        packed = struct.pack("ll", value // SECOND, value % SECOND // MICROSECOND)
    else:
        return struct.pack("i", value)[:buflen] if buflen else value
    return packed[:buflen] if buflen else int.from_bytes(packed[:4], "little")
