"""IPv4: datagrams from any host to any other, with no promise that they arrive (RFC 791, RFC 1122 §3.2).

The three cases of sending:

    to an address of my own      hand it back up; it never touches a link
    to a neighbour on my link    ask ARP for the destination itself
    to anyone else               ask ARP for the router that the longest matching prefix names

A host takes what is addressed to it. A router (`forwarding`) also passes on what is for others, one hop
nearer, with one less to live. Chapters 07 and 08 of the book.
"""

from __future__ import annotations

import errno
import os
import struct
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Protocol

from labstack.core.addresses import LIMITED_BROADCAST, InterfaceAddress, IPAddress, Prefix
from labstack.core.checksum import Buffer, from_bytes
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.randomness import below
from labstack.headers import ipv4 as header_of
from labstack.headers.ethernet import ETHERTYPE_IPV4, LENGTH as ETHERNET
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import IPv4 as Header, pack_ordinary, pseudo_sum
from labstack.headers.segmentation import segment
from labstack.internet.fragments import CUT, Fragments, Reassembler, cut
from labstack.internet.layer import Transport, Trouble
from labstack.internet.path_mtu import PathMtus, plateau
from labstack.internet.routing import Route, RoutingTable
from labstack.link.arp import Arp
from labstack.link.ethernet import BROADCAST, Interface

LOOPED = Rule("ipv4.looped", "the destination is this host: no link is touched", "RFC 1122 §3.2.1.3")
FORWARDED = Rule("ipv4.forwarded", "it is for another host: pass it on, one hop nearer", "RFC 1812 §5.2")
NOT_FOR_ME = Rule("ipv4.not_for_me", "it is for another host, and this one is no router", "RFC 1122 §3.2.1.3")
BAD_SOURCE = Rule("ipv4.bad_source", "the source address cannot be one host's", "RFC 1122 §3.2.1.3")
IN_GROUP_FRAME = Rule(
    "ipv4.in_group_frame",
    "a datagram for one host came in a frame for many: a trick or a mistake",
    "RFC 1122 §3.3.6",
)
UNKNOWN_QUOTE = Rule(
    "ipv4.unknown_quote", "an error about a datagram that this host did not send", "RFC 5927 §4"
)
ROUTE_ADDED = Rule("ipv4.route_added", "the routing table learns a way to a network", "RFC 1812 §5.2.4")
ROUTE_REMOVED = Rule("ipv4.route_removed", "the routing table loses a way to a network", "RFC 1812 §5.2.4")
NO_ROUTE = Rule("ipv4.no_route", "no route leads to the destination", "RFC 1812 §4.3.3.1")
TTL_EXCEEDED = Rule("ipv4.ttl_exceeded", "its time to live is used up", "RFC 1812 §5.3.1")
TOO_BIG = Rule("ipv4.too_big", "it does not fit the next link, and must not be cut", "RFC 1812 §4.2.2.7")
UNKNOWN_PROTOCOL = Rule(
    "ipv4.unknown_protocol", "no transport here has that protocol number", "RFC 1122 §3.2.2.1"
)

MAX_LENGTH = 65535
ALL_HOSTS = IPAddress.parse("224.0.0.1")
"""The group of which every host is a member, on each of its links (RFC 1112 §7.2)."""
WAYS = 1024
"""Destinations whose interface and next hop are remembered, and pairs of addresses that were found in
order."""
LOOPBACK_OFFLOAD = 61440
"""Bytes of TCP payload that go to the host itself in one piece: nothing has to be cut where there is no
link."""


Way = tuple[Interface, Arp, IPAddress]
"""The interface, its ARP, and the next hop."""


class Onlooker(Protocol):
    """Who is interested in the datagrams of one protocol beside its transport: a raw socket."""

    def copy(self, header: Header, datagram: Buffer) -> None:
        """One has arrived; borrowed."""
        ...

    def trouble(self, kind: Trouble, dst: IPAddress) -> bool:
        """One that this host sent to `dst` ran into trouble; whether it was this socket's matter."""
        ...


ErrorSender = Callable[[Trouble, Buffer, int], None]
"""`report(trouble, datagram, detail)`: tell the datagram's sender. ICMP registers itself here."""


