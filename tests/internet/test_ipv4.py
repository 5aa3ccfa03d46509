"""IPv4: what a host takes, what a router passes on, and what becomes of the rest."""

import errno
import random
import socket
from itertools import pairwise

import pytest

from labstack import Network
from labstack.core.addresses import BROADCAST, IPv4Address, Prefix, mask
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_UDP, IPv4
from labstack.internet.routing import LongestPrefixTable, Route
from tests.scene import Peer, Tape, connected, pair, read_all, settle


def udp_socket(host, port=9, address=""):
    s = host.socket(socket.SOCK_DGRAM)
    s.bind((address, port))
    s.settimeout(0)
    return s


def waiting(s):
    """What a datagram socket holds now."""
    got = []
    while True:
        try:
            got.append(s.recvfrom(65536)[0])
        except BlockingIOError:
            return got


def line(net, *routers):
    """a — r1 — … — b: every machine knows the way."""
    machines = [net.host("a", "10.0.0.1/24", gateway="10.0.0.254")]
    for n, name in enumerate(routers):
        r = net.router(name)
        r.interface("left", f"10.{n}.0.254/24")
        r.interface("right", f"10.{n + 1}.0.1/24" if n + 1 < len(routers) else f"10.{n + 1}.0.254/24")
        machines.append(r)
    last = len(routers)
    machines.append(net.host("b", f"10.{last}.0.2/24", gateway=f"10.{last}.0.254"))
    for n, r in enumerate(machines[1:-1]):
        for k in range(last + 1):
            if k < n:
                r.route(f"10.{k}.0.0/24", via=f"10.{n}.0.1")
            elif k > n + 1:
                r.route(f"10.{k}.0.0/24", via=f"10.{n + 1}.0.254")
    wires = [net.wire(machines[0], machines[1]["left"])]
    for one, two in pairwise(machines[1:-1]):
        wires.append(net.wire(one["right"], two["left"]))
    wires.append(net.wire(machines[-2]["right"], machines[-1]))
    return machines, wires


# --- for me, or not -------------------------------------------------------------------------------


def test_a_datagram_for_another_host_is_dropped_by_name_and_nothing_is_sent():
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        peer.udp(7, 9, b"for 10.0.0.3", dst=IPv4Address(b"\x0a\0\0\x03"))
        assert waiting(s) == [] and peer.quiet()
        assert dict(peer.host.counters) == {"ipv4.not_for_me": 1}


@pytest.mark.parametrize("size", range(19))
def test_the_padding_of_a_short_frame_is_not_payload(size):
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        frame = peer.frame(
            peer.datagram(PROTO_UDP, b"\0\7\0\x09" + (8 + size).to_bytes(2, "big") + bytes(2) + b"x" * size)
        )
        peer.inject(frame.ljust(60, b"\xee"))
        assert waiting(s) == [b"x" * size]


@pytest.mark.feature("IPv4", "A datagram with a wrong header checksum, version or length is dropped by name")
@pytest.mark.parametrize(
    "at, value, name",
    [
        (0, 0x65, "ipv4.bad_version"),
        (0, 0x44, "ipv4.bad_header_length"),
        (2, 0xFF, "ipv4.truncated"),
        (3, 0x13, "ipv4.bad_length"),
        (8, 0x01, "ipv4.bad_checksum"),
        (10, 0x00, "ipv4.bad_checksum"),
        (15, 0x77, "ipv4.bad_checksum"),
    ],
)
def test_a_damaged_header_is_dropped_by_name(at, value, name):
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        packet = bytearray(peer.datagram(PROTO_UDP, b"\0\7\0\x09\0\x0c\0\0data"))
        assert packet[at] != value
        packet[at] = value
        peer.inject(peer.frame(bytes(packet)))
        assert waiting(s) == [] and peer.quiet()
        assert dict(peer.host.counters) == {name: 1}


@pytest.mark.parametrize(
    "src",
    ["224.0.0.1", "255.255.255.255", "127.0.0.1", "10.0.0.255"],
    ids=["group", "everyone", "loopback", "the link"],
)
def test_a_source_that_is_no_host_is_dropped_by_name(src):
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        peer.udp(7, 9, b"?", src=IPv4Address(bytes(map(int, src.split(".")))))
        assert waiting(s) == [] and peer.quiet()
        assert dict(peer.host.counters) == {"ipv4.bad_source": 1}


def test_options_are_skipped():
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        peer.udp(7, 9, b"behind options", options=b"\x01\x01\x01\x01\x07\x07\x04\0\0\0\0\0")
        assert waiting(s) == [b"behind options"]


# --- broadcasts -----------------------------------------------------------------------------------


