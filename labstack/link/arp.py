"""ARP: which MAC address has the machine with this IP address? (RFC 826, RFC 1122 §2.3.2)

A packet for a neighbour whose MAC is not known waits in a short queue while a broadcast asks for it. The
answer, a unicast, is kept in the cache for a while and forgotten when it is old. After three unanswered
questions the packets are given up, and whoever sent them is told. Chapter 06 of the book.

The cache is a replaceable part: any class that keeps `Cache`'s promise can be passed in its place.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from labstack.core.addresses import BROADCAST, MAC, IPAddress, IPv4Address
from labstack.core.checksum import Buffer
from labstack.core.clock import Alarm
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.units import SECOND
from labstack.headers.arp import ARP, REPLY, REQUEST
from labstack.headers.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4
from labstack.headers.header import HeaderError
from labstack.link.ethernet import Interface

ASKED = Rule("arp.asked", "the MAC address of the next hop is not known: ask everyone on the link", "RFC 826")
ANSWERED = Rule(
    "arp.answered", "someone asks for an address of mine: answer, to the one who asked", "RFC 826"
)
LEARNED = Rule("arp.learned", "a packet from a neighbour tells its MAC address: keep it", "RFC 826")
SILENCE = Rule("arp.retry_timer", "a second passed without an answer", "RFC 1122 §2.3.2.1")
UNANSWERED = Rule("arp.unanswered", "nobody answered: the next hop cannot be reached", "RFC 1122 §2.3.2.2")
QUEUE_FULL = Rule(
    "arp.queue_full", "too many packets wait for one answer: the oldest is dropped", "RFC 1122 §2.3.2.2"
)
TOO_MANY = Rule(
    "arp.too_many", "too many neighbours are being asked for at once: the oldest question is given up"
)
EVICTED = Rule("arp.evicted", "the cache is full: the entry that was learned longest ago goes")
NOT_A_NEIGHBOUR = Rule(
    "arp.bad_sender", "the sender's address is no host's address: believe nothing", "RFC 5227 §2.4"
)

LIFETIME = 60 * SECOND
RETRY = SECOND
TRIES = 3
QUEUE = 64
"""Packets that wait for one answer: the longest datagram crosses Ethernet in 45 fragments."""
QUESTIONS = 256


class Cache(Protocol):
    """What is known of the neighbours. Replaceable: `net.host("a", …, arp_cache=Mine)`."""

    def learn(self, address: IPAddress, mac: MAC, now: int) -> IPAddress | None:
        """`address` is at `mac`, as a packet said at the time `now` (nanoseconds). The address that had to go
        for it, if the cache was full."""

    def look_up(self, address: IPAddress, now: int) -> MAC | None:
        """The MAC of `address`, if it is known and not too old."""

    def forget(self, address: IPAddress) -> None: ...

    def entries(self, now: int) -> list[tuple[IPAddress, MAC, int]]:
        """Address, MAC, and age in nanoseconds of each entry that still holds."""


class ArpCache:
    """A cache whose entries live for `LIFETIME`, and which forgets the least recently learned when it is
    full."""

    def __init__(self, limit: int = 512) -> None:
        self.limit = limit
        self._entries: OrderedDict[IPAddress, tuple[MAC, int]] = OrderedDict()

    def learn(self, address: IPAddress, mac: MAC, now: int) -> IPAddress | None:
        self._entries[address] = (mac, now)
        self._entries.move_to_end(address)
        return self._entries.popitem(last=False)[0] if len(self._entries) > self.limit else None

    def look_up(self, address: IPAddress, now: int) -> MAC | None:
        entry = self._entries.get(address)
        if entry is None:
            return None
        if now - entry[1] > LIFETIME:
            del self._entries[address]
            return None
        return entry[0]

    def forget(self, address: IPAddress) -> None:
        self._entries.pop(address, None)

    def entries(self, now: int) -> list[tuple[IPAddress, MAC, int]]:
        return [(a, mac, now - at) for a, (mac, at) in self._entries.items() if now - at <= LIFETIME]


def _is_one_host(interface: Interface, address: IPv4Address) -> bool:
    """Whether the address can be a neighbour's, or is 0.0.0.0, as in a probe (RFC 5227 §1.1)."""
    return address[0] < 224 and all(own.broadcast != address for own in interface.addresses)


@dataclass(slots=True)
class _Question:
    """An address that is being asked for, and the packets that wait for the answer."""

    alarm: Alarm
    waiting: deque[tuple[bytes, bytes, int]] = field(default_factory=deque)
    tries: int = 0


