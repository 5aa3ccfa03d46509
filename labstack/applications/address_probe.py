"""Is this address free? Asking before taking it (RFC 5227, IPv4 Address Conflict Detection).

    who has 10.0.0.5?  tell 0.0.0.0          the probe: it names no sender, so that it spoils nobody's cache
    10.0.0.5 is at 02:00:…                   an answer: taken

Also another machine that probes for the same address at the same time has it taken (§2.1.1).
"""

from __future__ import annotations

from labstack.core.addresses import BROADCAST, MAC, IPAddress, IPv4Address
from labstack.core.checksum import Buffer
from labstack.core.clock import Driver, Waiters
from labstack.core.units import MILLISECOND
from labstack.headers.arp import ARP, REQUEST
from labstack.headers.ethernet import ETHERTYPE_ARP
from labstack.headers.header import HeaderError
from labstack.link.ethernet import Interface

PROBES = 3
INTERVAL = 200 * MILLISECOND
"""Between two probes. RFC 5227 §1.1 takes 1 to 2 s, for links that are slow to wake; ours is a cable."""


def find_owner(driver: Driver, interface: Interface, address: IPAddress) -> MAC | None:
    """The MAC address of the machine on this link that has `address`; None when nobody claims it in 0.6 s.

    The interface must not have the address yet. Its own ARP hears nothing in the meantime.
    """
    owners: list[MAC] = []
    heard = Waiters()

    def receive(_: Interface, packet: Buffer, segment_size: int, to_group: bool) -> None:
        try:
            arp = ARP.parse(packet)
        except HeaderError:
            return
        is_probe = arp.operation == REQUEST and arp.sender_ip.is_unspecified and arp.target_ip == address
        if arp.sender_mac != interface.mac and (arp.sender_ip == address or is_probe):
            owners.append(MAC(arp.sender_mac))
            heard.wake()

    with driver:
        before = interface.handlers.get(ETHERTYPE_ARP)
        interface.handlers[ETHERTYPE_ARP] = receive
    try:
        for _ in range(PROBES):
            with driver:
                probe = ARP(
                    operation=REQUEST,
                    sender_mac=interface.mac,
                    sender_ip=IPv4Address(4),
                    target_mac=MAC(6),
                    target_ip=IPv4Address(address),
                )
                interface.send(BROADCAST, ETHERTYPE_ARP, probe.pack())
            if driver.block(lambda: bool(owners), [heard], INTERVAL, f"someone to claim {address}"):
                return owners[0]
        return None
    finally:
        with driver:
            if before is not None:
                interface.handlers[ETHERTYPE_ARP] = before
