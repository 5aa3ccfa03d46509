"""The borders between the layers, each held by a stand-in: whoever goes round one makes a test here fail.

TCP runs here over a network that is not IP, on a clock that is not the simulator's, and out of parts that
are not the package's.
"""

import heapq
from itertools import count

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.core.addresses import ANY, MAC, IPAddress, IPv4Address
from labstack.core.checksum import checksum
from labstack.core.clock import Waiters
from labstack.core.node import Node
from labstack.headers.ipv4 import IPv4, pseudo_sum
from labstack.headers.tcp import TCP
from labstack.host import Host
from labstack.internet.layer import Trouble
from labstack.internet.routing import LongestPrefixTable, Route
from labstack.link.arp import ArpCache
from labstack.physical.device import segment
from labstack.transport.tcp.congestion.reno import Reno
from labstack.transport.tcp.flight import Parts
from labstack.transport.tcp.layer import Tcp, find_socket
from labstack.transport.tcp.rack import Rack
from labstack.transport.tcp.receiver import Reassembly
from labstack.transport.tcp.recovery import NewReno
from labstack.transport.tcp.rtt import Rfc6298
from labstack.transport.tcp.sender import Segmentation
from labstack.transport.tcp.states import Rfc9293
from labstack.transport.udp import Udp
from tests.scene import Tape, connected, nothing_left, pair, pattern, read_all

# --- a clock of our own: `Clock` and `Driver` are all that a stack needs --------------------------


class ManualClock:
    """Time that passes when the test says so. A `Driver`, and none of labstack's own."""

    class Timer:
        def __init__(self, fn):
            self.fn = fn

        def cancel(self):
            self.fn = None

    def __init__(self):
        self.now = 0
        self.calls = []
        self.asked = count()
        self.entered = 0

    def call_at(self, when, fn, daemon=False):
        timer = self.Timer(fn)
        heapq.heappush(self.calls, (max(when, self.now), next(self.asked), timer))
        return timer

    @property
    def next_due(self):
        while self.calls and self.calls[0][2].fn is None:
            heapq.heappop(self.calls)
        return self.calls[0][0] if self.calls else None

    def advance(self):
        """Let the next call come."""
        when = self.next_due
        assert when is not None, "nothing is to come"
        _, _, timer = heapq.heappop(self.calls)
        self.now = when
        fn, timer.fn = timer.fn, None
        fn()

    def block(self, ready, waiters, timeout=None, what=""):
        assert all(isinstance(waiter, Waiters) for waiter in waiters)
        deadline = None if timeout is None else self.now + timeout
        while not ready():
            due = self.next_due
            if deadline is not None and (due is None or due > deadline):
                self.now = deadline
                return ready()
            self.advance()
        return True

    def carry_on(self, much):
        """Nothing comes but by `advance`."""

    def spawn(self, fn, *args, name="", daemon=True):
        raise NotImplementedError("this story needs no programs")

    def __enter__(self):
        self.entered += 1
        return self

    def __exit__(self, *exc):
        self.entered -= 1


class Cable:
    """Two devices that hand each other their frames `delay` nanoseconds later, by the test's clock."""

    def __init__(self, clock, delay=1_000_000):
        self.ends = [CableEnd(clock, delay, MAC.parse(f"02:00:00:00:00:0{k}")) for k in (1, 2)]
        self.ends[0].other, self.ends[1].other = self.ends[1], self.ends[0]


class CableEnd:
    mtu = 1500
    offload = 0

    def __init__(self, clock, delay, mac):
        self.clock, self.delay, self.mac = clock, delay, mac
        self.other = self
        self.receive = None
        self.frames = 0

    def attach(self, receive):
        self.receive = receive

    def transmit(self, header, payload, segment_size=0):
        assert segment_size == 0
        self.frames += 1
        number, frame = self.frames, bytes(header) + bytes(payload)
        self.clock.call_at(
            self.clock.now + self.delay, lambda: self.other.receive(number, memoryview(frame), 0)
        )

    def close(self):
        pass