@pytest.mark.feature(
    "IPv4", "A broadcast reaches everyone on the link, must be asked for, and is never forwarded"
)
@pytest.mark.parametrize("to", ["10.0.0.255", "255.255.255.255"])
def test_a_broadcast_has_to_be_asked_for(to):
    with Network() as net:
        a, b, _ = pair(net)
        s, t = udp_socket(a, 5), udp_socket(b)
        with pytest.raises(PermissionError) as caught:
            s.sendto(b"all", (to, 9))
        assert caught.value.errno == errno.EACCES
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        tape = Tape(net)
        s.sendto(b"all", (to, 9))
        net.run()
        assert waiting(t) == [b"all"]
        (shot,) = tape.sent()
        assert shot.ethernet.dst == BROADCAST


@pytest.mark.parametrize("dst", [b"\x0a\0\0\xff", b"\xff\xff\xff\xff"])
def test_a_router_forwards_no_broadcast(dst):
    with Network() as net:
        machines, wires = line(net, "r")
        tape = Tape(net)
        packet = (
            IPv4(IPv4Address(b"\x0a\0\0\1"), IPv4Address(dst), PROTO_UDP, 28).pack() + b"\0\7\0\x09\0\x08\0\0"
        )
        wires[0].ends[0].transmit(BROADCAST + wires[0].ends[0].mac + b"\x08\0" + packet, b"")
        net.run()
        assert len(tape.sent()) == 1


def test_a_datagram_for_me_in_a_frame_for_everyone_is_answered_by_no_error():
    with Network() as net:
        peer = Peer(net)
        packet = peer.datagram(PROTO_UDP, b"\0\7\x23\x45\0\x0c\0\0data")
        peer.inject(peer.frame(packet, dst=BROADCAST))
        assert peer.quiet()


# --- myself ---------------------------------------------------------------------------------------


@pytest.mark.feature("IPv4", "What a host sends to itself never touches a link")
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "127.9.8.7", "10.0.0.1", "a"])
def test_what_a_host_sends_to_itself_never_touches_a_link(name):
    with Network() as net:
        a, b, _ = pair(net)
        tape = Tape(net)
        with a.listen(80) as listener:
            s = a.connect((name, 80))
            t, _ = listener.accept()
        s.sendall(b"hello me")
        s.shutdown(1)
        assert read_all(t) == b"hello me"
        assert a.ping(name) == [0.0]
        s.close()
        t.close()
        net.run()
        assert tape.sent() == []
        assert len(tape.named("ipv4.looped")) >= 7


def test_a_host_without_a_wire_talks_to_itself():
    with Network() as net:
        a = net.host("a")
        with a.listen(80) as listener:
            s = a.connect(("127.0.0.1", 80))
            t, peer = listener.accept()
        assert peer[0] == "127.0.0.1"
        s.sendall(b"x" * 300_000)
        s.close()
        assert len(read_all(t)) == 300_000


def test_loopback_addresses_from_a_link_are_dropped():
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        peer.udp(7, 9, b"x", dst=IPv4Address(b"\x7f\0\0\1"))
        assert waiting(s) == []
        assert dict(peer.host.counters) == {"ipv4.bad_source": 1}


# --- routing --------------------------------------------------------------------------------------


@pytest.mark.feature("Routing", "The longest prefix that matches decides, as brute force finds it too")
@pytest.mark.parametrize("seed", range(5))
def test_the_longest_prefix_wins_against_brute_force(seed):
    draw = random.Random(seed)
    table, plain = LongestPrefixTable(), {}

    def address():
        # Few different values, so that prefixes overlap and addresses meet them.
        return IPv4Address(bytes(draw.choice((0, 1, 10, 10, 128, 255)) for _ in range(4)))

    def brute(dst):
        best = None
        for (prefix, _, _), route in plain.items():
            if dst in prefix and (
                best is None or (prefix.length, -route.metric) > (best.prefix.length, -best.metric)
            ):
                best = route
        return best

    for step in range(600):
        length = draw.randrange(33)
        prefix = Prefix(mask(address(), length), length)
        if draw.random() < 0.7 or not plain:
            # One metric for each next hop, all different: no ties.
            hop = draw.randrange(4)
            route = Route(prefix, f"eth{hop}", None, metric=hop)
            table.add(route)
            plain[prefix, route.interface, None] = route
        else:
            key = draw.choice(list(plain))
            table.remove(plain.pop(key))
        for _ in range(5):
            dst = address()
            assert table.look_up(dst) == brute(dst), (step, dst)
    assert sorted(map(str, table.routes())) == sorted(map(str, plain.values()))


def test_the_table_is_bounded():
    table = LongestPrefixTable(limit=2)
    routes = [Route(Prefix.parse(f"10.{k}.0.0/16"), "eth0") for k in range(3)]
    table.add(routes[0])
    table.add(routes[1])
    table.add(routes[1])  # the same once more takes no room
    with pytest.raises(ValueError, match="full"):
        table.add(routes[2])
    table.remove(routes[0])
    table.add(routes[2])


