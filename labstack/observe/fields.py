"""The fields of a header as a reader sees them: a short name, its width in bits, its value in words, its
meaning.

Everything comes from the header class's own `FIELDS`, so a picture cannot say something else than the code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Protocol

from labstack.headers import arp, ethernet, ipv4, tcp
from labstack.headers.header import Field


class HeaderClass(Protocol):
    """A class of headers, as in `labstack/headers`."""

    __name__: str
    FIELDS: ClassVar[tuple[Field, ...]]


@dataclass(slots=True, frozen=True)
class FieldValue:
    """One field: `bits` wide, from bit `start` of its header. `value` is empty when no header was given."""

    name: str
    start: int
    bits: int
    meaning: str
    value: str = ""

    @property
    def short(self) -> str:
        """The name that fits a narrow box: "DF" for dont_fragment, "0" for a reserved bit."""
        if abbreviation := re.match(r"([A-Z]{2,3}):", self.meaning):
            return abbreviation[1]
        return "0" if self.name == "reserved" else self.title

    @property
    def title(self) -> str:
        return _TITLES.get(self.name, self.name.replace("_", " "))


_TITLES = {
    "src": "source address",
    "dst": "destination address",
    "src_port": "source port",
    "dst_port": "destination port",
    "seq": "sequence number",
    "ack": "acknowledgment number",
    "urgent": "urgent pointer",
    "ttl": "time to live",
    "dscp": "DSCP",
    "ecn": "ECN",
    "ethertype": "EtherType",
    "sender_mac": "sender MAC address",
    "sender_ip": "sender IP address",
    "target_mac": "target MAC address",
    "target_ip": "target IP address",
    "rest": "rest of header",
}
_NAMED = {
    "ethertype": {
        ethernet.ETHERTYPE_IPV4: "IPv4",
        ethernet.ETHERTYPE_ARP: "ARP",
        ethernet.ETHERTYPE_IPV6: "IPv6",
    },
    "protocol_type": {arp.PROTOCOL_IPV4: "IPv4"},
    "protocol": {ipv4.PROTO_ICMP: "ICMP", ipv4.PROTO_TCP: "TCP", ipv4.PROTO_UDP: "UDP"},
    "operation": {arp.REQUEST: "request", arp.REPLY: "reply"},
}
_HEXADECIMAL = {"ethertype", "protocol_type", "checksum", "header_checksum", "identification"}


def fields(header: object, split_flags: bool = False) -> list[FieldValue]:
    """The fields of a header class, or of a header with its values.

    `split_flags`: TCP's twelve flags as fields of their own. Raises TypeError for what has no FIELDS.
    """
    kind = header if isinstance(header, type) else type(header)
    described: tuple[Field, ...] | None = getattr(kind, "FIELDS", None)
    if described is None:
        raise TypeError(f"{kind.__name__} is no header: it has no FIELDS (see labstack/headers)")
    packed = None if kind is header else int.from_bytes(_pack(header), "big")
    length = 0 if kind is header else len(_pack(header)) * 8
    found: list[FieldValue] = []
    start = 0
    for field in described:
        parts = tcp.FLAGS if split_flags and kind is tcp.TCP and field.name == "flags" else (field,)
        for part in parts:
            value = ""
            if packed is not None:
                raw = packed >> (length - start - part.bits) & ((1 << part.bits) - 1)
                value = _show(part.name, getattr(header, part.name, raw), raw)
            found.append(FieldValue(part.name, start, part.bits, part.meaning, value))
            start += part.bits
    return found


def options(header: object) -> str:
    """What stands behind the fixed fields of an IPv4 or TCP header, in words; nothing if there is nothing."""
    raw: bytes = getattr(header, "options", b"")
    if not raw or isinstance(header, type):
        return ""
    if not isinstance(header, tcp.TCP):
        return raw.hex(" ")
    read = tcp.Options.parse(raw)
    words = [f"MSS {read.mss}"] if read.mss is not None else []
    words += [f"window scale {read.window_scale}"] if read.window_scale is not None else []
    words += ["SACK permitted"] if read.sack_permitted else []
    words += [f"timestamps {read.timestamps[0]}, {read.timestamps[1]}"] if read.timestamps else []
    words += [f"SACK {left}–{right}" for left, right in read.sack]
    words += [f"kind {kind}" for kind, _ in read.unknown]
    return "; ".join(words) or raw.hex(" ")


def _pack(header: object) -> bytes:
    pack = getattr(header, "pack", None)
    assert callable(pack)
    packed = pack()
    assert isinstance(packed, bytes)
    return packed


def _show(name: str, value: object, raw: int) -> str:
    """A value as the field writes it: addresses with dots or colons, checksums in hexadecimal, flags by
    name."""
    if isinstance(value, bytes):
        return str(value)
    if isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, int):
        return str(value)
    if name == "flags":
        return tcp.flag_names(value) or "none"
    text = f"0x{value:04x}" if name in _HEXADECIMAL else str(value)
    if name == "header_length" and value == raw * 4:
        return f"{value} bytes ({raw} × 4)"
    meaning = _NAMED.get(name, {}).get(value)
    return f"{text} ({meaning})" if meaning else text