@pytest.mark.feature("Simulation", "The whole stack runs on any clock: a test's own, turned by hand")
def test_the_whole_stack_runs_on_a_clock_of_the_tests_own():
    clock = ManualClock()
    cable = Cable(clock)
    a = Host("a", clock)
    b = Host("b", clock)
    a.interface("eth0", "10.0.0.1/24", device=cable.ends[0])
    b.interface("eth0", "10.0.0.2/24", device=cable.ends[1])
    assert a.ping("10.0.0.2") == [0.004]  # ARP there and back, the echo there and back
    assert clock.now == 4_000_000
    listener = b.listen(80)
    s = a.connect(("10.0.0.2", 80))
    t, _ = listener.accept()
    s.sendall(pattern(100_000))
    s.close()
    assert read_all(t) == pattern(100_000)
    t.close()
    listener.close()
    while clock.next_due is not None:
        clock.advance()
    assert clock.now > 60_000_000_000, "TIME-WAIT was waited for, on this clock"
    assert not a.tcp.connections and not b.tcp.connections
    assert clock.entered == 0


# --- a network of our own: TCP and UDP never see an IP header -------------------------------------


class Number(IPAddress):
    """An address of a family that does not exist: sixteen bytes."""

    __slots__ = ()
    version = 9
    bits = 128
    is_multicast = False

    def __str__(self):
        return "#" + self.hex()[:4]


class Postal:
    """A `NetworkLayer` that carries letters: to, from, kind, body. There is nothing of IPv4 in it."""

    MTU = 700

    def __init__(self, node, own, office):
        self.node, self.own, self.office = node, own, office
        self.transports = {}
        self.letters = []
        self.lose = set()
        office[own] = self

    def register(self, protocol, transport):
        self.transports[protocol] = transport

    def send(
        self,
        dst,
        protocol,
        header,
        payload=b"",
        *,
        src=None,
        ecn=0,
        segment_size=0,
        ttl=64,
        dscp=0,
        may_fragment=False,
        broadcast=False,
        loop=True,
    ):
        assert segment_size == 0 and len(header) + len(payload) <= self.MTU
        letter = (dst, src or self.own, protocol, bytes(header) + bytes(payload))
        self.letters.append(letter)
        if len(self.letters) in self.lose:
            return
        self.node.clock.call_at(self.node.clock.now + 1_000_000, lambda: self.office[dst].deliver(letter))

    def deliver(self, letter):
        dst, src, protocol, body = letter
        trouble = self.transports[protocol].receive(src, dst, 0, 255, memoryview(body), False)
        if trouble is not None:
            self.office[src].transports[protocol].error(trouble, src, dst, memoryview(body)[:8])

    def mtu(self, dst):
        return self.MTU

    def offload(self, dst):
        return 0

    def source_for(self, dst):
        return self.own

    def is_own(self, address):
        return address == self.own

    def is_unicast(self, address):
        return address in self.office

    def pseudo_sum(self, src, dst, protocol, length):
        return 0x4711 + int.from_bytes(src + dst, "big") + protocol + length  # no pseudo-header of IP's


PARTS = Parts(Reassembly, Segmentation, Rfc6298, Rack, Rfc9293)


