"""Anything at all may come over the wire: no exception, every frame that is thrown away counts under a name,
and what is under way ends as if nothing had happened.
"""

import random

import pytest

from labstack import Network, TcpConfig
from labstack.core.addresses import BROADCAST, MAC, IPv4Address
from labstack.core.checksum import checksum, ones_sum
from labstack.core.units import SECOND
from labstack.headers.arp import ARP
from labstack.headers.ethernet import Ethernet
from labstack.headers.header import HeaderError
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import IPv4, pseudo_sum
from labstack.headers.tcp import TCP
from labstack.headers.udp import UDP
from tests.scene import connected, nothing_left, pattern, read_all

FRAMES = 10_000

DROPS = ("device.", "ethernet.", "arp.", "ipv4.", "icmp.", "udp.", "tcp.")
NO_DROPS = {"tcp.retransmitted", "tcp.fast_retransmit", "tcp.retransmission_timeout", "tcp.time_wait_evicted"}
"""Counters of what happened that are no frames thrown away."""


def dropped(host):
    return sum(n for name, n in host.counters.items() if name not in NO_DROPS)


def is_sound(frame, mac, address):
    """Whether a frame is one that a host with this MAC and IP address has to read: its lengths and
    checksums are right up to the transport, and it is for this host. Written without a look at the stack:
    from the headers alone."""
    try:
        ethernet = Ethernet.parse(frame)
        if ethernet.dst not in (mac, BROADCAST) and not ethernet.dst.is_group:
            return False
        if ethernet.ethertype == 0x0806:
            ARP.parse(frame, 14)
            return True
        if ethernet.ethertype != 0x0800:
            return False
        ip = IPv4.parse(frame, 14)
        at, end = 14 + ip.header_length, 14 + ip.total_length
        if ip.more_fragments or ip.fragment_offset:
            return False
        if ip.protocol == 6:
            TCP.parse(frame[:end], at)
            return checksum(frame[at:end], pseudo_sum(ip.src, ip.dst, 6, end - at)) == 0
        if ip.protocol == 17:
            header = UDP.parse(frame[:end], at)
            return header.checksum == 0 or not checksum(
                frame[at : at + header.length], pseudo_sum(ip.src, ip.dst, 17, header.length)
            )
        if ip.protocol == 1:
            ICMP.parse(frame[:end], at)
            return True
    except HeaderError:
        pass
    return False


# --- three ways to be wrong -----------------------------------------------------------------------


def noise(draw, frame):
    """Random bytes; half of them at least addressed to us, and half of those of a type we read."""
    raw = bytes(draw.getrandbits(8) for _ in range(draw.choice((0, 1, 13, 14, 20, 34, 60, 200, 1514))))
    if draw.random() < 0.5:
        raw = frame[:12] + raw
        if draw.random() < 0.5:
            raw = raw[:12] + draw.choice((b"\x08\x00", b"\x08\x06")) + raw[12:]
    return raw


def truncated(draw, frame):
    return frame[: draw.randrange(len(frame))]


def mutated(draw, frame):
    """Some bytes changed, some cut out or put in."""
    raw = bytearray(frame)
    for _ in range(draw.choice((1, 1, 1, 2, 5, 20))):
        at = draw.randrange(len(raw)) if len(raw) > 14 else 0
        what = draw.random()
        if what < 0.7:
            raw[at] = draw.choice(
                (0, 1, 0x7F, 0x80, 0xFF, draw.getrandbits(8), raw[at] ^ 1 << draw.randrange(8))
            )
        elif what < 0.85 and len(raw) > 20:
            del raw[at : at + draw.randrange(1, 20)]
        else:
            raw[at:at] = bytes(draw.getrandbits(8) for _ in range(draw.randrange(1, 20)))
    return bytes(raw)


