"""UDP against scapy."""

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.inet import IP, UDP as ScapyUDP
from scapy.packet import Raw

from labstack.core.addresses import IPv4Address
from labstack.core.checksum import ones_sum
from labstack.headers import udp
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import PROTO_UDP, pseudo_sum
from labstack.headers.udp import UDP

uint16 = st.integers(0, 0xFFFF)
addresses = st.binary(min_size=4, max_size=4).map(IPv4Address)
payloads = st.binary(max_size=80)


def scapy_datagram(src: IPv4Address, dst: IPv4Address, src_port: int, dst_port: int, payload: bytes) -> bytes:
    packet = IP(src=str(src), dst=str(dst)) / ScapyUDP(sport=src_port, dport=dst_port) / Raw(payload)
    return bytes(packet)[20:]


@settings(max_examples=1000, deadline=None)
@given(addresses, addresses, uint16, uint16, payloads)
@pytest.mark.feature("Headers", "UDP: scapy agrees, both ways")
def test_scapy_agrees(src, dst, src_port, dst_port, payload):
    pseudo = pseudo_sum(src, dst, PROTO_UDP, 8 + len(payload))
    ours = UDP(src_port, dst_port).pack(pseudo, payload) + payload
    theirs = ScapyUDP(ours)
    assert (theirs.sport, theirs.dport, theirs.len) == (src_port, dst_port, 8 + len(payload))

    built = scapy_datagram(src, dst, src_port, dst_port, payload)
    assert built == ours
    read = UDP.parse(built + b"padding")
    checksum = int.from_bytes(built[6:8], "big")
    assert read == UDP(src_port, dst_port, 8 + len(payload), checksum)
    assert read.verify(pseudo, built) and read.verify(pseudo, memoryview(built + b"padding"))


@settings(max_examples=300, deadline=None)
@given(addresses, addresses, uint16, uint16, st.binary(max_size=20))
def test_a_checksum_of_zero_is_sent_as_all_ones(src, dst, src_port, dst_port, payload):
    """RFC 768: 0 says that no checksum was computed. The last word is chosen to make it 0."""
    payload += bytes(len(payload) % 2)
    length = 8 + len(payload) + 2
    pseudo = pseudo_sum(src, dst, PROTO_UDP, length)
    last = 0xFFFF - (ones_sum(payload, pseudo + src_port + dst_port + length) % 0xFFFF)
    payload += last.to_bytes(2, "big")
    header = UDP(src_port, dst_port).pack(pseudo, payload)
    assert header[6:8] == b"\xff\xff"
    assert UDP.parse(header + payload).verify(pseudo, header + payload)
    assert scapy_datagram(src, dst, src_port, dst_port, payload)[:8] == header


@settings(max_examples=300, deadline=None)
@given(addresses, addresses, payloads, st.data())
def test_wrong_bits_are_noticed(src, dst, payload, data):
    pseudo = pseudo_sum(src, dst, PROTO_UDP, 8 + len(payload))
    raw = bytearray(UDP(1000, 2000).pack(pseudo, payload) + payload)
    bit = data.draw(st.integers(0, 8 * len(raw) - 1).filter(lambda bit: bit // 8 not in (4, 5)))
    raw[bit // 8] ^= 1 << bit % 8
    read = UDP.parse(raw)
    # Flipping the one bit of a checksum 0x0001, 0x0100, … makes it 0: then there is nothing to verify.
    assert read.verify(pseudo, raw) == (read.checksum == 0)


def test_no_checksum_is_no_wrong_checksum():
    raw = UDP(1, 2, 12).pack() + b"data"
    assert UDP.parse(raw).verify(12345, raw)


@pytest.mark.parametrize("length, rule", [(7, udp.BAD_LENGTH), (0, udp.BAD_LENGTH), (13, udp.TRUNCATED)])
def test_refusals(length, rule):
    raw = UDP(1, 2, length).pack() + b"data"
    with pytest.raises(HeaderError) as raised:
        UDP.parse(raw)
    assert raised.value.rule is rule
    assert UDP.parse_quoted(raw).length == length