@pytest.mark.feature("TCP", "TCP runs unchanged over a made-up network with 16-byte addresses")
def test_tcp_over_a_network_that_is_not_ip():
    clock, office = ManualClock(), {}
    here, there = Number(b"here" * 4), Number(b"away" * 4)
    networks = [Postal(Node(str(own), clock), own, office) for own in (here, there)]
    one, two = (Tcp(network.node, network, TcpConfig(), PARTS) for network in networks)
    networks[0].lose = {5, 9}
    networks[1].lose = {4}

    listener = two.listen(two.bind(there, 80), backlog=5)
    client = one.connect((there, 80))
    while not listener.ready:
        clock.advance()
    server = listener.accept()
    assert client.mss == server.mss == Postal.MTU - 20
    assert (server.peer, client.local[0]) == ((here, client.local[1]), here)

    data, at, came = pattern(60_000), 0, b""
    while len(came) < len(data):
        if at < len(data):
            at += client.write(data[at : at + 5000])
        clock.advance()
        came += server.read(100_000)
    assert came == data
    client.close()
    while not server.receiver.finished:
        clock.advance()
    server.close()
    while clock.next_due is not None:
        clock.advance()
    assert not one.connections and not two.connections
    # Every letter was TCP with a checksum over this network's own pseudo-header.
    for network in networks:
        for dst, src, protocol, body in network.letters:
            assert protocol == 6 and checksum(body, network.pseudo_sum(src, dst, 6, len(body))) == 0
            TCP.parse(body)


def test_udp_over_a_network_that_is_not_ip():
    clock, office = ManualClock(), {}
    here, there = Number(b"here" * 4), Number(b"away" * 4)
    networks = [Postal(Node(str(own), clock), own, office) for own in (here, there)]
    one, two = (Udp(network.node, network) for network in networks)
    s, t = one.bind(here, 1000), two.bind(there, 2000)
    s.send(b"a letter", (there, 2000))
    clock.advance()
    assert t.take() == (b"a letter", (here, 1000))
    s.peer = (there, 2001)
    s.send(b"to nobody", (there, 2001))
    clock.advance()
    assert s.error, "the trouble came back through the network's `error`"


def test_a_trouble_from_the_network_ends_a_connection_attempt():
    clock, office = ManualClock(), {}
    here, there = Number(b"here" * 4), Number(b"away" * 4)
    network = Postal(Node("here", clock), here, office)
    Postal(Node("there", clock), there, office)
    tcp = Tcp(network.node, network, TcpConfig(), PARTS)
    connection = tcp.connect((there, 80))
    (letter,) = network.letters
    tcp.error(Trouble.HOST_UNREACHABLE, here, there, letter[3][:8])
    assert connection.error and not tcp.connections


# --- devices: header, payload, segment size -------------------------------------------------------


class Card(CableEnd):
    """A device that finishes segments itself, or not."""

    def __init__(self, clock, delay, mac, offload=0):
        super().__init__(clock, delay, mac)
        self.offload = offload
        self.handed = []

    def transmit(self, header, payload, segment_size=0):
        self.handed.append((bytes(header), bytes(payload), segment_size))
        for front, body in segment(bytes(header), payload, segment_size):
            super().transmit(front, body)


def carded(offload):
    clock = ManualClock()
    cards = [
        Card(clock, 1_000_000, MAC.parse("02:00:00:00:00:01"), offload),
        Card(clock, 1_000_000, MAC.parse("02:00:00:00:00:02")),
    ]
    cards[0].other, cards[1].other = cards[1], cards[0]
    hosts = [Host("a", clock, tcp=TcpConfig(initial_window=40)), Host("b", clock)]
    for k, (host, card) in enumerate(zip(hosts, cards, strict=True), 1):
        host.interface("eth0", f"10.0.0.{k}/24", device=card)
    listener = hosts[1].listen(80)
    s = hosts[0].connect(("10.0.0.2", 80))
    t, _ = listener.accept()
    return cards, s, t


def tcp_parts(handed):
    """The TCP frames handed to a card: header bytes, payload, segment size, and where TCP begins."""
    for header, payload, segment_size in handed:
        if header[12:14] == b"\x08\0" and header[23] == 6:
            yield header, payload, segment_size, 14 + (header[14] & 15) * 4


