"""The TCP header: which bytes of the stream these are, which ones arrived, and how many more may come.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-------------------------------+-------------------------------+
    |          Source Port          |       Destination Port        |
    +-------------------------------+-------------------------------+
    |                        Sequence Number                        |
    +---------------------------------------------------------------+
    |                    Acknowledgment Number                      |
    +-------+-----+-+-+-+-+-+-+-+-+-+-------------------------------+
    | Data  |Re-  |A|C|E|U|A|P|R|S|F|                               |
    | Offset|serv.|E|W|C|R|C|S|S|Y|I|            Window             |
    |       |     | |R|E|G|K|H|T|N|N|                               |
    +-------+-----+-+-+-+-+-+-+-+-+-+-------------------------------+
    |           Checksum            |         Urgent Pointer        |
    +-------------------------------+-------------------------------+
    |           Options, padded to a multiple of 4 bytes            |
    +---------------------------------------------------------------+

RFC 9293 §3.1 (header), §3.2 (options); ECE and CWR are RFC 3168, AE is RFC 9768; window scale and timestamps
are RFC 7323, SACK is RFC 2018.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Self

from labstack.core.checksum import Buffer, checksum, from_bytes, ones_sum
from labstack.core.events import Rule
from labstack.headers.header import Field, HeaderError

TRUNCATED = Rule("tcp.truncated", "the segment ends inside its header", "RFC 9293 §3.1")
BAD_HEADER_LENGTH = Rule("tcp.bad_header_length", "the data offset is below 20 bytes", "RFC 9293 §3.1")
BAD_CHECKSUM = Rule("tcp.bad_checksum", "the checksum over the segment is wrong", "RFC 9293 §3.1")

LENGTH = 20
"""The length of a header without options, in bytes."""
MAX_OPTIONS = 40
CHECKSUM_AT = 16
"""Where in the header the checksum stands, in bytes."""

FIN = 0x001
SYN = 0x002
RST = 0x004
PSH = 0x008
ACK = 0x010
URG = 0x020
ECE = 0x040
CWR = 0x080
AE = 0x100

FLAGS: tuple[Field, ...] = (
    Field("reserved", 3, "zero"),
    Field("AE", 1, "accurate ECN (with CWR and ECE, a counter)"),
    Field("CWR", 1, "congestion window reduced: the sender heard the ECE"),
    Field("ECE", 1, "ECN echo: a datagram arrived marked"),
    Field("URG", 1, "the urgent pointer counts"),
    Field("ACK", 1, "the acknowledgment number counts: set on all but the first segment"),
    Field("PSH", 1, "push: hand over what has arrived"),
    Field("RST", 1, "reset: there is no such connection (any more)"),
    Field("SYN", 1, "synchronize: the sequence number is the initial one"),
    Field("FIN", 1, "finish: the sender has no more bytes"),
)
"""The twelve bits of `TCP.flags`, from the highest to the lowest."""

_HEADER = struct.Struct(">HHIIHHHH")
_FLAG_MASK = 0x0FFF


@dataclass(slots=True)
class TCP:
    """A TCP header. `parse` fills `header_length`; `pack` works it out anew from the options."""

    src_port: int
    dst_port: int
    seq: int
    ack: int
    flags: int
    """FIN | SYN | … | AE, and above them the three reserved bits, as they came."""
    window: int
    """As it stands in the header: not yet scaled."""
    checksum: int = 0
    urgent: int = 0
    options: bytes = b""
    header_length: int = field(default=LENGTH, compare=False)
    """In bytes, options included."""

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("src_port", 16, "the sender's port"),
        Field("dst_port", 16, "the receiver's port"),
        Field("seq", 32, "the number of the first byte of the payload (of the SYN, if it is set)"),
        Field("ack", 32, "the number of the next byte that the sender of this segment expects"),
        Field("header_length", 4, "data offset: the header's length, on the wire in units of 4 bytes"),
        Field("flags", 12, "three reserved bits, then AE CWR ECE URG ACK PSH RST SYN FIN"),
        Field("window", 16, "how many bytes from `ack` on may come, before scaling"),
        Field("checksum", 16, "over pseudo-header, header and payload"),
        Field("urgent", 16, "with URG: where the urgent data ends, counted from `seq`"),
    )

    @classmethod
    def parse(cls, data: Buffer, offset: int = 0) -> Self:
        """Read the header at `offset`. Raises HeaderError. The checksum is not verified: that takes the
        addresses, see `verify`; nor are the options read, see `Options.parse`."""
        try:
            src_port, dst_port, seq, ack, word, window, found, urgent = _HEADER.unpack_from(data, offset)
        except struct.error:
            raise HeaderError(TRUNCATED) from None
        options = b""
        header_length = word >> 12 << 2
        if header_length != LENGTH:
            if header_length < LENGTH:
                raise HeaderError(BAD_HEADER_LENGTH)
            if header_length > len(data) - offset:
                raise HeaderError(TRUNCATED)
            options = bytes(data[offset + LENGTH : offset + header_length])
        flags = word & _FLAG_MASK
        return cls(src_port, dst_port, seq, ack, flags, window, found, urgent, options, header_length)

    def pack(self, pseudo_sum: int | None = None, payload: Buffer = b"") -> bytes:
        """The header's bytes with their checksum for this payload, `pseudo_sum` being the sum of the
        pseudo-header; without one, with the checksum field as it stands. Options are padded with zeros to a
        multiple of 4 bytes.

        Raises ValueError if they or the flags do not fit."""
        options = self.options
        word = 0x5000 | self.flags
        if options:
            options += bytes(-len(options) % 4)
            word += len(options) << 10
        if len(options) > MAX_OPTIONS or self.flags > _FLAG_MASK:
            raise ValueError(f"{self} does not fit: options ≤ 40 bytes, flags ≤ 12 bits")
        found = self.checksum
        if pseudo_sum is not None:
            # The fields are summed as numbers, before they are bytes: modulo 65,535, a 32-bit number is the
            # sum of its two halves (see core/checksum).
            total = (
                pseudo_sum
                + self.src_port
                + self.dst_port
                + self.seq
                + self.ack
                + word
                + self.window
                + self.urgent
            )
            found = checksum(payload, total + (ones_sum(options) if options else 0))
        header = _HEADER.pack(
            self.src_port, self.dst_port, self.seq, self.ack, word, self.window, found, self.urgent
        )
        return header + options if options else header


def pack_segment(
    ports: tuple[int, int], seq: int, ack: int, flags: int, window: int, options: bytes, pseudo_sum: int,
    payload: Buffer | None, urgent: int = 0,
) -> bytes:  # fmt: skip
    """What `TCP(…).pack(pseudo_sum, payload)` makes of these fields, for half the time; options are padded
    already. Without a payload the header is unfinished: its checksum field holds the pseudo-header's sum."""
    src_port, dst_port = ports
    word = 0x5000 + flags + (len(options) << 10)
    if payload is None:
        found = pseudo_sum % 0xFFFF
    else:
        total = pseudo_sum + src_port + dst_port + seq + ack + word + window + urgent
        if options:
            total += from_bytes(options, "big")
        found = checksum(payload, total)
    return _HEADER.pack(src_port, dst_port, seq, ack, word, window, found, urgent) + options