def test_no_route_is_an_error_at_the_socket():
    with Network() as net:
        a, b, _ = pair(net)
        for attempt in (
            lambda: a.connect(("192.0.2.1", 80)),
            lambda: a.socket(socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9)),
        ):
            with pytest.raises(OSError) as caught:
                attempt()
            assert caught.value.errno == errno.ENETUNREACH
        assert not a.tcp.connections and net.simulator.idle


@pytest.mark.feature(
    "Routing", "Datagrams pass through routers, one hop nearer and one less to live each time"
)
def test_three_routers_on_the_way():
    with Network() as net:
        machines, wires = line(net, "r1", "r2", "r3")
        a, b = machines[0], machines[-1]
        tape = Tape(net)
        s, t = connected(net, a, b)
        s.sendall(b"over the hills")
        s.close()
        assert read_all(t) == b"over the hills"
        ttls = [shot.ip.ttl for shot in tape.sent() if shot.body == b"over the hills"]
        assert ttls == [64, 63, 62, 61]
        (first, *others) = [shot for shot in tape.sent() if shot.body == b"over the hills"]
        assert all(shot.ip.src == first.ip.src and shot.ip.dst == first.ip.dst for shot in others)
        assert len({shot.ethernet.dst for shot in (first, *others)}) == 4
        assert machines[1].counters == {} and machines[2].counters == {}


def test_a_host_that_is_no_router_passes_nothing_on():
    with Network() as net:
        a, c = (
            net.host("a", "10.0.0.1/24", gateway="10.0.0.3"),
            net.host("c", "10.1.0.1/24", gateway="10.1.0.3"),
        )
        b = net.host("b")
        net.wire(a, b.interface("eth0", "10.0.0.3/24"))
        net.wire(c, b.interface("eth1", "10.1.0.3/24"))
        assert a.ping("10.1.0.1") == [None]
        assert b.counters["ipv4.not_for_me"] == 1


def test_the_more_specific_route_is_taken_and_its_loss_falls_back():
    with Network() as net:
        a = net.host("a")
        names = ["left", "right"]
        far = []
        for n, name in enumerate(names):
            r = net.host(name)
            net.wire(a.interface(f"eth{n}", f"10.{n}.0.1/24"), r.interface("eth0", f"10.{n}.0.2/24"))
            r.interface("eth1", "192.0.2.7/24" if n else "192.0.2.7/25")
            r.route("10.0.0.0/8", interface="eth0") if n else None
            far.append(r)
        a.route("192.0.0.0/16", via="10.0.0.2")
        a.route("192.0.2.0/24", via="10.1.0.2")
        assert a.ping("192.0.2.7") == [0.0]
        assert (far[0]["eth0"].received_frames, far[1]["eth0"].received_frames) == (0, 2)
        a.ip.remove(next(r for r in a.ip.routes if IPv4Address(b"\xc0\0\2\7") in r.prefix))
        assert a.ping("192.0.2.7") == [0.0]
        assert (far[0]["eth0"].received_frames, far[1]["eth0"].received_frames) == (2, 2)


def test_a_datagram_that_does_not_fit_the_next_link_tells_its_sender_the_mtu():
    with Network() as net:
        r = net.router("r")
        a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254")
        b = net.host("b", "10.1.0.1/24", gateway="10.1.0.254")
        net.wire(a, r.interface("eth0", "10.0.0.254/24"))
        net.wire(b, r.interface("eth1", "10.1.0.254/24"), mtu=600)
        tape = Tape(net)
        s, t = connected(net, a, b)
        assert tape.tcp(b)[0].options.mss == 560
        s.sendall(bytes(5000))
        s.close()
        assert len(read_all(t)) == 5000  # the MSS of the handshake kept all segments small enough
        assert r.counters["ipv4.too_big"] == 0
        a.raw(PROTO_UDP).send("10.1.0.1", bytes(1000))  # what must not be cut
        net.run()
        assert r.counters["ipv4.too_big"] == 1
        (told,) = [shot for shot in tape.sent(r) if shot.ip and shot.ip.protocol == PROTO_ICMP]
        assert told.body[:2] == b"\3\4" and told.body[6:8] == (600).to_bytes(2, "big")


@pytest.mark.parametrize("address", ["0.0.0.0/8", "224.0.0.1/8", "10.0.0.255/24", "255.255.255.255/32"])
def test_an_address_that_is_no_hosts_is_refused(address):
    with Network() as net, pytest.raises(ValueError, match="cannot be a host's address"):
        net.host("a", address)


def test_an_address_belongs_to_one_interface():
    with Network() as net:
        a = net.host("a", "10.0.0.1/24")
        with pytest.raises(ValueError, match=r"a has 10.0.0.1 already, on eth0"):
            a.interface("eth1", "10.0.0.1/16")


def test_identifications_differ():
    with Network() as net:
        peer = Peer(net)
        s = udp_socket(peer.host)
        for _ in range(5):
            s.sendto(b"x", ("10.0.0.2", 9))
        settle(net)
        assert len({shot.ip.identification for shot in peer.take_all()}) == 5
