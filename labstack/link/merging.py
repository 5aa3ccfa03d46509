"""Merging: segments of one stream that arrive in a row go up as one, and pass the stack once.

The opposite of `headers/segmentation`. Linux does it too, for every network card (generic receive offload,
GRO), and for the same reason: most of what a segment costs is the way through the layers.

    Ethernet   the header is the same
    IPv4       no options, no fragment; the same but for length, identification and checksum
    TCP        ACK, perhaps PSH, no other flag; the same but for the checksum and the sequence number, which
               goes on where the last one ended. A PSH, or a short piece, is the end of a row

Every checksum is verified here, piece by piece. If one is wrong, or a piece stands alone, all go up as they
came. What is merged is unfinished in the way that `physical/device` describes: its checksum field holds the
sum of the pseudo-header.

Acknowledgements in a row are merged too: each tells all that the one before it told (see `newest`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from labstack.core.checksum import Buffer, checksum, from_bytes
from labstack.headers.ethernet import ETHERTYPE_IPV4, LENGTH as IP_AT
from labstack.headers.ipv4 import LENGTH as IP_LENGTH, MAX_LENGTH, PIECE, PROTO_TCP, VERSION_4_NO_OPTIONS
from labstack.headers.tcp import ACK, CHECKSUM_AT, LENGTH as TCP_LENGTH, PSH, verify

TCP_AT = IP_AT + IP_LENGTH
_FRONT = struct.Struct(">12sHBBHxxHBBxx12sIIHHxxH")
"""MAC addresses, type; version and IHL, TOS, length, flags and offset, TTL, protocol, addresses and ports;
sequence and acknowledgment number, data offset and flags, window, urgent pointer."""
_UINT16 = struct.Struct(">H")
_BARE_ACK = ETHERTYPE_IPV4, VERSION_4_NO_OPTIONS, IP_LENGTH + TCP_LENGTH, 0, PROTO_TCP, TCP_LENGTH << 10 | ACK
"""Type; version and IHL, length, fragment, protocol; data offset and flags."""


def merged(frames: Iterable[memoryview]) -> Iterator[tuple[Buffer, int]]:
    """The frames in their order, as (frame, segment size): what could be merged as one, with the size of its
    pieces, all others as they came, with 0."""
    row: list[memoryview] = []
    same: tuple[object, ...] = ()  # what the next piece must have in common with those in the row
    size = follows = length = 0
    for frame in frames:
        if len(frame) <= _FRONT.size:
            yield from _as_one(row, size)
            row = []
            yield frame, 0
            continue
        (
            macs, kind, version, tos, total, fragment, ttl, protocol, ends, seq, ack, word, window, urgent,
        ) = _FRONT.unpack_from(frame)  # fmt: skip
        header_length = word >> 12 << 2
        payload = total - IP_LENGTH - header_length
        options = frame[_FRONT.size : TCP_AT + header_length]
        push = word & PSH
        own = (
            macs,
            kind,
            version,
            tos,
            fragment,
            ttl,
            protocol,
            ends,
            ack,
            word - push,
            window,
            urgent,
            options,
        )
        if row and not (
            own == same and seq == follows and payload <= size and length + payload <= MAX_LENGTH
        ):
            yield from _as_one(row, size)
            row = []
        if len(frame) != IP_AT + total or payload <= 0 or header_length < TCP_LENGTH:
            yield from _as_one(row, size)
            row = []
            yield frame, 0
            continue
        if not row:
            kind_of_all = kind, version, fragment & PIECE, protocol, word & 0xFFF & ~PSH
            if kind_of_all != (ETHERTYPE_IPV4, VERSION_4_NO_OPTIONS, 0, PROTO_TCP, ACK):
                yield frame, 0
                continue
            same, size, length = own, payload, total - payload
        row.append(frame)
        length += payload
        follows = (seq + payload) & 0xFFFFFFFF
        if push or payload < size:
            yield from _as_one(row, size)
            row = []
    yield from _as_one(row, size)


def newest(frames: Iterable[tuple[Buffer, int]]) -> Iterator[tuple[Buffer, int]]:
    """The (frame, segment size) in their order, without the acknowledgements that the next frame makes
    needless: both of one connection, with no data and no options, and the next acknowledges more. One that
    repeats the number goes up by itself, for TCP counts those.

    A frame is borrowed until the next is asked for.
    """
    held: Buffer = b""
    size = held_ack = 0
    same: tuple[object, ...] = ()
    for frame, segment_size in frames:
        own: tuple[object, ...] = ()
        ack = 0
        if len(frame) == TCP_AT + TCP_LENGTH:
            (
                macs, kind, version, tos, total, fragment, ttl, protocol, ends, seq, ack, word, _, _,
            ) = _FRONT.unpack_from(frame)  # fmt: skip
            bare = (kind, version, total, fragment & PIECE, protocol, word) == _BARE_ACK
            if bare and (segment_size or _is_whole(memoryview(frame))):
                own = macs, tos, ttl, ends, seq
        if held and not (own == same and 0 < (ack - held_ack) & 0xFFFFFFFF < 1 << 31):
            yield held, size
        if own:
            held, size, held_ack, same = bytes(frame), segment_size, ack, own
        else:
            held = b""
            yield frame, segment_size
    if held:
        yield held, size


def _as_one(row: list[memoryview], size: int) -> Iterator[tuple[Buffer, int]]:
    """One frame made of all those in the row, if each of them is whole."""
    if len(row) < 2 or not all(map(_is_whole, row)):
        for frame in row:
            yield frame, 0
        return
    first, last = row[0], row[-1]
    front = TCP_AT + (first[TCP_AT + 12] >> 4 << 2)
    whole = bytearray().join((first, *[piece[front:] for piece in row[1:]]))
    _UINT16.pack_into(whole, IP_AT + 2, len(whole) - IP_AT)
    _UINT16.pack_into(whole, IP_AT + 10, 0)
    _UINT16.pack_into(whole, IP_AT + 10, checksum(whole[IP_AT:TCP_AT]))
    whole[TCP_AT + 13] |= last[TCP_AT + 13] & PSH
    _UINT16.pack_into(whole, TCP_AT + CHECKSUM_AT, _pseudo_sum(whole) % 0xFFFF)
    yield memoryview(whole), size


def _is_whole(frame: memoryview) -> bool:
    """Both checksums are right."""
    if from_bytes(frame[IP_AT:TCP_AT], "big") % 0xFFFF:
        return False
    return verify(frame[TCP_AT:], _pseudo_sum(frame))


def _pseudo_sum(frame: Buffer) -> int:
    return from_bytes(frame[IP_AT + 12 : TCP_AT], "big") + PROTO_TCP + len(frame) - TCP_AT