@pytest.mark.feature(
    "TCP", "A device that offloads gets long segments with unfinished checksums, another finished ones"
)
def test_a_device_that_offloads_gets_long_pieces_with_unfinished_checksums():
    cards, s, t = carded(offload=40_000)
    s.sendall(pattern(200_000))
    s.close()
    assert read_all(t) == pattern(200_000)
    long = 0
    for header, payload, segment_size, at in tcp_parts(cards[0].handed):
        if not payload:
            assert segment_size == 0
            continue
        assert segment_size == 1460 and len(payload) <= 40_000
        ip, tcp = IPv4.parse(header + payload, 14), TCP.parse(header, at)
        length = len(header) - at + len(payload)
        assert ip.total_length == at - 14 + length
        assert tcp.checksum == pseudo_sum(ip.src, ip.dst, 6, length) % 0xFFFF, (
            "the sum of the pseudo-header, no more"
        )
        long += len(payload) > 1460
    assert long > 3


def test_a_device_without_offload_gets_finished_frames_no_longer_than_its_mtu():
    cards, s, t = carded(offload=0)
    s.sendall(pattern(200_000))
    s.close()
    assert read_all(t) == pattern(200_000)
    frames = list(tcp_parts(cards[0].handed))
    for header, payload, segment_size, at in frames:
        assert segment_size == 0 and len(header) + len(payload) <= 1514
        ip = IPv4.parse(header + payload, 14)
        body = header[at:] + payload
        assert checksum(body, pseudo_sum(ip.src, ip.dst, 6, len(body))) == 0
    assert len(frames) > 137


def test_a_segment_size_on_the_way_in_says_that_the_checksum_is_unfinished():
    clock = ManualClock()
    card = Card(clock, 0, MAC.parse("02:00:00:00:00:01"), 65536)
    host = Host("a", clock)
    host.interface("eth0", "10.0.0.1/24", device=card)
    src, dst = IPv4Address(b"\x0a\0\0\2"), IPv4Address(b"\x0a\0\0\1")
    syn = TCP(5000, 81, 1, 0, 2, 1000).pack()  # its checksum is 0, and wrong
    frame = card.mac + MAC.parse("02:00:00:00:00:02") + b"\x08\0" + IPv4(src, dst, 6, 40).pack() + syn
    card.receive(1, memoryview(frame), 0)
    assert dict(host.counters) == {"tcp.bad_checksum": 1}
    card.receive(2, memoryview(frame), 1460)
    assert host.counters["tcp.no_listener"] == 1


def test_what_a_device_is_handed_is_borrowed():
    """A device that keeps the payload copies it. A frame that arrives is borrowed too."""
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        s, t = connected(net, a, b)
        end = wire.ends[1]
        receive = end._receive

        def then_overwrite(number, frame, segment_size):
            copy = bytearray(frame)
            receive(number, memoryview(copy), segment_size)
            copy[:] = b"\xee" * len(copy)

        end._receive = then_overwrite
        s.sendall(pattern(50_000))
        s.close()
        assert read_all(t) == pattern(50_000)


# --- events: every frame can say why --------------------------------------------------------------


def why(tape, shot):
    return tape.why(shot)


@pytest.mark.feature(
    "Simulation", "Every packet can say why it was sent: a call, a frame or a timer, step by step"
)
def test_every_frame_has_a_cause_that_leads_back_to_a_call_or_a_timer():
    with Network(seed=2) as net:
        a, b, wire = pair(net, wire={"delay": "10 ms", "loss": 0.05})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(100_000))
        s.close()
        reader.join()
        t.close()
        net.run()
        roots = set()
        for shot in tape.sent():
            chain = why(tape, shot)
            assert len(chain) > 1, f"{shot} has no cause"
            roots.add(chain[-1])
        assert roots == {"socket.call"}, roots


