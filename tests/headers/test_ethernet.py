"""Ethernet: against scapy, and the check sequence against the polynomial division that defines it."""

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.l2 import Ether

from labstack.core.addresses import BROADCAST, MAC
from labstack.headers.ethernet import LENGTH, TRUNCATED, Ethernet, check_fcs, fcs
from labstack.headers.header import HeaderError

macs = st.binary(min_size=6, max_size=6).map(MAC)


@settings(max_examples=1000, deadline=None)
@given(macs, macs, st.integers(0, 0xFFFF))
@pytest.mark.feature("Headers", "Ethernet: scapy agrees, both ways")
def test_scapy_agrees(dst, src, ethertype):
    ours = Ethernet(dst, src, ethertype).pack()
    assert ours == bytes(Ether(dst=str(dst), src=str(src), type=ethertype))
    # Below 0x600 scapy dissects the field as an 802.3 length, as it should.
    if ethertype >= 0x600:
        theirs = Ether(ours)
        assert (theirs.dst, theirs.src, theirs.type) == (str(dst), str(src), ethertype)
    read = Ethernet.parse(ours)
    assert (read.dst, read.src, read.ethertype) == (dst, src, ethertype)
    assert type(read.dst) is type(read.src) is MAC


def test_an_example():
    raw = bytes.fromhex("ffffffffffff 020000000001 0806")
    assert Ethernet.parse(raw) == Ethernet(BROADCAST, MAC.parse("02:00:00:00:00:01"), 0x0806)
    with pytest.raises(HeaderError) as raised:
        Ethernet.parse(raw[: LENGTH - 1])
    assert raised.value.rule is TRUNCATED


def divide(message: bytes) -> int:
    """CRC-32 by the definition of IEEE 802.3 §3.2.9: bits in the order they are sent, the first 32
    complemented, times x³², divided by G(x), the remainder complemented. Its highest power is sent first."""
    bits = [byte >> at & 1 for byte in message for at in range(8)] + [0] * 32
    for at in range(32):
        bits[at] ^= 1
    generator = [0x104C11DB7 >> at & 1 for at in range(32, -1, -1)]
    for at in range(len(bits) - 32):
        if bits[at]:
            for step, bit in enumerate(generator):
                bits[at + step] ^= bit
    return int("".join(str(1 - bit) for bit in bits[-32:]), 2)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=4, max_size=100))
@pytest.mark.feature("Headers", "The frame check sequence agrees with the division that defines it")
def test_fcs_is_the_division_that_defines_it(frame):
    in_the_order_sent = "".join(f"{byte:08b}"[::-1] for byte in fcs(frame))
    assert int(in_the_order_sent, 2) == divide(frame)
    assert check_fcs(frame + fcs(frame))


def test_fcs_of_the_usual_example():
    assert fcs(b"123456789") == bytes.fromhex("2639f4cb")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.data())
def test_a_burst_of_errors_is_noticed(frame, data):
    """A CRC-32 finds every burst of up to 32 bits, counted in the order in which bits are sent."""
    sent = int.from_bytes(frame + fcs(frame), "little")
    burst = data.draw(st.integers(1, 0xFFFFFFFF)) | 1
    size = len(frame) + 4
    at = data.draw(st.integers(0, 8 * size - burst.bit_length()))
    arrived = (sent ^ burst << at).to_bytes(size, "little")
    assert not check_fcs(arrived)


def test_too_short_for_a_check_sequence():
    assert not check_fcs(b"") and not check_fcs(b"abc")
