"""How fast is the stack on this machine? Each figure stands beside one of a bare loop, taken in the same run.

- *wire-like*: every frame of 1,514 bytes passes through Python, and every checksum is computed.
- *offload*: pieces of up to 64 KB cross the TAP, and nobody computes a payload's checksum, as with a network
  card.

The two are never mixed in one ratio. The bare loop reads frames from the TAP, or writes them to it, and does
nothing else: it is what this machine's Python and kernel allow. Figures on a shared machine vary; compare
ratios, not figures.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from heapq import heappop, heappush

from labstack.bare import BareLoop
from labstack.core.addresses import MAC, IPv4Address
from labstack.core.events import Events
from labstack.headers.ethernet import ETHERTYPE_IPV4, Ethernet
from labstack.headers.ipv4 import PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, TCP, verify
from labstack.linux import LinuxPeer
from labstack.network import Network

SECONDS = 3.0
"""How long each rate over the TAP is measured, all rounds together."""
ROUNDS = 6
"""The loop, the stack and the simulation take turns, so that what disturbs a shared machine meets all of
them; the best round of each counts."""
PAYLOAD = 1460
FRAMES = 2_000

# Programs for the Linux side: plain Python, and cheap, for each call moves a megabyte. cubic, for a default
# of bbr paces.
_SINK = """
import socket
server = socket.create_server(("", 5001))
while True:
    connection, _ = server.accept()
    buffer = bytearray(1 << 20)
    while connection.recv_into(buffer):
        pass
    connection.close()
"""
_SOURCE = """
import socket
server = socket.create_server(("", 5002))
while True:
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    block = bytes(1 << 20)
    try:
        while True:
            connection.sendall(block)
    except OSError:
        connection.close()
"""


@dataclass(slots=True)
class Figure:
    """One measurement: what, how much of which unit, and the floor or aim that it is held to, if any."""

    name: str
    value: float
    unit: str
    floor: float | None = None

    @property
    def holds(self) -> bool:
        return self.floor is None or self.value >= self.floor


def _rate(count: int, started: float) -> float:
    """Gbit/s, for bytes since `started`."""
    return count * 8 / (time.perf_counter() - started) / 1e9


def _tap_rates(seconds: float, offload: bool) -> tuple[float, float]:
    """Gbit/s of TCP payload from Linux, and to Linux, through the stack."""
    with LinuxPeer() as linux:
        for program, port in ((_SINK, 5001), (_SOURCE, 5002)):
            linux.run([sys.executable, "-c", program])
            linux.wait_for_port(port)
        with closing(linux.host(offload=offload)) as host:
            incoming = host.connect((linux.address, 5002), timeout=10)
            buffer = bytearray(1 << 18)
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                count += incoming.recv_into(buffer)
            into = _rate(count, started)
            incoming.close()
            outgoing = host.connect((linux.address, 5001), timeout=10)
            block = bytes(1 << 20)  # as the program on the Linux side writes
            count, started = 0, time.perf_counter()
            while time.perf_counter() - started < seconds:
                outgoing.sendall(block)
                count += len(block)
            out = _rate(count, started)
            outgoing.close()
    return into, out


def _bare_rates(seconds: float, offload: bool) -> tuple[float, float]:
    """Gbit/s of payload that the bare loop takes from Linux, and sends to it."""
    rates = []
    for program, port in ((_SOURCE, 5002), (_SINK, 5001)):
        with LinuxPeer() as linux:
            linux.run([sys.executable, "-c", program])
            linux.wait_for_port(port)
            with closing(linux.device(offload=offload)) as tap:
                loop = BareLoop(tap, linux.host_address, linux.address)
                loop.open(port)
                move = loop.receive if port == 5002 else loop.send
                rates.append(move(seconds, offload) * 8 / 1e9)
    return rates[0], rates[1]


def _simulated() -> float:
    """Full TCP segments a second through a simulated wire: as bytes, with every checksum, at both ends.

    One megabyte takes a twentieth of a second: short enough to find the machine undisturbed now and then."""
    size = 1 << 20
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b, rate="1 Gbit/s", delay="1 ms", queue="4 MiB")
        listener = b.listen(80)

        def send() -> None:
            with a.connect(("b", 80)) as s:
                s.sendall(bytes(size))

        a.spawn(send)
        connection, _ = listener.accept()
        started = time.perf_counter()
        count = 0
        # By the quarter of a megabyte: the program is not woken for each segment.
        while data := connection.recv(1 << 18, socket.MSG_WAITALL):
            count += len(data)
        return count / PAYLOAD / (time.perf_counter() - started)


def _bare_events(events: int = 100_000) -> float:
    """Events a second of a heap that holds ten, each doing nothing: how fast Python is here and now."""

    def nothing() -> None:
        pass

    heap = [(at, at, nothing) for at in range(10)]
    started = time.perf_counter()
    for number in range(events):
        when, _, act = heappop(heap)
        act()
        heappush(heap, (when + 10, 10 + number, act))
    return events / (time.perf_counter() - started)


class _Asked(Events):
    """Events that nobody hears, and that count how often somebody would tell them."""

    __slots__ = ("times",)
    times: int

    def __bool__(self) -> bool:
        self.times += 1
        return False


def _unheard(segments_a_second: float) -> float:
    """The per cent of a simulated segment's time that is left when `if events` has been asked wherever it
    stands, and nobody listens: how often that is for a segment, counted, times what once costs, measured."""
    size = 1 << 20
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="1 Gbit/s", delay="1 ms", queue="4 MiB")
        asked = []
        for place in (a.node, b.node, wire):
            events = _Asked(place.name, lambda: net.simulator.now)
            events.times = 0
            place.events = events
            asked.append(events)
        listener = b.listen(80)

        def send() -> None:
            with a.connect(("b", 80)) as s:
                s.sendall(bytes(size))

        a.spawn(send)
        connection, _ = listener.accept()
        while connection.recv(1 << 18):
            pass
    nobody = Events("nobody", lambda: 0)

    def ask() -> None:
        if nobody:
            raise AssertionError("somebody listens")

    # A call of an empty function costs as much in both, and is taken off.
    once = max(_each(ask, 100_000) - _each(lambda: None, 100_000), 0.0)
    times = sum(events.times for events in asked) / (size / PAYLOAD)
    return 100.0 - times * once * segments_a_second / 1e4


def _each(act: Callable[[], object], times: int = FRAMES) -> float:
    """Microseconds of one call: the best of five rounds, for the others were disturbed."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times):
            act()
        best = min(best, time.perf_counter() - started)
    return best / times * 1e6


