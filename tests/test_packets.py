"""A host without a link, and the clock that is turned by hand."""

import pytest

from labstack.core.addresses import IPAddress, IPv4Address
from labstack.core.clock import Deadlock
from labstack.drivers.manual import ManualClock
from labstack.headers.ipv4 import PROTO_TCP, PROTO_UDP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, SYN, TCP
from labstack.headers.udp import UDP
from labstack.packets import PacketHost

OWN, OTHER = (IPv4Address(IPAddress.parse(text)) for text in ("10.0.0.1", "192.0.2.7"))


def datagram(protocol, body):
    return IPv4(OTHER, OWN, protocol, 20 + len(body)).pack() + body


@pytest.mark.feature(
    "Simulation",
    "The stack without a link: hand it an IP packet, take what it sends, ask when its timer is due",
)
def test_a_packet_in_and_what_it_sends():
    host = PacketHost("10.0.0.1/24")
    host.host.listen(80)
    syn = TCP(5000, 80, 99, 0, SYN, 1000).pack(pseudo_sum(OTHER, OWN, PROTO_TCP, 20))
    host.clock.run(7_000)
    host.receive(datagram(PROTO_TCP, syn))
    ((when, packet),) = host.sent()
    answer = TCP.parse(packet, IPv4.parse(packet).header_length)
    assert (when, answer.flags, answer.ack) == (7_000, SYN | ACK, 100)
    assert host.sent() == []
    # Nothing happens by itself but at the time that it says.
    due = host.clock.next_due
    assert due == 7_000 + 1_000_000_000
    host.clock.run(due - 1)
    assert host.sent() == []
    host.clock.advance()
    ((when, again),) = host.sent()
    assert when == due and TCP.parse(again, 20).seq == answer.seq
    host.close()
    assert host.clock.idle and host.clock.next_due is None


def test_no_packet_asks_for_a_neighbour():
    """There is no link, so nothing is ever asked of ARP, and everyone can be reached."""
    host = PacketHost("10.0.0.1/24")
    s = host.host.socket(2)
    s.sendto(b"hello", ("203.0.113.9", 53))
    ((_, packet),) = host.sent()
    header = IPv4.parse(packet)
    assert (str(header.dst), header.protocol) == ("203.0.113.9", PROTO_UDP)
    back = UDP(53, s.getsockname()[1]).pack(pseudo_sum(OTHER, OWN, PROTO_UDP, 11), b"yes") + b"yes"
    host.receive(datagram(PROTO_UDP, back))
    assert s.recv(10) == b"yes"


def test_two_hosts_know_nothing_of_each_other():
    one, two = PacketHost("10.0.0.1/24"), PacketHost("10.0.0.1/24")
    one.host.listen(80)
    two.host.listen(80)
    one.clock.run(5)
    assert two.clock.now == 0


def test_a_call_that_nothing_can_end_is_a_deadlock():
    host = PacketHost("10.0.0.1/24")
    with pytest.raises(Deadlock):
        host.host.listen(80).accept()


def test_a_timer_that_was_cancelled_does_not_come():
    clock, came = ManualClock(), []
    first = clock.call_at(10, lambda: came.append(10))
    clock.call_at(20, lambda: came.append(20))
    clock.call_at(20, lambda: came.append(21))
    first.cancel()
    assert clock.next_due == 20
    clock.run(100)
    assert came == [20, 21] and clock.now == 100 and not clock.advance()


def test_housekeeping_does_not_keep_it_from_being_idle():
    clock = ManualClock()
    clock.call_at(10, lambda: None, daemon=True)
    assert clock.idle and clock.next_due == 10
    clock.call_at(10, lambda: None)
    assert not clock.idle


def test_a_time_out_passes():
    clock = ManualClock()
    assert not clock.block(lambda: False, [], 1_000)
    assert clock.now == 1_000


def test_there_are_no_programs():
    with pytest.raises(RuntimeError, match="no programs"):
        ManualClock().spawn(print)
