"""One connection: the state machine of RFC 9293, in the RFC's own order of checks.

A segment comes in: this file decides whether it counts and what state follows. Its bytes go to `receiver`,
its acknowledgement to `flight`, which sends what may then be sent. Nothing is sent on a tick: each segment
answers an arrival, a call of the program, or a named timer. Chapter 18 of the book.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Alarm, Waiters
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.seq import seq_add, seq_le, seq_lt, seq_sub
from labstack.headers.ipv4 import CE
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, TCP as Header, URG, Options
from labstack.internet.layer import NetworkLayer, Trouble
from labstack.transport.tcp import rules
from labstack.transport.tcp.acknowledgement import Acknowledgement
from labstack.transport.tcp.agreement import NOTHING, Agreement
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.ecn import Ecn
from labstack.transport.tcp.flight import Flight, Parts
from labstack.transport.tcp.handshake import Handshake
from labstack.transport.tcp.keepalive import Keepalive
from labstack.transport.tcp.receiver import MAX_FIELD, REFUSED
from labstack.transport.tcp.sender import Segment
from labstack.transport.tcp.states import CLOSING, ESTABLISHED, SYN_SENT, TRANSITIONS, Input, Reset, State
from labstack.transport.tcp.transmitter import Transmitter
from labstack.transport.tcp.tuning import Pool, ReceiveTuning
from labstack.transport.tcp.urgent import Urgent

AFTER_RESET = {State.SYN_RECEIVED: errno.ECONNREFUSED, State.CLOSE_WAIT: errno.EPIPE} | dict.fromkeys(
    (State.CLOSING, State.LAST_ACK, State.TIME_WAIT), 0)  # fmt: skip
"""What the program hears of a reset, where it is not ECONNRESET. In CLOSE-WAIT, as on Linux, that the peer
did not want what came after its FIN."""


class Connection:
    """One end of a TCP connection. `local` and `peer` are (address, port); `iss` is its initial sequence
    number.

    `changed(connection)` is called when it is established, when it enters TIME-WAIT, and when it is over.
    """

    def __init__(self, node: Node, network: NetworkLayer, local: tuple[IPAddress, int],
            peer: tuple[IPAddress, int], config: TcpConfig, parts: Parts, pools: tuple[Pool, Pool],
            iss: int, clock_offset: int, changed: Callable[[Connection], None]) -> None:  # fmt: skip
        self.node = node
        self.local = local
        self.peer = peer
        self.config = config
        self.state = State.CLOSED
        self.error = 0
        """The errno of what ended it, until a program has been told."""
        self.orphan = False
        """The program has let go of it."""
        self.readable = Waiters()
        self.low_water = 1
        """Who waits to read is woken when so many bytes are there, or at the end."""
        self.writable = Waiters()
        self.transmitter = Transmitter(node, network, local, peer, config, self._fit)
        self.receiver = parts.receiver(config)
        self.urgent = Urgent(self.receiver)
        self._closing = parts.closing(config)
        self.names = self.transmitter.names
        self.ecn = Ecn(node, self.names, config)
        self.flight = Flight(node, self.names, config, parts, self.ecn, pools[1], self._send_segment,
            self._time_out)  # fmt: skip
        self._tuning = ReceiveTuning(node.clock, config, self.receiver, self.flight.rtt, pools[0])
        self._changed = changed
        self.agreed = Agreement(config, node.clock, clock_offset)
        """The options: what both ends have offered."""
        self.handshake = Handshake(node, config, self.agreed, self.transmitter, self.receiver,
            self.flight.rtt, self.ecn, iss, lambda: self._finish(errno.ETIMEDOUT))  # fmt: skip
        self._max_window = 0  # the largest that the peer has ever allowed, in bytes
        self._shut_early = False
        self._acknowledgement = Acknowledgement(node, config, self._send_ack)
        self._last_wait = node.alarm(rules.TIME_WAIT_OVER, self._on_last_wait_over)
        # Should the peer live after all, it hears that we have given up, as from Linux.
        self._keepalive = Keepalive(node, config, self._probe_peer, lambda: self.abort(errno.ETIMEDOUT),
            lambda: bool(self.flight.timers))  # fmt: skip
        self._alarms = (self.handshake.alarm, *self._acknowledgement.alarms, self._last_wait,
            self._keepalive.alarm)  # fmt: skip

    # --- what the program asks: RFC 9293 §3.10.1 to §3.10.6
    def open(self) -> None:
        """Connect: send a SYN. Raises OSError when there is no way to the peer."""
        self._move(Input.ACTIVE_OPEN)
        try:
            self.flight.offload = self.handshake.look_at_the_way()
        except OSError:
            self._finish(0)
            raise
        self.handshake.send_syn(rules.ACTIVE_OPEN)

    def accept_syn(self, header: Header) -> None:
        """A listener got this SYN: answer it. Raises OSError when there is no way to the peer."""
        self.flight.offload = self.handshake.look_at_the_way()
        self._move(Input.PASSIVE_OPEN)
        self._answer_syn(header, rules.PASSIVE_OPEN)

    def accept_cookie(self, syn: Header) -> None:
        """A peer brought back the number that answered its SYN, of which nothing was kept: be in
        SYN-RECEIVED, as if it had been. Raises OSError when there is no way to the peer."""
        self.flight.offload = self.handshake.look_at_the_way()
        self._move(Input.PASSIVE_OPEN)
        self.handshake.read_syn(syn)
        self.receiver.offer()  # what the answer offered
        self._move(Input.SYN)

    def configure(self, config: TcpConfig) -> None:
        """The program changes constants of a connection that is there: Nagle, keepalive, buffers and more."""
        self.config = self._acknowledgement.config = self.transmitter.config = self._keepalive.config = config
        self.flight.configure(config)
        if not config.auto_tuning:
            self._tuning.stop()
            self.receiver.limit = config.receive_buffer
        if self.state.synchronized:
            self._keepalive.start()

    @property
    def timers(self) -> list[Alarm]:
        """Those that are set."""
        return [*self.flight.timers, *(alarm for alarm in self._alarms if alarm.deadline is not None)]

    @property
    def iss(self) -> int:
        """Its initial sequence number."""
        return self.handshake.iss

    @property
    def mss(self) -> int:
        """The largest payload that it sends in a segment, in bytes."""
        return self.agreed.mss

    @property
    def opening(self) -> bool:
        """The handshake is under way."""
        return self.state is SYN_SENT or self.state is State.SYN_RECEIVED

    def can_read(self) -> bool:
        """`read` would not have to wait: there are bytes, or the end, or an error."""
        return self.receiver.available > 0 or (not self.state.can_receive and not self.opening)

    def has_room(self) -> bool:
        """`write` would take at least a byte, or raise."""
        return self.flight.sender.free > 0 or (not self.state.can_send and not self.opening)

    def can_write(self) -> bool:
        """It is worth waking a program that waits to write: a third of the buffer is free, as on Linux. One
        that is woken for every few bytes gets nothing else done."""
        if self.opening:
            return False
        return self.flight.sender.free * 3 >= self.flight.sender.limit or not self.state.can_send

    def read(self, size: int, peek: bool = False) -> bytes:
        """Up to `size` bytes that have arrived in order; b"" when there are none (see `can_read`)."""
        data = bytes(self.receiver.peek(self.urgent.up_to(size, peek)))
        if not peek:
            self._consume(len(data))
        return data

    def read_into(self, buffer: memoryview) -> int:
        """`read` into a buffer of bytes, without a copy in between; how many there were."""
        data = self.receiver.peek(self.urgent.up_to(len(buffer)))
        size = len(data)
        buffer[:size] = data
        self._consume(size)
        return size

    def _consume(self, size: int) -> None:
        self.receiver.consume(size)
        if self._tuning.on:
            self._tuning.read(size)
        self.urgent.fetch(self.config.oob_inline)
        if self.state.can_receive and self.receiver.wants_update():
            self._send_ack(rules.WINDOW_UPDATE)

    def write(self, data: Buffer, urgent: bool = False) -> int:
        """Queue as much as there is room for, and send what may be sent; how many bytes were taken. `urgent`:
        the last of them is what the peer's program should look at (RFC 9293 §3.8.5).

        Raises BrokenPipeError when the program, or the peer by a reset, has closed this direction.
        """
        if (not self.state.can_send and not self.opening) or self._shut_early:
            raise BrokenPipeError(errno.EPIPE, "the connection is closed for writing")
        sender = self.flight.sender
        taken, before = sender.write(data), sender.snd_nxt
        if urgent and taken == len(data) and self.state.can_send:
            self.urgent.snd_up = seq_add(sender.snd_nxt, sender.unsent)
            self.flight.urge(True)
        if self.state.can_send:
            self.flight.output(rules.DATA)
            if urgent and sender.snd_nxt == before:
                self._send_ack(rules.URGENT)  # no byte may go, but the peer's program hears of it
        return taken

    def shutdown(self) -> None:
        """The program has nothing more to send: a FIN follows the last byte."""
        if self.state is SYN_SENT:
            self._finish(0)
        elif self.state is State.SYN_RECEIVED:
            self._shut_early = True
            self.flight.sender.finish()
        elif self.state.can_send:
            self._move(Input.CLOSE)
            self.flight.sender.finish()
            self.flight.output(rules.CLOSE)

    def close(self) -> None:
        """The program lets go of the connection. What it has written is still delivered; what it has not read
        is lost, and the peer is told so by a reset (RFC 9293 §3.6.1, RFC 2525 §2.17)."""
        if self.orphan:
            return
        self.orphan = self.flight.orphan = True
        if self.receiver.available and self.state.synchronized:
            self.abort()
            return
        self.shutdown()
        if self.state is State.FIN_WAIT_2:
            self._last_wait.set(self.node.clock.now + self.config.fin_wait_2)

    def abort(self, error: int = 0) -> None:
        """End at once, and tell the peer by a reset."""
        half_open = self.state is State.SYN_RECEIVED
        if half_open or (self.state.synchronized and self.state is not State.TIME_WAIT):
            self._reset(self._seq(), self.receiver.rcv_nxt, rules.ABORT)
        self._finish(error)

    def abort_silently(self) -> None:
        """End at once and send nothing: the host goes away, or its table is full."""
        self._finish(0)

    # --- a segment arrives: RFC 9293 §3.10.7
    def receive(self, header: Header, data: Buffer, ecn: int = 0) -> None:
        """Take a segment of this connection; `data` is borrowed, `ecn` the IP header's code point."""
        if self.state is SYN_SENT:
            self._receive_in_syn_sent(header, data)
            return
        if self.config.keepalive:
            self._keepalive.heard()
        flags, size = header.flags, len(data)
        options = Options.parse(header.options) if header.options else None
        if self.agreed.timestamps.on and (untimely := self.agreed.untimely(flags, options)):
            self._on_untimely(header, size, untimely)
            return
        if size and ecn != CE and self._is_next(header, flags):
            self.agreed.learn(header.seq, options)
            self._process_text(header.seq, data, False)
            return
        # First, check the sequence number; second, check the RST bit: for a reset, `closing` does both.
        if flags & RST:
            self._on_reset(header.seq)
            return
        if not self._acceptable(header.seq, size + (flags & FIN) + (flags >> 1 & 1)):
            self._not_acceptable(header, data)
            return
        self.agreed.learn(header.seq, options)
        if self.ecn.agreed:
            self.ecn.heard(ecn, flags, size)
        # Third, security: there is none. Fourth, check the SYN bit (RFC 5961 §4).
        if flags & SYN:
            self.node.drop(rules.BAD_SYN, **self.names, seq=header.seq)
            self._acknowledgement.challenge(rules.CHALLENGE_SYN)
            return
        # Fifth, check the ACK field.
        if not flags & ACK:
            self.node.drop(rules.NO_ACK, **self.names)
            return
        if not self._process_ack(header, size, options):
            return
        # Sixth, check the URG bit.
        if flags & URG and self.state.can_receive and self.urgent.heard(header.seq, header.urgent):
            self.node.note(rules.URGENT_HEARD, **self.names, seq=header.seq)
            self.readable.wake()
        # Seventh, process the segment's text; eighth, check the FIN bit.
        if size or flags & FIN:
            if self.state.can_receive:
                self._process_text(header.seq, data, flags & FIN != 0)
            else:
                self.node.drop(rules.AFTER_FIN, **self.names)
        if self.state.has_flight:
            self.flight.output_after_ack()

    def _is_next(self, header: Header, flags: int) -> bool:
        """The ordinary case: the next bytes of a stream that runs one way. Nothing is under way to the peer,
        nothing waits to be sent, and the window it allows is the same: of the checks below, only the seventh
        would find anything to do (Jacobson's "header prediction"; a test holds it to the long way)."""
        sender, receiver = self.flight.sender, self.receiver
        return (
            flags & ~PSH == ACK
            and header.seq == receiver.rcv_nxt
            and header.ack == sender.snd_una == sender.snd_nxt
            and header.window << self.agreed.snd_shift == sender.snd_wnd
            and self.state is ESTABLISHED
            and receiver.rcv_wnd > 0
            and not sender.unsent
        )

    def _acceptable(self, seq: int, length: int) -> bool:
        """RFC 9293 §3.10.7.4, the table of four cases: does any of it lie in the window?"""
        begin = seq_sub(seq, self.receiver.rcv_nxt)
        window = self.receiver.rcv_wnd
        if length == 0:
            return 0 <= begin < window or begin == 0
        return begin < window and begin + length > 0

    def _on_untimely(self, header: Header, size: int, why: Rule) -> None:
        """Its timestamps are missing, or old: drop it, and tell whoever sent old bytes what is expected."""
        self.node.drop(why, **self.names, seq=header.seq)
        if why is rules.OLD_TIMESTAMP and (size or header.flags & FIN):
            self._send_ack(why)
        elif why is rules.OLD_TIMESTAMP:
            self._acknowledgement.challenge(why)

    def _not_acceptable(self, header: Header, data: Buffer) -> None:
        """Say what is expected. What the segment acknowledges counts all the same, if it is in place: it may
        probe a window that is shut, or follow such a probe, or keep the connection alive (§3.10.7.4, RFC 9293
        §3.8.4)."""
        self.node.drop(rules.OUT_OF_WINDOW, **self.names, seq=header.seq)
        flags, size, at = header.flags, len(data), seq_sub(header.seq, self.receiver.rcv_nxt)
        if flags & SYN:
            self._on_old_syn(header)
            return
        if self.state is State.TIME_WAIT and flags & FIN:
            # The last ACK was lost: answer again, and wait anew.
            self._send_ack(rules.FIN_AGAIN)
            self._last_wait.set(self.node.clock.now + 2 * self.config.msl)
            return
        if flags & ACK and abs(at) <= 1 and not self._process_ack(header, 1):
            return
        if size and at + size <= 0:
            self.receiver.accept(header.seq, data, False)  # nothing new, but the ACK tells that it came twice
        if size or flags & FIN:
            # Its ACK was lost, or it is a probe: the peer has to hear at once.
            self._send_ack(rules.OLD_OR_EARLY)
        else:
            self._acknowledgement.challenge(rules.OLD_OR_EARLY)
        if self.state.has_flight:
            self.flight.output(rules.DATA)

    def _on_old_syn(self, header: Header) -> None:
        """The SYN that opened this connection comes again, or another one does."""
        if self.state is not State.SYN_RECEIVED or header.seq != seq_add(self.receiver.rcv_nxt, -1):
            self._acknowledgement.challenge(rules.CHALLENGE_SYN)
        elif header.flags & ACK:
            # Both ends connect at the same time: this is the answer to our SYN (RFC 9293 §3.5, figure 7).
            self._process_ack(header, 1)
        else:
            self.ecn.read_syn(header.flags)  # one that comes again may ask for less
            self.handshake.send_syn(rules.SYN_AGAIN)

    def _receive_in_syn_sent(self, header: Header, data: Buffer) -> None:
        """RFC 9293 §3.10.7.3."""
        flags = header.flags
        acknowledges = bool(flags & ACK) and header.ack == seq_add(self.iss, 1)
        if flags & ACK and not acknowledges:
            self.node.drop(rules.BAD_ACK, **self.names, ack=header.ack)
            if not flags & RST:
                self._reset(header.ack, None, rules.RESET_BAD_ACK)
        elif flags & RST:
            if acknowledges:
                self._finish(errno.ECONNREFUSED)
            else:
                self.node.drop(rules.BAD_RESET, **self.names)
        elif not flags & SYN:
            self.node.drop(rules.NO_SYN, **self.names)
        elif acknowledges:
            self.handshake.read_syn(header)
            self._move(Input.SYN_ACK)
            self._established(header.seq, header.window)  # a SYN's window is never scaled
            self._send_ack(rules.HANDSHAKE_DONE)
            if len(data) or flags & FIN:
                self._process_text(seq_add(header.seq, 1), data, flags & FIN != 0)
            if self.state.has_flight:
                self.flight.output(rules.DATA)
        else:
            # Both ends connect at the same time: answer the SYN, and keep the own number.
            self._answer_syn(header, rules.SIMULTANEOUS_OPEN)

    def _on_reset(self, seq: int) -> None:
        """The second check, as `closing` sees it: the RST bit (RFC 9293 §3.10.7.4, RFC 5961 §3.2)."""
        what = self._closing.reset(seq, self.receiver.rcv_nxt, self.receiver.rcv_wnd)
        if what is Reset.BELIEVED:
            self._finish(AFTER_RESET.get(self.state, errno.ECONNRESET))
        elif what is Reset.CHALLENGED:
            self.node.drop(rules.BAD_RESET, **self.names, seq=seq)
            self._acknowledgement.challenge(rules.CHALLENGE_RST)
        else:
            self.node.drop(rules.OUT_OF_WINDOW, **self.names, seq=seq)

    def _process_ack(self, header: Header, size: int, options: Options | None = None) -> bool:
        """The fifth check. False if the segment, or the connection, is done with."""
        ack = header.ack
        if not self.state.synchronized:  # SYN-RECEIVED
            if ack != seq_add(self.iss, 1):
                self.node.drop(rules.BAD_ACK, **self.names, ack=ack)
                self._reset(ack, None, rules.RESET_BAD_ACK)
                return False
            self._move(Input.ACK_OF_SYN)
            self._established(header.seq, header.window << self.agreed.snd_shift)
        flight = self.flight
        sender = flight.sender
        if seq_lt(sender.snd_nxt, ack) or seq_sub(sender.snd_una, ack) > self._max_window:
            # It acknowledges what was never sent, or what was acknowledged so long ago that no window reaches
            # back to it: an attacker guesses (RFC 5961 §5). Answer with an ACK, and drop it.
            self.node.drop(rules.BAD_ACK, **self.names, ack=ack)
            self._acknowledgement.challenge(rules.BAD_ACK)
            return False
        bare = not size and not header.flags & FIN
        window = header.window << self.agreed.snd_shift
        self._max_window = max(self._max_window, window)
        if self.ecn.agreed:
            flight.heed_marks(header.flags, ack)
        besides = self.agreed.read_ack(options) if options is not None else NOTHING
        acked = flight.acknowledged(header.seq, ack, window, bare, besides)
        if acked and self.urgent.snd_up is not None and seq_le(self.urgent.snd_up, ack):
            self.urgent.snd_up = None
            flight.urge(False)
        if acked and self.writable and self.can_write():
            self.writable.wake()
        return self.state.can_send or self._after_own_fin()

    def _after_own_fin(self) -> bool:
        """In the states behind our FIN: has it been acknowledged? False when the connection is over."""
        sender = self.flight.sender
        if sender.unsent or sender.snd_una != sender.snd_nxt:
            return True
        if self.state.has_flight:
            self._move(Input.ACK_OF_FIN)
            if self.state is State.FIN_WAIT_2 and self.orphan:
                self._last_wait.set(self.node.clock.now + self.config.fin_wait_2)
        if self.state is State.CLOSED:
            self._finish(0)
        return self.state is not State.CLOSED

    def _process_text(self, seq: int, data: Buffer, fin: bool) -> None:
        """The seventh and the eighth check: bytes and FIN."""
        receiver = self.receiver
        if self.orphan and len(data):
            # The program has closed: nobody will ever read this (RFC 9293 §3.6.1).
            self.abort()
            return
        beyond = seq_sub(seq, receiver.rcv_nxt) + len(data) - receiver.rcv_wnd
        if beyond > 0:
            self.node.drop(rules.BEYOND_WINDOW, **self.names, length=beyond)
            data, fin = memoryview(data)[:-beyond], False
        before = receiver.available
        urgency = receiver.accept(seq, data, fin)
        if self.urgent.mark is not None:
            self.urgent.fetch(self.config.oob_inline)
        if receiver.finished:
            self._move(Input.FIN)
        if receiver.finished or before != receiver.available >= self.low_water:
            self.readable.wake()
        if urgency is REFUSED:
            self.node.drop(rules.TOO_MANY_HOLES, **self.names)
        self._acknowledgement.owe(urgency, rules.FIN_RECEIVED if receiver.finished else rules.OUT_OF_ORDER)
        if receiver.finished and self.state is State.CLOSED:
            self._finish(0)

    # --- the handshake
    def _established(self, seq: int, window: int) -> None:
        """The handshake is through: from now on bytes flow."""
        self.handshake.finish()
        self.flight.start(self.iss, self.mss, self.handshake.syns > 1, self.agreed.sack)
        self.flight.sender.acknowledge(seq, seq_add(self.iss, 1), window)
        self._max_window = window
        self._keepalive.start()
        if self._shut_early:
            self._move(Input.CLOSE)
        self.writable.wake()
        self.readable.wake()
        self._changed(self)

    def _answer_syn(self, header: Header, why: Rule) -> None:
        self.handshake.read_syn(header)
        self._move(Input.SYN)
        self.handshake.answer(why)

    def _probe_peer(self) -> None:
        self._send(ACK, seq_add(self.flight.sender.snd_nxt, -1), rules.KEEPALIVE_PROBE)

    # --- sending
    def _send_segment(self, segment: Segment, why: Rule, new: bool) -> None:
        """What `flight` sends: a segment of the stream, with an acknowledgement on its back. `new`: none of
        it was sent before, and it probes nothing."""
        flags, size = ACK, len(segment.data)
        told, ecn = self.ecn.for_data() if new and size and self.ecn.agreed else (0, 0)
        if segment.fin:
            flags |= FIN
        if size and segment.push:
            flags |= PSH
        segment_size = self.mss if size and self.flight.offload else 0
        self._send(flags | told, segment.seq, why, segment.data, segment_size, ecn)

    def _send_ack(self, why: Rule) -> None:
        self._send(ACK, self._seq(), why)

    def _seq(self) -> int:
        """The number of a segment without bytes: SND.NXT, but not beyond the peer's window, where a probe of
        a shut one has brought it. Such a segment would be dropped, with all that it acknowledges (RFC 9293
        §3.10.7.4), and then a peer that reads only once it has sent would do neither for ever."""
        # Half-open, nothing but the SYN was sent: `sender` begins when the handshake is through.
        sender, half_open = self.flight.sender, not self.state.synchronized
        beyond = max(seq_sub(sender.snd_nxt, sender.snd_una) - sender.snd_wnd, 0)
        return seq_add(self.iss, 1) if half_open else seq_add(sender.snd_nxt, -beyond)

    def _send(self, flags: int, seq: int, why: Rule, data: Buffer = b"", segment_size: int = 0,
            ecn: int = 0) -> None:  # fmt: skip
        """Send a segment that acknowledges all that has come, and offers the window."""
        receiver = self.receiver
        ack, offered = receiver.rcv_nxt, receiver.offer() >> self.agreed.rcv_shift
        window = offered if offered < MAX_FIELD else MAX_FIELD
        self._acknowledgement.sent()
        options = self.agreed.for_segment(ack, receiver.blocks, len(data))
        flags |= self.ecn.echo
        urgent = 0
        if self.urgent.snd_up is not None and (urgent := self.urgent.pointer(seq)):
            flags, segment_size = flags | URG, 0
        self.transmitter.send(flags, seq, ack, window, why, data, options, segment_size, ecn, urgent)

    def _reset(self, seq: int, ack: int | None, why: Rule) -> None:
        options = self.agreed.for_segment(ack or 0, (), 0)
        self.transmitter.send(RST if ack is None else RST | ACK, seq, ack or 0, 0, why, b"", options)

    # --- the end
    def _wait_twice_msl(self) -> None:
        self.flight.stop()
        self._tuning.stop()
        self._keepalive.alarm.stop()
        self._last_wait.set(self.node.clock.now + 2 * self.config.msl)
        self._changed(self)

    def _on_last_wait_over(self) -> None:
        """TIME-WAIT, or a FIN-WAIT-2 that nobody owns any more, has lasted long enough."""
        if self.state is State.TIME_WAIT:
            self._move(Input.TIME_OUT)
        self._finish(0)

    def _time_out(self) -> None:
        """The peer does not answer any more, or does not let go (R2 of RFC 9293 §3.8.3)."""
        if self.orphan:
            self._reset(self._seq(), self.receiver.rcv_nxt, rules.ABORT)
        self._finish(errno.ETIMEDOUT)

    def _finish(self, error: int) -> None:
        """The connection is over: free its timers, and wake whoever waits."""
        if self.state is not State.CLOSED:
            self._move(Input.ABORT)
        self.error = error or self.error
        self.flight.stop()
        self._tuning.stop()
        for alarm in self._alarms:
            alarm.stop()
        self.readable.wake()
        self.writable.wake()
        self._changed(self)

    def on_trouble(self, kind: Trouble, seq: int, mtu: int = 0) -> None:
        """An ICMP error quotes a segment of this connection. While it opens, an error ends it, if it quotes
        the SYN that was sent (RFC 5927 §4.1); later it may pass, and only the time-out ends it (RFC 9293
        §3.9.2.2). A link that is too narrow is believed by one that quotes what is under way (RFC 5927
        §7)."""
        if self.state is SYN_SENT and (error := self.handshake.end_by(kind, seq)):
            self._finish(error)
        elif kind is Trouble.TOO_BIG and self.flight.is_under_way(seq):
            self.transmitter.network.narrow(self.peer[0], mtu)
            self._fit()
        else:
            self.node.drop(rules.SOFT_ERROR, **self.names, trouble=kind.name)

    def _fit(self) -> None:
        """The path carries less than was known: from here on shorter segments."""
        self.agreed.fit(self.transmitter.find_way()[0])
        if self.mss < self.flight.mss:
            self.flight.narrow(self.mss)

    def _move(self, what: Input) -> None:
        before = self.state
        self.state = self._closing.after(before, what) if what in CLOSING else TRANSITIONS[before, what]
        if self.node.events:
            self.node.events.emit(rules.STATE, **self.names, before=before.value, after=self.state.value,
                why=what.value)  # fmt: skip
        if self.state is State.TIME_WAIT:
            self._wait_twice_msl()

    def __repr__(self) -> str:
        return f"<connection {self.names['local']} → {self.names['peer']} {self.state.value}>"
