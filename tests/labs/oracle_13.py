"""What a program finds in the captures of lab 13: by ticket, the number of the frame and the value that are
the evidence. It looks for nothing but the fault itself."""

from labstack.core.seq import MODULUS
from labstack.headers.ethernet import LENGTH
from labstack.headers.icmp import ECHO_REPLY
from labstack.headers.ipv4 import PROTO_TCP, pseudo_sum
from labstack.headers.tcp import ACK, SYN, TCP, Options, verify


def second_claim(seen):
    """The ARP answer of a machine other than the one that first accepts a connection."""
    printer = next(p.ethernet.src for p in seen["laptop"].packets if p.tcp and p.tcp.flags == SYN | ACK)
    ours = str(next(p for p in seen["laptop"].packets if p.tcp).ip.dst)
    for p in seen["laptop"].packets:
        if p.arp and str(p.arp.sender_ip) == ours and p.arp.sender_mac != printer:
            return p.number, str(p.arp.sender_mac)


def wrong_checksum(seen):
    for p in seen["server"].packets:
        if p.tcp is None:
            continue
        segment = p.frame[LENGTH + p.ip.header_length : LENGTH + p.ip.total_length]
        pseudo = pseudo_sum(p.ip.src, p.ip.dst, PROTO_TCP, len(segment))
        if not verify(segment, pseudo):
            assert p.payload_length % 2, "only odd segments are wrong"
            return p.number, TCP.parse(p.tcp.pack(pseudo, p.payload)).checksum


def black_hole(seen):
    """The first datagram that is larger than all that were answered."""
    packets = seen["server"].packets
    passed = max(p.ip.total_length for p in packets if p.icmp and p.icmp.type == ECHO_REPLY)
    return next(p.number for p in packets if p.ip and p.ip.total_length > passed), passed


def stripped_option(seen):
    """The SYN, ACK without the shift that it left with; what the server meant by its first small window."""
    left, came = ([p for p in seen[at].packets if p.tcp] for at in ("server", "laptop"))
    shift = Options.parse(next(p for p in left if p.tcp.flags == SYN | ACK).tcp.options).window_scale
    answer = next(p for p in came if p.tcp.flags == SYN | ACK)
    assert shift and Options.parse(answer.tcp.options).window_scale is None
    window = next(p.tcp.window for p in came if p.sender == "server" and not p.tcp.flags & SYN)
    return answer.number, window << shift


def silence(seen):
    """The first segment behind a gap, which no duplicate follows, and what that would have said."""
    packets = [p for p in seen["store"].packets if p.tcp]
    expected = 1
    for n, p in enumerate(packets):
        if p.sender == "sensor" and p.payload_length:
            if (p.relative_seq - expected) % MODULUS in range(1, 1 << 20):
                following = packets[n + 1]
                assert following.sender == "sensor", "it said something"
                return p.number, expected
            expected = max(expected, p.relative_seq + p.payload_length)


FIND = {1: second_claim, 2: wrong_checksum, 3: black_hole, 4: stripped_option, 5: silence}
PLACES = {1: ("laptop",), 2: ("laptop", "server"), 3: ("server",), 4: ("laptop", "server"), 5: ("store",)}
