"""Lab 14's story: a machine made of a student's parts sends files over a bad wire, and gets them back.

    Stack({"receiver": Mine, "recovery": recovery_with(Losses)}).there_and_back(file, loss=0.03)

What a student has not handed in is the package's own part, as plain as theirs: no SACK, Reno.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from labstack import Host, Network, TcpConfig
from labstack.applications import echo
from labstack.grading.story import ISS
from labstack.observe.trace import Trace
from labstack.physical.faults import Match
from labstack.sockets.socket import Socket
from labstack.transport.tcp.recovery import NewReno

PLAIN = TcpConfig(sack=False, receive_buffer=65_536)
OWN: dict[str, Any] = {"recovery": NewReno, "congestion": "reno"}
PATIENCE = 60.0
"""Seconds that a program waits for the next byte."""


class Stack:
    """Two machines, "you" and "server", and the wire between them."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self._parts = parts
        self.trace: Trace | None = None
        """What crossed the wire in the last run."""

    @property
    def steps(self) -> list[str]:
        packets = self.trace.packets if self.trace else []
        return [f"{p.sent / 1e9:9.3f} s  {p.sender} ▶ {', '.join([p.info, *p.remarks])}" for p in packets]

    def there_and_back(
        self, *files: bytes, yours: str = "you", seed: int = 14, lost: Sequence[Match] = (), **wire: Any
    ) -> float:
        """Send each file to the server, which sends it back, on a connection of its own: how many seconds it
        took. `yours` names the machines that have the parts, `lost` what gets lost (`data_segment(40)`), and
        `wire` is as for `Network.wire`. Raises AssertionError when a file comes back otherwise, or when in
        the end something is left of a connection."""
        with Network(seed) as net:
            parts = {name: OWN | self._parts if name in yours else OWN for name in ("you", "server")}
            you = net.host("you", "10.0.0.1/24", tcp=PLAIN, **parts["you"])
            server = net.host("server", "10.0.0.2/24", tcp=PLAIN, **parts["server"])
            line = net.wire(you, server, **{"rate": "10 Mbit/s", "delay": "20 ms"} | wire)
            for match in lost:
                line.drop(match)
            chances = line.chance.copy()
            line.chance.update(dict.fromkeys(chances, 0))
            you.ping("server")  # that the machines know each other is not at stake
            line.chance.update(chances)
            self.trace = net.capture(line)
            # The first connection's numbers begin just before they start again at 0, the others' before it.
            for host, numbers in ((you, count(ISS, -2_000)), (server, count(ISS, -3_000))):
                host.tcp._initial_number = lambda name, n=numbers: next(n)  # type: ignore[method-assign, misc]
            server.spawn(echo.serve, server)
            for program in [you.spawn(_there_and_back, you, file) for file in files]:
                program.join()
            took = net.now
            net.run()
            if left := [*you.tcp.connections, *server.tcp.connections]:
                raise AssertionError(f"when all was over, {len(left)} connections were still there")
            return took


def _there_and_back(you: Host, file: bytes) -> None:
    with you.connect(("server", echo.PORT), PATIENCE) as s:
        sending = you.spawn(_send, s, file)
        back = s.makefile("rb").read()
        sending.join()
    if back != file:
        raise AssertionError(
            f"{len(back)} of {len(file)} bytes came back, and they are not those that were sent"
        )


def _send(s: Socket, file: bytes) -> None:
    s.sendall(file)
    s.shutdown(1)