_QUOTED = struct.Struct(">HHI")


def parse_quoted(data: Buffer, offset: int = 0) -> tuple[int, int, int]:
    """Source port, destination port, sequence number: the 8 bytes that an ICMP error quotes (RFC 5927 §4)."""
    try:
        src_port, dst_port, seq = _QUOTED.unpack_from(data, offset)
    except struct.error:
        raise HeaderError(TRUNCATED) from None
    return src_port, dst_port, seq


def verify(segment: Buffer, pseudo_sum: int) -> bool:
    """Whether a segment, header and payload, fits its checksum."""
    return ones_sum(segment, pseudo_sum) == 0xFFFF


def flag_names(flags: int) -> str:
    """The flags by name, such as `"SYN, ACK"`; reserved bits have none."""
    return ", ".join(bit.name for at, bit in enumerate(reversed(FLAGS)) if flags >> at & 1 and bit.bits == 1)


# Option kinds (RFC 9293 §3.2, RFC 7323 §2 and §3, RFC 2018 §2 and §3)
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8

_MSS = struct.Struct(">BBH")
_TWO_NUMBERS = struct.Struct(">II")
_ALIGNED_TIMESTAMPS = b"\x01\x01\x08\x0a"
"""Two NOPs and a timestamps option: what nearly every segment carries (RFC 7323 appendix A)."""