class Arp:
    """ARP on one interface. `unreachable(packet)` is told the IP packets that had to be given up."""

    def __init__(self, interface: Interface, cache: Cache, unreachable: Callable[[bytes], None]) -> None:
        self.interface = interface
        self.cache = cache
        self.node: Node = interface.node
        self._unreachable = unreachable
        self._questions: OrderedDict[IPAddress, _Question] = OrderedDict()
        interface.handlers[ETHERTYPE_ARP] = self.receive

    @property
    def asked(self) -> list[IPAddress]:
        """The neighbours whose answers are waited for."""
        return list(self._questions)

    def send(self, next_hop: IPAddress, header: bytes, payload: Buffer, segment_size: int) -> None:
        """Send an IPv4 packet to the neighbour `next_hop`, now or as soon as its MAC address is known."""
        mac = self.cache.look_up(next_hop, self.node.clock.now)
        if mac is not None:
            self.interface.send(mac, ETHERTYPE_IPV4, header, payload, segment_size)
            return
        if next_hop.is_multicast:
            # Nobody has to be asked for a group's: 23 bits of the address stand in it (RFC 1112 §6.4).
            mac = MAC(bytes((1, 0, 0x5E, next_hop[1] & 0x7F)) + next_hop[2:])
            self.interface.send(mac, ETHERTYPE_IPV4, header, payload, segment_size)
            return
        question = self._questions.get(next_hop)
        if question is None:
            if len(self._questions) >= QUESTIONS:
                self._give_up(next(iter(self._questions)), TOO_MANY)
            alarm = self.node.alarm(SILENCE, lambda: self._ask(next_hop))
            question = self._questions[next_hop] = _Question(alarm)
        question.waiting.append((header, bytes(payload), segment_size))
        if len(question.waiting) > QUEUE:
            question.waiting.popleft()
            self.node.drop(QUEUE_FULL, address=str(next_hop))
        if not question.tries:
            self._ask(next_hop)

    def announce(self) -> None:
        """Tell the link each own address unasked, so that old entries for it are mended (RFC 5227 §2.3)."""
        for own in self.interface.addresses:
            self._send_arp(REQUEST, own.address, BROADCAST, MAC(6), own.address)

    def receive(self, interface: Interface, packet: Buffer, segment_size: int, to_group: bool) -> None:
        """The handler for EtherType 0x0806, in the order of RFC 826's "Packet Reception"."""
        try:
            arp = ARP.parse(packet)
        except HeaderError as error:
            self.node.drop(error.rule, interface=interface.name)
            return
        sender = arp.sender_ip
        if arp.sender_mac.is_group or interface.owns(sender) or not _is_one_host(interface, sender):
            self.node.drop(NOT_A_NEIGHBOUR, address=str(sender), mac=bytes(arp.sender_mac))
            return
        now = self.node.clock.now
        for_me = interface.owns(arp.target_ip)
        # Merge: mend what is known; learn a new one only from someone who talks to this machine.
        if not sender.is_unspecified and (
            for_me or self.cache.look_up(sender, now) or sender in self._questions
        ):
            evicted = self.cache.learn(sender, arp.sender_mac, now)
            if evicted is not None:
                self.node.drop(EVICTED, address=str(evicted))
            if self.node.events:
                self.node.events.emit(LEARNED, address=str(sender), mac=bytes(arp.sender_mac))
            self._answered(sender, arp.sender_mac)
        if for_me and arp.operation == REQUEST:
            if self.node.events:
                self.node.events.cause = self.node.events.emit(
                    ANSWERED, address=str(arp.target_ip), to=str(sender)
                )
            self._send_arp(REPLY, arp.target_ip, arp.sender_mac, arp.sender_mac, sender)

    def close(self) -> None:
        for question in self._questions.values():
            question.alarm.stop()
        self._questions.clear()

    def _answered(self, address: IPAddress, mac: MAC) -> None:
        question = self._questions.pop(address, None)
        if question is None:
            return
        question.alarm.stop()
        for header, payload, segment_size in question.waiting:
            self.interface.send(mac, ETHERTYPE_IPV4, header, payload, segment_size)

    def _ask(self, address: IPAddress) -> None:
        question = self._questions.get(address)
        if question is None:
            return
        if question.tries == TRIES:
            self._give_up(address, UNANSWERED)
            return
        question.tries += 1
        if self.node.events:
            self.node.events.cause = self.node.events.emit(ASKED, address=str(address), tries=question.tries)
        own = self.interface.address_near(address)
        sender = own.address if own is not None else IPv4Address(4)
        self._send_arp(REQUEST, sender, BROADCAST, MAC(6), address)
        question.alarm.set(self.node.clock.now + RETRY)

    def _give_up(self, address: IPAddress, rule: Rule) -> None:
        question = self._questions.pop(address)
        question.alarm.stop()
        for header, payload, _ in question.waiting:
            self.node.drop(rule, address=str(address))
            self._unreachable(header + payload)

    def _send_arp(
        self, operation: int, sender: IPAddress, to: MAC, target_mac: MAC, target: IPAddress
    ) -> None:
        packet = ARP(
            operation=operation,
            sender_mac=self.interface.mac,
            sender_ip=IPv4Address(sender),
            target_mac=target_mac,
            target_ip=IPv4Address(target),
        )
        self.interface.send(to, ETHERTYPE_ARP, packet.pack())
