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

from labstack.core.checksum import Buffer, checksum, finish, ones_sum
from labstack.headers.ethernet import LENGTH as IP_AT
from labstack.headers.tcp import CHECKSUM_AT, CWR, FIN, PSH

_IP = struct.Struct(">HHHHH")
"""Of the IPv4 header, from its third byte: total length, identification, flags and offset, TTL and protocol,
checksum."""
_TCP = struct.Struct(">IIHHH")
"""Of the TCP header, from its fifth byte: sequence and acknowledgment number, flags, window, checksum."""


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
    value = checksum(payload, int.from_bytes(header[tcp_at:], "big"))
    at = tcp_at + CHECKSUM_AT
    return header[:at] + value.to_bytes(2, "big") + header[at + 2 :]


def _cut(header: bytes, payload: Buffer, segment_size: int, tcp_at: int) -> Iterator[tuple[bytes, Buffer]]:
    view = memoryview(payload)
    size = len(view)
    frame = bytearray(header)
    whole_length, identification, fragment, ttl_protocol, _ = _IP.unpack_from(header, IP_AT + 2)
    seq, ack, flags, window, pseudo = _TCP.unpack_from(header, tcp_at + 4)
    # What all pieces have in common is summed once. The fields that differ from piece to piece are zero here.
    _IP.pack_into(frame, IP_AT + 2, 0, 0, fragment, ttl_protocol, 0)
    _TCP.pack_into(frame, tcp_at + 4, 0, ack, 0, window, 0)
    ip_sum = ones_sum(frame[IP_AT:tcp_at])
    # The pseudo-header counts the length of the piece, no more that of the whole.
    tcp_sum = ones_sum(frame[tcp_at:], pseudo + 0xFFFF - whole_length)
    header_length = len(header) - IP_AT
    for at in range(0, size, segment_size):
        piece = view[at : at + segment_size]
        length = header_length + len(piece)
        own_flags = flags if at == 0 else flags & ~CWR
        if at + segment_size < size:
            own_flags &= ~(FIN | PSH)
        found = finish(ip_sum + length + identification)
        _IP.pack_into(frame, IP_AT + 2, length, identification, fragment, ttl_protocol, found)
        found = checksum(piece, tcp_sum + length + seq + own_flags)
        _TCP.pack_into(frame, tcp_at + 4, seq, ack, own_flags, window, found)
        yield bytes(frame), piece
        identification = (identification + 1) & 0xFFFF
        seq = (seq + segment_size) & 0xFFFFFFFF
