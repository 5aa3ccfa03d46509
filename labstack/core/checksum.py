"""The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.

Python adds long integers faster than it loops. 2¹⁶ leaves the remainder 1 when divided by 2¹⁶ − 1, so a
number made of 16-bit digits is, modulo 65,535, the sum of its digits: one division does the work of a loop
over the words. Chunks keep the numbers short, for division grows faster than its operand.

A *sum* here is an ordinary integer; sums add. `finish` makes the checksum field out of one.
"""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview

CHUNK = 256
LARGE_CHUNK = 2048


def ones_sum(data: Buffer, start: int = 0) -> int:
    """Add `data`, read as big-endian 16-bit words (an odd last byte is padded with a zero), to the sum
    `start`.

    The result is congruent to the one's complement sum modulo 65,535, and zero only if every word was zero.
    """
    size = len(data)
    if size <= CHUNK:
        total = start + (int.from_bytes(data, "big") << 8 * (size & 1))
    else:
        chunk = CHUNK if size <= 8192 else LARGE_CHUNK
        view = memoryview(data)
        whole = size - size % chunk
        total = start
        for at in range(0, whole, chunk):
            total += int.from_bytes(view[at : at + chunk], "big")
        total += int.from_bytes(view[whole:], "big") << 8 * (size & 1)
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
