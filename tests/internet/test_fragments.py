"""Fragments: cut where the link is too narrow, joined at the destination, and bounded in every way."""

import errno
import random
import socket
from dataclasses import replace

import pytest
from scapy.layers.inet import IP, UDP, defragment

from labstack import Network
from labstack.core.addresses import BROADCAST, IPAddress
from labstack.headers.icmp import REASSEMBLY_EXCEEDED, TIME_EXCEEDED
from labstack.headers.ipv4 import CE, ECT_0, NOT_ECT, PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, TCP, pack_segment, verify
from labstack.headers.udp import UDP as UDPHeader
from labstack.internet.fragments import BYTES, DATAGRAMS, LIFETIME, OVERHEAD, Fragments, cut
from tests.scene import SECOND, Peer, Tape, pair, pattern

HERE, THERE = IPAddress.parse("10.0.0.2"), IPAddress.parse("10.0.0.1")


def udp_socket(host, port=9):
    s = host.socket(socket.SOCK_DGRAM)
    s.bind(("", port))
    s.settimeout(0)
    return s


def datagram(size, **fields):
    """A header and payload of a UDP datagram from the peer to port 9."""
    data = pattern(size)
    body = UDPHeader(5, 9).pack(pseudo_sum(HERE, THERE, PROTO_UDP, 8 + size), data) + data
    return IPv4(HERE, THERE, PROTO_UDP, 20 + len(body), identification=7, **fields), body


def pieces(size, mtu=1500, **fields):
    """The fragments of such a datagram, as packets."""
    header, body = datagram(size, **fields)
    return [front + bytes(piece) for front, piece in cut(header, body, mtu)]


def arrive(peer, packets):
    for packet in packets:
        peer.inject(peer.frame(packet))


# --- cutting ----------------------------------------------------------------------------------------


