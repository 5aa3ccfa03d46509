"""ARP: packets that wait, questions that are asked again and given up, and whom to believe."""

import errno
import socket

import pytest

from labstack import Network, frame
from labstack.core.addresses import BROADCAST, MAC, IPv4Address
from labstack.headers.arp import ARP, REPLY, REQUEST
from labstack.headers.ethernet import ETHERTYPE_ARP
from labstack.link.arp import LIFETIME, QUESTIONS, QUEUE, ArpCache
from tests.scene import SECOND, Peer, Tape, pair, settle

ADDRESS = IPv4Address(b"\x0a\0\0\x02")
OWN = IPv4Address(b"\x0a\0\0\x01")
THIRD = IPv4Address(b"\x0a\0\0\x03")
MAC_2, MAC_3 = MAC.parse("02:00:00:00:00:99"), MAC.parse("02:00:00:00:00:33")


def say(peer, operation=REPLY, sender_mac=MAC_2, sender_ip=ADDRESS, target_mac=None, target_ip=OWN, dst=None):
    arp = ARP(operation, sender_mac, sender_ip, target_mac or peer.mac, target_ip)
    peer.inject(peer.frame(arp.pack(), ETHERTYPE_ARP, dst))
    settle(peer.net)


def udp(peer, *texts, to="10.0.0.2"):
    s = peer.host.socket(socket.SOCK_DGRAM)
    for text in texts:
        s.sendto(text, (to, 9))
    settle(peer.net)
    return s


def known(peer):
    return {str(a): str(mac) for a, mac, _ in peer.host.arps["eth0"].cache.entries(peer.net.simulator.now)}


@pytest.mark.feature(
    "Link layer", "ARP asks, keeps what waits for the answer in order, and forgets old answers"
)
def test_packets_wait_for_the_answer_and_leave_in_order():
    with Network() as net:
        peer = Peer(net, answers_arp=False)
        udp(peer, b"one", b"two", b"three")
        (question,) = peer.frames
        assert question.ethernet.dst == BROADCAST
        assert question.arp == ARP(REQUEST, peer.mac, OWN, MAC(6), ADDRESS)
        say(peer)
        assert [shot.body[8:] for shot in peer.take_all()] == [b"one", b"two", b"three"]
        assert {shot.ethernet.dst for shot in peer.frames[1:]} == {MAC_2}
        assert net.simulator.idle, "the question's timer is gone"


def test_the_answer_goes_to_the_one_who_asked():
    with Network() as net:
        peer = Peer(net)
        say(peer, REQUEST, target_mac=MAC(6), dst=BROADCAST)
        (answer,) = peer.frames
        assert answer.ethernet.dst == MAC_2
        assert answer.arp == ARP(REPLY, peer.mac, OWN, MAC_2, ADDRESS)
        assert known(peer) == {"10.0.0.2": str(MAC_2)}, "who asks me will hear from me: remember"


def test_an_address_probe_is_answered_but_teaches_nothing():
    with Network() as net:
        peer = Peer(net)
        say(peer, REQUEST, sender_ip=IPv4Address(4), target_mac=MAC(6), dst=BROADCAST)
        assert peer.frames[0].arp.operation == REPLY
        assert known(peer) == {}


def test_a_question_for_someone_else_teaches_nothing_new():
    with Network() as net:
        peer = Peer(net)
        say(peer, REQUEST, target_ip=THIRD, dst=BROADCAST)
        assert peer.frames == [] and known(peer) == {}


@pytest.mark.parametrize("operation", [REQUEST, REPLY])
def test_a_gratuitous_one_mends_what_is_known_and_adds_nothing(operation):
    with Network() as net:
        peer = Peer(net)
        say(peer, operation, sender_ip=ADDRESS, target_ip=ADDRESS, dst=BROADCAST)
        assert known(peer) == {}
        say(peer)  # now 10.0.0.2 is known
        say(peer, operation, sender_mac=MAC_3, sender_ip=ADDRESS, target_ip=ADDRESS, dst=BROADCAST)
        assert known(peer) == {"10.0.0.2": str(MAC_3)}
        assert peer.frames == []


