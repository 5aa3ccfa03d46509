"""The TAP itself: what goes in and out, with the kernel looking at the other side."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.core.clock import Clock
from labstack.core.events import Event
from labstack.core.node import Node
from labstack.drivers.realtime import RealTime
from labstack.link.tap import Tap, attach, open_tun, random_mac
from labstack.linux import LinuxPeer
from labstack.physical.device import RECEIVED, SENT, Device

from .conftest import wait_until

pytestmark = pytest.mark.linux

# The beginning of a frame of a protocol that nobody knows (IEEE 802 keeps the number for experiments).
EXPERIMENT = bytes.fromhex("020000000001 020000000002 88b5")

# Prints, as JSON, the length of each frame that comes to tap0 and ends before one of 60 bytes "end".
WATCH = """
import json, socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
s.bind(("tap0", 0))
print("watching", flush=True)
frames = []
while True:
    frame, (_, _, kind, *_) = s.recvfrom(1 << 17)
    if kind == socket.PACKET_OUTGOING:
        continue
    if frame.endswith(b"end"):
        break
    frames.append(frame.hex())
print(json.dumps(frames))
"""


class Watcher:
    """A program on Linux's side that sees the frames as they come out of the TAP."""

    def __init__(self, linux: LinuxPeer) -> None:
        self._program = linux.run([sys.executable, "-c", WATCH])
        wait_until(lambda: self._program.output, "the watcher watches")

    def seen(self, device: Device) -> list[bytes]:
        device.transmit(EXPERIMENT, b"end")
        assert self._program.wait(20) == 0
        return [bytes.fromhex(frame) for frame in json.loads(self._program.output.partition("\n")[2])]


@pytest.fixture
def clock() -> Iterator[Clock]:
    driver = RealTime()
    yield driver
    driver.close()


def node_of(tap: Tap, clock: Clock) -> tuple[Node, list[Event]]:
    tap.node = Node("lab", clock)
    events: list[Event] = []
    tap.node.events.append(events.append)
    return tap.node, events


def ping_unanswered(linux: LinuxPeer, times: int) -> None:
    """Linux asks for our address in vain, once a ping."""
    for _ in range(times):
        linux.run(["ping", "-c", "1", "-W", "1", linux.host_address])


def test_frames_come_in_numbered_and_borrowed(linux: LinuxPeer) -> None:
    tap = linux.device()
    frames: list[tuple[int, bytes, int]] = []
    tap.attach(lambda number, frame, size: frames.append((number, bytes(frame), size)))
    assert tap.drain() == 0
    linux.check(["ip", "neigh", "add", linux.host_address, "lladdr", str(tap.mac), "dev", linux.tap])
    to = (linux.host_address, 7)
    say = f"import socket; s = socket.socket(type=2); [s.sendto(b'%d' % n, {to}) for n in range(70)]"
    linux.check([sys.executable, "-c", say])
    assert tap.drain() == 64, "a batch has an end"
    assert tap.drain(2) == 2
    assert tap.drain() == 4
    assert [frame[42:] for _, frame, _ in frames] == [b"%d" % n for n in range(70)]
    assert [frame[:6] for _, frame, _ in frames] == [tap.mac] * 70
    numbers = [number for number, _, _ in frames]
    assert numbers == sorted(set(numbers)) and {size for _, _, size in frames} == {0}


def test_frames_go_out_as_they_are(linux: LinuxPeer) -> None:
    tap, watcher = linux.device(), Watcher(linux)
    tap.transmit(EXPERIMENT, b"one")
    tap.transmit(EXPERIMENT + b"t", memoryview(b"wo" * 700))
    assert watcher.seen(tap) == [EXPERIMENT + b"one", EXPERIMENT + b"t" + b"wo" * 700]


def unfinished(tap: Tap, linux: LinuxPeer, payload: Buffer, flags: int = 0x18) -> bytes:
    """Ethernet, IPv4 and TCP in front of a payload; in the checksum field the sum of the pseudo-header."""
    from labstack.core.addresses import IPAddress
    from labstack.core.checksum import finish, ones_sum
    from labstack.headers.tcp import TCP

    src, dst = IPAddress.parse(linux.host_address), IPAddress.parse(linux.address)
    pseudo = ones_sum(src + dst + bytes((0, 6)) + (20 + len(payload)).to_bytes(2, "big"))
    tcp = TCP(1000, 2000, 7, 0, flags, 100, checksum=pseudo).pack()
    length = (40 + len(payload)).to_bytes(2, "big")
    ip = bytes.fromhex("4500") + length + bytes.fromhex("00010000 4006 0000") + src + dst
    ip = ip[:10] + finish(ones_sum(ip)).to_bytes(2, "big") + ip[12:]
    dst_mac = linux.check(["ip", "-json", "link", "show", linux.tap]).stdout
    return MAC.parse(json.loads(dst_mac)[0]["address"]) + tap.mac + b"\x08\x00" + ip + tcp