def mended(draw, frame):
    """Mutated behind the addresses and then given right lengths and checksums again: so it gets as deep as
    it can. What names the connection of the transfer is changed too, so that a story of another connection
    is told."""
    raw = bytearray(mutated(draw, frame[14:]))
    if len(raw) < 40:
        return frame[:14] + bytes(raw)
    raw[0] = draw.choice((0x45, 0x45, 0x45, 0x46))
    raw[2:4] = len(raw).to_bytes(2, "big")
    raw[6:8] = b"\0\0"
    raw[9] = draw.choice((1, 6, 6, 6, 6, 17, 17, draw.getrandbits(8)))
    raw[16:20] = b"\x0a\0\0\1"
    raw[10:12] = b"\0\0"
    header = (raw[0] & 15) * 4
    raw[10:12] = checksum(raw[:header]).to_bytes(2, "big")
    src, dst = IPv4Address(bytes(raw[12:16])), IPv4Address(bytes(raw[16:20]))
    body = raw[header:]
    if raw[9] == 6:
        # From a port of its own to a listening or a closed one: never to the connections of the transfer.
        body[0:2] = (999).to_bytes(2, "big")
        body[2:4] = draw.choice((80, 80, 81)).to_bytes(2, "big")
        body[16:18] = b"\0\0"
        body[16:18] = checksum(body, pseudo_sum(src, dst, 6, len(body))).to_bytes(2, "big")
    elif raw[9] == 17:
        body[2:4] = draw.choice((53, 54)).to_bytes(2, "big")
        body[4:6] = len(body).to_bytes(2, "big")
        body[6:8] = b"\0\0"
        body[6:8] = (checksum(body, pseudo_sum(src, dst, 17, len(body))) or 0xFFFF).to_bytes(2, "big")
    elif raw[9] == 1:
        body[0] = draw.choice((0, 3, 4, 5, 8, 11, 12, body[0]))
        body[2:4] = b"\0\0"
        body[2:4] = checksum(body).to_bytes(2, "big")
    raw[header:] = body
    return frame[:14] + bytes(raw)


def play(kind, seed, frames=FRAMES):
    """Two transfers go on while `frames` bad frames are handed to a's device, five behind each good one."""
    draw = random.Random(seed)
    config = TcpConfig(msl=SECOND)
    with Network(seed=seed) as net:
        a, b = net.host("a", "10.0.0.1/24", tcp=config), net.host("b", "10.0.0.2/24", tcp=config)
        wire = net.wire(a, b, rate="50 Mbit/s", delay="2 ms", queue="4 MiB")
        s, t = connected(net, a, b)
        a.listen(80)
        a.socket(2).bind(("", 53))  # type 2: datagrams
        end = wire.ends[0]
        receive = end._receive
        assert receive is not None
        left, numbers = [frames], iter(range(10**9, 2 * 10**9))
        wrong = []

        def hand_over(number, frame, segment_size):
            good = bytes(frame)
            receive(number, frame, segment_size)
            for _ in range(min(left[0], 5)):
                left[0] -= 1
                bad = kind(draw, good)
                before = dropped(a)
                receive(next(numbers), memoryview(bad), 0)
                if dropped(a) == before and not is_sound(bad, end.mac, None):
                    wrong.append(bad)

        end._receive = hand_over
        programs = [b.spawn(read_all, t), a.spawn(read_all, s)]
        size = frames * 450  # enough that there is a good frame for every five bad ones
        a.spawn(lambda: (s.sendall(pattern(size, 1)), s.shutdown(1)))
        b.spawn(lambda: (t.sendall(pattern(size, 2)), t.shutdown(1)))
        assert programs[0].join() == pattern(size, 1)
        assert programs[1].join() == pattern(size, 2)
        end._receive = receive
        assert left[0] == 0, left
        assert not wrong, f"{len(wrong)} frames vanished without a name, first {wrong[0].hex()}"
        s.close()
        t.close()
        for listener in list(a.tcp.listeners.values()):
            listener.close()
        net.run()
        nothing_left(net, (a, b))
        return dict(a.counters), a


@pytest.mark.feature(
    "Link layer", "10,000 random, cut and damaged frames: each counted under a name, and the transfers go on"
)
@pytest.mark.parametrize("kind", [noise, truncated, mutated], ids=lambda kind: kind.__name__)
def test_bad_frames_are_dropped_by_name_and_transfers_end_intact(kind):
    counters, host = play(kind, seed=1)
    # Of what cannot be read, nothing but a name is left: every one of the frames is in one of these.
    names = {name for name in counters if name not in NO_DROPS}
    assert names and all(name.startswith(DROPS) for name in names)
    assert dropped(host) > 0.9 * FRAMES, counters
    assert host["eth0"].received_frames >= FRAMES


@pytest.mark.feature(
    "TCP", "Damaged segments with right checksums find no way to raise an exception or to disturb a transfer"
)
def test_frames_with_right_checksums_and_nonsense_inside():
    counters, _ = play(mended, seed=2)
    assert len(counters) > 12, "they got as far as TCP, UDP and ICMP"