def _headers() -> list[Figure]:
    """Microseconds to build and to parse a full frame, checksums included; scapy's beside them, where it
    is."""
    src, dst = IPv4Address(b"\n\0\0\1"), IPv4Address(b"\n\0\0\2")
    payload = bytes(range(256)) * 6
    payload = payload[:PAYLOAD]

    def build() -> bytes:
        ethernet = Ethernet(MAC(b"\x02\0\0\0\0\2"), MAC(b"\x02\0\0\0\0\1"), ETHERTYPE_IPV4).pack()
        ip = IPv4(src, dst, PROTO_TCP, 40 + PAYLOAD).pack()
        tcp = TCP(1234, 80, 1, 2, ACK, 65535).pack(pseudo_sum(src, dst, PROTO_TCP, 20 + PAYLOAD), payload)
        return b"".join((ethernet, ip, tcp, payload))

    frame = build()

    def parse() -> tuple[Ethernet, IPv4, TCP]:
        ethernet = Ethernet.parse(frame)
        ip = IPv4.parse(frame, 14)
        segment = memoryview(frame)[34:]
        tcp = TCP.parse(segment)
        if not verify(segment, pseudo_sum(ip.src, ip.dst, PROTO_TCP, len(segment))):
            raise AssertionError("the frame that was built does not fit its checksum")
        return ethernet, ip, tcp

    figures = [Figure("build a 1,514-byte frame", _each(build), "µs"), Figure("parse it", _each(parse), "µs")]
    try:
        from scapy.layers.inet import IP as ScapyIP, TCP as ScapyTCP
        from scapy.layers.l2 import Ether
    except ImportError:
        return figures
    made = Ether() / ScapyIP(src="10.0.0.1", dst="10.0.0.2") / ScapyTCP(dport=80) / payload
    return [
        *figures,
        Figure("scapy builds it", _each(lambda: bytes(made.copy()), 100), "µs"),
        Figure("scapy parses it", _each(lambda: Ether(frame), 100), "µs"),
    ]


def measure(seconds: float) -> list[Figure]:
    """All figures; those over a TAP only where this machine can make one."""
    simulated = [(_bare_events(), _simulated()) for _ in range(8 * ROUNDS)]
    kinds: tuple[tuple[str, bool, float], ...] = (("wire-like", False, 0.4), ("offload", True, 0.2))
    try:
        LinuxPeer().close()
    except OSError as error:
        print(f"no TAP here, so nothing is measured over one: {error}", file=sys.stderr)
        kinds = ()
    over_tap = []
    for kind, offload, floor in kinds:
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((_bare_rates(seconds / ROUNDS, offload), _tap_rates(seconds / ROUNDS, offload)))
            simulated += [(_bare_events(), _simulated()) for _ in range(4)]
        for at, way in enumerate(("in", "out")):
            loop = max(bare[at] for bare, _ in rounds)
            stack = max(tcp[at] for _, tcp in rounds)
            over_tap += [
                Figure(f"{kind} {way}, bare loop", loop, "Gbit/s"),
                Figure(f"{kind} {way}, TCP", stack, "Gbit/s"),
                Figure(f"{kind} {way}, TCP against the bare loop", stack / loop, "", floor),
            ]
    events, segments = map(max, *simulated)
    return [
        *_headers(),
        Figure("bare events in a heap", events, "1/s"),
        Figure("simulated segments", segments, "1/s", 15_000),
        Figure("speed left by events that nobody hears", _unheard(segments), "%", 99),
        *over_tap,
    ]


def main(args: argparse.Namespace) -> int:
    """`labstack bench`: print the figures. Exit status 1 when a floor does not hold."""
    figures = measure(args.seconds or SECONDS)
    if args.json:
        print(json.dumps([asdict(figure) | {"holds": figure.holds} for figure in figures], indent=1))
    else:
        for figure in figures:
            value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.2f}"
            floor = (
                ""
                if figure.floor is None
                else f"   floor {figure.floor:,}: {'holds' if figure.holds else 'BROKEN'}"
            )
            print(f"{figure.name:45}{value:>12} {figure.unit:8}{floor}")
    return 0 if all(figure.holds for figure in figures) else 1


__all__ = ["Figure", "main", "measure"]
