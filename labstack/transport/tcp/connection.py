"""One connection: the state machine of RFC 9293, in the RFC's own order of checks, and its timers.

The roles stand around it. A segment comes in: this file decides whether it counts and what state follows, `receiver`
takes its bytes, `sender` and `recovery` its acknowledgement, `congestion` what that means for the window; then `output`
sends whatever may be sent now. Nothing is sent on a tick: each segment answers an arrival, a call, or a named timer.
Chapter 18 of the book.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.clock import Alarm, Waiters
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.seq import seq_add, seq_lt, seq_sub
from labstack.core.units import SECOND
from labstack.headers.ipv4 import PROTO_TCP
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, Options, with_checksum
from labstack.headers.tcp import TCP as Header
from labstack.internet.layer import NetworkLayer, Trouble
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion import INFINITE, CongestionControl
from labstack.transport.tcp.receiver import MAX_SHIFT, Acknowledge, Receiver, scale_for
from labstack.transport.tcp.recovery import Recovery
from labstack.transport.tcp.rtt import RttEstimator
from labstack.transport.tcp.sender import Segment, Sender
from labstack.transport.tcp.states import CAN_RECEIVE, CAN_SEND, SYNCHRONIZED, TRANSITIONS, Input, State

DEFAULT_MSS = 536
"""What a peer takes that announces nothing (RFC 9293 §3.7.1)."""
CHALLENGES = SECOND // 2
"""At most one challenge ACK in so many nanoseconds (RFC 5961 §10)."""

_ERRNO = {
    Trouble.PORT_UNREACHABLE: errno.ECONNREFUSED,
    Trouble.PROTOCOL_UNREACHABLE: errno.ECONNREFUSED,
    Trouble.PROHIBITED: errno.ECONNREFUSED,
    Trouble.HOST_UNREACHABLE: errno.EHOSTUNREACH,
    Trouble.NET_UNREACHABLE: errno.ENETUNREACH,
}
_HAS_FLIGHT = frozenset(
    {State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK}
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Parts:
    """The replaceable parts of a connection: classes, made anew for each one."""

    receiver: Callable[[TcpConfig], Receiver]
    sender: Callable[[TcpConfig], Sender]
    rtt: Callable[[TcpConfig], RttEstimator]
    recovery: Callable[[int], Recovery]
    congestion: Callable[[int, int], CongestionControl]


class Connection:
    """One end of a TCP connection. `local` and `peer` are (address, port).

    `changed(connection)` is called when it is established, and when it is closed and may be forgotten.
    """

    def __init__(
        self,
        node: Node,
        network: NetworkLayer,
        local: tuple[IPAddress, int],
        peer: tuple[IPAddress, int],
        config: TcpConfig,
        parts: Parts,
        iss: int,
        changed: Callable[[Connection], None],
    ) -> None:
        self.node = node
        self.network = network
        self.local = local
        self.peer = peer
        self.config = config
        self.parts = parts
        self.state = State.CLOSED
        self.error = 0
        self.orphan = False
        self._shut = False
        self.iss = iss
        self.receiver = parts.receiver(config)
        self.sender = parts.sender(config)
        self.rtt = parts.rtt(config)
        self.recovery: Recovery
        self.congestion: CongestionControl
        self.mss = DEFAULT_MSS
        self.readable = Waiters()
        self.writable = Waiters()
        self.retransmissions = 0
        self._changed = changed
        self._names = {"local": f"{local[0]}:{local[1]}", "peer": f"{peer[0]}:{peer[1]}"}
        self._syn_flags = SYN
        self._rcv_shift = scale_for(config.receive_buffer) if config.window_scaling else 0
        self._snd_shift = 0
        self._scaling = config.window_scaling
        self._tries = 0
        self._cwnd_limited = False
        self._app_limited = False
        self._challenged_at = -CHALLENGES
        self._phase = ""
        clock, events = node.clock, node.events
        self._retransmission = Alarm(clock, events, rules.RETRANSMISSION_TIMEOUT, self._on_retransmission_timeout)
        self._persist = Alarm(clock, events, rules.PERSIST_TIMEOUT, self._on_persist_timeout)
        self._delayed_ack = Alarm(clock, events, rules.DELAYED_ACK, self._acknowledge)
        self._second_segment = Alarm(clock, events, rules.SECOND_SEGMENT, self._acknowledge)
        self._last_wait = Alarm(clock, events, rules.TIME_WAIT_OVER, self._on_last_wait_over)

    # --- what the program asks ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect: send a SYN. Raises OSError when there is no way to the peer."""
        self._move(Input.ACTIVE_OPEN)
        try:
            self._send_syn(rules.ACTIVE_OPEN)
        except OSError:
            self._finish(0)
            raise

    def accept_syn(self, header: Header) -> None:
        """A listener got this SYN: answer it."""
        self.state = State.LISTEN
        self._read_syn(header)
        self._move(Input.SYN)
        self._syn_flags = SYN | ACK
        self._send_syn(rules.PASSIVE_OPEN)

    def can_read(self) -> bool:
        """`read` would not have to wait: there are bytes, or the end, or an error."""
        return self.receiver.available > 0 or self.state not in CAN_RECEIVE and not self._opening()

    def can_write(self) -> bool:
        """`write` would not have to wait: there is room, or an error."""
        return (self.sender.free > 0 or self.state not in CAN_SEND) and not self._opening()

    def read(self, size: int, peek: bool = False) -> bytes:
        """Up to `size` bytes that have arrived in order; b"" when there are none (see `can_read`)."""
        data = self.receiver.read(size, peek)
        if not peek and self.state in CAN_RECEIVE and self.receiver.wants_update():
            self._send_ack(rules.WINDOW_UPDATE)
        return data

    def write(self, data: Buffer) -> int:
        """Queue as much as there is room for, and send what may be sent; how many bytes were taken.

        Raises BrokenPipeError when the program, or the peer by a reset, has closed this direction.
        """
        if self.state not in CAN_SEND and not self._opening():
            raise BrokenPipeError(errno.EPIPE, "the connection is closed for writing")
        taken = self.sender.write(data)
        if self.state in CAN_SEND:
            self.output(rules.DATA)
        return taken

    def shutdown(self) -> None:
        """The program has nothing more to send: a FIN follows the last byte."""
        if self.state is State.SYN_SENT:
            self._move(Input.CLOSE)
            self._finish(0)
        elif self.state in CAN_SEND:
            self._move(Input.CLOSE)
            self.sender.finish()
            self.output(rules.CLOSE)
        elif self.state is State.SYN_RECEIVED:
            self._shut = True
            self.sender.finish()

    def close(self) -> None:
        """The program lets go of the connection. What it has written is still delivered; what it has not read is lost,
        and the peer is told so by a reset (RFC 9293 §3.6.1, RFC 2525 §2.17)."""
        if self.orphan:
            return
        self.orphan = True
        if self.receiver.available and self.state in SYNCHRONIZED:
            self.abort()
            return
        self.shutdown()
        if self.state is State.FIN_WAIT_2:
            self._last_wait.set(self.node.clock.now + self.config.fin_wait_2)

    def abort(self) -> None:
        """End at once, and tell the peer by a reset."""
        if self.state in SYNCHRONIZED or self.state is State.SYN_RECEIVED:
            self._send(RST | ACK, self.sender.snd_nxt if self.state in SYNCHRONIZED else seq_add(self.iss, 1), rules.ABORT)
        self._finish(0)

    def abort_silently(self) -> None:
        """End at once and send nothing: the host goes away, or its table is full."""
        self._finish(0)

    def _opening(self) -> bool:
        return self.state is State.SYN_SENT or self.state is State.SYN_RECEIVED

    # --- a segment arrives: RFC 9293 §3.10.7 -------------------------------------------------------------------------

    def receive(self, header: Header, data: Buffer) -> None:
        """Take a segment of this connection; `data` is borrowed."""
        if self.state is State.SYN_SENT:
            self._receive_in_syn_sent(header, data)
            return
        flags = header.flags
        # First, check the sequence number.
        size = len(data)
        if not self._acceptable(header.seq, size + (flags & FIN) + (flags >> 1 & 1)):
            self._not_acceptable(header, size)
            return
        # Second, check the RST bit (RFC 5961 §3: only the exact number is believed).
        if flags & RST:
            if header.seq == self.receiver.rcv_nxt:
                self._on_reset()
            else:
                self._challenge(rules.CHALLENGE_RST)
            return
        # Third, security: none. Fourth, check the SYN bit (RFC 5961 §4).
        if flags & SYN:
            self._on_syn_again(header)
            return
        # Fifth, check the ACK field.
        if not flags & ACK:
            self.node.drop(rules.NO_ACK, **self._names)
            return
        if not self._process_ack(header, size):
            return
        # Sixth, the URG bit: not used here. Seventh, process the segment's text; eighth, check the FIN bit.
        if (size or flags & FIN) and self.state in CAN_RECEIVE:
            self._process_text(header, data)
        elif size and self.state is not State.TIME_WAIT:
            self.node.drop(rules.AFTER_FIN, **self._names)
        if self.state in _HAS_FLIGHT:
            self.output(rules.DATA)

    def _acceptable(self, seq: int, length: int) -> bool:
        """RFC 9293 §3.10.7.4, the table of four cases: does any of it lie in the window?"""
        nxt, wnd = self.receiver.rcv_nxt, self.receiver.rcv_wnd
        begin = seq_sub(seq, nxt)
        if length == 0:
            return begin == 0 if wnd == 0 else 0 <= begin < wnd
        if wnd == 0:
            return False
        return begin < wnd and begin + length > 0

    def _not_acceptable(self, header: Header, size: int) -> None:
        self.node.drop(rules.OUT_OF_WINDOW, **self._names, seq=header.seq)
        if header.flags & RST:
            return
        if self.state is State.TIME_WAIT and header.flags & FIN:
            # The last ACK was lost: answer again, and wait anew.
            self._send_ack(rules.FIN_AGAIN)
            self._last_wait.set(self.node.clock.now + 2 * self.config.msl)
            return
        if header.flags & ACK and self.state in _HAS_FLIGHT and not size and header.seq == seq_add(self.receiver.rcv_nxt, -1):
            self._process_ack(header, size)  # a keep-alive's acknowledgement and window count
        if size or header.flags & FIN:
            # Its ACK may have got lost, or it probes a zero window: RFC 9293 says to acknowledge at once.
            # With a zero window, what it acknowledges still counts (§3.10.7.4).
            if self.receiver.rcv_wnd == 0 and header.flags & ACK and header.seq == self.receiver.rcv_nxt:
                self._process_ack(header, size)
            self._send_ack(rules.OLD_OR_EARLY)
        else:
            self._challenge(rules.OLD_OR_EARLY)

    def _receive_in_syn_sent(self, header: Header, data: Buffer) -> None:
        """RFC 9293 §3.10.7.3."""
        flags = header.flags
        acknowledges = bool(flags & ACK) and header.ack == seq_add(self.iss, 1)
        if flags & ACK and not acknowledges:
            self.node.drop(rules.BAD_ACK, **self._names, ack=header.ack)
            if not flags & RST:
                self._send_bare(RST, header.ack, 0, rules.RESET_BAD_ACK)
            return
        if flags & RST:
            if acknowledges:
                self._finish(errno.ECONNREFUSED)
            else:
                self.node.drop(rules.BAD_RESET, **self._names)
            return
        if not flags & SYN:
            self.node.drop(rules.NO_SYN, **self._names)
            return
        self._read_syn(header)
        if acknowledges:
            self._move(Input.SYN_ACK)
            self._established(header)
            self.sender.acknowledge(header.seq, header.ack, header.window)  # a SYN's window is never scaled
            self._send_ack(rules.HANDSHAKE_DONE)
            if len(data) or flags & FIN:
                self._process_text(header, data, seq_add(header.seq, 1))
            self.output(rules.DATA)
        else:
            # Both ends connect at the same time: answer the SYN, and keep the own number.
            self._move(Input.SYN)
            self._syn_flags = SYN | ACK
            self._send_syn(rules.SIMULTANEOUS_OPEN)

    def _on_reset(self) -> None:
        if self.state is State.SYN_RECEIVED:
            self._finish(errno.ECONNREFUSED)
        elif self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            self._finish(0)
        else:
            self._finish(errno.ECONNRESET)

    def _on_syn_again(self, header: Header) -> None:
        if self.state is State.SYN_RECEIVED and header.seq == seq_add(self.receiver.rcv_nxt, -1):
            self._send_syn(rules.SYN_AGAIN)
        else:
            self._challenge(rules.CHALLENGE_SYN)

    def _process_ack(self, header: Header, size: int) -> bool:
        """The fifth check. False if the segment is to be dropped."""
        if self.state is State.SYN_RECEIVED:
            if header.ack != seq_add(self.iss, 1):
                self.node.drop(rules.BAD_ACK, **self._names, ack=header.ack)
                self._send_bare(RST, header.ack, 0, rules.RESET_BAD_ACK)
                return False
            self._move(Input.ACK_OF_SYN)
            self._established(header)
        sender, ack = self.sender, header.ack
        if seq_lt(sender.snd_nxt, ack):
            # It acknowledges what was never sent: RFC 9293 says to answer with an ACK, and drop it.
            self.node.drop(rules.BAD_ACK, **self._names, ack=ack)
            self._challenge(rules.BAD_ACK)
            return False
        window = header.window << self._snd_shift
        before = sender.snd_wnd
        una = sender.snd_una
        duplicate = (
            ack == una != sender.snd_nxt and not size and not header.flags & (SYN | FIN) and window == before and before > 0
        )
        acked = sender.acknowledge(header.seq, ack, window)
        self._tries = 0 if acked or not before else self._tries
        if acked or duplicate:
            self._on_ack(ack, duplicate, acked)
        elif not before and sender.snd_wnd and self.recovery.outstanding:
            # The window was shut and is open again: what probed it was not kept by the peer.
            self.recovery.on_timeout(self.node.clock.now)
        if sender.snd_wnd and self._persist.deadline is not None:
            self._persist.stop()
            self._tries = 0
        if acked and sender.free and self.writable:
            self.writable.wake()
        if self.node.events:
            self._tell_window()
        return self.state not in (State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK) or self._after_fin()

    def _on_ack(self, ack: int, duplicate: bool, acked: int) -> None:
        """Something was acknowledged, or acknowledged again."""
        now = self.node.clock.now
        recovery = self.recovery
        sample, loss = recovery.on_ack(ack, duplicate, now, self._cwnd_limited)
        if sample is not None:
            if sample.rtt is not None:
                self.rtt.sample(sample.rtt)
            self.congestion.on_ack(sample)
            if recovery.outstanding:
                self._retransmission.set(now + self.rtt.rto)  # RFC 6298 §5.3
            else:
                self._retransmission.stop()  # §5.2
        if loss is not None:
            self.congestion.on_loss(loss)
            self.node.counters.add(rules.FAST_RETRANSMIT.name)
            # The first one goes out at once, whatever the window says (RFC 5681 §3.2, step 2).
            self._retransmit(rules.FAST_RETRANSMIT)

    def _after_fin(self) -> bool:
        """In the states behind our FIN: has it been acknowledged? False when the connection is gone."""
        if seq_lt(self.sender.snd_una, self.sender.snd_nxt) or self.sender.unsent:
            return True
        if self.state is State.FIN_WAIT_1:
            self._move(Input.ACK_OF_FIN)
            if self.orphan:
                self._last_wait.set(self.node.clock.now + self.config.fin_wait_2)
        elif self.state is State.CLOSING:
            self._move(Input.ACK_OF_FIN)
            self._wait_twice_msl()
        elif self.state is State.LAST_ACK:
            self._move(Input.ACK_OF_FIN)
            self._finish(0)
            return False
        return True

    def _process_text(self, header: Header, data: Buffer, seq: int | None = None) -> None:
        """The seventh and the eighth check: bytes and FIN."""
        receiver = self.receiver
        if self.orphan and len(data):
            # The program has closed: nobody will ever read this (RFC 9293 §3.6.1).
            self.abort()
            return
        before = receiver.available
        urgency = receiver.accept(header.seq if seq is None else seq, data, bool(header.flags & FIN))
        if receiver.finished:
            self._on_fin()
        if receiver.available != before or receiver.finished:
            self.readable.wake()
        if urgency is Acknowledge.NOW:
            self._send_ack(rules.OUT_OF_ORDER if not receiver.finished else rules.FIN_RECEIVED)
        elif urgency is Acknowledge.SOON:
            self._second_segment.set(self.node.clock.now)
        elif urgency is Acknowledge.LATER and self._delayed_ack.deadline is None:
            self._delayed_ack.set(self.node.clock.now + self.config.delayed_ack)

    def _on_fin(self) -> None:
        self._move(Input.FIN)
        if self.state is State.TIME_WAIT:
            self._wait_twice_msl()

    # --- the handshake -------------------------------------------------------------------------------------------------

    def _read_syn(self, header: Header) -> None:
        """Take the peer's initial number and its options; unknown ones are ignored (RFC 9293 §3.1)."""
        options = Options.parse(header.options)
        self._scaling = self.config.window_scaling and options.window_scale is not None
        self._snd_shift = min(options.window_scale or 0, MAX_SHIFT) if self._scaling else 0
        if not self._scaling:
            self._rcv_shift = 0
        largest = self.network.mtu(self.peer[0]) - 20
        # Both ends agree on what each can take; a peer that announces nonsense gets at least one byte a segment.
        self.mss = max(min(options.mss or DEFAULT_MSS, self.config.mss or largest, largest), 1)
        self.receiver.start(header.seq, self.config.mss or largest, self._rcv_shift)

    def _established(self, header: Header) -> None:
        """The handshake is through: from now on bytes flow."""
        config = self.config
        if config.initial_window < 1:
            raise ValueError("initial_window is counted in segments: write 1 or more")
        self._retransmission.stop()
        self._tries = 0
        self.sender.start(self.iss, self.mss)
        self.recovery = self.parts.recovery(self.mss)
        self.congestion = self.parts.congestion(self.mss, config.initial_window * self.mss)
        self.sender.acknowledge(header.seq, seq_add(self.iss, 1), header.window << self._snd_shift)
        if self._shut:
            self._move(Input.CLOSE)  # the program did not wait for the handshake
        self.writable.wake()
        self.readable.wake()
        self._changed(self)

    def _send_syn(self, why: Rule) -> None:
        config = self.config
        largest = self.network.mtu(self.peer[0]) - 20
        options = Options(mss=min(config.mss or largest, 65535))
        if self._scaling:
            options.window_scale = self._rcv_shift
        self._retransmission.set(self.node.clock.now + self.rtt.rto)
        ack = self.receiver.rcv_nxt if self._syn_flags & ACK else 0
        window = min(self.receiver.offer(), 65535)
        self._send_bare(self._syn_flags, self.iss, ack, why, options.pack(), window)

    # --- sending -------------------------------------------------------------------------------------------------------

    def output(self, why: Rule) -> None:
        """Send what may be sent now: first what is lost, then what is new."""
        recovery, sender, congestion = self.recovery, self.sender, self.congestion
        mss = self.mss
        while recovery.next_lost() is not None:
            if recovery.in_flight and recovery.in_flight + mss > congestion.cwnd:
                break
            self._retransmit(rules.RETRANSMIT)
        else:
            limit = mss
            offload = self.network.offload(self.peer[0]) if sender.unsent > mss else 0
            if offload > mss:
                limit = offload - offload % mss
            while (segment := sender.next_segment(congestion.cwnd - recovery.in_flight, limit)) is not None:
                self._transmit(segment, why)
        unsent = sender.unsent
        # Was it the congestion window that held us back, or had the program, or the peer, no more to give?
        self._cwnd_limited = recovery.in_flight + mss > congestion.cwnd
        self._app_limited = not unsent and not self._cwnd_limited
        if unsent and not recovery.outstanding and self._persist.deadline is None:
            self._persist.set(self.node.clock.now + self.rtt.rto)
        if self.node.events:
            self._tell_window()

    def _transmit(self, segment: Segment, why: Rule) -> None:
        """Send a segment, new or not, and see that somebody waits for its acknowledgement."""
        now = self.node.clock.now
        self.recovery.on_sent(segment.seq, segment.length, now, self._app_limited)
        if self._retransmission.deadline is None:
            self._retransmission.set(now + self.rtt.rto)  # RFC 6298 §5.1
        flags = ACK | (PSH if segment.push and len(segment.data) else 0) | (FIN if segment.fin else 0)
        self._send(flags, segment.seq, why, segment.data)

    def _retransmit(self, why: Rule) -> None:
        lost = self.recovery.next_lost()
        if lost is None:
            return
        self.retransmissions += 1
        self.node.counters.add("tcp.retransmitted")
        self._transmit(self.sender.again(*lost), why)

    def _send_ack(self, why: Rule) -> None:
        self._send(ACK, self.sender.snd_nxt, why)

    def _acknowledge(self) -> None:
        self._send_ack(rules.ACKNOWLEDGE)

    def _challenge(self, why: Rule) -> None:
        """Tell a peer, who may be an attacker, what we expect; but not more often than now and then (RFC 5961 §7)."""
        now = self.node.clock.now
        if now - self._challenged_at >= CHALLENGES:
            self._challenged_at = now
            self._send_ack(why)

    def _send(self, flags: int, seq: int, why: Rule, data: Buffer = b"") -> None:
        """Send a segment of an open connection: it acknowledges all that has come, and offers the window."""
        receiver = self.receiver
        window = receiver.offer() >> self._rcv_shift
        self._delayed_ack.stop()
        self._second_segment.stop()
        self._send_bare(flags, seq, receiver.rcv_nxt, why, b"", window, data)

    def _send_bare(
        self, flags: int, seq: int, ack: int, why: Rule, options: bytes = b"", window: int = 0, data: Buffer = b""
    ) -> None:
        network, node = self.network, self.node
        src, dst = self.local[0], self.peer[0]
        header = Header(self.local[1], self.peer[1], seq, ack, flags, window, 0, 0, options).pack()
        size = len(data)
        total = network.pseudo_sum(src, dst, PROTO_TCP, len(header) + size)
        segment_size = 0
        if size and network.offload(dst):
            # The device finishes the checksum: until then its field holds the pseudo-header's sum.
            segment_size = self.mss
            header = header[:16] + (total % 0xFFFF).to_bytes(2, "big") + header[18:]
        else:
            header = with_checksum(header, data, total)
        events = node.events
        before = events.cause
        if events:
            events.cause = events.emit(why, **self._names, seq=seq, ack=ack, flags=flags, length=size, window=window)
        try:
            network.send(dst, PROTO_TCP, header, data, src=src, segment_size=segment_size)
        except OSError:
            if self.state is State.SYN_SENT and not self._tries:
                raise
            node.drop(rules.NO_WAY, **self._names)  # the timer tries again: the way may come back
        finally:
            events.cause = before

    # --- timers --------------------------------------------------------------------------------------------------------

    def _on_retransmission_timeout(self) -> None:
        """RFC 6298 §5.4 to §5.6, and R2 of RFC 9293 §3.8.3."""
        now = self.node.clock.now
        self._tries += 1
        self.rtt.back_off()
        if self._opening():
            if self._tries > self.config.syn_retries:
                self._finish(errno.ETIMEDOUT)
            else:
                self.node.counters.add("tcp.retransmitted")
                self._send_syn(rules.RETRANSMIT)
            return
        if self._tries > self.config.retries:
            self._finish(errno.ETIMEDOUT)
            return
        self._retransmission.set(now + self.rtt.rto)
        if self.sender.snd_wnd == 0:
            # The peer has shut its window: this is a probe, and says nothing of the network.
            self._send_segment_again(rules.PROBE)
            return
        self.node.counters.add(rules.RETRANSMISSION_TIMEOUT.name)
        event = self.recovery.on_timeout(now)
        if self._tries == 1:
            # ssthresh is not halved again for a segment that is lost once more (RFC 5681 §3.1).
            self.congestion.on_timeout(event)
        self._retransmit(rules.RETRANSMIT)
        self._retransmission.set(now + self.rtt.rto)
        self.output(rules.DATA)

    def _send_segment_again(self, why: Rule) -> None:
        segment = self.sender.again(self.sender.snd_una, 1)
        self._send(ACK | (FIN if segment.fin else 0), segment.seq, why, segment.data)

    def _on_persist_timeout(self) -> None:
        """Nothing is under way and nothing may be sent: ask whether the window is still shut (RFC 9293 §3.8.6.1)."""
        if self.state not in _HAS_FLIGHT or not self.sender.unsent:
            return
        self._transmit(self.sender.force(), rules.PROBE)

    def _wait_twice_msl(self) -> None:
        self._retransmission.stop()
        self._persist.stop()
        self._last_wait.set(self.node.clock.now + 2 * self.config.msl)
        self._changed(self)

    def _on_last_wait_over(self) -> None:
        """TIME-WAIT, or a FIN-WAIT-2 that nobody owns any more, has lasted long enough."""
        if self.state is State.TIME_WAIT:
            self._move(Input.TIME_OUT)
        self._finish(0)

    # --- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, error: int) -> None:
        """The connection is over: free its timers, and wake whoever waits."""
        if self.state is not State.CLOSED:
            self._move(Input.ABORT)
        self.error = error or self.error
        for alarm in (self._retransmission, self._persist, self._delayed_ack, self._second_segment, self._last_wait):
            alarm.stop()
        self.readable.wake()
        self.writable.wake()
        self._changed(self)

    def on_trouble(self, kind: Trouble, seq: int) -> None:
        """An ICMP error quotes a segment of this connection. Only one that was sent is believed (RFC 5927 §4.1)."""
        if self.state is State.SYN_SENT and seq == self.iss and kind in _ERRNO:
            self._finish(_ERRNO[kind])

    def _move(self, what: Input) -> None:
        before = self.state
        self.state = TRANSITIONS[before, what]
        if self.node.events:
            self.node.events.emit(rules.STATE, **self._names, before=before.value, after=self.state.value, why=what.value)

    # --- what observers see ---------------------------------------------------------------------------------------------

    def _tell_window(self) -> None:
        events, congestion, recovery = self.node.events, self.congestion, self.recovery
        ssthresh = congestion.ssthresh if congestion.ssthresh < INFINITE else None
        events.emit(
            rules.WINDOW,
            **self._names,
            cwnd=congestion.cwnd,
            ssthresh=ssthresh,
            in_flight=recovery.in_flight,
            peer_window=self.sender.snd_wnd,
            srtt=self.rtt.srtt,
            rto=self.rtt.rto,
        )
        phase = self._phase_now()
        if phase != self._phase:
            self._phase = phase
            events.emit(rules.PHASE, **self._names, phase=phase)

    def _phase_now(self) -> str:
        if self.recovery.in_recovery:
            return "recovery"
        if self._retransmission.deadline is not None and self._tries:
            return "loss"
        return "slow start" if self.congestion.cwnd < self.congestion.ssthresh else "congestion avoidance"

    def __repr__(self) -> str:
        return f"<connection {self._names['local']} → {self._names['peer']} {self.state.value}>"
