"""A simulated network: hosts, routers and wires in one process, on one virtual clock.

    with Network(seed=7) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="10 Mbit/s", delay="20 ms")

The same seed gives the same trace, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from labstack.core.addresses import MAC, IPAddress
from labstack.core.randomness import stream
from labstack.core.units import SECOND, duration
from labstack.drivers.primitives import Event, Lock, Queue
from labstack.drivers.simulator import Program, Simulator
from labstack.host import Host
from labstack.link.ethernet import Interface
from labstack.physical.wire import Wire

if TYPE_CHECKING:
    from labstack.observe.trace import Trace


class Network:
    """Everything in it shares one clock, one seed and one numbering of frames and events."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.simulator = Simulator()
        self.hosts: dict[str, Host] = {}
        self.wires: list[Wire] = []
        self._events = count(1)
        self._frames = count(1)
        self._macs = count(1)
        self._traces: list[Trace] = []

    # --- building
    def host(self, name: str, *addresses: str, gateway: str | None = None, **options: Any) -> Host:
        """A host with one interface, eth0, that has these addresses; with none it has no interface yet.

        `gateway` is the router for everything that is not on its own link. `options` are those of `Host`.
        """
        if name in self.hosts:
            raise ValueError(f"this network has a host {name!r} already: take another name")
        host = Host(
            name,
            self.simulator,
            resolve=self._address_of,
            random=lambda purpose: stream(self.seed, name, purpose),
            numbers=self._events,
            **options,
        )
        if addresses:
            host.interface("eth0", *addresses)
        if gateway is not None:
            host.route("0.0.0.0/0", via=gateway)
        self.hosts[name] = host
        for trace in self._traces:
            trace.listen(host.events)
        return host

    def router(self, name: str, **options: Any) -> Host:
        """A host that passes on what is for others. Give it interfaces: `r.interface("eth0",
        "10.0.0.254/24")`."""
        return self.host(name, forwarding=True, **options)

    def wire(self, a: Host | Interface, b: Host | Interface, name: str = "", **options: Any) -> Wire:
        """A wire between two interfaces; a host stands for its only interface without one. `options` are
        those of `Wire`: rate, delay, queue, discipline, loss, corrupt, duplicate, reorder, mtu."""
        ends = [self._unwired(a), self._unwired(b)]
        if ends[0] is ends[1]:
            raise ValueError(f"{ends[0]!r} cannot be wired to itself: name two interfaces")
        name = self._unique(name or f"{ends[0].node.name}-{ends[1].node.name}")
        wire = Wire(
            self.simulator,
            name=name,
            macs=(self._next_mac(), self._next_mac()),
            random=lambda purpose: stream(self.seed, name, purpose),
            frame_numbers=self._frames,
            event_numbers=self._events,
            **options,
        )
        for end, interface in zip(wire.ends, ends, strict=True):
            end.node = interface.node
            interface.plug(end)
        self.wires.append(wire)
        return wire

    def _unwired(self, place: Host | Interface) -> Interface:
        if isinstance(place, Interface):
            return place
        free = [i for i in place.interfaces.values() if i.device is None]
        if len(free) == 1:
            return free[0]
        if not place.interfaces:
            raise ValueError(
                f"{place.name} has no interface: add one, {place.name}.interface('eth0', '10.0.0.1/24')"
            )
        if free:
            raise ValueError(
                f"{place.name} has several unwired interfaces: name one, {place.name}[{free[0].name!r}]"
            )
        raise ValueError(
            f"every interface of {place.name} is wired: add one, {place.name}.interface('eth1', …)"
        )

    def _unique(self, name: str) -> str:
        taken = {wire.name for wire in self.wires}
        return next(n for n in (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3))) if n not in taken)

    def _next_mac(self) -> MAC:
        # The second lowest bit of the first byte says: given out locally, not by a maker (IEEE 802 §8.4).
        return MAC((0x02 << 40 | next(self._macs)).to_bytes(6, "big"))

    def _address_of(self, name: str) -> IPAddress | None:
        host = self.hosts.get(name)
        return IPAddress.parse(host.address) if host is not None else None

    # --- running
    @property
    def now(self) -> float:
        """Virtual seconds since the network was made."""
        return self.simulator.now / SECOND

    def run(self, until: str | float | None = None) -> None:
        """Let the network run until nothing but housekeeping is to come, or until the time `until`."""
        self.simulator.run(None if until is None else duration(until))

    def sleep(self, time: str | float) -> None:
        """Let so much time pass."""
        self.simulator.block(lambda: False, [], duration(time), "time to pass")

    def spawn(self, fn: Callable[..., object], *args: object, name: str = "") -> Program:
        """Run a blocking function as a program, beside the caller."""
        return self.simulator.spawn(fn, *args, name=name)

    def lock(self, name: str = "a lock") -> Lock:
        """A lock for programs, in virtual time; who waits longest is next."""
        return Lock(self.simulator, name)

    def event(self, name: str = "an event") -> Event:
        """An event for programs, in virtual time: some wait for it, another sets it."""
        return Event(self.simulator, name)

    def queue(self, size: int = 0, name: str = "a queue") -> Queue[Any]:
        """A queue between programs, in virtual time, for at most `size` things (0: any number)."""
        return Queue(self.simulator, size, name)

    def capture(self, *wires: Wire) -> Trace:
        """Record every frame on these wires (all, when none is named), and why each was sent."""
        from labstack.observe.trace import Trace

        chosen = wires or tuple(self.wires)
        sources = [host.events for host in self.hosts.values()] + [wire.events for wire in chosen]
        trace = Trace(sources, {wire.name for wire in chosen})
        trace.routes_before = {name: host.ip.routes for name, host in self.hosts.items()}
        self._traces.append(trace)
        return trace

    def close(self) -> None:
        """End all programs, connections and timers. Traces keep what they recorded."""
        for trace in self._traces:
            trace.close()
        self.simulator.close()
        for host in self.hosts.values():
            host.close()
        for wire in self.wires:
            wire.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
