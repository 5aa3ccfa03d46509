"""A host: one machine with its interfaces, routes, transports and sockets. It owns all of its state.

The same class runs in simulation (`Network.host`) and in real time (`LinuxPeer.host`): only the driver
differs. Here the layers are put on top of one another; each part that a lab replaces is a class handed in.
"""

from __future__ import annotations

import socket as posix
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from labstack.core.addresses import ANY, InterfaceAddress, IPAddress, Prefix
from labstack.core.clock import Driver, Program, Waiters
from labstack.core.events import Counters, Events
from labstack.core.node import Node
from labstack.core.randomness import Stream
from labstack.core.units import SECOND, duration
from labstack.headers.ipv4 import IPv4 as IPv4Header
from labstack.internet.fragments import Fragments, Reassembler
from labstack.internet.icmp import ICMP
from labstack.internet.ipv4 import IPv4
from labstack.internet.routing import LongestPrefixTable, RoutingTable
from labstack.link.arp import Arp, ArpCache, Cache
from labstack.link.ethernet import Interface, Watcher
from labstack.physical.device import Device
from labstack.sockets import compat
from labstack.sockets.kinds import adopt, open_socket
from labstack.sockets.raw import Raw
from labstack.sockets.selector import Selector
from labstack.sockets.socket import Socket
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion.names import Make
from labstack.transport.tcp.flight import Parts
from labstack.transport.tcp.layer import Find, Tcp, find_socket
from labstack.transport.tcp.rack import Rack
from labstack.transport.tcp.receiver import Reassembly, Receiver
from labstack.transport.tcp.recovery import Recovery
from labstack.transport.tcp.rtt import Rfc6298, RttEstimator
from labstack.transport.tcp.sender import Segmentation, Sender
from labstack.transport.tcp.states import Closing, Rfc9293
from labstack.transport.udp import Udp

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from labstack.observe.trace import Trace
    from labstack.observe.views import View
    from labstack.sockets.aio import HostLoop, Running, Service

T = TypeVar("T")

FIRST_FILENO = 1_000_000
"""Far above the operating system's own, so that nobody takes one for the other."""


