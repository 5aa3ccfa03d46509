"""Segmentation: one long TCP segment in, frames of the right size out, each with its own header and checksum.

TCP hands the device a segment that may be many times too long, with an unfinished header in front: Ethernet,
IPv4 and TCP, where the IPv4 length is that of the whole and the TCP checksum field holds only the sum of the
pseudo-header. A device with offload passes it on like that; this is the plain step for all others. In Linux
it is generic segmentation offload, GSO, done in software where a network card cannot (`inet_gso_segment`,
`tcp_gso_segment`); a virtio device says the same in its header: NEEDS_CSUM, and `gso_size`, the segment size.

What changes from piece to piece:

    IPv4  total length      of this piece
          identification    one more each time
          checksum          anew
    TCP   sequence number   where the piece begins
          flags             FIN and PSH on the last piece only, CWR on the first only (RFC 3168 §6.1.2)
          checksum          finished
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from labstack.core.checksum import Buffer, finish, ones_sum
from labstack.headers.ethernet import LENGTH as IP_AT
from labstack.headers.tcp import CHECKSUM_AT, CWR, FIN, PSH

_UINT16 = struct.Struct(">H")
_TWO_UINT16 = struct.Struct(">HH")
_UINT32 = struct.Struct(">I")


def segment(header: bytes, payload: Buffer, segment_size: int) -> Iterator[tuple[bytes, Buffer]]:
    """Frames of at most `segment_size` bytes of payload, as (header, payload) pairs in the order to be sent.

    `header` is Ethernet + IPv4 + TCP, unfinished as described above. A segment size of 0 says that it is
    finished: then it is handed on as it is. Payloads are views of the one given: nothing is copied.
    """
    if segment_size == 0:
        yield header, payload
        return
    tcp_at = IP_AT + (header[IP_AT] & 0xF) * 4
    if len(payload) <= segment_size:
        yield _finished(header, payload, tcp_at), payload
        return
    yield from _cut(header, payload, segment_size, tcp_at)


def _finished(header: bytes, payload: Buffer, tcp_at: int) -> bytes:
    """The checksum field already holds the pseudo-header's sum: add the rest to it, and complement."""
    value = finish(ones_sum(payload, int.from_bytes(header[tcp_at:], "big")))
    at = tcp_at + CHECKSUM_AT
    return header[:at] + value.to_bytes(2, "big") + header[at + 2 :]


def _cut(header: bytes, payload: Buffer, segment_size: int, tcp_at: int) -> Iterator[tuple[bytes, Buffer]]:
    view = memoryview(payload)
    size = len(view)
    header_length = len(header) - IP_AT
    whole_length, identification = _TWO_UINT16.unpack_from(header, IP_AT + 2)
    (seq,) = _UINT32.unpack_from(header, tcp_at + 4)
    (pseudo,) = _UINT16.unpack_from(header, tcp_at + CHECKSUM_AT)
    flags = header[tcp_at + 13]
    frame = bytearray(header)
    for at in range(0, size, segment_size):
        piece = view[at : at + segment_size]
        length = header_length + len(piece)
        _TWO_UINT16.pack_into(frame, IP_AT + 2, length, (identification + at // segment_size) & 0xFFFF)
        _UINT16.pack_into(frame, IP_AT + 10, 0)
        _UINT16.pack_into(frame, IP_AT + 10, finish(int.from_bytes(frame[IP_AT:tcp_at], "big")))
        _UINT32.pack_into(frame, tcp_at + 4, (seq + at) & 0xFFFFFFFF)
        allowed = 0xFF if at == 0 else ~CWR
        if at + segment_size < size:
            allowed &= ~(FIN | PSH)
        frame[tcp_at + 13] = flags & allowed & 0xFF
        # The pseudo-header counts the length of the piece, no more that of the whole.
        _UINT16.pack_into(frame, tcp_at + CHECKSUM_AT, (pseudo + length - whole_length) % 0xFFFF)
        yield _finished(bytes(frame), piece, tcp_at), piece