def test_a_gratuitous_one_answers_an_open_question():
    with Network() as net:
        peer = Peer(net, answers_arp=False)
        udp(peer, b"wait")
        say(peer, REQUEST, target_ip=ADDRESS, dst=BROADCAST)
        assert [shot.body[8:] for shot in peer.take_all()] == [b"wait"]


def test_announce_tells_the_link_each_own_address():
    with Network() as net:
        peer = Peer(net)
        peer.host.arps["eth0"].announce()
        (shot,) = peer.frames
        assert shot.ethernet.dst == BROADCAST
        assert (shot.arp.sender_ip, shot.arp.target_ip, shot.arp.sender_mac) == (OWN, OWN, peer.mac)


@pytest.mark.parametrize(
    "words",
    [
        {"sender_mac": BROADCAST},
        {"sender_mac": MAC.parse("01:00:5e:00:00:01")},
        {"sender_ip": IPv4Address(b"\xe0\0\0\1")},
        {"sender_ip": OWN},
        {"sender_ip": IPv4Address(b"\xff" * 4)},
        {"sender_ip": IPv4Address(b"\x0a\0\0\xff")},
    ],
    ids=[
        "broadcast MAC",
        "group MAC",
        "multicast",
        "my own address",
        "limited broadcast",
        "directed broadcast",
    ],
)
def test_who_cannot_be_a_neighbour_is_not_believed(words):
    with Network() as net:
        peer = Peer(net)
        say(peer, **words)
        say(peer, REQUEST, **words)
        assert known(peer) == {}
        assert peer.frames == []
        assert dict(peer.host.counters) == {"arp.bad_sender": 2}


@pytest.mark.parametrize(
    "change", [(0, 9), (2, 0x86), (4, 7), (5, 16)], ids=["hardware", "protocol", "hlen", "plen"]
)
def test_an_arp_packet_for_other_hardware_or_protocols_is_dropped_by_name(change):
    with Network() as net:
        peer = Peer(net)
        packet = bytearray(ARP(REQUEST, MAC_2, ADDRESS, MAC(6), OWN).pack())
        packet[change[0]] = change[1]
        peer.inject(peer.frame(bytes(packet), ETHERTYPE_ARP))
        assert peer.frames == [] and known(peer) == {}
        assert [n for n in peer.host.counters if n.startswith("arp.")] and sum(
            peer.host.counters.values()
        ) == 1


def test_a_truncated_arp_packet_is_dropped_by_name():
    with Network() as net:
        peer = Peer(net)
        for size in range(28):
            peer.inject(peer.frame(ARP(REQUEST, MAC_2, ADDRESS, MAC(6), OWN).pack()[:size], ETHERTYPE_ARP))
        assert dict(peer.host.counters) == {"arp.truncated": 28}


@pytest.mark.feature(
    "Link layer", "Nobody answers three questions: the sender is told that the host is unreachable"
)
def test_three_questions_a_second_apart_then_no_route_to_host():
    with Network() as net:
        a, b, wire = pair(net)
        tape = Tape(net)
        with pytest.raises(OSError) as caught:
            a.connect(("10.0.0.77", 80))
        assert caught.value.errno == errno.EHOSTUNREACH
        assert net.now == 3
        assert [shot.time for shot in tape.sent(a)] == [0, 1, 2]
        assert all(shot.arp and shot.arp.target_ip == b"\x0a\0\0\x4d" for shot in tape.sent(a))
        assert a.counters["arp.unanswered"] == 3, (
            "the SYN, and twice the SYN again, had waited for the answer"
        )
        net.run()
        assert net.now == 3 and not a.tcp.connections


def test_a_connected_datagram_socket_hears_that_its_host_is_not_there():
    with Network() as net:
        a, b, _ = pair(net)
        s = a.socket(socket.SOCK_DGRAM)
        s.connect(("10.0.0.77", 9))
        s.send(b"anyone?")
        with pytest.raises(OSError) as caught:
            s.recv(100)
        assert caught.value.errno == errno.EHOSTUNREACH