class Host:
    """A machine on `driver`.

    - `forwarding`: it is a router. `tcp`: the constants of its TCP.
    - The replaceable parts, as classes: `arp_cache`, `routing_table`, `fragments`, `receiver`, `sender`,
      `rtt`, `recovery`, `closing`, `congestion` (also by name: "reno", "cubic"; None: as `tcp` says); the
      function `find_socket`; and `ip_header`, the class that reads the datagrams that arrive.
    - `resolve`: turns names into addresses. `random`, `numbers`: see `Node`.
    """

    def __init__(
        self,
        name: str,
        driver: Driver,
        *,
        forwarding: bool = False,
        tcp: TcpConfig | None = None,
        arp_cache: Callable[[], Cache] = ArpCache,
        ip_header: type[IPv4Header] = IPv4Header,
        fragments: Callable[[Node, Callable[[bytes], None]], Reassembler] = Fragments,
        routing_table: Callable[[], RoutingTable] = LongestPrefixTable,
        receiver: Callable[[TcpConfig], Receiver] = Reassembly,
        sender: Callable[[TcpConfig], Sender] = Segmentation,
        rtt: Callable[[TcpConfig], RttEstimator] = Rfc6298,
        recovery: Callable[[int, TcpConfig], Recovery] = Rack,
        closing: Callable[[TcpConfig], Closing] = Rfc9293,
        congestion: str | Make | None = None,
        find_socket: Find = find_socket,
        resolve: Callable[[str], IPAddress | None] | None = None,
        random: Callable[[str], Stream] | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.name = name
        self.driver = driver
        self.node = Node(name, driver, random=random, numbers=numbers)
        self.interfaces: dict[str, Interface] = {}
        self.watchers: list[Watcher] = []
        self.arps: dict[str, Arp] = {}
        self.sockets: MutableMapping[int, Socket] = WeakValueDictionary()
        self.detached: dict[int, Socket] = {}
        self.ip = IPv4(
            self.node, routing_table(), forwarding=forwarding, header=ip_header, fragments=fragments
        )
        self.icmp = ICMP(self.node, self.ip)
        self.udp = Udp(self.node, self.ip)
        config = tcp or TcpConfig()
        if congestion is not None:
            config = replace(config, congestion=congestion)
        parts = Parts(receiver, sender, rtt, recovery, closing)
        self.tcp = Tcp(self.node, self.ip, config, parts, find_socket)
        self._arp_cache = arp_cache
        self._resolve = resolve
        self._filenos = count(FIRST_FILENO)
        self._asyncio: Service | None = None
        self._closers: list[Callable[[], None]] = []

    # --- what it is made of
    @property
    def events(self) -> Events:
        return self.node.events

    @property
    def counters(self) -> Counters:
        """How often each named thing happened, drops above all."""
        return self.node.counters

    @property
    def now(self) -> float:
        """Seconds on this host's clock."""
        return self.driver.now / SECOND

    @property
    def address(self) -> str:
        """Its first IP address. Raises ValueError if it has none."""
        for interface in self.interfaces.values():
            for own in interface.addresses:
                return str(own.address)
        raise ValueError(
            f"{self.name} has no address: give an interface one, host.interface('eth0', '10.0.0.1/24')"
        )

    def interface(self, name: str, *addresses: str, device: Device | None = None) -> Interface:
        """Add an interface with these addresses (`"10.0.0.1/24"`), standing on `device` or, for now, on
        nothing."""
        if name in self.interfaces:
            raise ValueError(f"{self.name} has an interface {name!r} already: take another name")
        own = [InterfaceAddress.parse(text) for text in addresses]
        with self.driver:
            interface = Interface(self.node, name, device)
            interface.watchers = self.watchers
            arp = Arp(interface, self._arp_cache(), self.ip.unreachable)
            self.ip.add_interface(interface, arp)
            for address in own:
                self.ip.add_address(interface, address)
            self.interfaces[name] = interface
            self.arps[name] = arp
        return interface

    def __getitem__(self, name: str) -> Interface:
        try:
            return self.interfaces[name]
        except KeyError:
            names = ", ".join(self.interfaces) or "none"
            raise KeyError(f"{self.name} has no interface {name!r}: it has {names}") from None

    def route(self, prefix: str, via: str | None = None, interface: str | None = None) -> None:
        """Send what is for `prefix` (`"0.0.0.0/0"` is everything) to the router `via`, or out of
        `interface`."""
        with self.driver:
            self.ip.add_route(Prefix.parse(prefix), IPAddress.parse(via) if via else None, interface)

    # --- sockets and programs
    def socket(self, type: int = posix.SOCK_STREAM, proto: int = 0, family: int = posix.AF_INET) -> Socket:
        """A new socket of this host: `SOCK_STREAM` is TCP, `SOCK_DGRAM` is UDP, `SOCK_RAW` sees the whole
        datagrams of the IP protocol `proto`. Of the family `AF_PACKET` it sees frames."""
        return open_socket(self, type, proto, family)

    def connect(self, address: tuple[str, int], timeout: float | None = None) -> Socket:
        """A TCP connection to (host, port). Raises ConnectionRefusedError, TimeoutError, OSError."""
        new = self.socket()
        new.settimeout(timeout)
        try:
            new.connect(address)
        except BaseException:
            new.close()
            raise
        return new

    def listen(self, port: int, address: str = "", backlog: int = 128) -> Socket:
        """A socket that listens at this TCP port."""
        new = self.socket()
        new.setsockopt(posix.SOL_SOCKET, posix.SO_REUSEADDR, 1)
        try:
            new.bind((address, port))
            new.listen(backlog)
        except BaseException:
            new.close()
            raise
        return new

    def adopt(self, fileno: int) -> Socket:
        """The open socket with this number, as a new object. Raises OSError (EBADF) if there is none."""
        return adopt(self, fileno)

    def selector(self) -> Selector:
        """A selector, to wait for many of this host's sockets at once."""
        return Selector(self)

    def raw(self, protocol: int) -> Raw:
        """All datagrams of one IP protocol as bytes, in place of the host's own transport, until it is
        closed."""
        return Raw(self, protocol)

    def spawn(self, fn: Callable[..., object], *args: object, name: str = "") -> Program:
        """Run a blocking function beside the caller, on this host's clock. `join` waits for its end.

        Whatever it calls of Python's own network modules uses this host's stack, as in `with host:`.
        """
        named = name or f"{self.name}.{getattr(fn, '__name__', 'program')}"
        with compat.outside():
            return self.driver.spawn(compat.on(self, fn), *args, name=named)

    @property
    def loop(self) -> HostLoop:
        """This host's asyncio event loop. It runs from the first use on, beside the caller."""
        return self._service().loop

    def _service(self) -> Service:
        from labstack.sockets.aio import Service  # who does not use asyncio need not load it

        if self._asyncio is None:
            self._asyncio = Service(self)
        return self._asyncio

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Running:
        """Run a coroutine beside the caller, on this host's event loop. `join` waits for its end."""
        return self._service().start(coroutine)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this host's event loop, and wait for its end; what it returns. Also in a
        notebook cell, where `asyncio.run` would refuse."""
        return self._service().run(coroutine)

    def sleep(self, time: str | float) -> None:
        """Wait so long, in seconds or as `"20 ms"`."""
        self.driver.block(lambda: False, [], duration(time), "time to pass")

    def ping(
        self, to: str, times: int = 1, size: int = 56, interval: str | float = 1, timeout: float = 1
    ) -> list[float | None]:
        """Ask `to` for `times` echoes of `size` bytes; the round-trip times in seconds, None for each that
        did not come."""
        target = self.resolve(to)
        answered = Waiters()
        arrived: dict[int, int] = {}
        identifier = self.next_fileno() & 0xFFFF

        def heard(src: IPAddress, hop_limit: int, message: Any, payload: bytes) -> None:
            if message.type == 0 and message.identifier == identifier:
                arrived.setdefault(message.sequence, self.driver.now)
                answered.wake()

        times_taken: list[float | None] = []
        with self.driver:
            self.icmp.listeners.append(heard)
        try:
            for sequence in range(1, times + 1):
                with self.driver:
                    sent = self.driver.now
                    self.icmp.echo(target, identifier, sequence, bytes(k & 0xFF for k in range(size)))
                came = lambda n=sequence: n in arrived  # noqa: E731
                if self.driver.block(came, [answered], round(timeout * SECOND), f"an echo from {target}"):
                    times_taken.append((arrived[sequence] - sent) / SECOND)
                else:
                    times_taken.append(None)
                rest = sent + duration(interval) - self.driver.now
                if sequence < times and rest > 0:
                    self.driver.block(lambda: False, [], rest, "time to pass")
        finally:
            with self.driver:
                self.icmp.listeners.remove(heard)
        return times_taken

    # --- what its sockets ask
    def resolve(self, name: str) -> IPAddress:
        """The address of a host by its name or its dotted numbers; "" is every own address."""
        if name == "":
            return ANY
        if name == "localhost":
            name = "127.0.0.1"
        try:
            return IPAddress.parse(name)
        except ValueError:
            found = self._resolve(name) if self._resolve else None
        if found is None:
            raise posix.gaierror(posix.EAI_NONAME, f"{self.name} knows no host {name!r}")
        return found

    def next_fileno(self) -> int:
        return next(self._filenos)

    # --- what it knows, as its administrator sees it
    def ss(self, info: bool = False) -> View:
        """Its sockets: state, queues, addresses; with `info`, what TCP knows of each connection."""
        from labstack.observe import views

        return views.ss(self, info)

    def netstat(self) -> View:
        """How often each thing happened on it, drops above all."""
        from labstack.observe import views

        return views.netstat(self)

    def addresses(self) -> View:
        """Its interfaces and their addresses, as `ip address` shows them."""
        from labstack.observe import views

        return views.addresses(self)

    def routes(self) -> View:
        """Its routing table, as `ip route` shows it."""
        from labstack.observe import views

        return views.routes(self)

    def arp(self) -> View:
        """The MAC addresses of its neighbours that it knows, as `ip neighbour` shows them."""
        from labstack.observe import views

        return views.arp(self)

    def capture(self, peer: str = "peer") -> Trace:
        """Record every frame on this host's interfaces from now on, and why it was sent. `peer` is what to
        call the machine at the other end, of which nothing else is heard. In a simulation, `net.capture`
        hears both ends."""
        from labstack.observe.trace import Trace

        devices = [i.device.name for i in self.interfaces.values() if i.device is not None]
        ends = dict.fromkeys(devices, (self.name, peer))
        with self.driver:
            trace = Trace([self.events], set(devices), ends=ends, origin=self.driver.now)
            trace.routes_before = {self.name: self.ip.routes}
        self.on_close(trace.close)
        return trace

    def on_close(self, closer: Callable[[], None]) -> None:
        """Call `closer` when the host is closed."""
        self._closers.append(closer)

    def close(self) -> None:
        """Switch the machine off: its connections and timers are gone, and nothing is sent."""
        if self._asyncio is not None:
            self._asyncio.close()
        try:
            while self._closers:
                self._closers.pop()()  # first of all the driver: no program is to see its sockets fail
        finally:
            with self.driver:
                self.tcp.close()
                self.udp.close()
                self.ip.fragments.close()
                for arp in self.arps.values():
                    arp.close()
                for interface in self.interfaces.values():
                    interface.close()

    def __enter__(self) -> Host:
        """Programs that know nothing of labstack use this host's stack inside `with host:` (see
        `sockets/compat`)."""
        compat.enter(self)
        return self

    def __exit__(self, *exc: object) -> None:
        compat.leave()

    def __repr__(self) -> str:
        addresses = ", ".join(str(own) for i in self.interfaces.values() for own in i.addresses)
        return f"<host {self.name} {addresses or 'no address'}>"
