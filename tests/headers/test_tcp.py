"""TCP headers and options against scapy."""

import pytest
from hypothesis import example, given, settings, strategies as st
from scapy.layers.inet import IP, TCP as ScapyTCP
from scapy.packet import Raw

from labstack.core.addresses import IPv4Address
from labstack.headers import tcp
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import PROTO_TCP, pseudo_sum
from labstack.headers.tcp import (
    ACK,
    AE,
    CWR,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    TCP,
    URG,
    Options,
    flag_names,
)

uint8, uint16, uint32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
addresses = st.binary(min_size=4, max_size=4).map(IPv4Address)
payloads = st.binary(max_size=80)
pairs = st.tuples(uint32, uint32)
# Kinds that neither we nor scapy have a meaning for.
unknown_options = st.tuples(st.sampled_from((100, 180, 252, 253, 254)), st.binary(max_size=6))

our_options = st.builds(
    Options,
    mss=st.none() | uint16,
    window_scale=st.none() | uint8,
    sack_permitted=st.booleans(),
    sack=st.lists(pairs, max_size=4).map(tuple),
    timestamps=st.none() | pairs,
    unknown=st.lists(unknown_options, max_size=2).map(tuple),
)


def fits(options: Options) -> bool:
    try:
        return len(options.pack()) <= 40
    except ValueError:
        return False


def as_scapy(options: Options) -> list[tuple[object, object]]:
    """The same options as scapy lists them, in the order of our `pack`, without padding."""
    listed: list[tuple[object, object]] = []
    if options.mss is not None:
        listed.append(("MSS", options.mss))
    if options.sack_permitted:
        listed.append(("SAckOK", b""))
    if options.timestamps is not None:
        listed.append(("Timestamp", options.timestamps))
    if options.window_scale is not None:
        listed.append(("WScale", options.window_scale))
    if options.sack:
        listed.append(("SAck", tuple(edge for block in options.sack for edge in block)))
    return listed + list(options.unknown)


@st.composite
def headers(draw):
    options = draw(our_options.filter(fits))
    header = TCP(
        draw(uint16), draw(uint16), draw(uint32), draw(uint32), draw(st.integers(0, 0xFFF)), draw(uint16),
        urgent=draw(uint16), options=options.pack(),
    )  # fmt: skip
    return header, options


@settings(max_examples=1000, deadline=None)
@given(headers(), addresses, addresses, payloads)
@pytest.mark.feature("Headers", "TCP, options included: scapy agrees, both ways")
def test_scapy_reads_what_we_build(case, src, dst, payload):
    ours, options = case
    length = len(ours.pack()) + len(payload)
    raw = ours.pack(pseudo_sum(src, dst, PROTO_TCP, length), payload)
    theirs = ScapyTCP(raw + payload)
    assert (theirs.sport, theirs.dport, theirs.seq, theirs.ack) == (
        ours.src_port, ours.dst_port, ours.seq, ours.ack
    )  # fmt: skip
    assert (theirs.dataofs * 4, int(theirs.flags), theirs.reserved) == (
        20 + len(ours.options), ours.flags & 0x1FF, ours.flags >> 9
    )  # fmt: skip
    assert (theirs.window, theirs.urgptr) == (ours.window, ours.urgent)
    assert [option for option in theirs.options if option[0] not in ("NOP", "EOL")] == as_scapy(options)
    # Scapy works out the checksum itself, and comes to the same one.
    theirs.remove_payload()
    del theirs.chksum
    assert bytes(IP(src=str(src), dst=str(dst)) / theirs / Raw(payload))[20:] == raw + payload


scapy_options = st.lists(
    st.one_of(
        st.tuples(st.just("MSS"), uint16),
        st.tuples(st.just("WScale"), uint8),
        st.just(("SAckOK", b"")),
        st.tuples(st.just("Timestamp"), pairs),
        st.lists(pairs, min_size=1, max_size=4).map(lambda blocks: ("SAck", sum(blocks, ()))),
        unknown_options,
        st.just(("NOP", None)),
    ),
    max_size=6,
).filter(lambda options: len(bytes(ScapyTCP(options=options))) <= 60)


@settings(max_examples=1000, deadline=None)
@given(
    addresses, addresses, uint16, uint16, uint32, uint32, st.integers(0, 0x1FF), st.integers(0, 7),
    uint16, uint16, scapy_options, payloads,
)  # fmt: skip
def test_we_read_what_scapy_builds(
    src, dst, src_port, dst_port, seq, ack, flags, reserved, window, urgent, options, payload
):
    raw = bytes(
        IP(src=str(src), dst=str(dst))
        / ScapyTCP(sport=src_port, dport=dst_port, seq=seq, ack=ack, flags=flags, reserved=reserved,
                   window=window, urgptr=urgent, options=options)
        / Raw(payload)
    )[20:]  # fmt: skip
    read = TCP.parse(raw)
    assert (read.src_port, read.dst_port, read.seq, read.ack) == (src_port, dst_port, seq, ack)
    assert (read.flags, read.window, read.urgent) == (reserved << 9 | flags, window, urgent)
    assert read.header_length == len(raw) - len(payload) == 20 + len(read.options)
    pseudo = pseudo_sum(src, dst, PROTO_TCP, len(raw))
    assert tcp.verify(raw, pseudo)
    assert read.pack(pseudo, payload) == raw[: read.header_length]
    assert tcp.parse_quoted(raw[:8]) == (src_port, dst_port, seq)

    parsed = Options.parse(read.options)
    named = dict(option for option in options if isinstance(option[0], str))
    edges = named.get("SAck", ())
    assert parsed == Options(
        mss=named.get("MSS"),
        window_scale=named.get("WScale"),
        sack_permitted="SAckOK" in named,
        sack=tuple(zip(edges[::2], edges[1::2], strict=True)),
        timestamps=named.get("Timestamp"),
        unknown=tuple(option for option in options if isinstance(option[0], int)),
    )


