"""The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.

Python calculates with long integers faster than it loops. 2¹⁶ leaves the remainder 1 when divided by 2¹⁶ − 1,
so a number made of 16-bit digits is, modulo 65,535, the sum of its digits; and so is the sum of its two
halves, cut between two digits. Adding halves is cheaper than dividing: the number is folded until it is
short, and then divided once.

A *sum* here is an ordinary integer; sums add. `finish` makes the checksum field out of one.
"""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview

from_bytes = int.from_bytes
"""Has a name of its own because Python takes as long to find a class method as to call it."""

CHUNK = 2048
"""Bytes that become one number; longer data are several."""
SHORT = 128
"""Bytes below which folding costs more than it saves."""
LOW_6144, LOW_3072, LOW_1536, LOW_768 = ((1 << bits) - 1 for bits in (6144, 3072, 1536, 768))
"""Masks for what lies below the cut: for a full frame, half each time."""


def ones_sum(data: Buffer, start: int = 0) -> int:
    """Add `data`, read as big-endian 16-bit words (an odd last byte is padded with a zero), to the sum
    `start`.

    The result is congruent to the one's complement sum modulo 65,535, and zero only if every word was zero.
    """
    size = len(data)
    if size <= CHUNK:
        total = from_bytes(data, "big")
    else:
        view, first = memoryview(data), size % CHUNK
        total = from_bytes(view[:first], "big")
        for at in range(first, size, CHUNK):
            total += from_bytes(view[at : at + CHUNK], "big")
    if size & 1:
        total <<= 8
    if size > SHORT:
        total = (total >> 6144) + (total & LOW_6144)
        total = (total >> 3072) + (total & LOW_3072)
        total = (total >> 1536) + (total & LOW_1536)
        total = (total >> 768) + (total & LOW_768)
    total += start
    # 65,535 and 0 are the same remainder but not the same checksum: only all-zero words add up to 0.
    return total % 0xFFFF or (0xFFFF if total else 0)


def finish(total: int) -> int:
    """The 16-bit checksum field for a sum: its one's complement. Over words that hold their own checksum it
    is 0."""
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


def checksum(data: Buffer, start: int = 0) -> int:
    """The checksum field for `data`, whose own checksum field is zero; 0 when `data` already holds a right
    one."""
    return 0xFFFF - ones_sum(data, start)