class IPv4:
    """The network layer of one host, for IPv4; a `NetworkLayer` to its transports."""

    version = 4

    def __init__(
        self, node: Node, table: RoutingTable, *, forwarding: bool = False, header: type[Header] = Header,
        fragments: Callable[[Node, Callable[[bytes], None]], Reassembler] = Fragments,
    ) -> None:  # fmt: skip
        self.node = node
        self._table = table
        self._header = header
        self.forwarding = forwarding
        self.interfaces: dict[str, Interface] = {}
        self.report: ErrorSender | None = None
        self._arps: dict[str, Arp] = {}
        self._own: dict[IPAddress, Interface] = {}
        self._broadcasts: set[IPAddress] = {LIMITED_BROADCAST}
        self._ways: dict[IPAddress, Way] = {}
        self._pairs: dict[bytes, tuple[IPAddress, IPAddress]] = {}
        self._transports: dict[int, Transport] = {}
        self.groups: Counter[tuple[IPAddress, str]] = Counter()
        """How many members a group has at this host, on the interface of that name."""
        self.onlookers: dict[int, list[Onlooker]] = {}
        """Raw sockets, by protocol number."""
        self.path_mtus = PathMtus(node)
        self.fragments = fragments(node, self._incomplete)
        self._identification = below(node.random("ipv4.identification"), 1 << 16)

    # --- set-up
    def add_interface(self, interface: Interface, arp: Arp) -> None:
        """Run over this interface too; `add_address` gives it addresses."""
        self.interfaces[interface.name] = interface
        self._arps[interface.name] = arp
        interface.handlers[ETHERTYPE_IPV4] = self.receive
        self.join(ALL_HOSTS, interface)

    def add_address(self, interface: Interface, own: InterfaceAddress) -> None:
        """Give the interface an address, and the host the route to the network that lies on that link.

        Raises ValueError for an address that the host has already, or that cannot be one host's.
        """
        if own.address in self._own:
            raise ValueError(f"{self.node.name} has {own.address} already, on {self._own[own.address].name}")
        if not self.is_unicast(own.address) or own.address == own.broadcast:
            raise ValueError(
                f"{own.address} cannot be a host's address: take one between the network's and its broadcast"
            )
        interface.addresses.append(own)
        self._pairs.clear()
        self._own[own.address] = interface
        if own.broadcast is not None:
            self._broadcasts.add(own.broadcast)
        self.add(Route(own.prefix, interface.name, origin="connected"))

    def join(self, group: IPAddress, interface: Interface) -> None:
        """One more here is a member of `group`, on that link (RFC 1112 §7.1)."""
        self.groups[group, interface.name] += 1

    def leave(self, group: IPAddress, interface: Interface) -> None:
        """One less."""
        self.groups[group, interface.name] -= 1
        self.groups += Counter()  # keeps those above zero

    def _tell(self, rule: Rule, route: Route) -> None:
        if self.node.events:
            via = str(route.via) if route.via else ""
            self.node.events.emit(
                rule, prefix=str(route.prefix), via=via, interface=route.interface, metric=route.metric,
                origin=route.origin,
            )  # fmt: skip

    def register(self, protocol: int, transport: Transport) -> None:
        self._transports[protocol] = transport

    def transport(self, protocol: int) -> Transport | None:
        """Who gets the datagrams of that protocol."""
        return self._transports.get(protocol)

    @property
    def routes(self) -> list[Route]:
        """The routing table, the longest prefixes first."""
        return self._table.routes()

    def add(self, route: Route) -> None:
        """Add a route, in place of one with the same prefix, interface and next hop."""
        self._table.add(route)
        self._ways.clear()
        self._tell(ROUTE_ADDED, route)

    def remove(self, route: Route) -> None:
        """Remove a route."""
        self._table.remove(route)
        self._ways.clear()
        self._tell(ROUTE_REMOVED, route)

    def add_route(self, prefix: Prefix, via: IPAddress | None, interface: str | None = None) -> Route:
        """Add a static route. Without `interface`, it is the one on whose network `via` lies.

        Raises ValueError when no interface has the next hop for a neighbour.
        """
        if interface is None:
            for candidate in self.interfaces.values():
                if via is not None and any(via in own.prefix for own in candidate.addresses):
                    interface = candidate.name
                    break
            else:
                raise ValueError(
                    f"no interface of {self.node.name} shares a network with {via}: add its address first"
                )
        elif interface not in self.interfaces:
            raise ValueError(
                f"{self.node.name} has no interface {interface!r}: it has {', '.join(self.interfaces)}"
            )
        route = Route(prefix, interface, via)
        self.add(route)
        return route

    # --- what transports ask
    def is_own(self, address: IPAddress) -> bool:
        return address in self._own or address[0] == 127

    def is_unicast(self, address: IPAddress) -> bool:
        return 0 < address[0] < 224 and address not in self._broadcasts

    def source_for(self, dst: IPAddress) -> IPAddress:
        if self.is_own(dst):
            return dst
        interface, _, next_hop = self._way(dst)
        own = interface.address_near(next_hop)
        if own is None:
            raise OSError(
                errno.EADDRNOTAVAIL, f"interface {interface.name} of {self.node.name} has no address"
            )
        return own.address

    def mtu(self, dst: IPAddress) -> int:
        if self.is_own(dst):
            return MAX_LENGTH - header_of.LENGTH
        return self.path_mtus.get(dst, self._way(dst)[0].mtu) - header_of.LENGTH

    def narrow(self, dst: IPAddress, mtu: int) -> None:
        self.path_mtus.learn(dst, mtu, self._way(dst)[0].mtu)

    def offload(self, dst: IPAddress) -> int:
        return LOOPBACK_OFFLOAD if self.is_own(dst) else self._way(dst)[0].offload

    def pseudo_sum(self, src: IPAddress, dst: IPAddress, protocol: int, length: int) -> int:
        return pseudo_sum(src, dst, protocol, length)

    # --- down
    def send(
        self,
        dst: IPAddress,
        protocol: int,
        header: bytes,
        payload: Buffer = b"",
        *,
        src: IPAddress | None = None,
        ecn: int = 0,
        segment_size: int = 0,
        ttl: int = 64,
        dscp: int = 0,
        may_fragment: bool = False,
        broadcast: bool = False,
        loop: bool = True,
    ) -> None:
        length = header_of.LENGTH + len(header) + len(payload)
        if length > MAX_LENGTH:
            raise OSError(errno.EMSGSIZE, f"{length} bytes are no datagram: IPv4 ends at {MAX_LENGTH}")
        identification = self._identification = (self._identification + 1) & 0xFFFF
        longest = length
        if segment_size:
            # The device makes pieces of it: each has a number, and must fit.
            self._identification += len(payload) // segment_size
            longest = min(length, header_of.LENGTH + len(header) + segment_size)
        if src is None:
            src = self.source_for(dst)
        if self.path_mtus.known and self.path_mtus.may_be_cut(dst, longest):
            may_fragment = True
        tos = dscp << 2 | ecn
        packet = pack_ordinary(src, dst, protocol, length, ttl, tos, identification, not may_fragment)
        way, to_all = self._ways.get(dst), False
        if way is None:  # where it is known, it leads to one other host
            if self.is_own(dst):
                self._loop(packet + header + bytes(payload), segment_size)
                return
            way = self._way(dst)
            if dst.is_multicast:
                interface = self._own.get(src, way[0])
                way = interface, self._arps[interface.name], dst
                if loop and (dst, interface.name) in self.groups:
                    self._loop(packet + header + bytes(payload), segment_size)
                if not ttl:
                    return  # for members on this host alone: no datagram leaves with 0 (RFC 1122 §3.2.1.7)
            to_all = dst in self._broadcasts
            if to_all and not broadcast:
                raise OSError(
                    errno.EACCES, f"{dst} is a broadcast address: set SO_BROADCAST to send to everyone"
                )
        interface, arp, next_hop = way
        mtu = interface.mtu
        if self.path_mtus.known:
            mtu = self.path_mtus.get(dst, mtu)
        if longest > mtu:
            if not may_fragment:
                raise OSError(errno.EMSGSIZE, f"a datagram of {longest} bytes does not fit the MTU of {mtu}")
            self._send_pieces(Header.parse_quoted(packet), b"".join((header, payload)), mtu, way)
        elif to_all:
            interface.send(BROADCAST, ETHERTYPE_IPV4, packet + header, payload, segment_size)
        else:
            arp.send(next_hop, packet + header, payload, segment_size)

    def _send_pieces(self, header: Header, body: Buffer, mtu: int, way: Way) -> None:
        """Send what is longer than `mtu` as fragments."""
        interface, arp, next_hop = way
        if self.node.events:
            self.node.events.cause = self.node.events.emit(CUT, length=header.total_length, mtu=mtu)
        for front, piece in cut(header, body, mtu):
            if header.dst in self._broadcasts:
                interface.send(BROADCAST, ETHERTYPE_IPV4, front, piece)
            else:
                arp.send(next_hop, front, piece, 0)

    def _way(self, dst: IPAddress) -> Way:
        """The interface, and the neighbour on it, through which `dst` is reached. Raises OSError
        (ENETUNREACH)."""
        way = self._ways.get(dst)
        return way if way is not None else self._find_way(dst)

    def _find_way(self, dst: IPAddress) -> Way:
        route = self._table.look_up(dst)
        if route is not None:
            name, next_hop = route.interface, dst if dst.is_multicast else route.via or dst
        elif (dst == LIMITED_BROADCAST or dst.is_multicast) and self.interfaces:
            name, next_hop = next(iter(self.interfaces)), dst
        else:
            raise OSError(
                errno.ENETUNREACH, f"{os.strerror(errno.ENETUNREACH)}: {self.node.name} has no route to {dst}"
            )
        way = self.interfaces[name], self._arps[name], next_hop
        # To one host: remembered, so that a busy connection does not search the table for every segment.
        if self.is_unicast(dst):
            if len(self._ways) >= WAYS:
                self._ways.clear()
            self._ways[dst] = way
        return way

    def _loop(self, datagram: bytes, segment_size: int) -> None:
        """Hand a datagram back up, after the present event: the stack must not meet itself half-way."""
        events = self.node.events
        cause = events.emit(LOOPED, length=len(datagram)) if events else 0

        def up() -> None:
            self.node.events.cause = cause
            header = Header.parse(datagram)
            self._deliver(header, datagram, segment_size, header.dst.is_multicast)
            self.node.events.cause = 0

        clock = self.node.clock
        clock.call_at(clock.now, up)

    # --- up
    def receive(self, interface: Interface, packet: Buffer, segment_size: int, to_group: bool) -> None:
        """The handler for EtherType 0x0800: RFC 1122 §3.2.1, RFC 1812 §5.2."""
        if not to_group and self._receive_ordinary(packet, segment_size):
            return
        try:
            header = self._header.parse(packet)
        except HeaderError as error:
            self.node.drop(error.rule, interface=interface.name)
            return
        if len(packet) > header.total_length:
            packet = packet[: header.total_length]  # Ethernet pads short frames
        src, dst = header.src, header.dst
        if src[0] >= 224 or src[0] == 127 or dst[0] == 127 or src in self._broadcasts:
            self.node.drop(BAD_SOURCE, src=str(src), dst=str(dst))
            return
        if dst in self._own:
            if to_group:
                self.node.drop(IN_GROUP_FRAME, src=str(src), dst=str(dst))
                return
            if self._header is Header:  # somebody else's may find more to object to
                if len(self._pairs) >= WAYS:
                    self._pairs.clear()
                self._pairs[src + dst] = src, dst
            self._deliver(header, packet, segment_size, False)
        elif dst in self._broadcasts or dst.is_unspecified or (dst, interface.name) in self.groups:
            self._deliver(header, packet, segment_size, True)
        elif not self.forwarding or to_group or dst.is_multicast:
            self.node.drop(NOT_FOR_ME, dst=str(dst))
        else:
            self._forward(header, packet, segment_size)

    def _receive_ordinary(self, packet: Buffer, segment_size: int) -> bool:
        """The ordinary case: a datagram in one piece, without options, between two addresses that were looked
        at before, for a transport of this host. `receive` would find nothing to object to, only later (a test
        holds it to that). False: it is another case."""
        try:
            version_ihl, tos, length, fragment, ttl, protocol, pair = header_of.ORDINARY.unpack_from(packet)
        except struct.error:
            return False
        addresses = self._pairs.get(pair)
        transport = self._transports.get(protocol)
        if (
            addresses is None
            or transport is None
            or version_ihl != header_of.VERSION_4_NO_OPTIONS
            or fragment & header_of.PIECE
            or length < header_of.LENGTH
            or length > len(packet)
            or from_bytes(packet[: header_of.LENGTH], "big") % 0xFFFF
            or self.onlookers
        ):
            return False
        src, dst = addresses
        trouble = transport.receive(
            src, dst, tos & 3, ttl, packet[header_of.LENGTH : length], segment_size > 0
        )
        if trouble is not None:
            self._report(trouble, packet[:length])
        return True

    def _deliver(self, header: Header, datagram: Buffer, segment_size: int, to_group: bool) -> None:
        if header.more_fragments or header.fragment_offset:
            whole = self.fragments.add(header, datagram)
            if whole is None:
                return
            header, datagram = whole
        transport = self._transports.get(header.protocol)
        onlookers = self.onlookers.get(header.protocol) if self.onlookers else None
        for each in onlookers or ():
            each.copy(header, datagram)
        trouble: Trouble | None
        if transport is None and onlookers:
            trouble = None
        elif transport is None:
            self.node.drop(UNKNOWN_PROTOCOL, protocol=header.protocol)
            trouble = Trouble.PROTOCOL_UNREACHABLE
        else:
            payload = memoryview(datagram)[header.header_length :]
            trouble = transport.receive(
                header.src, header.dst, header.ecn, header.ttl, payload, segment_size > 0
            )
        if trouble is not None and not to_group:
            self._report(trouble, datagram)

    def _forward(self, header: Header, datagram: Buffer, segment_size: int) -> None:
        if header.ttl <= 1:
            self.node.drop(TTL_EXCEEDED, src=str(header.src), dst=str(header.dst))
            self._report(Trouble.TTL_EXCEEDED, datagram)
            return
        try:
            interface, arp, next_hop = way = self._way(header.dst)
        except OSError:
            self.node.drop(NO_ROUTE, dst=str(header.dst))
            self._report(Trouble.NET_UNREACHABLE, datagram)
            return
        body = memoryview(datagram)[header.header_length :]
        # An unfinished segment: the device expects the transport's header in front of the payload.
        top = (body[12] >> 4) * 4 if segment_size else 0
        longest = header.header_length + top + segment_size if segment_size else header.total_length
        too_big = longest > interface.mtu
        if too_big and header.dont_fragment:
            self.node.drop(TOO_BIG, length=header.total_length, mtu=interface.mtu)
            self._report(Trouble.TOO_BIG, datagram, interface.mtu)
            return
        if self.node.events:
            self.node.events.cause = self.node.events.emit(
                FORWARDED, dst=str(header.dst), interface=interface.name, ttl=header.ttl - 1
            )
        header.ttl -= 1
        front = header.pack() + bytes(body[:top])
        if not too_big:
            arp.send(next_hop, front, body[top:], segment_size)
            return
        # What a device was to finish is finished here, before it is cut.
        for finished, payload in segment(bytes(ETHERNET) + front, body[top:], segment_size):
            whole = Header.parse_quoted(finished, ETHERNET)
            transport = finished[ETHERNET + whole.header_length :]
            self._send_pieces(whole, b"".join((transport, payload)), interface.mtu, way)

    # --- trouble
    def _incomplete(self, piece: bytes) -> None:
        """The other pieces of this datagram have not come: tell its sender, unless it was for many."""
        if self.is_own(Header.parse_quoted(piece).dst):
            self._report(Trouble.REASSEMBLY_EXCEEDED, piece)

    def _report(self, trouble: Trouble, datagram: Buffer, detail: int = 0) -> None:
        if self.report is not None:
            self.report(trouble, datagram, detail)

    def unreachable(self, datagram: bytes) -> None:
        """ARP got no answer from this datagram's next hop: tell its sender, which may be this host itself."""
        header = Header.parse(datagram)
        if not self.is_own(header.src):
            self._report(Trouble.HOST_UNREACHABLE, datagram)
            return
        clock = self.node.clock
        clock.call_at(clock.now, partial(self.error, Trouble.HOST_UNREACHABLE, datagram))

    def error(self, trouble: Trouble, quoted: Buffer, mtu: int = 0) -> None:
        """A datagram of this host ran into trouble; `quoted` is the front of it. Tell the transport it came
        from. `mtu`: what would have fitted, if it was TOO_BIG; 0 from a router that does not say."""
        try:
            header = Header.parse_quoted(quoted)
        except HeaderError as error:
            self.node.drop(error.rule)
            return
        transport = self._transports.get(header.protocol)
        onlookers = self.onlookers.get(header.protocol, ()) if self.is_own(header.src) else ()
        heard = [each.trouble(trouble, header.dst) for each in onlookers]
        if not self.is_own(header.src) or (transport is None and True not in heard):
            self.node.drop(UNKNOWN_QUOTE, src=str(header.src))
        elif transport is not None:
            mtu = mtu or plateau(header.total_length)
            body = memoryview(quoted)[header.header_length :]
            try:
                transport.error(trouble, header.src, header.dst, body, mtu)
            except OSError:  # of a way that is gone nobody can learn how narrow it is
                self.node.drop(NO_ROUTE, dst=str(header.dst))
