"""What the tests of the stack play with: a tape of all that crossed the wires, and a peer moved by hand.

`Tape` listens to the events of a network and keeps them. `Peer` is a device with a scripted machine behind
it: it answers ARP, and beyond that says only what the test makes it say, so that a story can hold segments
that no honest stack would send.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from typing import Any

from labstack import Host, Network
from labstack.core.addresses import MAC, IPAddress, IPv4Address
from labstack.core.events import Event
from labstack.headers.arp import ARP, REPLY, REQUEST
from labstack.headers.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, FIN, SYN, TCP, Options, flag_names
from labstack.headers.udp import UDP
from labstack.physical.device import RECEIVED, SENT, Receive

MS = 1_000_000
SECOND = 1_000_000_000


class Shot:
    """One frame as it was sent: when (seconds), by whom, and its bytes, read on demand."""

    def __init__(self, time: int, sender: str, frame: bytes, event: int, cause: int, number: int = 0) -> None:
        self.at, self.sender, self.frame, self.event, self.cause = time, sender, frame, event, cause
        self.number = number
        self.time = time / SECOND
        self.ethernet = Ethernet.parse(frame)
        self.ip: IPv4 | None = None
        self.tcp: TCP | None = None
        self.arp: ARP | None = None
        self.body = b""
        if self.ethernet.ethertype == ETHERTYPE_ARP:
            self.arp = ARP.parse(frame, 14)
        if self.ethernet.ethertype == ETHERTYPE_IPV4:
            self.ip = IPv4.parse(frame, 14)
            at, end = 14 + self.ip.header_length, 14 + self.ip.total_length
            if self.ip.protocol == PROTO_TCP:
                self.tcp = TCP.parse(frame[:end], at)
                at += self.tcp.header_length
            self.body = frame[at:end]

    @property
    def flags(self) -> str:
        return flag_names(self.tcp.flags) if self.tcp else ""

    @property
    def has_data(self) -> bool:
        return self.tcp is not None and bool(self.body)

    @property
    def is_pure_ack(self) -> bool:
        return self.flags == "ACK" and not self.body

    @property
    def options(self) -> Options:
        assert self.tcp is not None
        return Options.parse(self.tcp.options)

    def __repr__(self) -> str:
        if self.tcp:
            tcp = self.tcp
            what = f"{self.flags} seq={tcp.seq} ack={tcp.ack} win={tcp.window} len={len(self.body)}"
        else:
            what = f"type={self.ethernet.ethertype:#06x} {len(self.frame)} bytes"
        return f"<{self.time:.6f} {self.sender}: {what}>"


class Tape:
    """All events of these hosts and of all wires of `net`, as they happen."""

    def __init__(self, net: Network, *hosts: Host) -> None:
        self.events: list[Event] = []
        self.by_number: dict[int, Event] = {}
        for source in [*(hosts or net.hosts.values()), *net.wires]:
            source.events.append(self._keep)

    def _keep(self, event: Event) -> None:
        self.events.append(event)
        self.by_number[event.number] = event

    def sent(self, sender: Host | str | None = None) -> list[Shot]:
        """The frames that `sender` (everyone) handed to its devices, in order."""
        name = sender.name if isinstance(sender, Host) else sender
        return [
            Shot(e.time, e.host, bytes(e.fields["frame"]), e.number, e.cause, int(e.fields["number"]))
            for e in self.events
            if e.rule is SENT and name in (None, e.host)
        ]

    def tcp(self, sender: Host | str | None = None) -> list[Shot]:
        return [shot for shot in self.sent(sender) if shot.tcp]

    def data(self, sender: Host | str | None = None) -> list[Shot]:
        """The segments that carry payload."""
        return [shot for shot in self.sent(sender) if shot.has_data]

    def acks(self, sender: Host | str | None = None) -> list[Shot]:
        """The segments that only acknowledge."""
        return [shot for shot in self.sent(sender) if shot.is_pure_ack]

    def named(self, rule: str, host: Host | None = None) -> list[Event]:
        return [e for e in self.events if e.rule.name == rule and (host is None or e.host == host.name)]

    def why(self, shot: Shot) -> list[str]:
        """The names of the rules behind a frame, from itself back to the first cause."""
        names, at = [], shot.event
        while at:
            event = self.by_number[at]
            names.append(event.rule.name)
            at = event.cause
        return names

    def states(self, host: Host) -> list[str]:
        """The states that the connections of `host` went through."""
        return [str(e.fields["after"]) for e in self.named("tcp.state", host)]

    def digest(self) -> str:
        """A hash over (time, frame) of all that was sent or arrived."""
        whole = hashlib.sha256()
        for event in self.events:
            if event.rule is SENT or event.rule is RECEIVED:
                whole.update(b"%d %s %s " % (event.time, event.host.encode(), event.rule.name.encode()))
                whole.update(bytes(event.fields["frame"]))
        return whole.hexdigest()


def settle(net: Network) -> None:
    """Let all happen that is due at this very moment."""
    net.simulator.run(net.simulator.now)


class Peer:
    """A machine on the other end of a direct cable, moved by hand. Its device is `host`'s."""

    mtu = 1500
    offload = 0

    def __init__(
        self,
        net: Network,
        name: str = "host",
        address: str = "10.0.0.1/24",
        peer: str = "10.0.0.2",
        port: int = 5000,
        mtu: int = 1500,
        answers_arp: bool = True,
        **options: Any,
    ) -> None:
        self.net = net
        self.mtu = mtu
        self.mac = MAC.parse("02:00:00:00:00:01")
        self.own_mac = MAC.parse("02:00:00:00:00:99")
        self.address: IPAddress = IPAddress.parse(peer)
        self.port = port
        self.answers_arp = answers_arp
        self.frames: list[Shot] = []
        self.inbox: deque[Shot] = deque()
        self._receive: Receive | None = None
        self._number = 0
        self.iss = 1000
        self.snd_nxt = self.rcv_nxt = 0
        self.host = net.host(name, **options)
        self.host.interface("eth0", address, device=self)
        self.host_address = IPAddress.parse(address.partition("/")[0])
        self.host_port = 80

    # --- a Device ---------------------------------------------------------------------------------

    def attach(self, receive: Receive) -> None:
        self._receive = receive

    def transmit(self, header: bytes, payload: Any, segment_size: int = 0) -> None:
        assert segment_size == 0, "this device never said that it finishes segments"
        shot = Shot(self.net.simulator.now, self.host.name, bytes(header) + bytes(payload), 0, 0)
        self.frames.append(shot)
        arp = shot.arp
        if arp is not None:
            if self.answers_arp and arp.operation == REQUEST and arp.target_ip == self.address:
                answer = ARP(REPLY, self.own_mac, IPv4Address(self.address), arp.sender_mac, arp.sender_ip)
                frame = Ethernet(arp.sender_mac, self.own_mac, ETHERTYPE_ARP).pack() + answer.pack()
                clock = self.net.simulator
                clock.call_at(clock.now, lambda: self.inject(frame))
            return
        self.inbox.append(shot)

    def close(self) -> None:
        self._receive = None

    # --- by hand ----------------------------------------------------------------------------------

    def inject(self, frame: bytes) -> None:
        """Hand a frame to the host, as the device does."""
        assert self._receive is not None
        self._number += 1
        self._receive(self._number, memoryview(frame), 0)

    def frame(self, packet: bytes, ethertype: int = ETHERTYPE_IPV4, dst: MAC | None = None) -> bytes:
        return Ethernet(dst or self.mac, self.own_mac, ethertype).pack() + packet

    def datagram(self, protocol: int, body: bytes, **fields: Any) -> bytes:
        """An IP datagram from the peer to the host; `fields` are those of the header."""
        values = {"src": self.address, "dst": self.host_address, "protocol": protocol, "ttl": 64, **fields}
        header = IPv4(total_length=0, **values)
        header.total_length = fields.get("total_length", len(header.pack()) + len(body))
        return header.pack() + body

    def send_ip(self, protocol: int, body: bytes, **fields: Any) -> None:
        self.inject(self.frame(self.datagram(protocol, body, **fields)))
        settle(self.net)

    def udp(self, src_port: int, dst_port: int, data: bytes, **fields: Any) -> None:
        src, dst = fields.get("src", self.address), fields.get("dst", self.host_address)
        header = UDP(src_port, dst_port).pack(pseudo_sum(src, dst, PROTO_UDP, 8 + len(data)), data)
        self.send_ip(PROTO_UDP, header + data, **fields)

    def icmp(self, message: ICMP, data: bytes = b"", **fields: Any) -> None:
        self.send_ip(PROTO_ICMP, message.pack(data), **fields)

    def tcp_bytes(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int = 65535,
        options: bytes = b"",
        port: int | None = None,
        src: IPAddress | None = None,
        urgent: int = 0,
    ) -> bytes:
        seq = self.snd_nxt if seq is None else seq
        ack = (self.rcv_nxt if flags & ACK else 0) if ack is None else ack
        header = TCP(
            port or self.port, self.host_port, seq % 2**32, ack % 2**32, flags, window, 0, urgent, options
        )
        total = pseudo_sum(src or self.address, self.host_address, PROTO_TCP, len(header.pack()) + len(data))
        return header.pack(total, data) + data

    def tcp(self, flags: int, data: bytes = b"", src: IPAddress | None = None, **fields: Any) -> None:
        """Send one segment. Sequence numbers go on by themselves unless `seq` says otherwise."""
        body = self.tcp_bytes(flags, data, src=src, **fields)
        if "seq" not in fields:
            self.snd_nxt = (self.snd_nxt + len(data) + bool(flags & SYN) + bool(flags & FIN)) % 2**32
        self.send_ip(PROTO_TCP, body, **({"src": src} if src else {}))

    def take(self) -> Shot:
        """The oldest segment from the host that was not looked at yet."""
        settle(self.net)
        assert self.inbox, "the host has sent nothing"
        shot = self.inbox.popleft()
        if shot.tcp is not None:
            end = shot.tcp.seq + len(shot.body) + bool(shot.tcp.flags & SYN) + bool(shot.tcp.flags & FIN)
            if (end - self.rcv_nxt) % 2**32 < 2**31:
                self.rcv_nxt = end % 2**32
        return shot

    def take_all(self) -> list[Shot]:
        settle(self.net)
        return [self.take() for _ in range(len(self.inbox))]

    def quiet(self) -> bool:
        """The host has sent nothing more."""
        settle(self.net)
        return not self.inbox

    # --- two ways to begin ------------------------------------------------------------------------

    def open_to(
        self, port: int = 80, window: int = 65535, options: bytes = b"", iss: int | None = None
    ) -> Shot:
        """Connect to a listening port of the host; its SYN, ACK."""
        self.host_port = port
        self.iss = self.snd_nxt = self.iss if iss is None else iss
        self.rcv_nxt = 0
        self.tcp(SYN, window=window, options=options)
        answer = self.take()
        assert set(answer.flags.split(", ")) == {"SYN", "ACK"}, answer
        assert answer.tcp is not None
        self.rcv_nxt = (answer.tcp.seq + 1) % 2**32
        self.tcp(ACK, window=window)
        return answer

    def await_syn(self) -> Shot:
        """The host connects to us: its SYN."""
        shot = self.take()
        assert shot.flags == "SYN" and shot.tcp is not None, shot
        self.port, self.host_port = shot.tcp.dst_port, shot.tcp.src_port
        self.rcv_nxt = (shot.tcp.seq + 1) % 2**32
        self.snd_nxt = self.iss
        return shot

    def accept_from(self, window: int = 65535, options: bytes = b"") -> Shot:
        """The host connects to us: agree; its SYN."""
        shot = self.await_syn()
        self.tcp(SYN | ACK, window=window, options=options)
        answer = self.take()
        assert answer.is_pure_ack, answer
        return shot


