"""The handshake of one connection: SYNs, sent until they are answered.

`connection` decides what a segment means; this file sends the SYN, reads the peer's, and repeats the own one.
What they carry stands in `agreement`. RFC 9293 §3.5 (opening), §3.8.1 (SYNs again). Chapter 18 of the book.
"""

from __future__ import annotations

from collections.abc import Callable

from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.headers.tcp import ACK, SYN, TCP as Header, Options
from labstack.internet.layer import ERRNO, PASSING, Trouble
from labstack.transport.tcp import rules
from labstack.transport.tcp.agreement import Agreement
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.ecn import Ecn
from labstack.transport.tcp.receiver import MAX_FIELD, Receiver
from labstack.transport.tcp.rtt import RttEstimator
from labstack.transport.tcp.transmitter import Transmitter


class Handshake:
    """The opening of a connection whose initial number is `iss`. `give_up` is called when nobody answers."""

    def __init__(self, node: Node, config: TcpConfig, agreed: Agreement, transmitter: Transmitter,
            receiver: Receiver, rtt: RttEstimator, ecn: Ecn, iss: int,
            give_up: Callable[[], None]) -> None:  # fmt: skip
        self.iss = iss
        self.alarm = node.alarm(rules.HANDSHAKE_TIMEOUT, self._on_timeout)
        self._node = node
        self._config = config
        self._agreed = agreed
        self._transmitter = transmitter
        self._receiver = receiver
        self._rtt = rtt
        self._ecn = ecn
        self._give_up = give_up
        self._flags = SYN
        self.syns = 0
        """How many SYNs have left."""
        self._sent_at = 0

    def look_at_the_way(self) -> int:
        """Find out how large a payload the peer may send. What the device takes in one piece, in bytes, is
        returned. Should the way change later to a device that offloads less, that device's driver cuts what
        is too long.

        Raises OSError when there is no way to the peer."""
        mtu, offload = self._transmitter.find_way()
        self._agreed.fit(mtu)
        return offload

    def read_syn(self, header: Header) -> None:
        """Take the peer's initial number and its options."""
        self._ecn.read_syn(header.flags)
        most = self._agreed.read_syn(Options.parse(header.options))
        self._receiver.start(header.seq, most, self._agreed.rcv_shift)

    def answer(self, why: Rule) -> None:
        """Send SYN and ACK, for the peer's SYN has come."""
        self._flags = SYN | ACK
        self.syns = 0
        self.send_syn(why)

    def send_syn(self, why: Rule) -> None:
        """Send the SYN, for the first time or again; with the peer's SYN seen, it acknowledges that."""
        self.syns += 1
        self._sent_at = self._node.clock.now
        self.alarm.set(self._node.clock.now + self._rtt.rto)
        answers = bool(self._flags & ACK)
        ack = self._receiver.rcv_nxt if answers else 0
        window = min(self._receiver.offer(), MAX_FIELD)
        options = self._agreed.for_syn(answers, ack)
        flags = self._flags | self._ecn.for_syn(answers, self.syns > 1)
        self._transmitter.send(flags, self.iss, ack, window, why, b"", options)

    def finish(self) -> None:
        """It is answered: the first round-trip time is known, if the SYN was sent once (RFC 6298 §2.2)."""
        self.alarm.stop()
        if self.syns == 1:
            self._rtt.sample(self._node.clock.now - self._sent_at)

    def end_by(self, kind: Trouble, seq: int) -> int:
        """The errno with which an ICMP error that quotes the number `seq` ends the attempt; 0 if it does not
        quote our SYN, or may pass (RFC 5927 §4.1)."""
        return ERRNO[kind] if seq == self.iss and kind not in PASSING | {Trouble.TOO_BIG} else 0

    def _on_timeout(self) -> None:
        if self.syns > self._config.syn_retries:
            self._give_up()
            return
        self._rtt.back_off()
        self._node.counters.add(rules.RETRANSMIT.name)
        self.send_syn(rules.RETRANSMIT)
