"""The captures of lab 13, and what is broken in them: this file is the answer, and no student gets it.

python labs/captures_13.py        makes source/13-diagnosis/captures/ anew

Each ticket is a small network in which one thing is wrong. It is made `VARIANTS` times with other numbers,
and what one or two of its machines saw is written down, as tcpdump would on that machine. A part that is
broken is the package's own with one thing changed; a box on the way that should not touch a frame does so
where the frame enters the wire.

The stored files are recordings: they stay as they are when the package's TCP learns to do better. The tests
make the tickets anew, and hold the lab's own answers against them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from labstack import Host, Network, TcpConfig, data_segment
from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.headers.ethernet import ETHERTYPE_IPV4, LENGTH
from labstack.headers.icmp import DESTINATION_UNREACHABLE, ICMP
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_TCP, pseudo_sum
from labstack.headers.tcp import CHECKSUM_AT, NOP, SYN, TCP, WINDOW_SCALE
from labstack.link.ethernet import Interface
from labstack.observe.trace import Trace
from labstack.physical.faults import Seen
from labstack.transport.tcp.receiver import Acknowledge, Reassembly

FOLDER = Path(__file__).resolve().parent / "source" / "13-diagnosis" / "captures"
VARIANTS = "abcd"
LAPTOP, SERVER, PRINTER, RADIO = "192.168.7.21", "192.168.9.80", "192.168.7.9", "192.168.7.60"
Scene = tuple[Trace, tuple[str, ...]]
"""What was captured, and at which machines."""


def network(random: Random) -> Network:
    """A network whose MAC addresses look like those of several makers."""
    net = Network(seed=random.randrange(1 << 20))
    taken: set[bytes] = set()
    net._next_mac = partial(_mac, random, taken)  # type: ignore[method-assign]
    return net


def _mac(random: Random, taken: set[bytes]) -> MAC:
    maker = random.choice([0x021B63, 0x02D861, 0x02A4C3, 0x0250F2])
    mac = (maker << 24 | random.randrange(1 << 24)).to_bytes(6, "big")
    assert mac not in taken
    taken.add(mac)
    return MAC(mac)


def on_the_way(interface: Interface, change: Callable[[bytes], bytes]) -> None:
    """Let `change` see, and alter, each frame that leaves by this interface."""
    device = interface.device
    assert device is not None
    transmit = device.transmit

    def changed(header: bytes, payload: Buffer, segment_size: int = 0) -> None:
        assert not segment_size
        transmit(change(header + payload), b"")

    device.transmit = changed  # type: ignore[method-assign]


def segment_of(frame: bytes) -> tuple[int, int, int]:
    """Where in a frame its TCP segment begins and ends, and its pseudo-header's sum; zeros without one."""
    if int.from_bytes(frame[12:14], "big") != ETHERTYPE_IPV4 or frame[LENGTH + 9] != PROTO_TCP:
        return 0, 0, 0
    at, end = LENGTH + (frame[LENGTH] & 15) * 4, LENGTH + int.from_bytes(frame[16:18], "big")
    source, target = frame[LENGTH + 12 : LENGTH + 16], frame[LENGTH + 16 : LENGTH + 20]
    return at, end, pseudo_sum(source, target, PROTO_TCP, end - at)  # type: ignore[arg-type]


def office(net: Network, mtu: int = 1500, delay: str = "4 ms", **server: object) -> tuple[Host, Host, Host]:
    """laptop ── gate ── server, with one router between them."""
    laptop = net.host("laptop", f"{LAPTOP}/24", gateway="192.168.7.1")
    gate = net.router("gate")
    gate.interface("eth0", "192.168.7.1/24")
    gate.interface("eth1", "192.168.9.1/24")
    there = net.host("server", f"{SERVER}/24", gateway="192.168.9.1", **server)
    net.wire(laptop, gate["eth0"], rate="100 Mbit/s", delay="1 ms")
    net.wire(gate["eth1"], there, rate="100 Mbit/s", delay=delay, mtu=mtu)
    return laptop, gate, there


# --- 0: the laptop takes its network for larger than it is


def a_wrong_netmask(random: Random, n: int) -> Scene:
    with network(random) as net:
        laptop = net.host("laptop", f"{LAPTOP}/16", gateway="192.168.7.1")
        gate = net.router("gate")
        gate.interface("eth0", "192.168.7.1/24")
        gate.interface("eth1", "192.168.9.1/24")
        there = net.host("server", f"{SERVER}/24", gateway="192.168.9.1")
        net.wire(laptop, gate["eth0"], rate="100 Mbit/s", delay="1 ms")
        gate.interface("eth2", "9.9.9.1/24")
        resolver = net.host("resolver", "9.9.9.9/24", gateway="9.9.9.1")
        net.wire(gate["eth1"], there, rate="100 Mbit/s", delay="4 ms")
        net.wire(gate["eth2"], resolver, rate="100 Mbit/s", delay="6 ms")
        trace = net.capture()
        laptop.ping("192.168.7.1")
        laptop.ping("9.9.9.9")
        laptop.sleep(1)
        try:
            laptop.connect((SERVER, 80))
        except OSError:
            pass
    return trace, ("laptop",)