@pytest.mark.feature("IPv4", "A datagram longer than the MTU is sent as fragments, as scapy reads them too")
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 2952, 2953, 65507])
def test_every_size_crosses_in_fragments_that_scapy_joins_too(size):
    with Network() as net:
        a, b, _ = pair(net)
        tape = Tape(net)
        s, t = udp_socket(a, 5), udp_socket(b)
        assert s.sendto(pattern(size), ("b", 9)) == size
        net.run()
        assert t.recvfrom(65535) == (pattern(size), ("10.0.0.1", 5))
        packets = [IP(shot.frame[14 : 14 + shot.ip.total_length]) for shot in tape.sent(a) if shot.ip]
        assert len(packets) == max(1, -(-(size + 8) // 1480))
        assert len({packet.id for packet in packets}) == 1
        at = 0
        for n, packet in enumerate(packets):
            sum_as_sent = packet.chksum
            del packet.chksum
            again = IP(bytes(packet))
            assert again.chksum == sum_as_sent, "scapy works out the same header checksum"
            assert packet.frag * 8 == at and packet.len <= 1500
            assert packet.flags == ("MF" if n + 1 < len(packets) else 0)
            at += packet.len - 20
        (whole,) = [IP(bytes(packet)) for packet in defragment(packets)]
        assert bytes(whole[UDP].payload) == pattern(size)
        assert not a.counters and not b.counters and not b.ip.fragments.waiting


def test_more_than_any_datagram_holds_is_an_error():
    with Network() as net:
        a, b, _ = pair(net)
        with pytest.raises(OSError) as caught:
            udp_socket(a).sendto(bytes(65508), ("b", 9))
        assert caught.value.errno == errno.EMSGSIZE
        with pytest.raises(OSError) as caught:
            a.ip.send(IPAddress.parse("10.0.0.2"), PROTO_UDP, bytes(1481))
        assert caught.value.errno == errno.EMSGSIZE, "what must not be cut and does not fit"
        assert net.simulator.idle


def test_a_long_broadcast_is_cut_too():
    with Network() as net:
        a, b, _ = pair(net)
        tape = Tape(net)
        s, t = udp_socket(a, 5), udp_socket(b)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.sendto(pattern(4000), ("10.0.0.255", 9))
        net.run()
        assert t.recv(65535) == pattern(4000)
        assert [shot.ethernet.dst for shot in tape.sent(a)] == [BROADCAST] * 3


def narrowing(net):
    """A host, a router, and a host behind a narrower link."""
    r = net.router("r")
    a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254")
    b = net.host("b", "10.1.0.1/24", gateway="10.1.0.254")
    net.wire(a, r.interface("eth0", "10.0.0.254/24"), mtu=1500)
    net.wire(b, r.interface("eth1", "10.1.0.254/24"), mtu=576)
    return a, r, b


@pytest.mark.feature("IPv4", "A router cuts what is too long for its next link, also a fragment once more")
def test_a_router_cuts_a_fragment_once_more():
    with Network() as net:
        a, r, b = narrowing(net)
        tape = Tape(net)
        s, t = udp_socket(a, 5), udp_socket(b)
        s.sendto(pattern(5000), ("10.1.0.1", 9))
        net.run()
        assert t.recv(65535) == pattern(5000)
        sizes = [shot.ip.total_length for shot in tape.sent(r) if shot.ip]
        assert max(sizes) <= 576 and len(sizes) == 3 * 3 + 2
        assert len([shot for shot in tape.sent(a) if shot.ip]) == 4


def test_a_router_finishes_a_long_segment_before_it_cuts_it():
    with Network() as net:
        _, r, b = narrowing(net)
        s = b.socket(type=socket.SOCK_RAW, proto=PROTO_TCP)
        src, dst, payload = IPAddress.parse("10.0.0.1"), IPAddress.parse("10.1.0.1"), pattern(3000)
        # As a device with offload hands it up: longer than any frame, and its checksum left to the device.
        tcp = pack_segment((5, 80), 7, 0, ACK, 100, b"", pseudo_sum(src, dst, PROTO_TCP, 3020), None)
        ip = IPv4(src, dst, PROTO_TCP, 3040, dont_fragment=False).pack()
        r.ip.receive(r["eth0"], ip + tcp + payload, 1400, False)
        net.run()
        segments = [s.recv(65535)[20:] for _ in range(3)]
        assert [TCP.parse(each).seq for each in segments] == [7, 1407, 2807]
        assert b"".join(each[20:] for each in segments) == payload
        assert all(verify(each, pseudo_sum(src, dst, PROTO_TCP, len(each))) for each in segments)
        assert r["eth1"].sent_frames == 1 + 3 + 3 + 1  # the question for the MAC first


def test_the_first_fragment_has_all_options_the_others_those_that_are_to_be_copied():
    record_route, security, no_operation = b"\x07\x07\x04\0\0\0\0", b"\x82\x04ab", b"\x01"
    header, body = datagram(100, options=no_operation + record_route + security)
    first, *others = [IPv4.parse(front + bytes(piece)) for front, piece in cut(header, body, 68)]
    assert first.options == no_operation + record_route + security
    assert others and {other.options for other in others} == {security}


@pytest.mark.parametrize("options", [b"\x82", b"\x82\0xx", b"\x82\xff", b"\0\x82\x02"])
def test_options_that_make_no_sense_end_the_copying(options):
    header, body = datagram(200, options=options)
    sent = [IPv4.parse(front + bytes(piece)) for front, piece in cut(header, body, 68)]
    assert sum(each.total_length - each.header_length for each in sent) == len(body)


# --- joining ----------------------------------------------------------------------------------------


@pytest.mark.feature("IPv4", "Fragments are joined in whatever order they arrive, also when some come twice")
@pytest.mark.parametrize("seed", range(20))
def test_fragments_are_joined_in_any_order(seed):
    draw = random.Random(seed)
    size = draw.randrange(1473, 65508)
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        packets = pieces(size, draw.choice([68, 576, 1006, 1500]))
        packets += draw.sample(packets, len(packets) // 3)
        draw.shuffle(packets)
        arrive(peer, packets)
        assert s.recv(65535) == pattern(size)
        with pytest.raises(BlockingIOError):
            s.recv(1)


def test_fragments_of_two_datagrams_do_not_mix():
    with Network() as net:
        a, b, wire = pair(net, wire={"reorder": 0.4, "duplicate": 0.3, "delay": "3 ms", "rate": "10 Mbit/s"})
        s, t = udp_socket(a, 5), udp_socket(b)
        t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert a.ping("b") != [None]  # so that no fragment waits for ARP
        for k in range(8):
            s.sendto(pattern(20_000, k), ("b", 9))
        net.run()
        assert sorted(t.recv(65535) for _ in range(8)) == sorted(pattern(20_000, k) for k in range(8))


@pytest.mark.feature(
    "IPv4", "One lost fragment loses the datagram: after 60 s its sender hears so, and nothing is kept"
)
@pytest.mark.parametrize("lost", range(3))
def test_one_lost_fragment_loses_the_datagram(lost):
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        packets = pieces(4000)
        lost_one = packets.pop(lost)
        arrive(peer, packets)
        net.run()
        assert net.now == LIFETIME / SECOND and not peer.host.ip.fragments.waiting
        assert dict(peer.host.counters) == {"ipv4.incomplete": 1}
        told = [shot for shot in peer.inbox if shot.ip.protocol == PROTO_ICMP]
        assert len(told) == (lost != 0), "about the first fragment only (RFC 792)"
        if told:
            assert told[0].body[:2] == bytes([TIME_EXCEEDED, REASSEMBLY_EXCEEDED])
            assert told[0].body[8:] == packets[0][:548]
        arrive(peer, [lost_one])  # too late
        with pytest.raises(BlockingIOError):
            s.recv(1)


def test_no_error_about_a_broadcast_whose_fragments_are_missing():
    with Network() as net:
        peer = Peer(net)
        header, body = datagram(3000)
        header.dst = IPAddress.parse("10.0.0.255")
        arrive(peer, [front + bytes(piece) for front, piece in cut(header, body, 1500)][:2])
        net.run()
        assert peer.host.counters["ipv4.incomplete"] == 1 and not peer.inbox


def test_a_connected_sender_with_recverr_hears_that_its_datagram_was_not_joined():
    with Network() as net:
        a, b, wire = pair(net)
        s = udp_socket(a, 5)
        s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        udp_socket(b)
        wire.drop(lambda seen: seen.ip is not None and seen.ip.fragment_offset == 185)  # the middle one
        s.sendto(pattern(4000), ("b", 9))
        net.run()
        with pytest.raises(OSError) as caught:
            s.recv(1)
        assert caught.value.errno == errno.EHOSTUNREACH


@pytest.mark.feature(
    "IPv4", "Overlapping fragments are refused by name, with their whole datagram (RFC 5722)"
)
def test_overlapping_fragments_are_refused():
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        first, second, third = pieces(4000)
        header = IPv4.parse(second)
        liar = replace(header, fragment_offset=header.fragment_offset - 1).pack() + second[20:]
        arrive(peer, [first, liar, second, third, first])
        with pytest.raises(BlockingIOError):
            s.recv(1)
        assert dict(peer.host.counters) == {"ipv4.overlapping_fragment": 4}
        assert peer.host.ip.fragments.held == OVERHEAD, "its name alone is kept"
        net.run()
        assert not peer.host.ip.fragments.waiting and not peer.inbox, "no word to a liar"


@pytest.mark.parametrize("what", ["two ends", "an end before the end", "other bytes", "behind the end"])
def test_all_the_ways_to_contradict_oneself(what):
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        first, second, third = pieces(4000)
        h = IPv4.parse(third)
        after = replace(h, fragment_offset=h.fragment_offset + 200)
        packets = {
            "two ends": [first, third, after.pack() + third[20:], second],
            "an end before the end": [
                third,
                replace(IPv4.parse(second), more_fragments=False).pack() + second[20:],
            ],
            "other bytes": [first, first[:-1] + b"?", second, third],
            "behind the end": [first, third, replace(after, more_fragments=True).pack() + third[20:], second],
        }[what]
        arrive(peer, packets)
        with pytest.raises(BlockingIOError):
            s.recv(1)
        assert peer.host.counters["ipv4.overlapping_fragment"] >= 1


@pytest.mark.feature("IPv4", "No datagram grows beyond 65,535 bytes: the ping of death is dropped by name")
@pytest.mark.parametrize("size, fits", [(65515 - 65512, True), (65515 - 65512 + 1, False), (1000, False)])
def test_no_datagram_is_longer_than_65535_bytes(size, fits):
    with Network() as net:
        peer = Peer(net)
        last = IPv4(HERE, THERE, PROTO_UDP, 20 + size, fragment_offset=8189).pack() + bytes(size)
        arrive(peer, [last])
        assert peer.host.counters["ipv4.bad_fragment"] == (not fits)
        assert len(peer.host.ip.fragments.waiting) == fits


def test_options_of_the_first_fragment_count_too():
    with Network() as net:
        peer = Peer(net)
        header, body = datagram(65507)
        header.options = b"\x01" * 40  # they stand in the first fragment only: together it is too much
        arrive(peer, [front + bytes(piece) for front, piece in cut(header, body, 1500)])
        assert dict(peer.host.counters) == {"ipv4.bad_fragment": 1} and not peer.host.ip.fragments.waiting


@pytest.mark.parametrize("size, more", [(0, True), (0, False), (9, True), (1, True)])
def test_a_fragment_of_an_impossible_length(size, more):
    with Network() as net:
        peer = Peer(net)
        header = IPv4(HERE, THERE, PROTO_UDP, 20 + size, more_fragments=more, fragment_offset=2)
        arrive(peer, [header.pack() + bytes(size)])
        assert dict(peer.host.counters) == {"ipv4.bad_fragment": 1}


@pytest.mark.parametrize(
    "marks, whole",
    [([ECT_0, CE, ECT_0], CE), ([ECT_0] * 3, ECT_0), ([NOT_ECT] * 3, NOT_ECT), ([NOT_ECT, CE, CE], None)],
)
def test_congestion_met_by_one_fragment_is_met_by_the_whole(marks, whole):
    """RFC 3168 §5.3."""
    with Network() as net:
        node = pair(net)[0].node
        table = Fragments(node, lambda piece: None)
        answer = None
        for packet, mark in zip(pieces(4000), marks, strict=True):
            header = replace(IPv4.parse(packet), ecn=mark)
            answer = table.add(header, header.pack() + packet[20:])
        assert (answer[0].ecn if answer else None) == whole
        assert node.counters["ipv4.bad_fragment"] == (whole is None)


# --- bounds -----------------------------------------------------------------------------------------


@pytest.mark.feature(
    "IPv4", "Fragments that never become whole fill a table with bounds, the oldest go first"
)
@pytest.mark.parametrize("size", [8, 1480])
def test_the_table_is_bounded_in_datagrams_and_in_bytes(size):
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        table = peer.host.ip.fragments
        for k in range(3000):
            header = IPv4(HERE, THERE, PROTO_UDP, 20 + size, identification=k, more_fragments=True)
            arrive(peer, [header.pack() + bytes(size)])
            assert len(table.waiting) <= DATAGRAMS and table.held <= BYTES
        assert peer.host.counters["ipv4.fragments_full"] == 3000 - len(table.waiting)
        arrive(peer, [replace(IPv4.parse(p), identification=9999).pack() + p[20:] for p in pieces(65507)])
        assert s.recv(65535) == pattern(65507), "an honest datagram still comes through"
        net.run()
        assert not table.waiting and not table.held and net.simulator.idle


def test_one_datagram_in_the_smallest_fragments_cannot_fill_more_than_the_table():
    with Network() as net:
        peer = Peer(net)
        table = peer.host.ip.fragments
        for offset in range(0, 8189, 2):  # a hole behind each
            header = IPv4(HERE, THERE, PROTO_UDP, 28, more_fragments=True, fragment_offset=offset)
            arrive(peer, [header.pack() + bytes(8)])
            assert table.held <= BYTES
        peer.host.close()
        assert not table.waiting and net.simulator.idle
