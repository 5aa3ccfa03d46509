"""Segmentation: each piece is the frame that scapy would have built from nothing."""

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.inet import IP, TCP as ScapyTCP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from labstack.core.addresses import MAC, IPv4Address
from labstack.core.checksum import finish
from labstack.headers.ethernet import ETHERTYPE_IPV4, Ethernet
from labstack.headers.ipv4 import PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.segmentation import segment
from labstack.headers.tcp import ACK, CWR, FIN, PSH, TCP, Options

A, B = IPv4Address.parse("10.0.0.1"), IPv4Address.parse("10.0.0.2")
MAC_A, MAC_B = MAC.parse("02:00:00:00:00:01"), MAC.parse("02:00:00:00:00:02")


def unfinished(size: int, tcp: TCP, identification: int, ip_options: bytes = b"") -> bytes:
    """The header that TCP hands to the device for `size` bytes of payload."""
    tcp_length = 20 + len(tcp.options) + size
    # As Linux has it: the pseudo-header's sum folded into 16 bits, not complemented.
    tcp.checksum = 0xFFFF - finish(pseudo_sum(A, B, PROTO_TCP, tcp_length))
    ip = IPv4(
        A, B, PROTO_TCP, 20 + len(ip_options) + tcp_length,
        identification=identification, dont_fragment=True, ecn=2, options=ip_options,
    )  # fmt: skip
    return Ethernet(MAC_B, MAC_A, ETHERTYPE_IPV4).pack() + ip.pack() + tcp.pack()


def scapy_frame(template: bytes, identification: int, seq: int, flags: int, payload: bytes) -> bytes:
    """The frame with these values, its lengths and checksums worked out by scapy."""
    frame = Ether(template)
    frame[IP].id, frame[ScapyTCP].seq, frame[ScapyTCP].flags = identification, seq, flags & 0x1FF
    del frame[IP].len, frame[IP].chksum, frame[ScapyTCP].chksum
    return bytes(frame / Raw(payload))


def check(header: bytes, payload: bytes, size: int, identification: int, seq: int, flags: int) -> None:
    pieces = list(segment(header, payload, size))
    assert b"".join(bytes(piece) for _, piece in pieces) == payload
    assert len(pieces) == max(1, -(-len(payload) // size))
    for number, (piece_header, piece) in enumerate(pieces):
        assert type(piece_header) is bytes
        expected_flags = flags
        if number > 0:
            expected_flags &= ~CWR
        if number < len(pieces) - 1:
            expected_flags &= ~(FIN | PSH)
            assert len(piece) == size
        expected = scapy_frame(
            header, (identification + number) & 0xFFFF, (seq + number * size) & 0xFFFFFFFF,
            expected_flags, bytes(piece),
        )  # fmt: skip
        assert piece_header + piece == expected


@settings(max_examples=500, deadline=None)
@given(
    count=st.integers(0, 5), around=st.integers(-2, 2), size=st.integers(1, 300),
    seq=st.integers(0, 0xFFFFFFFF) | st.integers(0xFFFFFF00, 0xFFFFFFFF),
    identification=st.integers(0, 0xFFFF) | st.integers(0xFFFC, 0xFFFF),
    flags=st.integers(0, 0x1FF),
    options=st.sampled_from((b"", Options(timestamps=(7, 9)).pack(), Options(sack=((1, 2), (3, 4))).pack())),
    ip_options=st.sampled_from((b"", b"\x94\x04\0\0")),
    filling=st.binary(min_size=1, max_size=8),
)  # fmt: skip
@pytest.mark.feature("Headers", "Segmentation: every piece is the frame scapy builds from nothing")
def test_each_piece_is_what_scapy_would_build(
    count, around, size, seq, identification, flags, options, ip_options, filling
):
    length = max(0, count * size + around)
    payload = (filling * length)[:length]
    tcp = TCP(4000, 80, seq, 1, flags, 1000, options=options)
    header = unfinished(length, tcp, identification, ip_options)
    check(header, payload, size, identification, seq, flags)


@pytest.mark.parametrize("length", [0, 1, 1447, 1448, 1449, 2896, 2897, 20000, 65483])
@pytest.mark.parametrize("filling", [b"\0", b"\xff", b"labstack"])
def test_ordinary_sizes(length, filling):
    payload = (filling * length)[:length]
    flags = ACK | PSH | FIN | CWR
    tcp = TCP(4000, 80, 0xFFFFFC00, 1, flags, 1000, options=Options(timestamps=(7, 9)).pack())
    check(unfinished(length, tcp, 0xFFF0), payload, 1448, 0xFFF0, 0xFFFFFC00, flags)


def test_a_finished_frame_is_handed_on_as_it_is():
    header, payload = bytes(54), b"payload"
    ((same_header, same_payload),) = segment(header, payload, 0)
    assert same_header is header and same_payload is payload


@pytest.mark.parametrize("length", [100, 1000, 4000])
def test_payload_is_not_copied(length):
    ring = bytearray(length)
    tcp = TCP(4000, 80, 1, 1, ACK, 1000)
    for _, piece in segment(unfinished(length, tcp, 0), memoryview(ring), 1000):
        assert isinstance(piece, memoryview) and piece.obj is ring
