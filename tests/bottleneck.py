"""Flows that share a bottleneck: the scene of everything that is shown about congestion control.

    a1 ──┐                                            every sender has a wire of its own, ten times as fast;
    a2 ──┤ r ══ rate, queue, loss ══ b                what limits them is r's queue towards b
    …  ──┘

A flow sends as long as the scene lasts. Nothing here waits in a thread: whoever sends or reads does so when
the connection says that it may.
"""

from __future__ import annotations

from typing import Any

from labstack import Host, Network, TcpConfig, Wire
from labstack.core.addresses import IPAddress
from labstack.core.events import Event
from labstack.core.units import SECOND, duration, rate as bits
from labstack.transport.tcp.connection import Connection
from labstack.transport.tcp.states import State
from tests.scene import pattern

CHUNK = pattern(1 << 16)
FRAME = 1514 + 24  # a full segment on the line: preamble, check sequence and gap counted
MSS = 1460


def bdp(rate: str, rtt: str | float) -> int:
    """The bandwidth-delay product of a path, in full frames."""
    return bits(rate) * duration(rtt) // (8 * SECOND * FRAME)


class Flow:
    """A connection that sends for as long as it is let. `received` counts its bytes at the other end."""

    def __init__(self, client: Host, server: Host, port: int, start: float = 0.0) -> None:
        self.client, self.server, self.port = client, server, port
        self.connection: Connection | None = None
        self.received = 0
        self.windows: list[tuple[float, int]] = []
        """(seconds, cwnd), each time that it was told."""
        self.listener = server.tcp.listen(server.tcp.bind(port=port), 1)
        self.listener.readable.append(self._accept)
        clock = client.driver
        clock.call_at(clock.now + duration(start), self._connect)

    def _connect(self) -> None:
        peer = (IPAddress.parse(self.server.address), self.port)
        self.connection = self.client.tcp.connect(peer)
        self._write()

    def _write(self) -> None:
        assert self.connection is not None
        if self.connection.state is State.CLOSED:
            return
        while self.connection.has_room() and self.connection.write(CHUNK):
            pass
        self.connection.writable.append(self._write)

    def _accept(self) -> None:
        accepted = self.listener.accept()
        assert accepted is not None

        def drain() -> None:
            while data := accepted.read(1 << 20):
                self.received += len(data)
            accepted.readable.append(drain)

        drain()

    @property
    def congestion(self) -> Any:
        assert self.connection is not None
        return self.connection.flight.congestion

    def watch(self) -> None:
        """Note the congestion window from now on."""
        self.client.events.append(self._note)

    def _note(self, event: Event) -> None:
        if event.rule.name == "tcp.window":
            self.windows.append((event.time / SECOND, int(event.fields["cwnd"])))  # type: ignore[call-overload]


class Bottleneck:
    """The scene, in a network. `wire` is the bottleneck; `rtt` is shared out over both wires of a flow."""

    def __init__(
        self,
        net: Network,
        controls: list[Any],
        *,
        rate: str,
        rtt: str | list[str],
        queue: str | int,
        starts: list[float] | None = None,
        tcp: TcpConfig | None = None,
        **options: Any,
    ) -> None:
        rtts = rtt if isinstance(rtt, list) else [rtt] * len(controls)
        config = tcp or TcpConfig(receive_buffer=4 << 20, send_buffer=4 << 20)
        self.net = net
        self.router = net.router("r")
        self.receiver = net.host("b", "10.1.0.1/24", gateway="10.1.0.254", tcp=config)
        self.router.interface("out", "10.1.0.254/24")
        self.rate = bits(rate)
        self.wire: Wire = net.wire(self.router["out"], self.receiver, rate=rate, queue=queue, **options)
        self.queue: list[int] = []
        """Bytes that wait at the bottleneck, at every 5 ms of `run` after its warm-up."""
        self.flows = []
        for k, control in enumerate(controls, 1):
            sender = net.host(
                f"a{k}", f"10.2.{k}.1/24", gateway=f"10.2.{k}.254", tcp=config, congestion=control
            )
            self.router.interface(f"in{k}", f"10.2.{k}.254/24")
            net.wire(
                sender,
                self.router[f"in{k}"],
                rate=10 * self.rate,
                delay=duration(rtts[k - 1]) / (2 * SECOND),
                queue="64 MiB",
            )
            start = starts[k - 1] if starts else 0.0
            self.flows.append(Flow(sender, self.receiver, 5000 + k, start))

    def run(self, seconds: float, warm_up: float = 0.0) -> list[float]:
        """Let it run so long; the goodput of each flow, as the share of the bottleneck that its payload
        could have, after `warm_up` seconds. `seconds` counts from now, and `warm_up` is part of it."""
        self.net.sleep(warm_up)
        before = [flow.received for flow in self.flows]
        for _ in range(round((seconds - warm_up) / 0.005)):
            self.net.sleep(0.005)
            self.queue.append(self.wire.ends[0].queued)
        most = self.rate * (seconds - warm_up) / 8 * MSS / FRAME
        return [(flow.received - old) / most for flow, old in zip(self.flows, before, strict=True)]


def jain(shares: list[float]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
