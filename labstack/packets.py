"""A host without a link: IP packets are handed to it, and it hands back what it sends, with the times.

    host = PacketHost("10.0.0.1/24")
    host.receive(packet)              # an IP datagram arrives, now
    host.sent()                       # [(nanoseconds, datagram), …]: what it sent since the last look
    host.clock.next_due               # when it will do something by itself; None: never
    host.clock.advance()              # go there

Scenario tests, fuzzers and other people's test suites plug in here. Nothing of the stack is left out but the
cable: each packet passes the interface, and an ARP cache that believes everyone to be at its other end.
"""

from __future__ import annotations

from typing import Any

from labstack.core.addresses import MAC, IPAddress
from labstack.core.checksum import Buffer
from labstack.drivers.manual import ManualClock
from labstack.headers.ethernet import ETHERTYPE_IPV4, LENGTH, Ethernet
from labstack.host import Host
from labstack.physical.device import Receive, segment

_OWN = MAC(b"\x02\0\0\0\0\1")
_OTHERS = MAC(b"\x02\0\0\0\0\2")
_FRONT = Ethernet(_OWN, _OTHERS, ETHERTYPE_IPV4).pack()


class _EveryoneNear:
    """An ARP `Cache` that never has to ask."""

    def learn(self, address: IPAddress, mac: MAC, now: int) -> IPAddress | None:
        return None

    def look_up(self, address: IPAddress, now: int) -> MAC | None:
        return _OTHERS

    def forget(self, address: IPAddress) -> None:
        pass

    def entries(self, now: int) -> list[tuple[IPAddress, MAC, int]]:
        return []


class _Outlet:
    """A `Device` whose cable is the caller's hands."""

    offload = 0

    def __init__(self, clock: ManualClock, mtu: int) -> None:
        self.name = "packets"
        self.mac = _OWN
        self.mtu = mtu
        self.sent: list[tuple[int, bytes]] = []
        self._clock = clock
        self._receive: Receive | None = None
        self._number = 0

    def attach(self, receive: Receive) -> None:
        self._receive = receive

    def transmit(self, header: bytes, payload: Buffer, segment_size: int = 0) -> None:
        for front, body in segment(header, payload, segment_size):
            self.sent.append((self._clock.now, front[LENGTH:] + bytes(body)))

    def hand(self, packet: bytes) -> None:
        if self._receive is not None:
            self._number += 1
            self._receive(self._number, memoryview(_FRONT + packet), 0)

    def close(self) -> None:
        self._receive = None


class PacketHost:
    """A `Host`, as `host`, on a `ManualClock`, as `clock`, driven at the IP level.

    `address` is its own, with the length of the prefix; everything else is reached directly. `mtu`: the
    largest datagram that it sends, in bytes. `options` are those of `Host`.
    """

    def __init__(self, address: str = "10.0.0.1/24", *, mtu: int = 1500, **options: Any) -> None:
        self.clock = ManualClock()
        self.host = Host(options.pop("name", "host"), self.clock, arp_cache=_EveryoneNear, **options)
        self._outlet = _Outlet(self.clock, mtu)
        self.host.interface("eth0", address, device=self._outlet)
        self.host.route("0.0.0.0/0", interface="eth0")

    def receive(self, packet: bytes) -> None:
        """An IP datagram arrives, at this very moment; all that is due now happens."""
        self._outlet.hand(packet)
        self.clock.run(self.clock.now)

    def sent(self) -> list[tuple[int, bytes]]:
        """The datagrams sent since the last look, each with its time in nanoseconds."""
        sent, self._outlet.sent = self._outlet.sent, []
        return sent

    def close(self) -> None:
        """Switch the host off: no connection or timer is left."""
        self.host.close()
