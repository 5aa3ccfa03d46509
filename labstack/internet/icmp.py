"""ICMP: the echo that ping asks for, and the errors that tell a sender what became of its datagrams.

RFC 792; which errors a host and a router must send, and about what they must be silent: RFC 1122 §3.2.2 and
RFC 1812 §4.3. Chapter 09 of the book.
"""

from __future__ import annotations

from collections.abc import Callable

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.units import MILLISECOND
from labstack.headers import icmp as header_of
from labstack.headers.header import HeaderError
from labstack.headers.icmp import ICMP as Header
from labstack.headers.ipv4 import PROTO_ICMP, IPv4 as IPv4Header
from labstack.internet.ipv4 import IPv4
from labstack.internet.layer import Trouble

ECHOED = Rule(
    "icmp.echoed", "someone asks whether this host is there: send the same bytes back", "RFC 1122 §3.2.2.6"
)
REPORTED = Rule("icmp.reported", "a datagram could not be delivered: tell its sender why", "RFC 1122 §3.2.2")
HEARD = Rule("icmp.heard", "a datagram of this host ran into trouble: tell the transport", "RFC 1122 §3.2.2")
IGNORED = Rule("icmp.ignored", "nobody here waits for such a message", "RFC 1122 §3.2.2")
LIMITED = Rule("icmp.limited", "too many errors in a short time: this one is not sent", "RFC 1812 §4.3.2.8")

QUOTE = 576
"""An error is at most so long, in bytes, its own IP header included: as much as fits is quoted (RFC 1812
§4.3.2.3)."""
BURST = 64
INTERVAL = 10 * MILLISECOND
"""Errors that may be sent at once, and how often one more becomes allowed."""

_TYPE_AND_CODE = {
    Trouble.NET_UNREACHABLE: (header_of.DESTINATION_UNREACHABLE, header_of.NET_UNREACHABLE),
    Trouble.HOST_UNREACHABLE: (header_of.DESTINATION_UNREACHABLE, header_of.HOST_UNREACHABLE),
    Trouble.PROTOCOL_UNREACHABLE: (header_of.DESTINATION_UNREACHABLE, header_of.PROTOCOL_UNREACHABLE),
    Trouble.PORT_UNREACHABLE: (header_of.DESTINATION_UNREACHABLE, header_of.PORT_UNREACHABLE),
    Trouble.TOO_BIG: (header_of.DESTINATION_UNREACHABLE, header_of.FRAGMENTATION_NEEDED),
    Trouble.PROHIBITED: (header_of.DESTINATION_UNREACHABLE, header_of.COMMUNICATION_PROHIBITED),
    Trouble.TTL_EXCEEDED: (header_of.TIME_EXCEEDED, header_of.TTL_EXCEEDED),
    Trouble.REASSEMBLY_EXCEEDED: (header_of.TIME_EXCEEDED, header_of.REASSEMBLY_EXCEEDED),
    Trouble.BAD_HEADER: (header_of.PARAMETER_PROBLEM, 0),
}
_TROUBLE = {type_and_code: trouble for trouble, type_and_code in _TYPE_AND_CODE.items()} | {
    (header_of.DESTINATION_UNREACHABLE, header_of.NET_UNKNOWN): Trouble.NET_UNREACHABLE,
    (header_of.DESTINATION_UNREACHABLE, header_of.HOST_UNKNOWN): Trouble.HOST_UNREACHABLE,
    (header_of.DESTINATION_UNREACHABLE, header_of.NET_PROHIBITED): Trouble.PROHIBITED,
    (header_of.DESTINATION_UNREACHABLE, header_of.HOST_PROHIBITED): Trouble.PROHIBITED,
    (header_of.DESTINATION_UNREACHABLE, header_of.SOURCE_ROUTE_FAILED): Trouble.HOST_UNREACHABLE,
}

Listener = Callable[[IPAddress, int, Header, bytes], None]
"""`heard(src, hop_limit, message, payload)`."""


