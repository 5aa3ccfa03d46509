"""The Internet checksum against the loop that RFC 1071 describes, word by word."""

import pytest
from hypothesis import example, given, settings, strategies as st

from labstack.core.checksum import CHUNK, checksum, finish, ones_sum


def word_loop(data: bytes) -> int:
    """The one's complement sum, as RFC 1071 §4.1 computes it: add words, fold the carries back in."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


any_bytes = st.binary(max_size=600) | st.lists(st.sampled_from((0, 0xFF)), max_size=600).map(bytes)


@settings(max_examples=1000, deadline=None)
@given(any_bytes)
@example(b"")
@example(b"\0")
@example(b"\xff\xff")
@example(b"\xff\xff\xff\xff")
@example(b"\0\1\xff\xfe")
@pytest.mark.feature(
    "Headers", "The Internet checksum: long-integer arithmetic that agrees with RFC 1071's loop"
)
def test_agrees_with_the_word_loop(data):
    assert ones_sum(data) == word_loop(data)
    assert checksum(data) == 0xFFFF - word_loop(data)
    assert ones_sum(bytearray(data)) == ones_sum(memoryview(data)) == ones_sum(data)


@pytest.mark.parametrize("size", sorted(
    {near + step for near in (CHUNK, 2 * CHUNK, 1460, CHUNK, 8192, 4 * CHUNK + CHUNK, 65535)
     for step in (-2, -1, 0, 1, 2)}
))  # fmt: skip
def test_agrees_around_the_chunks(size):
    for data in (bytes(size), b"\xff" * size, bytes((7 * at * at + at) & 0xFF for at in range(size))):
        assert ones_sum(data) == word_loop(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300).filter(lambda data: len(data) % 2 == 0), any_bytes)
def test_sums_add(front, back):
    """A sum may be continued behind an even number of bytes; so a pseudo-header goes in as a number."""
    assert finish(ones_sum(back, ones_sum(front))) == checksum(front + back)
    assert finish(ones_sum(front) + ones_sum(back)) == checksum(front + back)
    assert finish(int.from_bytes(front, "big") + ones_sum(back)) == checksum(front + back)


@settings(max_examples=300, deadline=None)
@given(any_bytes)
def test_over_its_own_checksum_it_is_zero(data):
    data += bytes(len(data) % 2)
    whole = data + checksum(data).to_bytes(2, "big")
    assert checksum(whole) == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=2, max_size=400), st.data())
def test_one_wrong_bit_is_noticed(data, draw):
    data += bytes(len(data) % 2)
    whole = bytearray(data + checksum(data).to_bytes(2, "big"))
    bit = draw.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert checksum(whole) != 0


def test_the_two_zeros():
    """One's complement has two zeros; only all-zero words add up to the positive one."""
    assert ones_sum(b"") == ones_sum(bytes(100)) == ones_sum(bytes(5000)) == 0
    assert ones_sum(b"\xff\xff") == ones_sum(b"\xff" * 100) == ones_sum(b"\xff" * 5000) == 0xFFFF
    assert ones_sum(b"", 0xFFFF) == ones_sum(b"\0\0", 0x1FFFE) == 0xFFFF
    assert finish(0) == 0xFFFF
    assert finish(0xFFFF) == finish(0x1FFFE) == 0