def test_mutations_of_the_transfers_own_segments_with_right_checksums():
    """An attacker who knows the ports and the numbers may well end a connection. No exception, and no bytes
    but those that were sent or that the attacker put in their place; and afterwards nothing is left."""
    draw = random.Random(3)
    for story in range(60):
        with Network(seed=story) as net:
            config = TcpConfig(msl=SECOND, fin_wait_2=SECOND)
            a, b = net.host("a", "10.0.0.1/24", tcp=config), net.host("b", "10.0.0.2/24", tcp=config)
            wire = net.wire(a, b, rate="50 Mbit/s", delay="2 ms")
            s, t = connected(net, a, b)
            end = wire.ends[story % 2]
            receive = end._receive

            def hand_over(number, frame, segment_size, receive=receive):
                receive(number, frame, segment_size)
                if draw.random() < 0.3 and frame[23] == 6:
                    raw = bytearray(frame)
                    length = int.from_bytes(raw[16:18], "big")
                    field = draw.choice(("seq", "ack", "flags", "window", "options", "several"))
                    if field in ("seq", "several"):
                        raw[38:42] = (
                            (
                                int.from_bytes(raw[38:42], "big")
                                + draw.choice((-1, 1, 100, -2000, 2**31, 2**20))
                            )
                            % 2**32
                        ).to_bytes(4, "big")
                    if field in ("ack", "several"):
                        raw[42:46] = (
                            (int.from_bytes(raw[42:46], "big") + draw.choice((-1, 1, 100, -2000, 2**31)))
                            % 2**32
                        ).to_bytes(4, "big")
                    if field in ("flags", "several"):
                        raw[47] = draw.choice(
                            (0, 1, 2, 3, 8, 16, 17, 18, 19, 24, 25, 32, 48, 255, draw.getrandbits(8) & ~4)
                        )
                    if field in ("window", "several"):
                        raw[48:50] = draw.choice((b"\0\0", b"\0\1", b"\xff\xff"))
                    if field == "options" and length >= 48:
                        raw[46] = draw.choice((0x60, 0x70, 0xF0, 0x00, 0x40))
                    raw[50:52] = b"\0\0"
                    body = raw[34 : 14 + length]
                    src, dst = IPv4Address(bytes(raw[26:30])), IPv4Address(bytes(raw[30:34]))
                    raw[50:52] = checksum(body, pseudo_sum(src, dst, 6, len(body))).to_bytes(2, "big")
                    receive(number, memoryview(bytes(raw)), 0)

            end._receive = hand_over

            def program(socket, size):
                try:
                    socket.settimeout(600)
                    socket.sendall(bytes(size))
                    socket.shutdown(1)
                    read_all(socket)
                except OSError:
                    pass
                socket.close()

            programs = [a.spawn(program, s, 100_000), b.spawn(program, t, 100_000)]
            net.run(until=5000.0)
            end._receive = receive
            assert all(p.done and p.error is None for p in programs), (story, programs)
            net.run(until=20_000.0)
            nothing_left(net, (a, b))


def test_every_prefix_of_every_frame_of_a_conversation():
    """Exhaustive where that is cheap: a host is shown each frame of a handshake, a transfer and a close,
    cut off at every length."""
    with Network(seed=4) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, delay="1 ms")
        end = wire.ends[0]
        receive = end._receive
        assert receive is not None
        shown = [0]

        def hand_over(number, frame, segment_size):
            good = bytes(frame)
            receive(number, frame, segment_size)
            ip_end = 14 + int.from_bytes(good[16:18], "big") if good[12:14] == b"\x08\0" else 42
            for size in range(min(ip_end, len(good))):
                before = dropped(a)
                receive(10**9, memoryview(good[:size]), 0)
                assert dropped(a) == before + 1, good[:size].hex()
                shown[0] += 1

        end._receive = hand_over
        a.ping("b")
        s, t = connected(net, a, b)
        t.sendall(pattern(1000))
        assert s.recv(2000) == pattern(1000)
        u = b.socket(2)
        u.sendto(b"nobody there", ("a", 9))
        t.close()
        s.close()
        net.run()
        assert shown[0] > 1000


def test_the_oracle_knows_a_good_frame_from_a_bad_one():
    good = (
        bytes.fromhex("020000000001020000000002")
        + b"\x08\0"
        + IPv4(IPv4Address(b"\x0a\0\0\2"), IPv4Address(b"\x0a\0\0\1"), 17, 32).pack()
    )
    good += UDP(7, 9).pack(pseudo_sum(b"\x0a\0\0\2", b"\x0a\0\0\1", 17, 12), b"data") + b"data"
    mac = MAC.parse("02:00:00:00:00:01")
    assert is_sound(good, mac, None) and ones_sum(good[14:34]) == 0xFFFF
    assert not is_sound(good[:-1] + b"X", mac, None)
    assert not is_sound(good, MAC.parse("02:00:00:00:00:03"), None)