@dataclass(slots=True)
class Options:
    """The options of a TCP header. What is absent is None, False or empty."""

    mss: int | None = None
    window_scale: int | None = None
    """The shift as it stands in the option; one above 14 counts as 14 (RFC 7323 §2.3)."""
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    """Blocks (left, right): `left` is their first sequence number, `right` the first behind them."""
    timestamps: tuple[int, int] | None = None
    """(TSval, TSecr)."""
    unknown: tuple[tuple[int, bytes], ...] = ()
    """Other options in their order, each as its kind and the bytes behind its length."""
    malformed: bool = False
    """A length was wrong. What was read before it counts."""

    @classmethod
    def parse(cls, raw: Buffer) -> Self:
        """Read options. Never raises: unknown kinds are kept, a known kind with a wrong length is taken for
        unknown, and a length that cannot be ends the reading (RFC 9293 §3.1, MUST-6 and MUST-7)."""
        if len(raw) == 12 and raw[:4] == _ALIGNED_TIMESTAMPS:
            return cls(timestamps=_TWO_NUMBERS.unpack_from(raw, 4))
        options = cls()
        at, end = 0, len(raw)
        while at < end:
            kind = raw[at]
            if kind == END:
                break
            if kind == NOP:
                at += 1
                continue
            length = raw[at + 1] if at + 1 < end else 0
            if length < 2 or at + length > end:
                options.malformed = True
                break
            options._read(kind, bytes(raw[at + 2 : at + length]))
            at += length
        return options

    def _read(self, kind: int, value: bytes) -> None:
        size = len(value)
        if kind == MSS and size == 2:
            self.mss = int.from_bytes(value, "big")
        elif kind == WINDOW_SCALE and size == 1:
            self.window_scale = value[0]
        elif kind == SACK_PERMITTED and size == 0:
            self.sack_permitted = True
        elif kind == SACK and size and size % 8 == 0:
            self.sack = tuple(_TWO_NUMBERS.iter_unpack(value))
        elif kind == TIMESTAMPS and size == 8:
            self.timestamps = _TWO_NUMBERS.unpack(value)
        else:
            self.unknown += ((kind, value),)
            if kind in (MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS):
                self.malformed = True

    def pack(self) -> bytes:
        """The options' bytes, a multiple of 4: each known option fills whole words, with NOPs in front (SACK
        permitted shares its words with the timestamps), and zeros end the list. ValueError above 40 bytes."""
        raw = b""
        if self.mss is not None:
            raw += _MSS.pack(MSS, 4, self.mss)
        if self.timestamps is not None:
            front = bytes((SACK_PERMITTED, 2)) if self.sack_permitted else bytes((NOP, NOP))
            raw += front + bytes((TIMESTAMPS, 10)) + _TWO_NUMBERS.pack(*self.timestamps)
        elif self.sack_permitted:
            raw += bytes((NOP, NOP, SACK_PERMITTED, 2))
        if self.window_scale is not None:
            raw += bytes((NOP, WINDOW_SCALE, 3, self.window_scale))
        if self.sack:
            raw += bytes((NOP, NOP, SACK, 2 + 8 * len(self.sack)))
            raw += b"".join(_TWO_NUMBERS.pack(left, right) for left, right in self.sack)
        for kind, value in self.unknown:
            raw += bytes((kind, 2 + len(value))) + value
        raw += bytes(-len(raw) % 4)
        if len(raw) > MAX_OPTIONS:
            raise ValueError(f"{len(raw)} bytes of TCP options: there is room for {MAX_OPTIONS}")
        return raw