def test_data_because_of_a_call_an_ack_because_of_a_frame():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        s, t = connected(net, a, b)
        tape = Tape(net)
        s.sendall(pattern(2920))
        net.sleep("1 s")
        first, second = tape.data(a)
        assert why(tape, first) == ["device.sent", "tcp.data", "socket.call"]
        (acknowledgement,) = tape.acks(b)
        chain = why(tape, acknowledgement)
        assert chain[:2] == ["device.sent", "tcp.acknowledge"]
        assert "device.received" in chain and chain[-1] == "socket.call"
        # The frame behind it is the second one, by the number that it has at both ends.
        event = tape.by_number[acknowledgement.event]
        while event.rule.name != "device.received":
            event = tape.by_number[event.cause]
        assert event.fields["number"] == second.number


def test_a_retransmission_because_of_a_timer():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"}, a={"tcp": TcpConfig(tail_loss_probe=False)})
        wire.drop(data_segment(1))
        s, t = connected(net, a, b)
        tape = Tape(net)
        s.sendall(b"lost at first")
        assert t.recv(100) == b"lost at first"
        lost, again = tape.data(a)
        chain = why(tape, again)
        assert chain[:3] == ["device.sent", "tcp.retransmitted", "tcp.retransmission_timeout"]
        assert chain[-1] == "socket.call", "the timer was set by the call that sent the first one"
        assert tape.by_number[again.event].fields["frame"][14 + 20 + 4 :][:4] == lost.frame[14 + 20 + 4 :][:4]


def test_a_delayed_acknowledgement_because_of_its_timer_and_the_frame_that_set_it():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        s, t = connected(net, a, b)
        tape = Tape(net)
        s.sendall(b"one")
        net.sleep(1)
        (acknowledgement,) = tape.acks(b)
        assert why(tape, acknowledgement)[:4] == [
            "device.sent",
            "tcp.acknowledge",
            "tcp.delayed_ack",
            "device.received",
        ]


def test_a_fast_retransmission_because_of_the_third_duplicate():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        s, t = connected(net, a, b)
        wire.drop(data_segment(2))
        tape = Tape(net)
        s.sendall(pattern(10_000))
        net.sleep(1)
        (again,) = [shot for shot in tape.data(a) if why(tape, shot)[1] == "tcp.fast_retransmit"]
        event = tape.by_number[again.event]
        while event.rule.name != "device.received":
            event = tape.by_number[event.cause]
        duplicates = [shot for shot in tape.acks(b) if shot.tcp.ack == again.tcp.seq]
        # The first of that number acknowledges something new, and names the first piece behind the gap.
        assert event.fields["number"] == duplicates[2].number


def test_events_hold_values_not_live_objects():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "1 ms", "loss": 0.05, "duplicate": 0.1})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(50_000))
        s.close()
        reader.join()
        a.ping("10.0.0.77")
        for event in tape.events:
            for name, value in event.fields.items():
                assert type(value) in (int, float, str, bytes, bool, type(None), tuple), (
                    event.rule.name,
                    name,
                    type(value),
                )


def test_listening_changes_nothing():
    """The same run with and without a subscriber: the same bytes arrive at the same time."""
    times = []
    for listening in (True, False):
        with Network(seed=3) as net:
            a, b, wire = pair(net, wire={"delay": "10 ms", "rate": "10 Mbit/s", "loss": 0.03})
            if listening:
                Tape(net)
            s, t = connected(net, a, b)
            reader = b.spawn(read_all, t)
            s.sendall(pattern(300_000))
            s.close()
            assert reader.join() == pattern(300_000)
            t.close()
            net.run()
            times.append(
                (net.now, dict(a.counters), dict(b.counters), dict(wire.counters), a["eth0"].sent_frames)
            )
    assert times[0] == times[1]


def test_a_drop_is_an_event_and_a_count_of_the_same_name():
    with Network(seed=3) as net:
        a, b, wire = pair(net, wire={"delay": "1 ms", "corrupt": 0.1, "duplicate": 0.1})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(200_000))
        s.close()
        reader.join()
        net.sleep(1)
        for host in (a, b):
            for name in ("ethernet.bad_fcs", "tcp.out_of_window"):
                assert len(tape.named(name, host)) == host.counters[name]
        assert b.counters["ethernet.bad_fcs"] > 5