def pair(
    net: Network,
    *,
    wire: dict[str, Any] | None = None,
    a: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
) -> tuple[Host, Host, Any]:
    """Two hosts, 10.0.0.1 and 10.0.0.2, and the wire between them."""
    left = net.host("a", "10.0.0.1/24", **(a or {}))
    right = net.host("b", "10.0.0.2/24", **(b or {}))
    return left, right, net.wire(left, right, **(wire or {}))


def connected(net: Network, client: Host, server: Host, port: int = 80) -> tuple[Any, Any]:
    """A connection between two hosts: the client's socket and the server's."""
    with server.listen(port) as listener:
        s = client.connect((server.name, port))
        t, _ = listener.accept()
    return s, t


def read_all(socket: Any) -> bytes:
    """Everything up to the end."""
    pieces = []
    while piece := socket.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat early: a byte in the wrong place shows."""
    return b"".join(hashlib.sha256(b"%d %d" % (seed, k)).digest() for k in range(size // 32 + 1))[:size]


def nothing_left(net: Network, hosts: Iterable[Host]) -> None:
    """No connection, no listener's half-open one, and no timer but housekeeping is left."""
    for host in hosts:
        assert not host.tcp.connections, host.tcp.connections
    assert net.simulator.idle


__all__ = [
    "MS",
    "SECOND",
    "Peer",
    "Shot",
    "Tape",
    "connected",
    "nothing_left",
    "pair",
    "pattern",
    "read_all",
    "settle",
]
