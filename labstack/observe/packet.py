"""A packet as a trace shows it: who sent it to whom, when, what became of it, and what it says, in the field's words.

Times are integer nanoseconds; `frame` is the exact Ethernet frame without its check sequence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from labstack.core.seq import MODULUS
from labstack.core.units import SECOND
from labstack.headers import icmp as icmp_names
from labstack.headers.arp import ARP, REQUEST
from labstack.headers.ethernet import Ethernet
from labstack.headers.icmp import ICMP
from labstack.headers.ipv4 import IPv4
from labstack.headers.tcp import ACK, FIN, RST, SYN, TCP, Options, flag_names
from labstack.headers.udp import UDP
from labstack.observe.layers import Layer, layers
from labstack.physical.faults import Flow

ARRIVED = "arrived"
LOST = "lost"
QUEUE_FULL = "queue full"
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


@dataclass(eq=False)
class Packet:
    """One frame on one wire. `number` is the frame's identity, the same at both ends.

    `sent`: handed to the device; `departed`: its first bit left; `arrived`: its last bit came, or None. `event` is the
    number of the event that sent it: the way to ask why. `fate`: "arrived", "lost", "queue full", "corrupted" (it
    arrived, and its check sequence says that it is wrong) or "on its way".
    """

    number: int
    device: str
    sender: str
    receiver: str
    sent: int
    departed: int
    frame: bytes
    event: int
    arrived: int | None = None
    fate: str = ON_ITS_WAY
    retransmission: bool = False
    """TCP sent some of these sequence numbers before."""
    copy_of: int = 0
    """The number of the frame that the wire doubled, or 0."""
    changed: bytes | None = None
    """The frame as it arrived, when that is not as it was sent."""
    base: tuple[int, int] = field(default=(0, 0), repr=False)
    """What relative sequence and acknowledgment numbers count from."""

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return layers(self.frame)

    def _header[H](self, kind: type[H]) -> H | None:
        ...

    @property
    def seconds(self) -> float:
        """When it was handed to the device, in seconds."""
        return self.sent / SECOND