# --- 1: two machines have one address


def hub(net: Network, *machines: Host) -> None:
    """Join these machines by a box that repeats every frame to all others."""
    box = net.host("hub")
    for number, machine in enumerate(machines):
        interface = box.interface(f"p{number}")
        net.wire(machine, interface, rate="100 Mbit/s", delay="10 us")
        interface.handlers.clear()
        interface.promiscuous = True

    def repeat(into: Interface, frame: bytes, outgoing: bool) -> bool:
        for other in box.interfaces.values():
            if other is not into and not outgoing:
                other.send_frame(frame)
        return True

    box.watchers.append(repeat)


def a_duplicate_address(random: Random, n: int) -> Scene:
    with network(random) as net:
        laptop = net.host("laptop", f"{LAPTOP}/24")
        printer = net.host("printer", f"{PRINTER}/24")
        camera = net.host("camera", f"{PRINTER}/24")
        clock = net.host("clock", "192.168.7.33/24")
        hub(net, laptop, printer, camera, clock)
        net.wires[2].propagation = random.randrange(150_000, 400_000)  # it answers, but later
        trace = net.capture()
        listener = printer.listen(9100)
        printer.spawn(_read, listener)
        camera.listen(554)
        clock.ping(LAPTOP)
        for _ in range((2, 1, 4, 3)[n]):
            laptop.ping("192.168.7.33")
        laptop.sleep(random.randrange(5, 30) / 10)
        for _ in range(2):
            try:
                with laptop.connect((PRINTER, 9100)) as s:
                    s.sendall(b"%!PS  (a page) show showpage\n" * random.randrange(20, 40))
                    s.shutdown(1)
                    s.recv(1)
            except OSError:
                pass
            laptop.sleep(2)
    return trace, ("laptop",)


def _read(listener, *answer):  # type: ignore[no-untyped-def]
    while True:
        s, _ = listener.accept()
        try:
            while s.recv(65536):
                pass
            for piece in answer:
                s.sendall(piece)
            s.close()
        except OSError:
            pass


# --- 2: segments with an odd number of bytes carry a wrong checksum


