"""Every frame that labstack sends, under all that can befall it: scapy takes each apart and makes it again.

Many small worlds, and one judge. What scapy builds from the fields it read, with every checksum and length
left out and so computed anew, has to be the frame, byte for byte.
"""

import socket
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, ICMPerror, IPerror, TCPerror, UDPerror
from scapy.layers.l2 import ARP, Ether
from scapy.packet import NoPayload, Packet, Padding, Raw

from labstack import Network, TcpConfig, ack, data_segment
from labstack.headers.icmp import ICMP as IcmpHeader
from labstack.observe.trace import Trace
from tests.scene import pattern, read_all

# --- the judge ----------------------------------------------------------------------------------------------

NAMES = {
    "Ethernet": Ether, "ARP": ARP, "IP": IP, "ICMP": ICMP, "UDP": UDP, "TCP": TCP, "Raw": Raw,
    "IP in ICMP": IPerror, "TCP in ICMP": TCPerror, "UDP in ICMP": UDPerror, "ICMP in ICMP": ICMPerror,
}  # fmt: skip
MINIMUM, LARGEST = 14, 1514
"""Without padding and check sequence: those are the wire's."""


def layers(packet: Packet) -> list[Packet]:
    found = []
    while not isinstance(packet, NoPayload):
        found.append(packet)
        packet = packet.payload
    return found


def without_what_is_computed(packet: Packet) -> Packet:
    """A copy whose lengths and checksums scapy has to find by itself. What an ICMP error quotes is not whole:
    its lengths are those of the datagram that it was."""
    fresh = packet.copy()
    for layer in layers(fresh):
        if isinstance(layer, IPerror | TCPerror | UDPerror | ICMPerror):
            break
        for name in ("ihl", "len", "chksum", "dataofs"):
            if name in layer.fields:
                delattr(layer, name)
    return fresh


def judge(frame: bytes, mtu: int = 1500) -> str:
    """What kind of frame it is. AssertionError if there is anything wrong with it."""
    packet = Ether(frame)
    found = layers(packet)
    names = [next((name for name, kind in NAMES.items() if type(layer) is kind), "?") for layer in found]
    assert "?" not in names, packet.show(dump=True)
    assert not any(isinstance(layer, Padding) for layer in found), "the wire pads, the host does not"
    assert bytes(without_what_is_computed(packet)) == frame, packet.show(dump=True)
    assert MINIMUM < len(frame) <= mtu + 14
    assert not int(packet.src.split(":")[0], 16) & 1, "nobody sends from a group's address"
    if ARP in packet:
        arp = packet[ARP]
        assert names == ["Ethernet", "ARP"] and len(frame) == 14 + 28
        assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (1, 0x0800, 6, 4)
        assert arp.hwsrc == packet.src and arp.op in (1, 2)
        assert packet.dst == "ff:ff:ff:ff:ff:ff" if arp.op == 1 else packet.dst == arp.hwdst
        return "ARP"
    ip = packet[IP]
    assert ip.len == len(frame) - 14, "IP's total length is what stands behind the Ethernet header"
    assert (ip.version, ip.ihl, ip.frag, ip.flags.MF, ip.flags.evil) == (4, 5, 0, False, False)
    assert ip.ttl > 0 and ip.src != "0.0.0.0"
    if TCP in packet:
        return judge_tcp(packet[TCP], names, len(frame) - 34)
    if UDP in packet and names[2] == "UDP":
        udp = packet[UDP]
        assert udp.len == len(frame) - 34 and udp.chksum != 0, "0 would say that there is no checksum"
        assert udp.sport and udp.dport
        assert bytes(udp.payload) == frame[42:]
        return "UDP"
    if names[2:] == ["Raw"]:
        return f"protocol {ip.proto}"
    assert names[2] == "ICMP", names
    icmp = packet[ICMP]
    if icmp.type in (0, 8):
        assert icmp.code == 0 and names[3:] in ([], ["Raw"]) and bytes(icmp.payload) == frame[42:]
        return "echo"
    assert icmp.type in (3, 11) and names[3] == "IP in ICMP"
    quoted = bytes(icmp.payload)
    assert len(frame) - 14 <= 576, "RFC 1812 §4.3.2.3"
    inside = IP(quoted)
    assert len(quoted) >= min(28, inside.len) and len(quoted) <= inside.len, "the header and 8 bytes, or more"
    assert inside.chksum == IP(bytes(without_checksum(inside))).chksum, "the quoted header is as it came"
    return f"ICMP {icmp.type}.{icmp.code}"


def without_checksum(packet: Packet) -> Packet:
    fresh = packet.copy()
    del fresh.chksum
    return fresh