# --- replaceable parts ----------------------------------------------------------------------------


def recording(base, *methods):
    """A subclass of `base` that notes, in a list of the class's own, which of `methods` were called."""
    made = type(f"Recording{base.__name__}", (base,), {"calls": [], "made": []})
    made.__init__ = lambda self, *args: (made.made.append(args), base.__init__(self, *args))[1]
    for name in methods:

        def call(self, *args, _name=name, **options):
            made.calls.append(_name)
            return getattr(base, _name)(self, *args, **options)

        setattr(made, name, call)
    return made


PART_METHODS = {
    "receiver": (Reassembly, ["start", "accept", "peek", "consume", "offer", "wants_update"]),
    "sender": (Segmentation, ["start", "write", "finish", "next_segment", "again", "acknowledge"]),
    "rtt": (Rfc6298, ["sample"]),
    "recovery": (NewReno, ["on_sent", "on_ack", "next_lost"]),
    "closing": (Rfc9293, ["after"]),
    "congestion": (Reno, ["on_ack", "on_loss"]),
    "arp_cache": (ArpCache, ["learn", "look_up"]),
    "routing_table": (LongestPrefixTable, ["add", "look_up"]),
}


@pytest.mark.feature(
    "Simulation",
    "Every part that a lab replaces is a class handed to the host, and the stack goes through it",
)
@pytest.mark.parametrize("part", PART_METHODS)
def test_each_part_can_be_replaced_by_a_class(part):
    base, methods = PART_METHODS[part]
    mine = recording(base, *methods)
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "5 ms"}, a={part: mine})
        wire.drop(data_segment(2))
        wire.drop(data_segment(2, sender="b"))
        s, t = connected(net, a, b)
        reader, other = b.spawn(read_all, t), a.spawn(read_all, s)
        s.sendall(pattern(50_000))
        s.shutdown(1)
        t.sendall(pattern(50_000, 1))
        t.shutdown(1)
        assert reader.join() == pattern(50_000) and other.join() == pattern(50_000, 1)
        assert set(mine.calls) == set(methods), "the stack goes through each of these"
        assert len(mine.made) == 1, "made once: for the one connection, the one interface, the one host"


def test_the_function_that_finds_a_socket_can_be_replaced():
    asked = []

    def find(connections, listeners, segment):
        asked.append(segment)
        return find_socket(connections, listeners, segment)

    with Network() as net:
        a, b, _ = pair(net, b={"find_socket": find})
        s, t = connected(net, a, b)
        s.sendall(b"hello")
        assert t.recv(9) == b"hello"
        assert len(asked) == 3 and set(asked) == {t.flow}


def test_a_segment_is_for_a_connection_before_a_listener_and_an_address_before_all():
    own, other, peer = (IPAddress.parse(f"10.0.0.{n}") for n in (1, 2, 9))
    connections = {(own, 80, peer, 5000): "the connection"}
    listeners = {(ANY, 80): "every address", (own, 80): "this address"}
    segments = [(own, 80, peer, 5000), (own, 80, peer, 5001), (other, 80, peer, 5000), (own, 81, peer, 5000)]
    found = [find_socket(connections, listeners, segment) for segment in segments]
    assert found == ["the connection", "this address", "every address", None]


def test_the_header_by_which_ip_reads_what_arrives_can_be_replaced():
    read = []

    class Reading(IPv4):
        @classmethod
        def parse(cls, data, offset=0, verify=True):
            read.append(data[offset])
            header = super().parse(data, offset, verify)
            header.header_length = (data[offset] & 0x0F) * 4  # where the host then finds the payload
            return header

    with Network() as net:
        a, b, wire = pair(net, a={"ip_header": Reading})
        s, t = connected(net, a, b)
        t.sendall(b"hello")
        assert s.recv(100) == b"hello"
        net.run()
    assert read == [0x45] * 2, "a SYN with its ACK, and five bytes"


