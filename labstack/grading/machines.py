"""The two machines that a story can be told to: labstack on a clock turned by hand, and the Linux kernel
behind a TAP, in the time on the wall."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from labstack import LinuxPeer
from labstack.core.addresses import MAC, InterfaceAddress, IPAddress
from labstack.headers.ethernet import ETHERTYPE_IPV4, LENGTH, Ethernet
from labstack.packets import PacketHost
from labstack.physical.device import segment

NS = 1_000_000_000
STATES = {
    1: "ESTABLISHED", 2: "SYN-SENT", 3: "SYN-RECEIVED", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT",
    7: "CLOSED", 8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
"""The first byte of `struct tcp_info`, by <net/tcp_states.h>."""


class LabstackProgram:
    """A non-blocking socket on a `PacketHost`."""

    def __init__(self, machine: Labstack, sock: Any) -> None:
        self._machine = machine
        self._socket = sock
        sock.setblocking(False)

    def listen(self, port: int, backlog: int) -> None:
        self._socket.bind(("", port))
        self._socket.listen(backlog)

    def accept(self) -> LabstackProgram:
        return LabstackProgram(self._machine, self._socket.accept()[0])

    def connect(self, address: str, port: int) -> None:
        self._socket.connect((address, port))

    @property
    def state(self) -> str:
        return STATES[self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Labstack:
    """labstack, driven at the IP level: no time passes but what the story lets pass."""

    name = "labstack"
    patience = 0.0

    def __init__(self, **options: Any) -> None:
        self.under_test = PacketHost("10.0.0.1/24", **options)
        self.address, self.peer = IPAddress.parse("10.0.0.1"), IPAddress.parse("10.0.0.2")
        self._sent: deque[tuple[int, bytes]] = deque()
        self._ports = count(5000)

    @property
    def now(self) -> float:
        return self.under_test.clock.now / NS

    def fresh_port(self) -> int:
        return next(self._ports)

    def fresh_service(self) -> int:
        return 80

    def socket(self) -> LabstackProgram:
        return LabstackProgram(self, self.under_test.host.socket())

    def inject(self, datagram: bytes) -> None:
        self.under_test.receive(datagram)

    def take(self, patience: float) -> tuple[float, bytes] | None:
        clock = self.under_test.clock
        until = clock.now + round(patience * NS)
        clock.run(clock.now)
        while True:
            self._sent.extend(self.under_test.sent())
            if self._sent:
                when, datagram = self._sent.popleft()
                return when / NS, datagram
            due = clock.next_due
            if due is None or due > until:
                clock.run(until)
                return None
            clock.advance()

    def wait(self, seconds: float) -> None:
        clock = self.under_test.clock
        clock.run(clock.now + round(seconds * NS))

    def close(self) -> None:
        self.under_test.close()


class LinuxProgram:
    """A non-blocking socket of the kernel's, in the namespace; its calls go there by name."""

    def __init__(self, machine: Linux, number: int) -> None:
        self._machine = machine
        self._number = number

    def listen(self, port: int, backlog: int) -> None:
        self.bind(["", port])
        self._machine.ask(self._number, "listen", backlog)

    def accept(self) -> LinuxProgram:
        return LinuxProgram(self._machine, self._machine.ask(self._number, "accept"))

    def connect(self, address: str, port: int) -> None:
        self._machine.ask(self._number, "connect", [address, port])

    @property
    def state(self) -> str:
        return STATES[self.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]

    def __getattr__(self, name: str) -> Any:
        return partial(self._machine.ask, self._number, name)


class Linux:
    """The Linux kernel at the other end of a TAP. What the kernel knows of earlier connections is not
    kept: stories must not depend on one another."""

    name = "Linux"
    patience = 0.03
    """Below its delayed ACK of 40 ms, and long for a kernel that has nothing else to do."""

    def __init__(self) -> None:
        self._linux = LinuxPeer()
        linux = self._linux
        self.address, self.peer = IPAddress.parse(linux.address), IPAddress.parse(linux.host_address)
        self._tap = linux.device()
        self._tap.attach(self._arrived)
        self._arrivals: deque[tuple[float, bytes]] = deque()
        near = f"ip neigh replace {linux.host_address} lladdr {self._tap.mac} nud permanent dev {linux.tap}"
        linux.check(near.split())
        linux.check(["sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1"])
        # It is to send nothing again sooner than RFC 6298 §2.4 says: at its own 0.2 s, a machine that is busy
        # hears a segment twice before the story has gone on.
        network = InterfaceAddress.parse(f"{linux.address}/{linux.length}").prefix
        route = f"ip route change {network} dev {linux.tap} proto kernel scope link src {linux.address}"
        linux.check([*route.split(), "congctl", "cubic", "rto_min", "1s"])
        shown = json.loads(linux.check(["ip", "-json", "link", "show", linux.tap]).stdout)
        self._mac = MAC.parse(shown[0]["address"])
        self._front = Ethernet(self._mac, self._tap.mac, ETHERTYPE_IPV4).pack()
        helper = str(Path(__file__).with_name("linux_sockets.py"))
        self._helper = linux.run(
            [sys.executable, helper], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._ports = count(20_000)
        self._services = count(10_000)

    # --- time and packets
    @property
    def now(self) -> float:
        return time.monotonic()

    def fresh_port(self) -> int:
        return next(self._ports)

    def fresh_service(self) -> int:
        return next(self._services)

    def inject(self, datagram: bytes) -> None:
        self._tap.transmit(self._front, datagram)

    def take(self, patience: float) -> tuple[float, bytes] | None:
        until = time.monotonic() + patience
        while not self._arrivals:
            self._tap.drain()
            if self._arrivals:
                break
            left = until - time.monotonic()
            if left <= 0:
                return None
            select.select([self._tap.fileno()], [], [], left)
        return self._arrivals.popleft()

    def wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            select.select([self._tap.fileno()], [], [], left)
            self._tap.drain()

    def _arrived(self, number: int, frame: Any, segment_size: int) -> None:
        if bytes(frame[12:14]) != ETHERTYPE_IPV4.to_bytes(2):
            return
        # The TAP hands up as one what came in a row: here each segment counts.
        at = LENGTH + (frame[LENGTH] & 15) * 4
        at += (frame[at + 12] >> 4) * 4 if segment_size else 0
        for header, payload in segment(bytes(frame[:at]), frame[at:], segment_size):
            self._arrivals.append((time.monotonic(), header[LENGTH:] + bytes(payload)))

    # --- sockets
    def socket(self) -> LinuxProgram:
        return LinuxProgram(self, self.ask(-1, "socket"))

    def ask(self, number: int, name: str, *args: object) -> Any:
        writer, reader = self._helper.stdin, self._helper.stdout
        assert writer is not None and reader is not None
        told = [{"bytes": arg.hex()} if isinstance(arg, bytes) else arg for arg in args]
        writer.write(json.dumps([number, name, told]).encode() + b"\n")
        writer.flush()
        answer = json.loads(reader.readline())
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        result = answer["result"]
        return bytes.fromhex(result["bytes"]) if isinstance(result, dict) else result

    def close(self) -> None:
        self._linux.close()
