"""A packet as a trace shows it: who sent it to whom, when, what became of it, and what it says, in the
field's words.

Times are integer nanoseconds; `frame` is the exact Ethernet frame without its check sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from labstack.core.seq import MODULUS
from labstack.core.units import SECOND
from labstack.headers import icmp as icmp_names
from labstack.headers.arp import ARP, REQUEST
from labstack.headers.ethernet import Ethernet
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import FRAGMENT_UNIT, IPv4
from labstack.headers.tcp import ACK, FIN, RST, SYN, TCP, Options, flag_names
from labstack.headers.udp import UDP
from labstack.observe.layers import walk
from labstack.physical.faults import Flow

ARRIVED = "arrived"
LOST = "lost"
QUEUE_FULL = "queue full"
QUEUE_DROPPED = "dropped by queue"
TURNED_AWAY = frozenset({QUEUE_FULL, QUEUE_DROPPED})
"""They never left: a queue had no room for them, or had them wait too long."""
CORRUPTED = "corrupted"
ON_ITS_WAY = "on its way"

_ICMP_TYPES = {
    icmp_names.ECHO_REPLY: "echo reply",
    icmp_names.DESTINATION_UNREACHABLE: "destination unreachable",
    icmp_names.REDIRECT: "redirect",
    icmp_names.ECHO_REQUEST: "echo request",
    icmp_names.TIME_EXCEEDED: "time exceeded",
    icmp_names.PARAMETER_PROBLEM: "parameter problem",
    icmp_names.TIMESTAMP: "timestamp",
    icmp_names.TIMESTAMP_REPLY: "timestamp reply",
}
_UNREACHABLE = {
    icmp_names.NET_UNREACHABLE: "network unreachable",
    icmp_names.HOST_UNREACHABLE: "host unreachable",
    icmp_names.PROTOCOL_UNREACHABLE: "protocol unreachable",
    icmp_names.PORT_UNREACHABLE: "port unreachable",
    icmp_names.FRAGMENTATION_NEEDED: "fragmentation needed",
    icmp_names.COMMUNICATION_PROHIBITED: "communication prohibited",
}


_flag_names = cache(flag_names)
"""The flags by name; there are no more than a few combinations, and a capture asks for them often."""


_PLACES = {Ethernet: "ethernet", ARP: "arp", IPv4: "ip", ICMP: "icmp", UDP: "udp", TCP: "tcp"}


@dataclass(eq=False, slots=True)
class Packet:
    """One frame on one wire. `number` is the frame's identity, the same at both ends.

    `sent`: handed to the device; `departed`: its first bit left; `arrived`: its last bit came, or None.
    `event` is the number of the event that sent it: the way to ask why. `fate`: "arrived", "lost", "queue
    full", "dropped by queue", "corrupted" (it arrived, and its check sequence says that it is wrong) or "on
    its way".
    """

    number: int
    device: str
    sender: str
    receiver: str
    sent: int
    departed: int
    frame: bytes = field(repr=False)
    event: int
    arrived: int | None = None
    arrival: int = 0
    """The number of the event that received it, or 0: the way to ask what it changed."""
    fate: str = ON_ITS_WAY
    retransmission: bool = False
    """TCP sent some of these sequence numbers before."""
    copy_of: int = 0
    """The number of the frame that the wire doubled, or 0."""
    marked: bool = False
    """A queue marked it in place of dropping it (ECN)."""
    changed: bytes | None = None
    """The frame as it arrived, when that is not as it was sent."""
    base: tuple[int, int] = field(default=(0, 0), repr=False)
    """What relative sequence and acknowledgment numbers count from."""

    # What the frame says, found in one walk through its layers: whoever looks at a packet asks for it often.
    ethernet: Ethernet | None = field(default=None, init=False, repr=False)
    arp: ARP | None = field(default=None, init=False, repr=False)
    ip: IPv4 | None = field(default=None, init=False, repr=False)
    icmp: ICMP | None = field(default=None, init=False, repr=False)
    udp: UDP | None = field(default=None, init=False, repr=False)
    tcp: TCP | None = field(default=None, init=False, repr=False)
    protocol: str = field(default="data", init=False, repr=False)
    """The innermost header's name: "TCP", "UDP", "ICMP", "IPv4", "ARP", "Ethernet"."""
    inside: int = field(default=0, init=False, repr=False)
    """Where the headers end."""
    payload_length: int = field(default=0, init=False, repr=False)
    """Bytes that the innermost header carries."""
    flow: Flow | None = field(default=None, init=False, repr=False)
    """Source address and port, destination address and port of a TCP segment or UDP datagram."""

    def __post_init__(self) -> None:
        headers, end = walk(self.frame)
        for header, self.inside in headers:
            setattr(self, _PLACES[type(header)], header)
            self.protocol = type(header).__name__
        self.payload_length = end - self.inside
        transport = self.tcp or self.udp
        if self.ip is not None and transport is not None:
            self.flow = (self.ip.src, transport.src_port, self.ip.dst, transport.dst_port)

    @property
    def payload(self) -> bytes:
        """What the innermost header carries, without padding."""
        return self.frame[self.inside : self.inside + self.payload_length]

    @property
    def relative_seq(self) -> int:
        """TCP's sequence number, counted from the first one of its flow; 0 for other packets."""
        return (self.tcp.seq - self.base[0]) % MODULUS if self.tcp else 0

    @property
    def relative_ack(self) -> int:
        """TCP's acknowledgment number, counted from the first sequence number of the other direction."""
        return (self.tcp.ack - self.base[1]) % MODULUS if self.tcp else 0

    @property
    def seconds(self) -> float:
        """When it was handed to the device, in seconds."""
        return self.sent / SECOND

    @property
    def flags(self) -> str:
        """TCP's flags by name, such as "SYN, ACK"; nothing for other packets."""
        return _flag_names(self.tcp.flags) if self.tcp else ""

    @property
    def info(self) -> str:
        """What the packet says, without its addresses: "SYN seq=0 win=65535 MSS=1460"."""
        return self.describe()

    @property
    def summary(self) -> str:
        """The packet in one line: "10.0.0.1:49152 → 10.0.0.2:80 SYN seq=0 win=65535 MSS=1460"."""
        if self.flow is not None:
            src, src_port, dst, dst_port = self.flow
            udp = "UDP " if self.udp else ""
            return f"{src}:{src_port} → {dst}:{dst_port} {udp}{self.info}"
        if self.ip is not None:
            return f"{self.ip.src} → {self.ip.dst} {self.protocol} {self.info}"
        return f"{self.protocol} {self.info}"

    @property
    def remarks(self) -> list[str]:
        """What is out of the ordinary about the packet, in words."""
        words = [] if self.fate == ARRIVED else [self.fate]
        if self.retransmission:
            words.append("retransmission")
        if self.copy_of:
            words.append(f"copy of {self.copy_of}")
        if self.marked:
            words.append("marked: congestion")
        elif self.changed is not None and self.fate != CORRUPTED:
            words.append("changed on the way")
        return words

    def describe(self, absolute: bool = False) -> str:
        """`info`; with `absolute`, sequence numbers as they stand in the header."""
        if self.tcp is not None:
            return self._describe_tcp(self.tcp, absolute)
        if self.udp is not None:
            return f"len={self.payload_length}"
        if self.icmp is not None:
            return self._describe_icmp(self.icmp)
        if self.arp is not None:
            return _describe_arp(self.arp)
        if self.ip is not None:
            return self._describe_ip(self.ip)
        ethernet = self.ethernet
        kind = f"EtherType 0x{ethernet.ethertype:04x} " if ethernet else ""
        return f"{kind}len={self.payload_length}"

    def label(self) -> str:
        """`info` at its shortest, for an arrow in a ladder: no window unless it is closed, no lone ACK or
        PSH."""
        if self.tcp is None:
            return self.summary if self.arp else f"{self.protocol} {self.info}"
        tcp = self.tcp
        names = [name for name in self.flags.split(", ") if name not in {"ACK", "PSH", ""}]
        if tcp.flags & ACK and (names or not self.payload_length):
            names.append("ACK")
        words = [", ".join(names)] if names else []
        if self.payload_length or tcp.flags & (SYN | FIN):
            words.append(f"seq={self.relative_seq}")
        if tcp.flags & ACK:
            words.append(f"ack={self.relative_ack}")
        if self.payload_length:
            words.append(f"len={self.payload_length}")
        if tcp.window == 0 and not tcp.flags & RST:
            words.append("win=0")
        options = Options.parse(tcp.options)
        if options.mss is not None:
            words.append(f"MSS={options.mss}")
        return " ".join(words + self._sack(options, absolute=False))

    def _describe_tcp(self, tcp: TCP, absolute: bool) -> str:
        words = [self.flags] if self.flags else []
        words.append(f"seq={tcp.seq if absolute else self.relative_seq}")
        if tcp.flags & ACK:
            words.append(f"ack={tcp.ack if absolute else self.relative_ack}")
        words.append(f"win={tcp.window}")
        if self.payload_length:
            words.append(f"len={self.payload_length}")
        if not tcp.options:
            return " ".join(words)
        options = Options.parse(tcp.options)
        if options.mss is not None:
            words.append(f"MSS={options.mss}")
        if options.window_scale is not None:
            words.append(f"WS={options.window_scale}")
        if options.sack_permitted:
            words.append("SACK_PERM")
        return " ".join(words + self._sack(options, absolute))

    def _sack(self, options: Options, absolute: bool) -> list[str]:
        base = 0 if absolute else self.base[1]
        return [f"SACK={(left - base) % MODULUS}-{(right - base) % MODULUS}" for left, right in options.sack]

    def _describe_icmp(self, icmp: ICMP) -> str:
        name = _ICMP_TYPES.get(icmp.type, f"type={icmp.type}")
        if icmp.type in {icmp_names.ECHO_REQUEST, icmp_names.ECHO_REPLY}:
            return f"{name} id={icmp.identifier} seq={icmp.sequence} len={self.payload_length}"
        if icmp.type == icmp_names.DESTINATION_UNREACHABLE:
            name = _UNREACHABLE.get(icmp.code, f"{name} code={icmp.code}")
            if icmp.code == icmp_names.FRAGMENTATION_NEEDED:
                name += f" MTU={icmp.next_hop_mtu}"
        return name

    def _describe_ip(self, ip: IPv4) -> str:
        if ip.fragment_offset or ip.more_fragments:
            more = " MF" if ip.more_fragments else ""
            offset = ip.fragment_offset * FRAGMENT_UNIT
            return f"fragment id={ip.identification} offset={offset} len={self.payload_length}{more}"
        return f"protocol={ip.protocol} len={self.payload_length}"


def _describe_arp(arp: ARP) -> str:
    if arp.operation != REQUEST:
        return f"{arp.sender_ip} is at {arp.sender_mac}"
    if arp.sender_ip == arp.target_ip:
        return f"announcement: {arp.sender_ip} is at {arp.sender_mac}"
    return f"who has {arp.target_ip}? tell {arp.sender_ip}"