def tcp_checksum_is_right(frame: bytes) -> bool:
    from labstack.core.checksum import checksum, ones_sum

    length = int.from_bytes(frame[16:18], "big") - 20
    pseudo = ones_sum(frame[26:34] + bytes((0, 6)) + length.to_bytes(2, "big"))
    return checksum(frame[34 : 34 + length], pseudo) == 0


def test_without_offload_long_segments_are_cut_and_finished(linux: LinuxPeer) -> None:
    tap, watcher = linux.device(), Watcher(linux)
    payload = os.urandom(4000)
    tap.transmit(unfinished(tap, linux, payload), payload, 1460)
    frames = [frame for frame in watcher.seen(tap) if frame[12:14] == b"\x08\x00"]
    assert [len(frame) for frame in frames] == [1514, 1514, 54 + 1080]
    assert b"".join(frame[54:] for frame in frames) == payload
    assert all(tcp_checksum_is_right(frame) for frame in frames)


@pytest.mark.parametrize("flags", [0x18, 0x98], ids=["plain", "with CWR"])
def test_with_offload_they_go_in_one_piece(linux: LinuxPeer, flags: int) -> None:
    tap, watcher = linux.device(offload=True), Watcher(linux)
    payload = os.urandom(tap.offload)
    tap.transmit(unfinished(tap, linux, payload, flags), payload, 1460)
    tap.transmit(unfinished(tap, linux, b"short"), b"short", 1460)
    frames = [frame for frame in watcher.seen(tap) if frame[12:14] == b"\x08\x00"]
    assert [frame[54:] for frame in frames] == [payload, b"short"]


@pytest.mark.feature("Real wires", "With offload, segments of 64 KB cross the TAP in both directions")
@pytest.mark.parametrize("offload", [True, False], ids=["by the kernel", "by the TAP"])
def test_a_transfer_in_long_pieces(linux: LinuxPeer, offload: bool) -> None:
    serve = (
        "import socket; l = socket.create_server(('', 9000)); s = l.accept()[0]\n"
        "data = s.makefile('rb').read(3_000_000); s.sendall(data); s.close()"
    )
    linux.run([sys.executable, "-c", serve])
    linux.wait_for_port(9000)
    with closing(linux.host(offload=offload)) as host:
        device = host["eth0"].device
        assert isinstance(device, Tap) and device._receive is not None
        longest = {"in": 0, "out": 0}
        receive, transmit = device._receive, device.transmit

        def seen_in(number: int, frame: Buffer, segment_size: int) -> None:
            longest["in"] = max(longest["in"], len(frame))
            assert segment_size > 0 or len(frame) <= 1514, "what is longer than a frame is not finished"
            receive(number, frame, segment_size)

        def seen_out(header: bytes, payload: Buffer, segment_size: int = 0) -> None:
            longest["out"] = max(longest["out"], len(payload))
            transmit(header, payload, segment_size)

        device.attach(seen_in)
        device.transmit = seen_out  # type: ignore[method-assign]
        data = os.urandom(3_000_000)
        s = host.connect(("linux", 9000), timeout=20)
        s.sendall(data)
        assert s.makefile("rb").read() == data
        s.close()
    assert longest["in"] > 10_000 and longest["out"] > 10_000


def test_whoever_listens_sees_the_frames_of_the_wire(linux: LinuxPeer) -> None:
    """Without offload nothing that crosses the TAP is longer than a frame, though TCP handles long pieces."""
    serve = (
        "import socket; l = socket.create_server(('', 9000)); s = l.accept()[0]\n"
        "data = s.makefile('rb').read(300_000); s.sendall(data); s.close()"
    )
    linux.run([sys.executable, "-c", serve])
    linux.wait_for_port(9000)
    with closing(linux.host()) as host:
        frames: dict[str, list[bytes]] = {SENT.name: [], RECEIVED.name: []}

        def listen(event: Event) -> None:
            if event.rule.name in frames:
                frame = event.fields["frame"]
                assert isinstance(frame, bytes)
                frames[event.rule.name].append(frame)

        host.events.append(listen)
        data = os.urandom(300_000)
        s = host.connect(("linux", 9000), timeout=20)
        s.sendall(data)
        assert s.makefile("rb").read() == data
        s.close()
    for way in frames.values():
        segments = [frame for frame in way if len(frame) > 66 and frame[12:14] == b"\x08\x00"]
        assert len(segments) >= 206 and max(map(len, segments)) <= 1514
        assert all(map(tcp_checksum_is_right, segments))


