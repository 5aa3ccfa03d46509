"""Flows from Linux and from labstack, each over a bottleneck between two Linux kernels, in real time.

    Linux ── TAP ──┐                                   labstack is the wire: rate, delay, queue and losses,
                   ├─ rate, queue, losses ─ TAP ─ Linux   and of some bottlenecks one sender too
    labstack ──────┘

`python -m tests.linux.beside '{"algorithm": "reno", "rate": …}'` lets several bottlenecks run at once for so
many seconds, and prints the goodput of each flow, in bits a second, as JSON. It is a process of its own, so
that two of them share out the machine's processors.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from labstack import Host, TcpConfig, Wire
from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.core.node import Node
from labstack.drivers.realtime import RealTime
from labstack.link.tap import random_mac
from labstack.linux import LinuxPeer
from labstack.physical.device import Receive
from labstack.physical.faults import Flow, Seen

SENDER, LAB, RECEIVER = "192.168.77.1", "192.168.77.2", "192.168.77.3"
PORT = 5001

SINK = """
import socket, threading, time, sys
server = socket.create_server(("", 5001))
seconds = float(sys.argv[1])
def drain(s, who):
    count, start = 0, time.monotonic()
    s.settimeout(1)
    try:
        while time.monotonic() - start < seconds:
            data = s.recv(65536)
            if not data:
                break
            count += len(data)
    except OSError as error:
        print("error", error, flush=True)
    print(who, count * 8 / (time.monotonic() - start), flush=True)
threads = []
for _ in range(int(sys.argv[2])):
    s, (who, _) = server.accept()
    threads.append(threading.Thread(target=drain, args=(s, who)))
    threads[-1].start()
for thread in threads:
    thread.join()
"""
SOURCE = """
import socket, sys
s = socket.socket()
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[1].encode())
s.connect(("192.168.77.3", 5001))
block = bytes(65536)
try:
    while True:
        s.sendall(block)
except OSError:
    pass
"""


class Every:
    """A match: of the data segments of each flow, every `n`-th, retransmissions counted."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._counts: dict[Flow, int] = {}

    def __call__(self, seen: Seen) -> bool:
        flow = seen.flow
        if flow is None or not seen.payload_length:
            return False
        count = self._counts[flow] = self._counts.get(flow, 0) + 1
        return count % self._n == 0


class Side:
    """One end of the wire, and the machines on it: a switch that learns their addresses."""

    def __init__(self, wire: Wire, at: int, driver: RealTime) -> None:
        self.end = wire.ends[at]
        self.end.node = Node("labstack", driver)
        self.end.attach(self._arrived)
        self._driver = driver
        self._all: list[Callable[[bytes], None]] = []
        self._where: dict[bytes, Callable[[bytes], None]] = {}

    def plug(self, linux: LinuxPeer) -> None:
        tap = linux.device()
        tap.merges = False

        def out(frame: bytes) -> None:
            tap.transmit(frame, b"")

        self._all.append(out)
        tap.attach(lambda number, frame, size: self.pass_on(bytes(frame), out))
        descriptor = tap.fileno()
        tap.on_close = lambda: self._driver.unwatch(descriptor)
        self._driver.watch(descriptor, tap.drain)

    def add(self, device: Plug) -> None:
        self._all.append(device.hand_up)

    def pass_on(self, frame: bytes, machine: Callable[[bytes], None]) -> None:
        """A frame from a machine on this side goes over the wire."""
        self._where[frame[6:12]] = machine
        self.end.transmit(frame, b"")

    def _arrived(self, number: int, frame: Buffer, size: int) -> None:
        copy = bytes(frame)
        known = self._where.get(copy[:6])
        for out in self._all if known is None else [known]:
            out(copy)


@dataclass
class Plug:
    """The device of a labstack host that hangs on one side."""

    side: Side
    name: str = "plug"
    mac: MAC = field(default_factory=random_mac)
    mtu: int = 1500
    offload: int = 0
    _receive: Receive | None = None

    def attach(self, receive: Receive) -> None:
        self._receive = receive

    def transmit(self, header: bytes, payload: Buffer, segment_size: int = 0) -> None:
        self.side.pass_on(header + bytes(payload), self.hand_up)

    def hand_up(self, frame: bytes) -> None:
        if self._receive is not None:
            self._receive(0, frame, 0)

    def close(self) -> None:
        self._receive = None


class Bottleneck:
    """A wire, a Linux receiver, and one sender or two: "linux", "labstack"."""

    def __init__(self, stack: ExitStack, driver: RealTime, senders: tuple[str, ...], setting: dict) -> None:  # type: ignore[type-arg]
        self.senders, self.setting = senders, setting
        self.wire = Wire(driver, rate=setting["rate"], delay=setting["rtt"] / 2, queue=setting["queue"])
        self.wire.drop(Every(setting["every"]))
        near, far = Side(self.wire, 0, driver), Side(self.wire, 1, driver)
        self.receiver = stack.enter_context(LinuxPeer(f"{RECEIVER}/24", "192.168.77.9"))
        self._prepare(self.receiver)
        far.plug(self.receiver)
        words = [sys.executable, "-c", SINK, str(setting["seconds"]), str(len(senders))]
        self.sink = self.receiver.run(words)
        self.receiver.wait_for_port(PORT)
        self.linux: LinuxPeer | None = None
        self.host: Host | None = None
        if "linux" in senders:
            self.linux = stack.enter_context(LinuxPeer(f"{SENDER}/24", "192.168.77.9"))
            self._prepare(self.linux)
            near.plug(self.linux)
        if "labstack" in senders:
            plug = Plug(near)
            near.add(plug)
            config = TcpConfig.linux(congestion=setting["algorithm"])
            self.host = Host("lab", driver, tcp=config)
            self.host.interface("eth0", f"{LAB}/24", device=plug)

    @staticmethod
    def _prepare(linux: LinuxPeer) -> None:
        linux.check(["sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"])
        linux.check(["ethtool", "-K", linux.tap, "tso", "off", "gso", "off", "gro", "off"])

    def start(self) -> None:
        if self.linux is not None:
            self.linux.run([sys.executable, "-c", SOURCE, self.setting["algorithm"]])
        if self.host is not None:
            self.host.spawn(self._send, self.host)

    @staticmethod
    def _send(host: Host) -> None:
        s = host.connect((RECEIVER, PORT))
        with suppress(OSError):  # the receiver ends it
            while True:
                s.sendall(bytes(65536))

    def goodputs(self) -> dict[str, float]:
        self.sink.wait(self.setting["seconds"] + 20)
        told = dict(line.split() for line in self.sink.output.splitlines())
        return {"labstack" if who == LAB else "linux": float(rate) for who, rate in told.items()}


def run(setting: dict) -> list[dict[str, float]]:  # type: ignore[type-arg]
    """The goodputs of each bottleneck in `setting["bottlenecks"]`, all at once."""
    with ExitStack() as stack:
        driver = RealTime()
        stack.callback(driver.close)
        bottlenecks = [
            Bottleneck(stack, driver, tuple(senders), setting) for senders in setting["bottlenecks"]
        ]
        for bottleneck in bottlenecks:
            bottleneck.start()
            time.sleep(setting["apart"])  # so that their losses, and their work, do not fall together
        return [bottleneck.goodputs() for bottleneck in bottlenecks]


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
