"""A peer that says anything: segments with any flags, and numbers near every edge that there is.

No exception, no table beyond its bound; and when the liar falls silent and the program closes, it is over.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from labstack import TcpConfig
from labstack.core.addresses import IPAddress, IPv4Address
from labstack.core.units import MILLISECOND, SECOND
from labstack.headers.ipv4 import PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, TCP, URG, Options
from labstack.packets import PacketHost

OWN, PEER = (IPv4Address(IPAddress.parse(text)) for text in ("10.0.0.1", "10.0.0.2"))
BUFFER = 8000
CONSTANTS = {
    "receive_buffer": BUFFER,
    "send_buffer": BUFFER,
    "max_holes": 4,
    "msl": SECOND,
    "fin_wait_2": SECOND,
}

flags = st.sampled_from([
    ACK, ACK, ACK, PSH | ACK, FIN | ACK, SYN, SYN | ACK, RST, RST | ACK, 0, FIN, URG | ACK, SYN | FIN, 255,
])  # fmt: skip
near = st.sampled_from(
    [0, 0, 0, 1, -1, 2, 100, -100, 1460, BUFFER - 1, BUFFER, BUFFER + 1, 65_535, 2**31, 2**31 - 1]
)
windows = st.sampled_from([0, 1, 100, 1460, 65_535])
sizes = st.sampled_from([0, 0, 1, 2, 100, 1460, BUFFER])


class LyingPeer(RuleBasedStateMachine):
    """It hears what the host sends, so that it can lie close to the truth."""

    @initialize(
        calls=st.booleans(), iss=st.sampled_from([1000, 2**32 - 1, 2**32 - 1500, 2**31]), linux=st.booleans()
    )
    def begin(self, calls: bool, iss: int, linux: bool) -> None:
        make = TcpConfig.linux if linux else TcpConfig.rfc
        self.packets = PacketHost("10.0.0.1/24", tcp=make(**CONSTANTS))
        self.host = self.packets.host
        self.host.tcp._initial_number = lambda name: iss  # type: ignore[method-assign]
        self.snd_nxt, self.rcv_nxt = iss, iss
        self.socks: list[Any] = []
        self.listener = self.host.listen(80, backlog=2)
        self.listener.setblocking(False)
        self.own_port = 80
        if calls:
            s = self.host.socket()
            s.setblocking(False)
            s.bind(("", 5000))
            s.connect_ex(("10.0.0.2", 5000))
            self.socks.append(s)
            self.own_port = 5000
        self.say(SYN | ACK if calls else SYN, 0, 1 if calls else 0, 0, 65_535, b"")
        self.say(ACK, 0, 0, 0, 65_535, b"")

    def listen_to_it(self) -> None:
        for _, packet in self.packets.sent():
            header = TCP.parse(packet, 20)
            size = len(packet) - 20 - header.header_length + bool(header.flags & (SYN | FIN))
            if header.src_port == self.own_port and not header.flags & RST:
                self.rcv_nxt = (header.seq + size) % 2**32

    @rule(flags=flags, seq=near, ack=near, size=sizes, window=windows, options=st.sampled_from([
        b"", b"", Options(mss=1).pack(), Options(sack_permitted=True).pack(),
        Options(timestamps=(1, 2)).pack(),
        Options(sack=((1, 2**31), (2**32 - 1, 5))).pack(), b"\x05\x03\x00\x00", b"\x08\x0a\xff\xff",
    ]))  # fmt: skip
    def say(self, flags: int, seq: int, ack: int, size: int, window: int, options: bytes) -> None:
        options += bytes(-len(options) % 4)
        at = (self.snd_nxt + seq) % 2**32
        header = TCP(5000, self.own_port, at, (self.rcv_nxt + ack) % 2**32, flags, window, 0, 7, options)
        data = bytes(size)
        total = pseudo_sum(PEER, OWN, PROTO_TCP, 20 + len(options) + size)
        body = header.pack(total, data) + data
        self.packets.receive(IPv4(PEER, OWN, PROTO_TCP, 20 + len(body)).pack() + body)
        if seq == 0:
            self.snd_nxt = (at + size + bool(flags & SYN) + bool(flags & FIN)) % 2**32
        self.listen_to_it()

    @rule(size=st.sampled_from([0, 0, 1000]), end=st.booleans())
    def tell_the_truth(self, size: int, end: bool) -> None:
        """Without that, no conversation would come far."""
        self.say(FIN | ACK if end else ACK, 0, 0, size, 65_535, b"")

    @rule(behind=st.sampled_from([0, 1]))
    def end_without_a_look(self, behind: int) -> None:
        """A FIN that may have crossed the host's own."""
        self.say(FIN | ACK, 0, -behind, 0, 65_535, b"")

    @rule(size=st.sampled_from([1, 1460, BUFFER]))
    def repeat_what_is_under_way(self, size: int) -> None:
        """Say again what came first, and acknowledge a byte of what the host has sent."""
        self.say(PSH | ACK, -size, -1, size, 1000, b"")

    @rule(what=st.sampled_from(["send", "recv", "shut", "accept", "close"]))
    def program(self, what: str) -> None:
        try:
            if what == "accept":
                s, _ = self.listener.accept()
                s.setblocking(False)
                self.socks.append(s)
            for s in self.socks:
                if what == "send":
                    s.send(bytes(3000))
                elif what == "recv":
                    s.recv(1000)
                elif what == "shut":
                    s.shutdown(1)
                elif what == "close":
                    s.close()
        except OSError:
            pass
        if what == "close":
            self.socks.clear()
        self.listen_to_it()

    @rule(ms=st.sampled_from([1, 50, 300, 3000, 100_000]))
    def wait(self, ms: int) -> None:
        self.packets.clock.run(self.packets.clock.now + ms * MILLISECOND)
        self.listen_to_it()

    @invariant()
    def every_table_is_bounded(self) -> None:
        if not hasattr(self, "host"):
            return
        for connection in self.host.tcp.connections.values():
            receiver, sender = connection.receiver, connection.flight.sender
            assert len(receiver._pieces) <= 4
            assert 0 <= receiver.available <= BUFFER + 1 and 0 <= receiver.rcv_wnd <= BUFFER
            assert 0 <= sender.free <= BUFFER
            if connection.flight.open:
                recovery = connection.flight.recovery
                assert 0 <= recovery.in_flight <= recovery.outstanding <= BUFFER + 1
        assert len(self.host.tcp.connections) <= 4

    def teardown(self) -> None:
        """The liar is silent, and the programs close: it ends."""
        if not hasattr(self, "host"):
            return
        for s in self.socks:
            s.close()
        self.listener.close()
        clock = self.packets.clock
        clock.run(clock.now + 1200 * SECOND)
        tcp = self.host.tcp
        assert not tcp.connections and not tcp.listeners and not tcp._ports._taken, tcp.connections
        assert clock.idle
        self.packets.close()


@pytest.mark.feature(
    "TCP",
    "A peer that says anything, near every edge: no exception, tables bounded, and it ends when it is left",
)
def test_a_lying_peer():
    run_state_machine_as_test(LyingPeer, settings=settings(max_examples=150, stateful_step_count=40))