def test_parts_are_made_anew_for_each_connection_and_interface():
    controls = recording(Reno)
    caches = recording(ArpCache)
    with Network() as net:
        a, b, wire = pair(net, a={"congestion": controls, "arp_cache": caches})
        a.interface("eth1", "10.9.0.1/24")
        b.listen(80)
        for _ in range(3):
            a.connect(("b", 80))
        net.run()
        assert len(a.tcp.connections) == 3
        assert controls.made == [(1460, 14600)] * 3
        assert len(caches.made) == 2


class Turtle:
    """A congestion control from nothing but the `Protocol`'s words: one segment at a time, for ever."""

    def __init__(self, mss, initial_window):
        self.cwnd = mss
        self.ssthresh = mss
        self.pacing_rate = None
        self.heard = []

    def on_ack(self, sample):
        self.heard.append(sample)

    def on_loss(self, event):
        self.heard.append(event)

    def on_timeout(self, event):
        self.heard.append(event)

    def on_ecn(self, event):
        self.heard.append(event)

    def on_spurious(self):
        self.heard.append("spurious")


def test_a_congestion_control_of_ones_own_is_obeyed():
    with Network() as net:
        a, b, wire = pair(
            net,
            wire={"delay": "10 ms"},
            a={"congestion": Turtle, "tcp": TcpConfig()},
            b={"tcp": TcpConfig(delayed_ack=0)},
        )
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(14_600))
        s.close()
        reader.join()
        times = [round(shot.time - tape.data(a)[0].time, 9) for shot in tape.data(a)]
        assert times == [round(0.02 * k, 9) for k in range(10)], "one segment a round trip"