def test_events_tell_of_every_frame(linux: LinuxPeer, clock: Clock) -> None:
    tap = linux.device()
    node, events = node_of(tap, clock)
    causes: list[int] = []
    tap.attach(lambda number, frame, size: causes.append(node.events.cause))
    tap.transmit(EXPERIMENT, b"out")
    ping_unanswered(linux, 1)
    wait_until(tap.drain, "a frame came")
    sent, received = events[0], events[1]
    assert (sent.rule, sent.fields["frame"], sent.fields["segment_size"]) == (SENT, EXPERIMENT + b"out", 0)
    assert (received.rule, received.fields["device"]) == (RECEIVED, "tap0")
    assert sent.fields["number"] != received.fields["number"]
    assert causes[0] == received.number and node.events.cause == 0


def test_what_cannot_be_sent_is_counted(linux: LinuxPeer, clock: Clock) -> None:
    tap = linux.device()
    node, _ = node_of(tap, clock)
    linux.check(["ip", "link", "set", linux.tap, "down"])
    tap.transmit(EXPERIMENT, b"x")
    linux.check(["ip", "link", "set", linux.tap, "up"])
    tap.close()
    tap.close()
    tap.transmit(EXPERIMENT, b"x")
    assert dict(node.counters) == {"tap.down": 1, "tap.closed": 1}
    assert tap.drain() == 0 and tap.fileno() == -1


def test_a_full_queue_drops_and_counts(clock: Clock) -> None:
    # The kernel takes what is written to a TAP at once, so a pipe that nobody reads stands for it.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    tap = Tap(writing, "pipe", 1500)
    node, events = node_of(tap, clock)
    for _ in range(100):
        tap.transmit(EXPERIMENT, bytes(1000))
    tap.close()
    os.close(reading)
    assert 0 < node.counters["tap.queue_full"] < 100
    assert [event.rule.name for event in events][-2:] == ["device.sent", "tap.queue_full"]


def test_a_tap_of_ones_own() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make a TAP outside of a LinuxPeer")
    read = (
        "from labstack.link.tap import Tap\n"
        "a = Tap.open('mine'); b = Tap.open(offload=True)\n"
        "print(a.name, a.mtu, a.offloads, b.name, b.offloads, a.mac != b.mac, a.mac[0] & 3, a, b)\n"
        "for name in ('mine', 'lo', 'a-name-that-is-too-long', 'no/name'):\n"
        "    try: Tap.open(name)\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    with LinuxPeer() as linux:
        said = linux.check([sys.executable, "-c", read]).stdout.splitlines()
    assert said == [
        "mine 1500 False tap1 True True 2 <TAP mine> <TAP tap1 with offload>",
        "the TAP mine is in use by another program: close that, or take another name",
        "'lo' cannot be a TAP: there is another interface of that name, or it is no name for one",
        "'a-name-that-is-too-long' is too long for the name of an interface: 15 bytes at most",
        "'no/name' cannot be a TAP: there is another interface of that name, or it is no name for one",
    ]


def test_a_descriptor_that_is_no_tap(linux: LinuxPeer) -> None:
    with open(os.devnull) as file, pytest.raises(ValueError, match="x was not opened as a TAP"):
        Tap.from_fd(file.fileno(), "x", 1500)


def test_without_the_right_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labstack.link.tap.TUN", "/dev/net/nothing")
    with pytest.raises(FileNotFoundError, match=r"there is no /dev/net/nothing: `modprobe tun`"):
        open_tun()
    with open(os.devnull) as file, pytest.raises(OSError, match="the TAP x cannot be made"):
        attach(file.fileno(), "x")


def test_addresses_are_our_own_and_unicast() -> None:
    assert {random_mac()[0] & 3 for _ in range(100)} == {2}
    assert len({random_mac() for _ in range(100)}) == 100
