"""IPv4 against scapy; what is refused, and by which rule."""

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.inet import (
    IP,
    IPOption_NOP,
    IPOption_Router_Alert,
    IPOption_RR,
    IPOption_Stream_Id,
    IPOption_Timestamp,
)
from scapy.packet import Raw

from labstack.core.addresses import IPv4Address
from labstack.core.checksum import checksum
from labstack.headers import ipv4
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import IPv4, pseudo_sum

uint8, uint16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
addresses = st.binary(min_size=4, max_size=4).map(IPv4Address)
texts = addresses.map(str)
scapy_options = st.lists(
    st.one_of(
        st.builds(IPOption_NOP),
        st.builds(IPOption_Router_Alert, alert=uint16),
        st.builds(IPOption_Stream_Id, security=uint16),
        st.builds(IPOption_RR, routers=st.lists(texts, min_size=1, max_size=4)),
        st.builds(IPOption_Timestamp, flg=st.just(0), timestamp=st.integers(0, 0xFFFFFFFF)),
    ),
    max_size=4,
).filter(lambda options: sum(len(bytes(option)) for option in options) <= 40)


@st.composite
def headers(draw):
    """One of ours, its payload, and scapy's options that it carries."""
    options = draw(scapy_options)
    raw = b"".join(bytes(option) for option in options)
    raw += bytes(-len(raw) % 4)
    payload = draw(st.binary(max_size=60))
    ours = IPv4(
        draw(addresses), draw(addresses), draw(uint8), 20 + len(raw) + len(payload), draw(uint8),
        draw(st.integers(0, 63)), draw(st.integers(0, 3)), draw(uint16), draw(st.booleans()),
        draw(st.booleans()), draw(st.integers(0, 8191)), raw, draw(st.booleans()),
    )  # fmt: skip
    return ours, payload, options


@settings(max_examples=1000, deadline=None)
@given(headers())
@pytest.mark.feature("Headers", "IPv4, options included: scapy agrees, both ways")
def test_scapy_reads_what_we_build(case):
    ours, payload, _ = case
    raw = ours.pack() + payload
    theirs = IP(raw)
    assert (theirs.version, theirs.ihl * 4, theirs.len) == (4, 20 + len(ours.options), len(raw))
    assert (theirs.src, theirs.dst, theirs.proto, theirs.ttl) == (
        str(ours.src), str(ours.dst), ours.protocol, ours.ttl
    )  # fmt: skip
    assert (theirs.tos >> 2, theirs.tos & 3, theirs.id) == (ours.dscp, ours.ecn, ours.identification)
    assert theirs.flags.evil == ours.reserved
    assert (theirs.flags.DF, theirs.flags.MF, theirs.frag) == (
        ours.dont_fragment, ours.more_fragments, ours.fragment_offset
    )  # fmt: skip
    # Scapy works out lengths and checksum itself, and comes to the same bytes.
    theirs.remove_payload()
    del theirs.len, theirs.ihl, theirs.chksum
    assert bytes(theirs / Raw(payload)) == raw


@settings(max_examples=1000, deadline=None)
@given(headers())
def test_we_read_what_scapy_builds(case):
    ours, payload, options = case
    flags = ours.reserved << 2 | ours.dont_fragment << 1 | ours.more_fragments
    raw = bytes(
        IP(src=str(ours.src), dst=str(ours.dst), proto=ours.protocol, ttl=ours.ttl,
           tos=ours.dscp << 2 | ours.ecn, id=ours.identification,
           flags=flags, frag=ours.fragment_offset, options=options)
        / Raw(payload)
    )  # fmt: skip
    read = IPv4.parse(raw + b"padding")
    assert read == ours
    assert read.header_length == 20 + len(ours.options)
    assert read.header_checksum == int.from_bytes(raw[10:12], "big")
    assert type(read.src) is IPv4Address and type(read.dst) is IPv4Address
    assert IPv4.parse_quoted(raw[: read.header_length]) == read


@settings(max_examples=300, deadline=None)
@given(headers(), st.data())
def test_every_wrong_bit_in_the_header_is_noticed(case, data):
    ours, payload, _ = case
    raw = bytearray(ours.pack() + payload)
    bit = data.draw(st.integers(0, 8 * (20 + len(ours.options)) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(HeaderError):
        IPv4.parse(raw)


A, B = IPv4Address.parse("10.0.0.1"), IPv4Address.parse("10.0.0.2")


@pytest.mark.parametrize("at, value, rule", [
    (0, 0x65, ipv4.BAD_VERSION),
    (0, 0x44, ipv4.BAD_HEADER_LENGTH),
    (0, 0x4F, ipv4.TRUNCATED),
    (3, 19, ipv4.BAD_LENGTH),
    (3, 25, ipv4.TRUNCATED),
    (2, 0xFF, ipv4.TRUNCATED),
    (8, 63, ipv4.BAD_CHECKSUM),
    (11, 0, ipv4.BAD_CHECKSUM),
])  # fmt: skip
def test_refusals(at, value, rule):
    raw = bytearray(IPv4(A, B, 17, 24).pack() + b"data")
    raw[at] = value
    for before in (b"", bytes(14)):
        with pytest.raises(HeaderError) as raised:
            IPv4.parse(before + raw, len(before))
        assert raised.value.rule is rule
        assert str(raised.value) == rule.words


def test_a_quoted_header_must_be_there_with_its_options():
    raw = bytes(14) + IPv4(A, B, 17, 1500, options=bytes(8)).pack()
    assert IPv4.parse_quoted(raw, 14).options == bytes(8)
    with pytest.raises(HeaderError) as raised:
        IPv4.parse_quoted(raw[:-1], 14)
    assert raised.value.rule is ipv4.TRUNCATED


def test_the_checksum_may_be_left_alone():
    raw = bytearray(IPv4(A, B, 17, 20).pack())
    raw[10:12] = b"\x12\x34"
    assert IPv4.parse(raw, verify=False).header_checksum == 0x1234


def test_options_are_padded():
    header = IPv4(A, B, 17, 24, options=b"\x01\x01\x01").pack()
    assert header[20:] == b"\x01\x01\x01\0"
    assert IPv4.parse(header).header_length == 24


@pytest.mark.parametrize("fields", [
    {"options": bytes(41)}, {"fragment_offset": 8192}, {"ecn": 4}
])  # fmt: skip
def test_what_does_not_fit_is_said(fields):
    with pytest.raises(ValueError, match="does not fit"):
        IPv4(A, B, 17, 20, **fields).pack()


@settings(max_examples=300, deadline=None)
@given(addresses, addresses, uint8, st.integers(0, 65515))
def test_pseudo_sum_is_the_sum_of_the_pseudo_header(src, dst, protocol, length):
    pseudo_header = src + dst + bytes((0, protocol)) + length.to_bytes(2, "big")
    assert checksum(b"", pseudo_sum(src, dst, protocol, length)) == checksum(pseudo_header)


@settings(max_examples=1000, deadline=None)
@given(addresses, addresses, uint8, uint16, uint8, st.integers(0, 3), uint16, st.booleans())
def test_the_ordinary_header_is_the_same(src, dst, protocol, length, ttl, ecn, identification, whole):
    ours = IPv4(src, dst, protocol, length, ttl, ecn=ecn, identification=identification, dont_fragment=whole)
    assert ipv4.pack_ordinary(src, dst, protocol, length, ttl, ecn, identification, whole) == ours.pack()
