"""ICMP against scapy."""

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.inet import ICMP as ScapyICMP
from scapy.packet import Raw
from scapy.utils import checksum as scapy_checksum

from labstack.core.addresses import IPv4Address
from labstack.headers import icmp
from labstack.headers.header import HeaderError
from labstack.headers.icmp import ICMP

uint8, uint16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
payloads = st.binary(max_size=80)


@settings(max_examples=1000, deadline=None)
@given(st.booleans(), uint16, uint16, payloads)
@pytest.mark.feature("Headers", "ICMP: scapy agrees, both ways")
def test_scapy_agrees_on_echoes(request, identifier, sequence, payload):
    ours = (ICMP.echo_request if request else ICMP.echo_reply)(identifier, sequence)
    raw = ours.pack(payload)
    theirs = ScapyICMP(raw)
    assert (theirs.type, theirs.code, theirs.id, theirs.seq) == (8 if request else 0, 0, identifier, sequence)
    assert bytes(theirs.payload) == payload

    built = bytes(ScapyICMP(type=8 if request else 0, id=identifier, seq=sequence) / Raw(payload))
    assert built == raw
    read = ICMP.parse(built)
    assert (read, read.identifier, read.sequence) == (ours, identifier, sequence)
    assert read.checksum == int.from_bytes(built[2:4], "big")
    assert not read.is_error


@st.composite
def scapy_errors(draw):
    """A message of scapy's, and the second four bytes that its fields make."""
    kind = draw(st.sampled_from((3, 4, 5, 11, 12)))
    code = draw(uint8)
    fields, rest = {}, 0
    if kind == icmp.DESTINATION_UNREACHABLE and code == icmp.FRAGMENTATION_NEEDED:
        rest = draw(uint16)
        fields["nexthopmtu"] = rest
    elif kind == icmp.REDIRECT:
        gateway = IPv4Address(draw(st.binary(min_size=4, max_size=4)))
        fields["gw"] = str(gateway)
        rest = int.from_bytes(gateway, "big")
    elif kind == icmp.PARAMETER_PROBLEM:
        pointer = draw(uint8)
        fields["ptr"] = pointer
        rest = pointer << 24
    return ScapyICMP(type=kind, code=code, **fields), ICMP(kind, code, rest)


@settings(max_examples=1000, deadline=None)
@given(scapy_errors(), payloads)
def test_scapy_agrees_on_errors(case, payload):
    theirs, ours = case
    built = bytes(theirs / Raw(payload))
    assert ICMP.parse(built) == ours
    assert ours.pack(payload) == built
    assert ours.is_error


@settings(max_examples=1000, deadline=None)
@given(uint8, uint8, st.integers(0, 0xFFFFFFFF), st.binary(min_size=12, max_size=80))  # room for timestamps
def test_scapy_verifies_what_we_build(type_, code, rest, payload):
    raw = ICMP(type_, code, rest).pack(payload)
    assert scapy_checksum(raw) == 0
    theirs = ScapyICMP(raw)
    assert (theirs.type, theirs.code) == (type_, code)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.data())
def test_every_wrong_bit_is_noticed(payload, data):
    raw = bytearray(ICMP.echo_request(1, 1).pack(payload))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(HeaderError) as raised:
        ICMP.parse(raw)
    assert raised.value.rule is icmp.BAD_CHECKSUM
    with pytest.raises(HeaderError):
        ICMP.parse(b"before" + raw, 6)


def test_the_front_of_a_message_is_read_without_its_checksum():
    quoted = ICMP.echo_request(7, 3).pack(b"the rest is not quoted")[:8]
    assert ICMP.parse(quoted, verify=False) == ICMP.echo_request(7, 3)


def test_the_next_hop_mtu():
    raw = ICMP.fragmentation_needed(1400).pack(bytes(28))
    assert raw[:2] == bytes((3, 4))
    assert ICMP.parse(raw).next_hop_mtu == 1400
    assert ScapyICMP(raw).nexthopmtu == 1400