def judge_tcp(tcp: TCP, names: list[str], length: int) -> str:
    flags = str(tcp.flags)
    header = 4 * tcp.dataofs
    assert names[3:] == (["Raw"] if length > header else []), names
    assert bytes(tcp.payload) == bytes(tcp)[header:] and tcp.sport and tcp.dport
    assert tcp.reserved == 0 and tcp.urgptr == 0 and "U" not in flags
    known = [name for name, _ in tcp.options]
    if "S" in flags:
        assert length == header and not set(flags) & set("FRP") and ("A" in flags or tcp.ack == 0)
        assert set(known) <= {"MSS", "NOP", "WScale", "SAckOK", "Timestamp", "EOL"}
        assert known.count("MSS") == 1
        return "SYN"
    assert set(known) <= {"NOP", "SAck", "Timestamp"}, "the others only while the connection opens"
    if "R" in flags:
        assert length == header and not set(flags) & set("SFP") and ("A" in flags or tcp.ack == 0)
        return "RST"
    assert "A" in flags, "all but the first SYN and some resets acknowledge"
    if "F" in flags:
        return "FIN"
    return "data" if length > header else "ACK"


# --- the worlds ---------------------------------------------------------------------------------------------

WIRE = {"rate": "10 Mbit/s", "delay": "5 ms"}
World = Callable[[], tuple[Network, Trace]]


def two(seed: int = 7, a: dict | None = None, b: dict | None = None, **wire: object) -> tuple[Network, Trace]:
    net = Network(seed=seed)
    left, right = net.host("a", "10.0.0.1/24", **(a or {})), net.host("b", "10.0.0.2/24", **(b or {}))
    net.wire(left, right, **{**WIRE, **wire})
    return net, net.capture()


def transfer(net: Network, size: int, back: int = 0, to: str = "b", source: str = "a") -> None:
    """`size` bytes one way and `back` bytes the other, at the same time."""
    server, client = net.hosts[to], net.hosts[source]
    listener = server.listen(80)

    def answer() -> None:
        s, _ = listener.accept()
        writer = server.spawn(lambda: (s.sendall(pattern(back, 2)), s.shutdown(socket.SHUT_WR)))
        assert read_all(s) == pattern(size, 1)
        writer.join()
        s.close()

    program = server.spawn(answer)
    s = client.connect((server.address, 80))
    writer = client.spawn(lambda: (s.sendall(pattern(size, 1)), s.shutdown(socket.SHUT_WR)))
    assert read_all(s) == pattern(back, 2)
    writer.join()
    program.join()
    s.close()
    listener.close()


def bad_wire() -> tuple[Network, Trace]:
    """Loss, reordering, repetition and damage, both ways at once."""
    net, trace = two(loss=0.03, reorder=0.05, duplicate=0.03, corrupt=0.02)
    transfer(net, 400_000, 300_000)
    return net, trace


def timestamps() -> tuple[Network, Trace]:
    """Timestamps in every segment, and beside them what has come out of order."""
    net, trace = two(
        a={"tcp": TcpConfig.linux()}, b={"tcp": TcpConfig.linux()}, loss=0.03, reorder=0.05, duplicate=0.03
    )
    transfer(net, 200_000, 100_000)
    return net, trace


def odd_segments() -> tuple[Network, Trace]:
    """Segments and windows of every odd size; without window scale; Nagle off."""
    net, trace = two(
        a={"tcp": TcpConfig(mss=537, window_scaling=False, nagle=False)},
        b={"tcp": TcpConfig(mss=88, receive_buffer=3001, send_buffer=2999)},
    )
    transfer(net, 20_011, 9_999)
    return net, trace


def small_mtu() -> tuple[Network, Trace]:
    net, trace = two(mtu=577, queue="8 KiB")
    transfer(net, 100_000, 1)
    return net, trace


def zero_window() -> tuple[Network, Trace]:
    """The receiver sleeps until the window has been shut and probed; the first window update is lost."""
    net, trace = two(b={"tcp": TcpConfig(receive_buffer=8192)})
    a, b = net.hosts["a"], net.hosts["b"]
    listener = b.listen(80)

    def lazy() -> None:
        s, _ = listener.accept()
        b.sleep(20)
        assert read_all(s) == pattern(60_000)
        s.close()

    program = b.spawn(lazy)
    s = a.connect(("b", 80))
    net.wires[0].drop(ack(12))
    s.sendall(pattern(60_000))
    s.close()
    program.join()
    assert any(event.rule.name == "tcp.probe" for event in trace.events)
    return net, trace


