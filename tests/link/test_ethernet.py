"""Ethernet: whose frame is it, and who reads what it carries?"""

import pytest

from labstack import Network
from labstack.core.addresses import BROADCAST, MAC
from labstack.headers.ethernet import Ethernet
from tests.scene import Peer, pair


def frame(dst, ethertype=0x88B5, size=60):
    return Ethernet(dst, MAC.parse("02:00:00:00:00:99"), ethertype).pack().ljust(size, b"\0")


def listen(host):
    """Note what the handler for an EtherType of our own is handed."""
    heard = []
    host["eth0"].handlers[0x88B5] = lambda interface, packet, size, to_group: heard.append(
        (interface.name, bytes(packet), to_group)
    )
    return heard


@pytest.mark.feature("Link layer", "Frames for others, and of a type that nobody reads, are dropped by name")
def test_a_frame_for_another_machine_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        heard = listen(peer.host)
        peer.inject(frame(MAC.parse("02:00:00:00:00:02")))
        assert heard == []
        assert dict(peer.host.counters) == {"ethernet.not_for_me": 1}


def test_a_promiscuous_interface_takes_them_all():
    with Network() as net:
        peer = Peer(net)
        heard = listen(peer.host)
        peer.host["eth0"].promiscuous = True
        peer.inject(frame(MAC.parse("02:00:00:00:00:02")))
        assert len(heard) == 1


@pytest.mark.parametrize(
    "dst, to_group", [(None, False), (BROADCAST, True), (MAC.parse("01:00:5e:00:00:01"), True)]
)
def test_own_broadcast_and_group_frames_come_in_and_say_which_they_are(dst, to_group):
    with Network() as net:
        peer = Peer(net)
        heard = listen(peer.host)
        peer.inject(frame(dst or peer.mac, size=64))
        assert heard == [("eth0", bytes(50), to_group)]
        assert not peer.host.counters


def test_a_type_that_nobody_reads_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        peer.inject(frame(peer.mac, 0x86DD))
        assert dict(peer.host.counters) == {"ethernet.unknown_type": 1}


@pytest.mark.parametrize("size", range(14))
def test_a_frame_shorter_than_its_header_is_dropped_by_name(size):
    with Network() as net:
        peer = Peer(net)
        peer.inject(frame(peer.mac)[:size])
        assert dict(peer.host.counters) == {"ethernet.truncated": 1}


def test_each_interface_counts_its_frames_and_bytes():
    with Network() as net:
        a, b, _ = pair(net)
        assert a.ping("b", size=100) == [0.0]
        # An ARP question of 42 bytes, an echo of 14 + 20 + 8 + 100; the wire pads what is short.
        assert (a["eth0"].sent_frames, a["eth0"].sent_bytes) == (2, 42 + 142)
        assert (a["eth0"].received_frames, a["eth0"].received_bytes) == (2, 60 + 142)


def test_an_interface_stands_on_one_device():
    with Network() as net:
        a, b, _ = pair(net)
        c = net.host("c", "10.0.0.3/24")
        with pytest.raises(ValueError, match="wired already"):
            net.wire(a["eth0"], c)


def test_a_bare_host_means_its_only_unwired_interface_else_one_clear_error():
    with Network() as net:
        a, b, _ = pair(net)
        r = net.router("r")
        c = net.host("c", "10.1.0.2/24")
        with pytest.raises(ValueError, match=r"r has no interface: add one"):
            net.wire(c, r)
        r.interface("eth0", "10.1.0.1/24")
        r.interface("eth1", "10.2.0.1/24")
        with pytest.raises(ValueError, match=r"r has several unwired interfaces: name one, r\['eth0'\]"):
            net.wire(c, r)
        with pytest.raises(ValueError, match="every interface of a is wired: add one"):
            net.wire(c, a)
        net.wire(c, r["eth0"])
        net.wire(net.host("d", "10.2.0.2/24"), r)  # eth1 is the only one left
        with pytest.raises(KeyError, match="r has no interface 'eth7': it has eth0, eth1"):
            r["eth7"]