class ICMP:
    """ICMP of one host: a transport beside TCP and UDP, and IPv4's `report`."""

    def __init__(self, node: Node, network: IPv4) -> None:
        self.node = node
        self.network = network
        self.listeners: list[Listener] = []
        self._allowed = BURST
        self._refilled = node.clock.now
        network.register(PROTO_ICMP, self)
        network.report = self.report

    def receive(
        self, src: IPAddress, dst: IPAddress, ecn: int, hop_limit: int, payload: Buffer, checked: bool
    ) -> Trouble | None:
        try:
            message = Header.parse(payload)
        except HeaderError as error:
            self.node.drop(error.rule, src=str(src))
            return None
        events = self.node.events
        body = bytes(payload[header_of.LENGTH :])
        if message.type == header_of.ECHO_REQUEST:
            if not self.network.is_own(dst):
                self.node.drop(
                    IGNORED, type=message.type, src=str(src)
                )  # a broadcast ping: RFC 1122 allows silence
                return None
            if events:
                events.cause = events.emit(ECHOED, src=str(src), length=len(body))
            reply = Header.echo_reply(message.identifier, message.sequence)
            self._send(src, reply.pack(body), source=dst)
            return None
        trouble = _TROUBLE.get((message.type, message.code))
        if trouble is not None:
            if events:
                events.cause = events.emit(HEARD, trouble=trouble.name, src=str(src))
            self.network.error(trouble, body, message.next_hop_mtu)
        elif not self.listeners:
            self.node.drop(IGNORED, type=message.type, src=str(src))
        for listener in list(self.listeners):
            listener(src, hop_limit, message, body)
        return None

    def error(self, kind: Trouble, src: IPAddress, dst: IPAddress, quoted: Buffer, mtu: int = 0) -> None:
        """An echo request of this host's was answered by an error: the listeners have heard of it already.
        None is ever too big: they may be cut."""

    def echo(self, dst: IPAddress, identifier: int, sequence: int, data: bytes, ttl: int = 64) -> None:
        """Ask `dst` for an echo of `data`. Raises OSError when it cannot be sent."""
        self._send(dst, Header.echo_request(identifier, sequence).pack(data), ttl=ttl)

    def report(self, trouble: Trouble, datagram: Buffer, detail: int = 0) -> None:
        """Tell the sender of `datagram` what became of it, unless that is forbidden: about errors, about what
        came to a group or from no single host, and about fragments but the first (RFC 1122 §3.2.2)."""
        header = IPv4Header.parse_quoted(datagram)
        body = memoryview(datagram)[header.header_length :]
        if (
            header.fragment_offset
            or not self.network.is_unicast(header.src)
            or not self._is_reportable(header, body)
        ):
            return
        if not self._allow():
            self.node.drop(LIMITED, dst=str(header.src))
            return
        if self.node.events:
            self.node.events.cause = self.node.events.emit(REPORTED, trouble=trouble.name, to=str(header.src))
        quoted = bytes(datagram[: QUOTE - 20 - header_of.LENGTH])
        self._send(header.src, Header(*_TYPE_AND_CODE[trouble], detail).pack(quoted))

    def _is_reportable(self, header: IPv4Header, body: Buffer) -> bool:
        if header.protocol != PROTO_ICMP:
            return True
        return len(body) > 0 and body[0] not in header_of.ERRORS

    def _allow(self) -> bool:
        earned, _ = divmod(self.node.clock.now - self._refilled, INTERVAL)
        if earned:
            self._allowed = min(BURST, self._allowed + earned)
            self._refilled += earned * INTERVAL
        if not self._allowed:
            return False
        self._allowed -= 1
        return True

    def _send(self, dst: IPAddress, message: bytes, source: IPAddress | None = None, ttl: int = 64) -> None:
        try:
            self.network.send(dst, PROTO_ICMP, message, src=source, ttl=ttl, may_fragment=True)
        except OSError:
            # The way back is missing: there is nobody to tell.
            self.node.drop(IGNORED, dst=str(dst))