def resets() -> tuple[Network, Trace]:
    """Every way to a reset: nobody listens; bytes unread; bytes for a program that has left."""
    net, trace = two()
    a, b = net.hosts["a"], net.hosts["b"]
    with pytest.raises(ConnectionRefusedError):
        a.connect(("b", 9))
    listener = b.listen(80)
    s = a.connect(("b", 80))
    t, _ = listener.accept()
    s.sendall(b"x" * 5000)
    net.sleep(1)
    t.close()
    with pytest.raises(ConnectionResetError):
        read_all(s)
    s.close()
    s = a.connect(("b", 80))
    t, _ = listener.accept()
    t.close()
    with pytest.raises(OSError):
        for _ in range(100):
            s.sendall(b"y" * 1000)
            net.sleep(0.1)
    s.close()
    listener.close()
    return net, trace


def silence() -> tuple[Network, Trace]:
    """The wire goes dead in the middle: time-outs, backed off, until the connection is given up."""
    net, trace = two(a={"tcp": TcpConfig(retries=5, syn_retries=2)})
    wire, a, b = net.wires[0], net.hosts["a"], net.hosts["b"]
    wire.drop(data_segment(3, last=10_000))
    listener = b.listen(80)
    s = a.connect(("b", 80))
    s.sendall(pattern(30_000))
    with pytest.raises(TimeoutError):
        s.recv(1)
    wire.chance["loss"] = 1.0
    with pytest.raises(OSError):  # what ARP knew is too old by now, and nobody answers it either
        a.connect(("b", 81))
    listener.close()
    s.close()
    return net, trace


def pings() -> tuple[Network, Trace]:
    net, trace = two()
    for size in (0, 1, 2, 3, 17, 18, 19, 56, 1471, 1472):
        assert None not in net.hosts["a"].ping("b", size=size)
        assert None not in net.hosts["b"].ping("a", times=2, size=size, interval="1 ms")
    return net, trace


def datagrams() -> tuple[Network, Trace]:
    """UDP of many sizes and checksums, a broadcast, and a port that is closed."""
    net, trace = two()
    a, b = net.hosts["a"], net.hosts["b"]
    server, client = b.socket(socket.SOCK_DGRAM), a.socket(socket.SOCK_DGRAM)
    server.bind(("", 53))
    for size in (*range(20), 255, 256, 1471, 1472):
        client.sendto(pattern(size, size), ("b", 53))
        assert server.recvfrom(2000)[0] == pattern(size, size)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for everyone in ("10.0.0.255", "255.255.255.255"):
        client.sendto(b"all", (everyone, 53))
        assert server.recvfrom(2000)[0] == b"all"
    refused = a.socket(socket.SOCK_DGRAM)
    refused.connect(("b", 54))
    for size in (0, 1, 600, 1472):
        refused.send(pattern(size))
        with pytest.raises(ConnectionRefusedError):
            refused.recv(1)
    return net, trace


def checksum_of_nothing() -> tuple[Network, Trace]:
    """The datagram whose sum comes to 0: that is sent as 0xFFFF, for 0 says that there is none (RFC 768)."""
    net, trace = two(rate=None, delay=0)
    server, client = net.hosts["b"].socket(socket.SOCK_DGRAM), net.hosts["a"].socket(socket.SOCK_DGRAM)
    server.bind(("", 53))
    client.bind(("", 1000))
    client.sendto(b"\0\0", ("b", 53))
    server.recvfrom(10)
    [first] = [p.frame for p in trace.packets if p.protocol == "UDP"]
    missing = Ether(first)[UDP].chksum
    client.sendto(missing.to_bytes(2, "big"), ("b", 53))
    assert server.recvfrom(10)[0] == missing.to_bytes(2, "big")
    assert Ether(trace.packets[-1].frame)[UDP].chksum == 0xFFFF
    return net, trace


def routed() -> tuple[Network, Trace]:
    """Two routers; a transfer through them; hop limits that end on the way; a network that nobody knows."""
    net = Network(seed=3)
    a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254")
    b = net.host("b", "10.2.0.1/24", gateway="10.2.0.254")
    r, q = net.router("r"), net.router("q")
    r.interface("eth0", "10.0.0.254/24")
    r.interface("eth1", "10.1.0.1/24")
    r.route("10.2.0.0/16", via="10.1.0.2")
    q.interface("eth0", "10.1.0.2/24")
    q.interface("eth1", "10.2.0.254/24")
    q.route("10.0.0.0/24", via="10.1.0.1")
    net.wire(a, r["eth0"], **WIRE)
    net.wire(r["eth1"], q["eth0"], **WIRE, loss=0.02)
    net.wire(q["eth1"], b, **WIRE)
    trace = net.capture()
    transfer(net, 100_000, 50_000)
    for ttl in (1, 2, 3):
        a.icmp.echo(a.resolve("b"), 1, ttl, pattern(100), ttl=ttl)
    with pytest.raises(OSError):
        a.connect(("172.16.0.1", 80))  # the first router has no route
    with pytest.raises(OSError):
        a.connect(("10.2.0.77", 80), timeout=30)  # the last one finds nobody there
    return net, trace