def test_a_router_tells_the_sender_that_the_last_hop_is_silent():
    with Network() as net:
        r = net.router("r")
        a, b = (
            net.host("a", "10.0.0.1/24", gateway="10.0.0.254"),
            net.host("b", "10.1.0.1/24", gateway="10.1.0.254"),
        )
        net.wire(a, r.interface("eth0", "10.0.0.254/24"))
        net.wire(b, r.interface("eth1", "10.1.0.254/24"))
        with pytest.raises(OSError) as caught:
            a.connect(("10.1.0.77", 80))
        assert caught.value.errno == errno.EHOSTUNREACH
        assert r.counters["arp.unanswered"] == 2
        assert net.now == 3


def test_the_queue_for_one_answer_is_bounded_and_drops_the_oldest():
    with Network() as net:
        peer = Peer(net, answers_arp=False)
        udp(peer, *(b"%d" % k for k in range(QUEUE + 5)))
        assert peer.host.counters["arp.queue_full"] == 5
        say(peer)
        assert [shot.body[8:] for shot in peer.take_all()] == [b"%d" % k for k in range(5, QUEUE + 5)]


def test_open_questions_are_bounded_and_the_oldest_is_given_up():
    with Network() as net:
        peer = Peer(net, address="10.0.0.1/8", answers_arp=False)
        for k in range(QUESTIONS + 3):
            udp(peer, b"x", to=f"10.9.{k // 250}.{k % 250 + 1}").close()
        assert peer.host.counters["arp.too_many"] == 3
        net.run()
        assert peer.host.counters["arp.unanswered"] == QUESTIONS
        assert net.simulator.idle


@pytest.mark.parametrize("age, asked_again", [(LIFETIME, False), (LIFETIME + SECOND, True)])
def test_an_answer_is_forgotten_when_it_is_old(age, asked_again):
    with Network() as net:
        peer = Peer(net)
        udp(peer, b"first")
        net.simulator.run(age)
        udp(peer, b"later")
        questions = [shot for shot in peer.frames if shot.arp]
        assert len(questions) == 1 + asked_again
        assert [shot.body[8:] for shot in peer.take_all()] == [b"first", b"later"]


def test_the_cache_is_bounded_and_forgets_the_least_recently_learned():
    cache = ArpCache(limit=3)
    addresses = [IPv4Address(bytes([10, 0, 0, k])) for k in range(5)]
    for at, address in enumerate(addresses[:3]):
        cache.learn(address, MAC_2, at)
    cache.learn(addresses[0], MAC_3, 3)  # heard again: no longer the oldest
    assert cache.learn(addresses[3], MAC_2, 4) == addresses[1], "it says who had to go"
    assert cache.look_up(addresses[1], 5) is None
    assert cache.look_up(addresses[0], 5) == MAC_3
    assert [str(a) for a, _, _ in cache.entries(5)] == ["10.0.0.2", "10.0.0.0", "10.0.0.3"]


def test_a_host_counts_whom_its_cache_had_to_forget():
    with Network() as net:
        peer = Peer(net, arp_cache=lambda: ArpCache(limit=2))
        for k in range(5):
            say(peer, sender_ip=IPv4Address(bytes([10, 0, 0, 10 + k])))
        assert dict(peer.host.counters) == {"arp.evicted": 3}


def test_a_lost_question_is_asked_again():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "1 ms"})
        wire.drop(frame(1))
        (took,) = a.ping("b", timeout=5)
        assert took == pytest.approx(1.004)


def test_two_who_ask_for_each_other_at_once():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "1 ms"})
        tape = Tape(net)
        for host, other in ((a, "b"), (b, "a")):
            host.spawn(host.ping, other)
        net.run()
        echoes = [shot for shot in tape.sent() if shot.ip]
        assert len(echoes) == 4
