"""The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.

Python calculates with long integers faster than it loops. 2¹⁶ leaves the remainder 1 when divided by 2¹⁶ − 1,
so a number made of 16-bit digits is, modulo 65,535, the sum of its digits; and so is the sum of its two
halves, cut between two digits. Adding halves is cheaper than dividing: the number is folded until it is
short, and then divided once.

A *sum* here is an ordinary integer; sums add. `finish` makes the checksum field out of one.
"""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview

CHUNK = 2048
"""Bytes that become one number; longer data are several."""
SHORT = 128
"""Bytes below which folding costs more than it saves."""
FOLDS = tuple((bits, (1 << bits) - 1) for bits in (6144, 3072, 1536, 768))
"""Where to cut, in bits, and the mask for what lies below: for a full frame, half each time."""


def ones_sum(data: Buffer, start: int = 0) -> int:
    """Add `data`, read as big-endian 16-bit words (an odd last byte is padded with a zero), to the sum
    `start`.

    The result is congruent to the one's complement sum modulo 65,535, and zero only if every word was zero.
    """
    size = len(data)
    whole = size - size % CHUNK if size > CHUNK else 0
    total = int.from_bytes(memoryview(data)[whole:] if whole else data, "big")
    if size & 1:
        total <<= 8
    for at in range(0, whole, CHUNK):
        total += int.from_bytes(memoryview(data)[at : at + CHUNK], "big")
    if size > SHORT:
        for bits, mask in FOLDS:
            total = (total >> bits) + (total & mask)
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
    return finish(ones_sum(data, start))
