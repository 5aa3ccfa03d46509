"""TCP of one host: which connection is this segment for? And if there is none, what does the sender hear?

A connection is named by four things: own address and port, the peer's address and port. RFC 9293 §3.10.7.1
(no connection), §3.10.7.2 (a listening port); initial numbers by RFC 6528.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2s

from labstack.core.addresses import ANY, IPAddress
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.randomness import below
from labstack.core.seq import seq_add, seq_lt, seq_max
from labstack.headers import tcp as header_of
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import PROTO_TCP
from labstack.headers.tcp import ACK, FIN, RST, SYN, TCP as Header, Options, verify
from labstack.internet.layer import NetworkLayer, Trouble
from labstack.transport.ports import Binding, PortTable
from labstack.transport.tcp import rules
from labstack.transport.tcp.agreement import DEFAULT_MSS
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.connection import Connection
from labstack.transport.tcp.cookies import LIFETIME, PERIOD, FourTuple, SynCookies
from labstack.transport.tcp.flight import Parts
from labstack.transport.tcp.listener import Listener
from labstack.transport.tcp.receiver import MAX_FIELD
from labstack.transport.tcp.states import TIME_WAIT, State
from labstack.transport.tcp.tuning import Pool

Place = tuple[IPAddress, int]
"""An address and a port; the address 0.0.0.0 stands for every own one."""


def find_socket(connections: Mapping[FourTuple, Connection], listeners: Mapping[Place, Listener],
        segment: FourTuple) -> Connection | Listener | None:  # fmt: skip
    """Which socket is a segment for, that goes to an own address and port and comes from a peer's? A
    connection knows all four of them, a listener only the first two; None is nobody (RFC 9293 §3.10.7)."""
    own, port, _, _ = segment
    return connections.get(segment) or listeners.get((own, port)) or listeners.get((ANY, port))


Find = Callable[
    [Mapping[FourTuple, Connection], Mapping[Place, Listener], FourTuple], Connection | Listener | None
]


class Tcp:
    """A `Transport` for one host. `parts` are the classes that its connections are made of; `find` says which
    socket a segment is for."""

    def __init__(self, node: Node, network: NetworkLayer, config: TcpConfig, parts: Parts,
            find: Find = find_socket) -> None:  # fmt: skip
        self.node = node
        self.network = network
        self.config = config
        self.parts = parts
        self.connections: dict[FourTuple, Connection] = {}
        self.listeners: dict[Place, Listener] = {}
        self._find = find
        self._pools = Pool(config.max_tuned), Pool(config.max_tuned)
        self._time_wait: OrderedDict[FourTuple, Connection] = OrderedDict()
        self._ports = PortTable(f"TCP port {{}} of {node.name}", node.random("tcp.port"))
        draws = node.random("tcp.isn"), node.random("tcp.cookie")
        self._secret, cookies = (bytes(below(draw, 256) for _ in range(16)) for draw in draws)
        self._cookies = SynCookies(cookies)
        network.register(PROTO_TCP, self)

    # --- what sockets ask
    def connect(self, peer: tuple[IPAddress, int], local: tuple[IPAddress, int] | None = None,
            config: TcpConfig | None = None) -> Connection:  # fmt: skip
        """Begin to open a connection; it is in SYN-SENT when this returns. Raises OSError (EADDRINUSE,
        ENETUNREACH)."""
        address, port = local or (ANY, 0)
        if not self.network.is_unicast(peer[0]):
            raise OSError(errno.ENETUNREACH, f"{peer[0]} is not one host's address: TCP connects two hosts")
        if address == ANY:
            address = self.network.source_for(peer[0])
        if port == 0:
            port = self._ports.pick(lambda p: (address, p, *peer) not in self.connections)
        name = (address, port, *peer)
        if name in self.connections:
            raise OSError(errno.EADDRINUSE, f"{address}:{port} is connected to {peer[0]}:{peer[1]} already")
        if len(self.connections) >= self.config.max_connections:
            raise OSError(errno.ENOBUFS,
                f"{self.node.name} has {len(self.connections)} connections: close some first")  # fmt: skip
        connection = self._make(name, config or self.config, self._changed)
        connection.open()
        return connection

    def bind(self, address: IPAddress = ANY, port: int = 0, reuse: bool = False,
            share: bool = False) -> Binding:  # fmt: skip
        """Take a port (0: any free one) for a listener, or for a connection to come. `reuse`: share it with
        others that reuse it and do not listen, and with connections that are left of an earlier server.
        `share`: with others that share it and listen too; they divide the connections between them.

        Raises OSError (EADDRINUSE, EADDRNOTAVAIL)."""
        if address != ANY and not self.network.is_own(address):
            raise OSError(errno.EADDRNOTAVAIL, f"{address} is no address of {self.node.name}")
        busy = set() if (reuse or share) and port else {own_port for _, own_port, _, _ in self.connections}
        return self._ports.take(address, port, reuse, busy, share)

    def release(self, binding: Binding) -> None:
        """Give a port back. Its connections go on."""
        self._ports.release(binding)

    def listen(self, binding: Binding, backlog: int, config: TcpConfig | None = None) -> Listener:
        """Listen at a bound port. Raises OSError (EADDRINUSE) if someone does already."""
        place = binding.address, binding.port
        first = self.listeners.get(place)
        if first is not None and not (binding.share and first.binding.share):
            raise OSError(errno.EADDRINUSE, f"another socket listens at TCP port {binding.port}")
        binding.listening = True
        listener = Listener(self, binding, backlog, config or self.config)
        if first is not None:
            listener.group = first.group
            listener.group.append(listener)
        self.listeners[place] = listener.group[0]
        return listener

    # --- up
    def receive(self, src: IPAddress, dst: IPAddress, ecn: int, hop_limit: int, payload: Buffer,
            checked: bool) -> Trouble | None:  # fmt: skip
        node = self.node
        try:
            header = Header.parse(payload)
        except HeaderError as error:
            node.drop(error.rule, src=str(src))
            return None
        name = dst, header.dst_port, src, header.src_port
        found = self._find(self.connections, self.listeners, name)
        connection = found if isinstance(found, Connection) else None
        if not checked:
            # A connection knows the sum of its pseudo-header, but for the length.
            size = len(payload)
            if connection is not None:
                pseudo = connection.transmitter.pseudo_sum + size
            else:
                pseudo = self.network.pseudo_sum(src, dst, PROTO_TCP, size)
            if not verify(payload, pseudo):
                node.drop(header_of.BAD_CHECKSUM, src=str(src))
                return None
        data = payload[header.header_length :]
        used: int | None = None
        if connection is not None:
            if connection.state is not TIME_WAIT or not self._is_reopening(connection, header):
                connection.receive(header, data, ecn)
                return None
            used = connection.flight.sender.snd_nxt
            found = self._find(self.connections, self.listeners, name)
        if not self.network.is_unicast(dst) or not self.network.is_unicast(src):
            node.drop(rules.NOT_UNICAST, src=str(src), dst=str(dst))
            return None
        if isinstance(found, Listener):
            if len(found.group) > 1:
                found = found.share_of(src, header.src_port)
            self._receive_in_listen(found, header, name, data, used)
        else:
            node.drop(rules.NO_LISTENER, port=header.dst_port, src=str(src))
            self._refuse(header, src, dst, len(data))
        return None

    def _is_reopening(self, connection: Connection, header: Header) -> bool:
        """A SYN for a connection in TIME-WAIT, newer than all it has seen: the old one makes way (RFC 9293
        §3.6.1)."""
        if header.flags & (SYN | ACK | RST) != SYN or not seq_lt(connection.receiver.rcv_nxt, header.seq):
            return False
        connection.abort_silently()
        return True

    def _receive_in_listen(self, listener: Listener, header: Header, name: FourTuple, data: Buffer,
            used: int | None) -> None:  # fmt: skip
        """RFC 9293 §3.10.7.2: first RST, then ACK, then SYN; nothing else counts. `used`: the sequence
        numbers up to here belong to an earlier connection of that name (§3.6.1)."""
        flags = header.flags & (RST | ACK | SYN)
        dst, _, src, _ = name
        if flags == ACK and self.node.clock.now < listener.cookies_until:
            return self._receive_cookie(listener, header, name, data)
        if flags == SYN and listener.full and listener.cookies:
            return self._give_cookie(listener, header, name)
        if flags != SYN or listener.full or len(self.connections) >= self.config.max_connections:
            full = rules.BACKLOG_FULL if listener.full else rules.TABLE_FULL
            self.node.drop(full if flags == SYN else rules.NO_SYN, src=str(src), port=header.dst_port)
            if flags & ACK:
                self._refuse(header, src, dst, len(data))
            return
        connection = self._make_half_open(listener, name)
        if used is not None:
            connection.handshake.iss = seq_max(connection.iss, seq_add(used, 1))
        try:
            connection.accept_syn(header)
        except OSError:
            self.node.drop(rules.NO_WAY, **connection.names)
            connection.abort_silently()

    def _make_half_open(self, listener: Listener, name: FourTuple) -> Connection:
        def changed(connection: Connection) -> None:
            if connection in listener.half_open:
                listener.changed(connection)
            self._changed(connection)

        connection = self._make(name, listener.config, changed)
        listener.half_open[connection] = None
        return connection

    def _give_cookie(self, listener: Listener, syn: Header, name: FourTuple) -> None:
        """Answer a SYN, and keep nothing of it."""
        dst, port, src, peer_port = name
        now = self.node.clock.now
        listener.cookies_until = now + LIFETIME * PERIOD
        self.node.counters.add(rules.SYN_COOKIE.name)
        cookie = self._cookies.make(name, syn.seq, Options.parse(syn.options).mss or DEFAULT_MSS, now)
        options = Options(mss=min(self.network.mtu(src) - header_of.LENGTH, MAX_FIELD)).pack()
        window = min(listener.config.receive_buffer, MAX_FIELD)
        answer = Header(port, peer_port, cookie, seq_add(syn.seq, 1), SYN | ACK, window, 0, 0, options)
        self._send_alone(answer, dst, src, rules.SYN_COOKIE)

    def _receive_cookie(self, listener: Listener, header: Header, name: FourTuple, data: Buffer) -> None:
        """An ACK of no connection, at a port that gave out cookies: does it bring one back?"""
        dst, _, src, _ = name
        irs, cookie = seq_add(header.seq, -1), seq_add(header.ack, -1)
        mss = self._cookies.check(name, irs, cookie, self.node.clock.now)
        if mss is None:
            self.node.drop(rules.BAD_COOKIE, src=str(src), port=header.dst_port)
            self._refuse(header, src, dst, len(data))
        elif not listener.cookies or len(self.connections) >= self.config.max_connections:
            self.node.drop(rules.BACKLOG_FULL, src=str(src), port=header.dst_port)
        else:
            connection = self._make_half_open(listener, name)
            connection.handshake.iss = cookie
            syn = Header(header.src_port, header.dst_port, irs, 0, SYN, 0, options=Options(mss=mss).pack())
            connection.accept_cookie(syn)
            connection.receive(header, data)

    def error(self, kind: Trouble, src: IPAddress, dst: IPAddress, quoted: Buffer, mtu: int = 0) -> None:
        try:
            src_port, dst_port, seq = header_of.parse_quoted(quoted)
        except HeaderError as error:
            self.node.drop(error.rule)
            return
        connection = self.connections.get((src, src_port, dst, dst_port))
        if connection is None:
            self.node.drop(rules.UNKNOWN_QUOTE, peer=f"{dst}:{dst_port}")
        else:
            connection.on_trouble(kind, seq, mtu)

    def _refuse(self, header: Header, src: IPAddress, dst: IPAddress, size: int) -> None:
        """No such connection: a reset that the sender will believe (RFC 9293 §3.5.2, group 1)."""
        flags = header.flags
        if flags & RST:
            return
        if flags & ACK:
            reset = Header(header.dst_port, header.src_port, header.ack, 0, RST, 0)
        else:
            end = seq_add(header.seq, size + bool(flags & SYN) + bool(flags & FIN))
            reset = Header(header.dst_port, header.src_port, 0, end, RST | ACK, 0)
        self._send_alone(reset, dst, src, rules.RESET_NO_CONNECTION)

    def _send_alone(self, header: Header, src: IPAddress, dst: IPAddress, why: Rule) -> None:
        """Send a segment that belongs to no connection."""
        events = self.node.events
        if events:
            events.cause = events.emit(why, local=f"{src}:{header.src_port}", peer=f"{dst}:{header.dst_port}")
        size = header_of.LENGTH + len(header.options)
        segment = header.pack(self.network.pseudo_sum(src, dst, PROTO_TCP, size))
        try:
            self.network.send(dst, PROTO_TCP, segment, src=src)
        except OSError:
            self.node.drop(rules.NO_WAY, peer=str(dst))

    # --- the table
    def _make(self, name: FourTuple, config: TcpConfig, changed: Callable[[Connection], None]) -> Connection:
        # Where the clock of its timestamps begins is a secret too (RFC 7323 §7.1).
        offset = int.from_bytes(self._digest(name)[4:8], "big")
        connection = self.connections[name] = Connection(self.node, self.network, name[:2], name[2:], config,
            self.parts, self._pools, self._initial_number(name), offset, changed)  # fmt: skip
        return connection

    def _initial_number(self, name: FourTuple) -> int:
        """ISN = M + F(four-tuple, secret): a clock of 4 µs ticks keeps old segments apart, the secret keeps
        blind attackers guessing (RFC 6528 §3)."""
        return seq_add(int.from_bytes(self._digest(name)[:4], "big"), self.node.clock.now // 4000)

    def _digest(self, name: FourTuple) -> bytes:
        own, port, peer, peer_port = name
        ports = port.to_bytes(2, "big") + peer_port.to_bytes(2, "big")
        return blake2s(own + peer + ports, key=self._secret).digest()

    def _changed(self, connection: Connection) -> None:
        name = (*connection.local, *connection.peer)
        if connection.state is State.CLOSED:
            if self.connections.get(name) is connection:
                del self.connections[name]
            self._time_wait.pop(name, None)
        elif connection.state is TIME_WAIT:
            self._time_wait[name] = connection
            if len(self._time_wait) > self.config.max_time_wait:
                self.node.counters.add("tcp.time_wait_evicted")
                next(iter(self._time_wait.values())).abort_silently()

    def forget_listener(self, listener: Listener) -> None:
        listener.group.remove(listener)
        if listener.group:
            self.listeners[listener.local] = listener.group[0]
        else:
            del self.listeners[listener.local]

    def close(self) -> None:
        """The host goes away: no listener, connection or timer is left. Nothing is sent."""
        while self.listeners:
            next(iter(self.listeners.values())).close()
        for connection in list(self.connections.values()):
            connection.abort_silently()
