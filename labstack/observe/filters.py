"""Filters in tcpdump's words: which packets of a trace are meant.

    tcp port 80 and host 10.0.0.1          src net 10.0.0.0/24 or arp
    udp dst port 53                        tcp and (syn or fin or rst) and not host b

    words    := part ("or" part)*
    part     := piece ("and" piece)*
    piece    := "not" piece | "(" words ")" | primitive
    primitive:= [tcp | udp | icmp | arp | ip] [src | dst] [host | net | port] value | a word alone

Words alone are the protocols, TCP's flags (`syn`, `fin`, `rst`, `ack`, `psh`), and what only labstack knows
of a packet: `lost`, `retransmission`. A host may be an address, or the name of a machine that sent or
received the packet. As in tcpdump, a value without its word repeats the last one: `port 80 or 443`.
https://www.tcpdump.org/manpages/pcap-filter.7.html
"""

from __future__ import annotations

import re
from collections.abc import Callable

from labstack.core.addresses import IPAddress, Prefix
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN
from labstack.observe.packet import LOST, TURNED_AWAY, Packet

Matches = Callable[[Packet], bool]

_TOKEN = re.compile(r"\s*(&&|\|\||[()!]|[^\s()!&|]+)")
_SAME = {"&&": "and", "||": "or", "!": "not"}
_FLAGS = {"syn": SYN, "fin": FIN, "rst": RST, "ack": ACK, "psh": PSH}
_KINDS = {"host", "net", "port"}
_WAYS = {"src", "dst"}

_PROTOCOLS: dict[str, Matches] = {
    "tcp": lambda packet: packet.tcp is not None,
    "udp": lambda packet: packet.udp is not None,
    "icmp": lambda packet: packet.icmp is not None,
    "arp": lambda packet: packet.arp is not None,
    "ip": lambda packet: packet.ip is not None,
}


def matching(words: str) -> Matches:
    """What picks the packets that `words` describe. Raises ValueError in a sentence."""
    return _Reader(words).whole()


class _Reader:
    """Reads a filter from left to right; `last` is what a value alone means."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.tokens = [_SAME.get(token, token) for token in _TOKEN.findall(words)]
        self.at = 0
        self.last: tuple[str, str, str] = ("", "", "host")

    def whole(self) -> Matches:
        if not self.tokens:
            return lambda packet: True
        found = self.either()
        if self.at < len(self.tokens):
            raise self.error(f"{self.tokens[self.at]!r} is not expected here")
        return found

    def either(self) -> Matches:
        pieces = [self.both()]
        while self.take("or"):
            pieces.append(self.both())
        return pieces[0] if len(pieces) == 1 else lambda packet: any(piece(packet) for piece in pieces)

    def both(self) -> Matches:
        pieces = [self.one()]
        while self.take("and"):
            pieces.append(self.one())
        return pieces[0] if len(pieces) == 1 else lambda packet: all(piece(packet) for piece in pieces)

    def one(self) -> Matches:
        if self.take("not"):
            inner = self.one()
            return lambda packet: not inner(packet)
        if self.take("("):
            inner = self.either()
            if not self.take(")"):
                raise self.error("a parenthesis is not closed")
            return inner
        return self.primitive()

    def primitive(self) -> Matches:
        word = self.next()
        if word in _FLAGS:
            flag = _FLAGS[word]
            return lambda packet: packet.tcp is not None and bool(packet.tcp.flags & flag)
        if word == "lost":
            return lambda packet: packet.fate == LOST or packet.fate in TURNED_AWAY
        if word == "retransmission":
            return lambda packet: packet.retransmission
        protocol = way = kind = ""
        if word in _PROTOCOLS:
            protocol = word
            if self.peek() not in _WAYS | _KINDS:
                return _PROTOCOLS[protocol]
            word = self.next()
        if word in _WAYS:
            way, word = word, self.next()
        if word in _KINDS:
            kind, word = word, self.next()
        if not (protocol or way or kind):
            protocol, way, kind = self.last
        kind = kind or "host"
        self.last = (protocol, way, kind)
        found = self.valued(kind, way, word)
        if not protocol:
            return found
        of_protocol = _PROTOCOLS[protocol]
        return lambda packet: of_protocol(packet) and found(packet)

    def valued(self, kind: str, way: str, value: str) -> Matches:
        """`src port 80`: what is at these ends of a packet holds the value."""
        ends = {"src": (0,), "dst": (1,)}.get(way, (0, 1))
        if kind == "port":
            if not value.isdigit() or int(value) > 65535:
                raise self.error(f"{value!r} is no port: write a number from 0 to 65535")
            port = int(value)
            return lambda packet: packet.flow is not None and port in [packet.flow[2 * k + 1] for k in ends]
        if kind == "net":
            try:
                prefix = Prefix.parse(value)
            except ValueError as error:
                raise self.error(str(error)) from None
            return lambda packet: any(_addresses(packet)[k] in prefix for k in ends if _addresses(packet))
        try:
            address = IPAddress.parse(value)
        except ValueError:
            if not re.fullmatch(r"[A-Za-z_][\w.-]*", value):
                raise self.error(f"{value!r} is neither an address nor a name") from None
            return lambda packet: value in [(packet.sender, packet.receiver)[k] for k in ends]
        return lambda packet: bool(_addresses(packet)) and address in [_addresses(packet)[k] for k in ends]

    # --- words
    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, word: str) -> bool:
        if self.peek() != word:
            return False
        self.at += 1
        return True

    def next(self) -> str:
        word = self.peek()
        if not word or word in {"and", "or", ")", "("}:
            raise self.error("it ends too early" if not word else f"something is missing before {word!r}")
        self.at += 1
        return word

    def error(self, what: str) -> ValueError:
        return ValueError(
            f"the filter {self.words!r} cannot be read: {what}. "
            "Write for example 'tcp port 80 and host 10.0.0.1'"
        )


def _addresses(packet: Packet) -> tuple[IPAddress, ...]:
    """Source and destination of a datagram, or sender and target of an ARP packet; nothing for others."""
    if packet.ip is not None:
        return packet.ip.src, packet.ip.dst
    return (packet.arp.sender_ip, packet.arp.target_ip) if packet.arp is not None else ()
