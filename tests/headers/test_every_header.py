"""What holds for every header: bytes in, bytes out; nothing but a HeaderError for bytes that are none."""

import dataclasses
import importlib
import pkgutil
import re

import pytest
from hypothesis import given, settings, strategies as st

import labstack.headers
from labstack.core.addresses import MAC, IPv4Address
from labstack.core.events import Rule
from labstack.headers.arp import ARP
from labstack.headers.ethernet import Ethernet
from labstack.headers.header import HeaderError
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import IPv4
from labstack.headers.tcp import TCP, Options, parse_quoted as parse_quoted_tcp
from labstack.headers.udp import UDP

uint8, uint16, uint32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6).map(MAC)
addresses = st.binary(min_size=4, max_size=4).map(IPv4Address)


def options(largest: int) -> st.SearchStrategy[bytes]:
    """Whole 32-bit words of anything."""
    return st.integers(0, largest // 4).flatmap(
        lambda words: st.binary(min_size=4 * words, max_size=4 * words)
    )


EXAMPLES = {
    Ethernet: st.builds(Ethernet, macs, macs, uint16),
    ARP: st.builds(ARP, uint16, macs, addresses, macs, addresses),
    IPv4: st.builds(
        IPv4, addresses, addresses, uint8, st.integers(60, 200), uint8, st.integers(0, 63), st.integers(0, 3),
        uint16, st.booleans(), st.booleans(), st.integers(0, 8191), options(40), st.booleans(),
    ),
    ICMP: st.builds(ICMP, uint8, uint8, uint32),
    UDP: st.builds(UDP, uint16, uint16, st.integers(8, 200), uint16),
    TCP: st.builds(
        TCP, uint16, uint16, uint32, uint32, st.integers(0, 0xFFF), uint16, uint16, uint16, options(40)
    ),
}  # fmt: skip
SHORTEST = {Ethernet: 14, ARP: 28, IPv4: 20, ICMP: 8, UDP: 8, TCP: 20}
# The fields that stand in the header, but need no attribute: their value is always the same.
CONSTANT = {"version", "hardware_type", "protocol_type", "hardware_length", "protocol_length"}

each_header = pytest.mark.parametrize("header", EXAMPLES, ids=lambda header: header.__name__)


@each_header
@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.feature("Headers", "Every header packs and parses without losing a bit")
def test_pack_and_parse_are_inverse(header, data):
    built = data.draw(EXAMPLES[header])
    packed = built.pack()
    whole = packed + bytes(200)  # room for the lengths that IPv4 and UDP promise
    parsed = header.parse(whole)
    assert parsed == built
    assert parsed.pack() == packed

    before = data.draw(st.binary(max_size=20))
    for buffer in (bytes, bytearray, memoryview):
        again = header.parse(buffer(before + whole), len(before))
        assert again == built and again.pack() == packed


@each_header
@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.feature("Headers", "A truncated or random header is a named error, never a crash")
def test_every_truncation_is_a_header_error(header, data):
    packed = data.draw(EXAMPLES[header]).pack()
    for length in range(len(packed)):
        for offset in (0, 3):
            with pytest.raises(HeaderError) as raised:
                header.parse(bytes(offset) + packed[:length], offset)
            assert isinstance(raised.value.rule, Rule)
    with pytest.raises(HeaderError):
        header.parse(packed, len(packed) + 1)


@each_header
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_bytes_raise_nothing_else(header, data):
    raw = data.draw(st.binary(max_size=80))
    if raw and data.draw(st.booleans()):  # half of them get past the first check
        raw = bytes((0x40 | raw[0] & 0xF,)) + raw[1:]
    readers = [header.parse, getattr(header, "parse_quoted", header.parse)]
    readers += [parse_quoted_tcp] if header is TCP else []
    for read in readers:
        try:
            read(memoryview(raw))
        except HeaderError as error:
            assert error.rule.name and error.rule.words
    Options.parse(raw)


@each_header
def test_fields_describe_every_bit(header):
    assert sum(field.bits for field in header.FIELDS) == 8 * SHORTEST[header]
    names = [field.name for field in header.FIELDS]
    assert len(set(names)) == len(names)
    attributes = {field.name for field in dataclasses.fields(header)}
    assert set(names) - attributes <= CONSTANT
    assert attributes - set(names) <= {"options"}
    assert all(field.meaning for field in header.FIELDS)


@each_header
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_fields_stand_where_they_say(header, data):
    """Reading the bits in the order and width of FIELDS gives the values of the attributes."""
    built = data.draw(EXAMPLES[header])
    packed = built.pack()
    parsed = header.parse(packed + bytes(200)) if header is not ICMP else ICMP.parse(packed)
    bits = int.from_bytes(packed[: SHORTEST[header]], "big")
    left = 8 * SHORTEST[header]
    for field in header.FIELDS:
        left -= field.bits
        value = bits >> left & ((1 << field.bits) - 1)
        if field.name in CONSTANT:
            continue
        attribute = getattr(parsed, field.name)
        if isinstance(attribute, bytes):
            attribute = int.from_bytes(attribute, "big")
        assert attribute == value * (4 if field.name == "header_length" else 1), field.name


def test_rules_have_names_words_and_a_clause():
    names = []
    for module_info in pkgutil.iter_modules(labstack.headers.__path__):
        module = importlib.import_module(f"labstack.headers.{module_info.name}")
        for rule in vars(module).values():
            if isinstance(rule, Rule):
                assert re.fullmatch(rf"{module_info.name}\.[a-z_]+", rule.name)
                assert rule.words and re.match(r"RFC \d+|IEEE", rule.clause)
                names.append(rule.name)
    assert len(set(names)) == len(names) >= 15