def test_a_sample_tells_what_bbr_will_need():
    seen = []

    class Curious(Reno):
        def on_ack(self, sample):
            seen.append(sample)
            super().on_ack(sample)

    with Network() as net:
        a, b, wire = pair(
            net, wire={"delay": "10 ms", "rate": "8 Mbit/s", "queue": "1 MiB"}, a={"congestion": Curious}
        )
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(1_000_000))
        s.close()
        reader.join()
        net.sleep(1)
        assert sum(sample.acked for sample in seen) == 1_000_001, "each byte once, and the FIN"
        assert seen[-1].delivered == 1_000_001
        # 8 Mbit/s is 1 MB/s on the line, of which 1,460 of 1,538 bytes are payload.
        rates = sorted(sample.delivery_rate for sample in seen if not sample.app_limited)[len(seen) // 4 :]
        assert 0.9 < rates[len(rates) // 2] / (1e6 * 1460 / 1538) < 1.1
        assert min(sample.rtt for sample in seen if sample.rtt is not None) >= 20_000_000


class OneWay:
    """A routing table from nothing but the `Protocol`'s words: a list, and brute force."""

    def __init__(self):
        self.list = []

    def add(self, route):
        self.list.append(route)

    def remove(self, route):
        self.list.remove(route)

    def look_up(self, dst):
        fits = [route for route in self.list if dst in route.prefix]
        return max(fits, key=lambda route: route.prefix.length, default=None)

    def routes(self):
        return list(self.list)


def test_a_routing_table_of_ones_own():
    with Network() as net:
        a, b, wire = pair(net, a={"routing_table": OneWay})
        assert a.ping("b") == [0.0]
        assert [type(route) for route in a.ip.routes] == [Route]


# --- several interfaces, several networks ---------------------------------------------------------


def test_a_host_has_several_interfaces_each_with_its_addresses_arp_and_counters():
    with Network() as net:
        m = net.host("m")
        others = []
        for k in range(3):
            other = net.host(f"h{k}", f"10.{k}.0.2/24")
            net.wire(m.interface(f"eth{k}", f"10.{k}.0.1/24", f"10.{k}.0.7/24"), other)
            others.append(other)
        listener = m.listen(80)
        for k, other in enumerate(others):
            s = other.connect((f"10.{k}.0.7", 80))
            t, peer = listener.accept()
            assert peer[0] == f"10.{k}.0.2" and t.getsockname() == (f"10.{k}.0.7", 80)
            assert (
                m[f"eth{k}"].received_frames and len(m.arps[f"eth{k}"].cache.entries(net.simulator.now)) == 1
            )
            s.close()
            assert t.recv(1) == b""
            t.close()
        for k, other in enumerate(others):
            listener_there = other.listen(81)
            s = m.connect((f"10.{k}.0.2", 81))
            assert s.getsockname()[0] == f"10.{k}.0.1", "the address of the interface that it leaves by"
            listener_there.accept()


def test_an_interface_may_have_no_address_yet():
    with Network() as net:
        a, b = net.host("a"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a.interface("eth0"), b)
        assert wire.ends[0].node is a.node
        with pytest.raises(ValueError, match="a has no address"):
            a.address  # noqa: B018
        with pytest.raises(OSError, match="unreachable"):
            a.connect(("10.0.0.2", 80))


def run(seed=11, noise=False):
    with Network(seed=seed) as net:
        a, b, wire = pair(net, wire={"delay": "3 ms", "rate": "20 Mbit/s", "loss": 0.02, "reorder": 0.05})
        if noise:
            c, d = net.host("c", "10.5.0.1/24"), net.host("d", "10.5.0.2/24")
            net.wire(c, d, loss=0.1, delay="1 ms")
            u, v = connected(net, c, d)
            u.sendall(pattern(10_000, 9))
        tape = Tape(net, a, b)
        s, t = connected(net, a, b)
        start = net.now
        reader = b.spawn(read_all, t)
        s.sendall(pattern(100_000))
        s.close()
        reader.join()
        t.close()
        net.run()
        return tape, start


@pytest.mark.feature(
    "Simulation",
    "Two networks in one process know nothing of each other, and the same seed gives the same trace",
)
def test_two_networks_in_one_process_know_nothing_of_each_other():
    alone = run()[0].digest()
    with Network(seed=11) as one, Network(seed=11) as two:
        tapes, sockets = [], []
        for net in (one, two):
            a, b, wire = pair(net, wire={"delay": "3 ms", "rate": "20 Mbit/s", "loss": 0.02, "reorder": 0.05})
            tapes.append(Tape(net, a, b))
        for net in (one, two):  # interleaved, step by step
            s, t = connected(net, net.hosts["a"], net.hosts["b"])
            sockets.append((net, s, t, net.hosts["b"].spawn(read_all, t)))
        for _, s, _, _ in sockets:
            s.sendall(pattern(100_000))
            s.close()
        for net, _, t, reader in sockets:
            reader.join()
            t.close()
            net.run()
        assert tapes[0].digest() == tapes[1].digest() == alone
    assert run(seed=12)[0].digest() != alone


def test_what_others_do_changes_no_bytes_of_a_conversation():
    """Each host, wire and purpose draws from a stream of its own: a neighbour's traffic does not move it."""
    quiet, noisy = run()[0], run(noise=True)[0]
    one = [(shot.sender, shot.flags, shot.body, shot.tcp.src_port) for shot in quiet.tcp("a")]
    two = [(shot.sender, shot.flags, shot.body, shot.tcp.src_port) for shot in noisy.tcp("a")]
    assert one == two


def test_hosts_meet_only_on_a_wire():
    with Network() as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        b.listen(80)
        with pytest.raises(OSError):
            a.connect(("b", 80), timeout=10)
        with pytest.raises(ConnectionRefusedError):
            a.connect(("a", 80))


def test_the_network_leaves_nothing_running():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "5 ms"})
        s, t = connected(net, a, b)
        s.sendall(pattern(1000))
        assert t.recv(2000) == pattern(1000)
        s.close()
        t.close()
        net.run()
        nothing_left(net, (a, b))
