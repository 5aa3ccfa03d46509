"""Header diagrams, encapsulation and models: drawn from the header classes, they say what the code says."""

from xml.etree import ElementTree

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from labstack.headers import arp, ethernet, icmp, ipv4, tcp, udp
from labstack.observe.encapsulation import Dissection, hexdump
from labstack.observe.fields import fields
from labstack.observe.header_diagram import header_diagram
from labstack.observe.models import models

CLASSES = [ethernet.Ethernet, arp.ARP, ipv4.IPv4, icmp.ICMP, udp.UDP, tcp.TCP]


def frame() -> bytes:
    options = [("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    segment = TCP(sport=49152, dport=80, seq=7, flags="S", window=64240, options=options)
    return bytes(link / IP(src="10.0.0.1", dst="10.0.0.2", ttl=61) / segment)


@pytest.mark.parametrize("header", CLASSES, ids=lambda header: header.__name__)
def test_every_header_has_a_diagram(header: type) -> None:
    diagram = header_diagram(header)
    root = ElementTree.fromstring(diagram.svg)
    assert len(list(root.iter())) > 20
    assert diagram.bits == sum(field.bits for field in header.FIELDS)
    lines = diagram.text.splitlines()
    assert {len(line) for line in lines[2:]} <= {65, 33}
    assert all(line[0] in "+|" and line[-1] in "+|" for line in lines[2:])
    assert header_diagram(header).svg == diagram.svg


@pytest.mark.feature("Observation", "Header diagrams, drawn from the header classes, with a packet's values")
def test_ipv4_as_the_rfc_draws_it() -> None:
    assert (
        header_diagram(ipv4.IPv4).text
        == """\
 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-------+-------+-----------+---+-------------------------------+
|version|  IHL  |    DSCP   |ECN|          total length         |
+-------+-------+-----------+---+-+-+-+-------------------------+
|         identification        |0|D|M|     fragment offset     |
|                               | |F|F|                         |
+---------------+---------------+-+-+-+-------------------------+
|  time to live |    protocol   |        header checksum        |
+---------------+---------------+-------------------------------+
|                         source address                        |
+---------------------------------------------------------------+
|                      destination address                      |
+---------------------------------------------------------------+"""
    )


def test_values_are_those_that_scapy_reads() -> None:
    raw = frame()
    theirs = Ether(raw)
    ours = {layer.name: {f.name: f.value for f in layer.fields} for layer in Dissection(raw).layers}
    assert ours["IPv4"]["ttl"] == str(theirs[IP].ttl) == "61"
    assert ours["IPv4"]["header_checksum"] == f"0x{theirs[IP].chksum:04x}"
    assert ours["IPv4"]["version"] == "4"
    assert ours["IPv4"]["header_length"] == f"20 bytes ({theirs[IP].ihl} × 4)"
    assert ours["TCP"]["checksum"] == f"0x{theirs[TCP].chksum:04x}"
    assert ours["TCP"]["flags"] == "SYN"
    assert ours["Ethernet"]["ethertype"] == "0x0800 (IPv4)"


def test_byte_ranges_cover_the_frame() -> None:
    raw = bytes(Ether() / IP(src="1.2.3.4", dst="1.2.3.5") / UDP() / b"hello").ljust(60, b"\0")
    layers = Dissection(raw).layers
    assert [layer.name for layer in layers] == ["Ethernet", "IPv4", "UDP", "data", "padding"]
    assert [layer.start for layer in layers] == [0, *(layer.end for layer in layers[:-1])]
    assert layers[-1].end == 60
    assert raw[layers[3].start : layers[3].end] == b"hello"
    text = Dissection(raw).text
    assert "UDP: bytes 34 to 41 (8 bytes)" in text and "68 65 6c 6c 6f" in text
    ElementTree.fromstring(Dissection(raw).svg)


def test_a_broken_frame_is_data() -> None:
    assert [layer.name for layer in Dissection(b"short").layers] == ["data"]
    cut = frame()[:40]
    assert [layer.name for layer in Dissection(cut).layers] == ["Ethernet", "data"]
    ElementTree.fromstring(Dissection(b"short").svg)


def test_flags_and_options_in_the_diagram() -> None:
    header = tcp.TCP.parse(frame(), 34)
    values = {field.name: field.value for field in fields(header, split_flags=True)}
    assert (values["SYN"], values["ACK"], values["AE"]) == ("1", "0", "0")
    diagram = header_diagram(header, highlight={"seq"})
    assert "MSS 1460" in diagram.svg and "SACK permitted" in diagram.text
    assert "#FCE9B6" in diagram.svg
    with pytest.raises(ValueError, match="TCP has no field 'sequence'"):
        header_diagram(header, highlight={"sequence"})
    with pytest.raises(TypeError, match="int is no header"):
        header_diagram(7)


def test_models() -> None:
    table = models(frame())
    assert [row[0] for row in table.rows] == ["Ethernet", "IPv4", "TCP", "the bits themselves"]
    assert table.rows[1][2:] == ("3 network", "internet", "3 network")
    with_data = models(bytes(Ether() / IP() / UDP() / b"x"))
    assert with_data.rows[3][0] == "data" and with_data.rows[3][3] == "application"
    ElementTree.fromstring(table._repr_html_())
    assert "OSI" in table.text


def test_hexdump() -> None:
    assert hexdump(b"GET /\r\n") == "  0000  47 45 54 20 2f 0d 0a" + " " * 29 + "GET /.."
    assert hexdump(bytes(100), limit=2).endswith("… 68 more bytes")