@settings(max_examples=1000, deadline=None)
@given(our_options.filter(fits))
@example(Options(timestamps=(1, 2)))
@example(Options(sack_permitted=True, timestamps=(0x01010101, 0)))
def test_options_survive_the_way_there_and_back(options):
    raw = options.pack()
    assert len(raw) % 4 == 0
    assert Options.parse(raw) == Options.parse(memoryview(raw)) == options


@pytest.mark.parametrize("raw, options", [
    ("", Options()),
    ("00", Options()),
    ("01", Options()),
    ("0000020405b4", Options()),  # nothing counts behind the end
    ("020405b4", Options(mss=1460)),
    ("020405b4 0204ffff", Options(mss=0xFFFF)),  # the last one counts
    ("02", Options(malformed=True)),  # no length
    ("0200", Options(malformed=True)),  # a length of 0 would never end
    ("0201", Options(malformed=True)),
    ("030307 020405", Options(window_scale=7, malformed=True)),  # longer than what is there
    ("030307 02ff05b4", Options(window_scale=7, malformed=True)),
    ("020305 030307", Options(window_scale=7, unknown=((2, b"\5"),), malformed=True)),
    ("0502", Options(unknown=((5, b""),), malformed=True)),
    ("050600000001", Options(unknown=((5, b"\0\0\0\1"),), malformed=True)),
    ("040300", Options(unknown=((4, b"\0"),), malformed=True)),
    ("1e02 030307", Options(window_scale=7, unknown=((30, b""),))),  # unknown, but well formed
])  # fmt: skip
@pytest.mark.feature("Headers", "Malformed TCP options are reported, not fatal (RFC 9293 MUST-6, MUST-7)")
def test_strange_options_are_read_as_far_as_they_go(raw, options):
    assert Options.parse(bytes.fromhex(raw)) == options


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from((0, 1, 2, 3, 4, 5, 8, 10, 253)) | uint8, max_size=40).map(bytes))
def test_options_never_raise_and_settle(raw):
    """Whatever came, what was understood can be sent again and is understood the same."""
    parsed = Options.parse(raw)
    if not parsed.malformed and fits(parsed):
        assert Options.parse(parsed.pack()) == parsed


def test_too_many_options_are_refused():
    with pytest.raises(ValueError, match="there is room for 40"):
        Options(sack=((1, 2),) * 4, timestamps=(1, 2)).pack()
    with pytest.raises(ValueError, match="does not fit"):
        TCP(1, 2, 3, 4, ACK, 5, options=bytes(41)).pack()
    with pytest.raises(ValueError, match="does not fit"):
        TCP(1, 2, 3, 4, 0x1000, 5).pack()


def test_the_syn_of_a_usual_connection():
    options = Options(mss=1460, window_scale=7, sack_permitted=True, timestamps=(1, 0))
    assert options.pack().hex(" ", 4) == "020405b4 0402080a 00000001 00000000 01030307"


def test_refusals():
    raw = bytearray(TCP(1, 2, 3, 4, ACK, 5).pack())
    raw[12] = 0x40
    with pytest.raises(HeaderError) as raised:
        TCP.parse(raw)
    assert raised.value.rule is tcp.BAD_HEADER_LENGTH
    raw[12] = 0x60
    with pytest.raises(HeaderError) as raised:
        TCP.parse(raw)
    assert raised.value.rule is tcp.TRUNCATED
    with pytest.raises(HeaderError):
        tcp.parse_quoted(bytes(7))


@settings(max_examples=300, deadline=None)
@given(headers(), payloads, st.integers(0, 2**40), st.data())
def test_wrong_bits_are_noticed(case, payload, pseudo, data):
    raw = bytearray(case[0].pack(pseudo, payload) + payload)
    assert tcp.verify(raw, pseudo)
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert not tcp.verify(raw, pseudo)


def test_flags_have_names():
    assert flag_names(0) == ""
    assert flag_names(SYN | ACK) == "SYN, ACK"
    assert flag_names(FIN | ACK) == "FIN, ACK"
    everything = FIN | SYN | RST | PSH | ACK | URG | ECE | CWR | AE
    assert flag_names(everything | 0xE00) == "FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE"
    assert everything == 0x1FF
    assert sum(bit.bits for bit in tcp.FLAGS) == 12


@settings(max_examples=1000, deadline=None)
@given(
    uint16, uint16, uint32, uint32, st.integers(0, 0x1FF), uint16, our_options.filter(fits), payloads,
    st.integers(0, 1 << 64),
)  # fmt: skip
def test_the_short_way_to_pack_leads_to_the_same(src, dst, seq, ack, flags, window, options, payload, pseudo):
    raw = options.pack()
    ours = TCP(src, dst, seq, ack, flags, window, options=raw)
    fields = (src, dst), seq, ack, flags, window, raw, pseudo
    assert tcp.pack_segment(*fields, payload) == ours.pack(pseudo, payload)
    ours.checksum = pseudo % 0xFFFF
    assert tcp.pack_segment(*fields, None) == ours.pack()