def raw_datagrams() -> tuple[Network, Trace]:
    """A protocol that nobody knows, and the error about it."""
    net, trace = two()
    a, b = net.hosts["a"], net.hosts["b"]
    with a.driver:
        a.ip.send(b.resolve("b"), 99, b"what is this", b"")
        a.ip.send(b.resolve("b"), 1, IcmpHeader.echo_request(1, 2).pack(b"odd"), b"")
    return net, trace


WORLDS: dict[str, tuple[World, set[str]]] = {
    "timestamps": (timestamps, {"ARP", "SYN", "data", "ACK", "FIN"}),
    "a bad wire": (bad_wire, {"ARP", "SYN", "data", "ACK", "FIN"}),
    "odd segments": (odd_segments, {"ARP", "SYN", "data", "ACK", "FIN"}),
    "a small MTU": (small_mtu, {"ARP", "SYN", "data", "ACK", "FIN"}),
    "zero window": (zero_window, {"ARP", "SYN", "data", "ACK", "FIN"}),
    "resets": (resets, {"ARP", "SYN", "data", "ACK", "FIN", "RST"}),
    "silence": (silence, {"ARP", "SYN", "data", "ACK"}),
    "pings": (pings, {"ARP", "echo"}),
    "datagrams": (datagrams, {"ARP", "UDP", "ICMP 3.3"}),
    "a UDP sum of zero": (checksum_of_nothing, {"ARP", "UDP"}),
    "routers": (routed, {"ARP", "SYN", "data", "ACK", "FIN", "echo", "ICMP 11.0", "ICMP 3.0", "ICMP 3.1"}),
    "raw datagrams": (raw_datagrams, {"ARP", "echo", "protocol 99", "ICMP 3.2"}),
}


@pytest.mark.feature("Simulation", "Every frame sent is the one that scapy builds from its fields")
@pytest.mark.parametrize("name", WORLDS)
def test_every_frame_is_what_scapy_would_send(name: str) -> None:
    world, expected = WORLDS[name]
    net, trace = world()
    net.run()
    net.close()
    assert not trace.left_out
    kinds: Counter[str] = Counter()
    sent = [event.fields["frame"] for event in trace.events if event.rule.name == "device.sent"]
    for frame in sent:
        kinds[judge(bytes(frame))] += 1
    assert expected <= set(kinds), kinds
    assert sum(kinds.values()) == len(sent) > 0


@pytest.mark.feature("Physical layer", "Short frames are padded with zeros; each has its check sequence")
def test_what_the_wire_adds() -> None:
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b)
        carried: list[bytes] = []
        carry = wire._carry

        def listen(end: object, number: int, frame: bytes, *more: int) -> None:
            carried.append(frame)
            carry(end, number, frame, *more)

        wire._carry = listen
        trace = net.capture(wire)
        for size in (0, 1, 17, 18, 19, 100, 1472):
            a.ping("b", size=size)
        transfer(net, 10_000, 10_000)
        net.run()
        sent = [bytes(event.fields["frame"]) for event in trace.events if event.rule.name == "device.sent"]
    assert len(carried) == len(sent)
    for on_wire, frame in zip(carried, sent, strict=True):
        assert on_wire[:-4] == frame.ljust(60, b"\0")
        assert on_wire[-4:] == zlib.crc32(on_wire[:-4]).to_bytes(4, "little")
        packet = Ether(on_wire[:-4])
        if len(frame) < 60:
            rest = packet.lastlayer()
            assert isinstance(rest, Padding) and rest.load == bytes(60 - len(frame))


@pytest.mark.parametrize("position", ["IP", "TCP", "UDP", "ICMP", "length", "ARP"])
def test_the_judge_sees_what_is_wrong(position: str) -> None:
    """One bit of a checksum or of a length, and it says no."""
    world, wanted, at = {
        "IP": (odd_segments, "data", 24),
        "TCP": (odd_segments, "data", 50),
        "UDP": (datagrams, "UDP", 40),
        "ICMP": (pings, "echo", 36),
        "length": (odd_segments, "data", 17),
        "ARP": (pings, "ARP", 19),
    }[position]
    net, trace = world()
    net.close()
    frame = next(packet.frame for packet in trace.packets if judge(packet.frame) == wanted)
    wrong = bytearray(frame)
    wrong[at] ^= 1
    with pytest.raises(AssertionError):
        judge(bytes(wrong))