def a_wrong_checksum(random: Random, n: int) -> Scene:
    def padded_in_front(frame: bytes) -> bytes:
        at, end, pseudo = segment_of(frame)
        if not at or (end - at) % 2 == 0:
            return frame
        segment = bytearray(frame[at:end])
        segment[CHECKSUM_AT : CHECKSUM_AT + 2] = bytes(2)
        last = segment.pop()
        total = (
            pseudo + sum(int.from_bytes(segment[n : n + 2], "big") for n in range(0, len(segment), 2)) + last
        )
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return (
            frame[: at + CHECKSUM_AT] + (~total & 0xFFFF).to_bytes(2, "big") + frame[at + CHECKSUM_AT + 2 :]
        )

    with network(random) as net:
        laptop, _, server = office(net)
        trace = net.capture()
        on_the_way(laptop["eth0"], padded_in_front)
        server.spawn(_read, server.listen(1883))
        s = laptop.connect((SERVER, 1883))
        s.setsockopt(6, 1, 1)
        lines = [b"door %02d  open   %02d:%02d\n" % (n, 7 + n // 3, n * 17 % 60) for n in range(1, 9)]
        odd = (4, 2, 5, 3)[n]
        lines[odd] = lines[odd].replace(b"open  ", b"closed ")
        for line in lines:
            s.sendall(line)
            laptop.sleep(random.randrange(2, 9) / 10)
        laptop.sleep(5)
    return trace, ("laptop", "server")


# --- 3: what is too big for a wire vanishes, and the message about it too


def a_black_hole(random: Random, n: int) -> Scene:
    mtu = (1450, 1476, 1420, 1400)[n]

    def no_errors(seen: Seen) -> bool:
        if seen.ip is None or seen.ip.protocol != PROTO_ICMP:
            return False
        return ICMP.parse(seen.frame, LENGTH + 20, verify=False).type == DESTINATION_UNREACHABLE

    with network(random) as net:
        laptop = net.host("laptop", f"{LAPTOP}/24", gateway="192.168.7.1")
        gate, tunnel = net.router("gate"), net.router("tunnel")
        gate.interface("eth0", "192.168.7.1/24")
        gate.interface("eth1", "10.8.0.1/30")
        tunnel.interface("eth0", "10.8.0.2/30")
        tunnel.interface("eth1", "192.168.9.1/24")
        server = net.host("server", f"{SERVER}/24", gateway="192.168.9.1")
        gate.route("192.168.9.0/24", via="10.8.0.2")
        tunnel.route("192.168.7.0/24", via="10.8.0.1")
        near = net.wire(laptop, gate["eth0"], rate="100 Mbit/s", delay="1 ms")
        net.wire(gate["eth1"], tunnel["eth0"], rate="20 Mbit/s", delay="9 ms", mtu=mtu)
        far = net.wire(tunnel["eth1"], server, rate="100 Mbit/s", delay="1 ms")
        near.drop(no_errors)
        far.drop(no_errors)
        trace = net.capture()
        pages = {b"/small": random.randrange(300, 900), b"/large": random.randrange(9_000, 12_000)}

        def serve(listener):  # type: ignore[no-untyped-def]
            while True:
                s, _ = listener.accept()
                name = s.recv(1000).split()[1]
                s.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"<p>price list</p>\n".ljust(pages[name], b"."))
                s.close()

        server.spawn(serve, server.listen(80))
        for name in [b"/small"] * (2, 1, 3, 2)[n] + [b"/large"]:
            with laptop.connect((SERVER, 80), timeout=6) as s:
                s.settimeout(6)
                s.sendall(b"GET " + name + b" HTTP/1.0\r\n\r\n")
                try:
                    s.makefile("rb").read()
                except OSError:
                    pass
        # A colleague asks for echoes that may not be fragmented, ever nearer to the size that still passes.
        low, high = 576, 1500
        sizes = [576, 1500]
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if middle <= mtu else (low, middle)
            sizes.append(middle)
        for number, size in enumerate(sizes, 1):
            echo = ICMP.echo_request(7, number).pack(bytes(size - 28))
            server.ip.send(server.resolve(LAPTOP), PROTO_ICMP, echo)
            server.sleep(1)
    return trace, ("server",)


# --- 4: a box takes an option out of the server's SYN, ACK


class Careful(Reassembly):
    """A receiver that offers little of a large buffer, in large units."""

    share = 0

    def _possible(self) -> int:
        return min(super()._possible(), self.share) >> self._shift << self._shift


def a_stripped_option(random: Random, n: int) -> Scene:
    def stripped(frame: bytes) -> bytes:
        at, end, pseudo = segment_of(frame)
        if not at:
            return frame
        tcp = TCP.parse(frame[:end], at)
        if not tcp.flags & SYN:
            return frame
        place = tcp.options.index(bytes([WINDOW_SCALE, 3]))
        tcp.options = tcp.options[:place] + bytes([NOP] * 3) + tcp.options[place + 3 :]
        return frame[:at] + tcp.pack(pseudo)

    shift = (7, 8, 6, 7)[n]
    part = type("Careful", (Careful,), {"share": (46, 52, 44, 48)[n] << 10})
    with network(random) as net:
        config = TcpConfig(receive_buffer=1 << 16 + shift)
        laptop, gate, server = office(net, delay="11 ms", tcp=config, receiver=part)
        on_the_way(gate["eth0"], stripped)
        trace = net.capture()
        laptop.ping("192.168.7.1", times=(3, 1, 4, 2)[n])
        server.spawn(_read, server.listen(22))
        s = laptop.connect((SERVER, 22))
        s.sendall(bytes(random.randrange(21_000, 24_000)))
        s.shutdown(1)
        s.recv(1)
        s.close()
        net.sleep(1)
    return trace, ("laptop", "server")


# --- 5: a receiver that says nothing about what comes behind a gap


class Silent(Reassembly):
    def _out_of_order(self, begin: int, data: bytes, size: int) -> Acknowledge:  # type: ignore[override]
        said = super()._out_of_order(begin, data, size)
        return Acknowledge.NO if self._pieces else said


def a_silent_receiver(random: Random, n: int) -> Scene:
    first, again = (11, 9, 15, 13)[n], random.randrange(30, 40)
    with network(random) as net:
        plain = TcpConfig(sack=False, mss=536)
        sensor = net.host("sensor", f"{RADIO}/24", tcp=plain)
        store = net.host("store", "192.168.7.70/24", tcp=plain, receiver=Silent)
        wire = net.wire(sensor, store, rate="2 Mbit/s", delay="25 ms")
        wire.drop(data_segment(first))
        wire.drop(data_segment(again))
        trace = net.capture()
        store.spawn(_read, store.listen(8086))
        s = sensor.connect(("store", 8086))
        s.sendall(bytes(random.randrange(22_000, 26_000)))
        s.shutdown(1)
        s.recv(1)
        s.close()
        net.sleep(1)
    return trace, ("store",)


SCENES: tuple[Callable[[Random, int], Scene], ...] = (
    a_wrong_netmask, a_duplicate_address, a_wrong_checksum, a_black_hole, a_stripped_option,
    a_silent_receiver,
)  # fmt: skip


def make(folder: Path = FOLDER) -> Iterator[Path]:
    """Write all captures into `folder`: ticket, variant and place, as in 3b-server.pcap."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(SCENES):
        for n, variant in enumerate(VARIANTS if number else "a"):
            trace, places = scene(Random(f"ticket {number}{variant}"), n)
            for place in places:
                yield trace.pcap(folder / f"{number}{variant}-{place}.pcap", at=place)


if __name__ == "__main__":
    for path in make():
        print(path.name, path.stat().st_size, file=sys.stderr)
