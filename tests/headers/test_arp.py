"""ARP against scapy."""

import pytest
from hypothesis import given, settings, strategies as st
from scapy.layers.l2 import ARP as ScapyARP

from labstack.core.addresses import MAC, IPv4Address
from labstack.headers import arp
from labstack.headers.arp import ARP
from labstack.headers.header import HeaderError

macs = st.binary(min_size=6, max_size=6).map(MAC)
addresses = st.binary(min_size=4, max_size=4).map(IPv4Address)


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 0xFFFF), macs, addresses, macs, addresses, st.integers(0, 18))
@pytest.mark.feature("Headers", "ARP: scapy agrees, both ways")
def test_scapy_agrees(operation, sender_mac, sender_ip, target_mac, target_ip, padding):
    ours = ARP(operation, sender_mac, sender_ip, target_mac, target_ip)
    theirs = ScapyARP(ours.pack())
    assert (theirs.hwtype, theirs.ptype, theirs.hwlen, theirs.plen, theirs.op) == (1, 0x800, 6, 4, operation)
    assert (theirs.hwsrc, theirs.psrc) == (str(sender_mac), str(sender_ip))
    assert (theirs.hwdst, theirs.pdst) == (str(target_mac), str(target_ip))

    built = bytes(ScapyARP(
        op=operation, hwsrc=str(sender_mac), psrc=str(sender_ip), hwdst=str(target_mac), pdst=str(target_ip)
    ))  # fmt: skip
    read = ARP.parse(built + bytes(padding))
    assert read == ours
    assert type(read.sender_mac) is MAC and type(read.target_ip) is IPv4Address


@pytest.mark.parametrize("at, value, rule", [
    (1, 6, arp.BAD_HARDWARE),
    (2, 0x86, arp.BAD_PROTOCOL),
    (4, 8, arp.BAD_LENGTH),
    (5, 16, arp.BAD_LENGTH),
])  # fmt: skip
def test_other_hardware_and_protocols_are_refused(at, value, rule):
    raw = bytearray(ARP(1, MAC(bytes(6)), IPv4Address(bytes(4)), MAC(bytes(6)), IPv4Address(bytes(4))).pack())
    raw[at] = value
    with pytest.raises(HeaderError) as raised:
        ARP.parse(raw)
    assert raised.value.rule is rule
