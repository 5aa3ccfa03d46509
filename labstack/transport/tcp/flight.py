"""The sending side at work: what is under way, what may follow it, and the timers that wait for answers.

`sender` knows the stream and the peer's window, `recovery` what is lost, `congestion` how much the network
bears, `rtt` how long to wait. Here they meet. Each acknowledgement goes to all of them, and then `output`
sends what may be sent; with a controller that paces, a little at a time.

    retransmission timer   something is under way, and its acknowledgement does not come    RFC 6298
    reordering timer       something is late: is it lost, or was it overtaken?              RFC 8985 §6.2
    probe timer            the last segments are not acknowledged                           RFC 8985 §7.2
    persist timer          nothing is under way, and the window has no room for more        RFC 9293 §3.8.6.1
    pacing timer           more may be sent, but not yet: see `pacing`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from labstack.core.clock import Alarm
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.seq import MASK, seq_add, seq_sub
from labstack.core.units import SECOND
from labstack.transport.tcp import rules
from labstack.transport.tcp.agreement import NOTHING, Besides
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.congestion import INFINITE, CongestionControl, LossEvent
from labstack.transport.tcp.congestion.names import Make, by_name
from labstack.transport.tcp.ecn import Ecn
from labstack.transport.tcp.pacing import Pacer
from labstack.transport.tcp.prr import ProportionalRate
from labstack.transport.tcp.receiver import Receiver
from labstack.transport.tcp.recovery import NewReno, Recovery
from labstack.transport.tcp.rtt import RttEstimator
from labstack.transport.tcp.scoreboard import Ack
from labstack.transport.tcp.sender import Segment, Sender
from labstack.transport.tcp.states import Closing
from labstack.transport.tcp.tlp import TailLossProbe
from labstack.transport.tcp.tuning import Pool, Tuning

SendSegment = Callable[[Segment, Rule, bool], None]
"""Send a segment, new (True) or not, with what the connection has to say beside it: ACK and window."""


@dataclass(slots=True)
class Parts:
    """The replaceable parts of a connection: classes, made anew for each one. (Congestion control can be
    chosen for each socket too: it stands in `TcpConfig`.)"""

    receiver: Callable[[TcpConfig], Receiver]
    sender: Callable[[TcpConfig], Sender]
    rtt: Callable[[TcpConfig], RttEstimator]
    recovery: Callable[[int, TcpConfig], Recovery]
    closing: Callable[[TcpConfig], Closing]


class Flight:
    """The bytes of one connection that are under way. `give_up` is called when the peer answers no more."""

    def __init__(self, node: Node, names: dict[str, str], config: TcpConfig, parts: Parts, ecn: Ecn,
            pool: Pool, send: SendSegment, give_up: Callable[[], None]) -> None:  # fmt: skip
        self.node = node
        self.config = config
        self.sender = parts.sender(config)
        self._tuning = Tuning(config.send_tuning, self.sender, config.first_buffer, config.send_buffer, pool)
        self.rtt = parts.rtt(config)
        self.recovery: Recovery
        self.congestion: CongestionControl
        self.mss = 0
        self.offload = 0
        """The largest payload that the device takes in one piece; 0: one segment at a time."""
        self.open = False
        self.orphan = False
        """The program has closed: nobody waits for what is under way."""
        self.retransmitted = 0
        self._parts = parts
        self._ecn = ecn
        self._names = names
        self._send = send
        self._give_up = give_up
        self.tries = 0
        """How often the oldest segment, or the probe, has been sent again without an answer."""
        self._unanswered_since = 0
        self._reducing: ProportionalRate | None = None
        self._urgent = False
        self._undoable = False  # the last cut was the only one in its episode
        self._cwnd_limited = False
        self.app_limited = False
        """The program has no more to send, and nothing else holds the sender back."""
        self._phase = ""
        self._retransmission = node.alarm(rules.RETRANSMISSION_TIMEOUT, self._on_timeout)
        self._reordering = node.alarm(rules.REORDERING_TIMEOUT, self._on_reordering_timeout)
        self._probe = node.alarm(rules.PROBE_TIMEOUT, self._on_probe_timeout)
        self._tlp = TailLossProbe(config)
        self._newest = 0  # where the last new segment begins
        self._pacer = Pacer(node, partial(self.output, rules.DATA))
        self._persist = node.alarm(rules.PERSIST_TIMEOUT, self._on_persist)
        self._batch = node.alarm(rules.BATCH, partial(self.output, rules.DATA))

    def start(self, iss: int, mss: int, syn_lost: bool, sack: bool) -> None:
        """The handshake is through: bytes may flow, numbered from `iss` + 1, `mss` of them a segment; with
        `sack`, the peer names what has arrived. After a SYN that was lost, carefully: RFC 5681 §3.1 and RFC
        6298 §5.7."""
        self.mss = mss
        self.open = True
        self.sender.start(iss, mss)
        self.recovery = self._parts.recovery(mss, self.config)
        if self.recovery.selective and not sack:
            self.recovery = NewReno(mss, self.config)
        self.recovery.min_rtt = self.rtt.srtt  # the handshake's
        window = mss if syn_lost else self.config.initial_window * mss
        self.congestion = by_name(self.config.congestion)(mss, window)
        if syn_lost:
            self.rtt.rto = max(3 * SECOND, self.config.initial_rto)

    def configure(self, config: TcpConfig) -> None:
        """The program changes constants of a connection that is there."""
        before, self.config = self.config, config
        self.sender.nagle = config.nagle
        if not config.send_tuning:
            self._tuning.stop()
            self.sender.limit = config.send_buffer
        if self.open and config.congestion != before.congestion:
            self.use(config.congestion)

    def urge(self, on: bool) -> None:
        """While urgent data is not acknowledged, each segment tells of it, and none waits for company."""
        self._urgent = on
        self.sender.nagle = self.config.nagle and not on

    def use(self, choice: str | Make) -> None:
        """From here on another congestion control, which begins with the window that the present one leaves
        (as Linux does it for TCP_CONGESTION)."""
        before, self.congestion = self.congestion, by_name(choice)(self.mss, self.congestion.cwnd)
        self.congestion.ssthresh = before.ssthresh

    def stop(self) -> None:
        """The connection is over: no timer is left."""
        self.open = False
        self._tuning.stop()
        for alarm in self.timers:
            alarm.stop()

    # --- an acknowledgement
    def acknowledged(self, seq: int, ack: int, window: int, bare: bool, besides: Besides = NOTHING) -> int:
        """The segment numbered `seq` acknowledges up to `ack`, and allows `window` bytes. `bare`: it carries
        no more than that, but for the options, `besides`. How many sequence numbers are acknowledged for the
        first time."""
        sender, recovery = self.sender, self.recovery
        before = sender.snd_wnd
        # RFC 5681 §2: a duplicate carries no data, moves nothing, not the window either, and something is
        # under way. While the window is shut, the same ACK answers a probe.
        same = bare and ack == sender.snd_una != sender.snd_nxt and before > 0
        acked = sender.acknowledge(seq, ack, window)
        if acked or not (before or self.orphan):
            self.tries = 0
        if acked or same or besides[0]:
            now, same = self.node.clock.now, same and window == before
            more = min(sender.unsent, sender.snd_wnd - recovery.outstanding + acked) >= self.mss
            self._on_ack(Ack(ack, acked, same, now, self._cwnd_limited, besides[0], besides[1], more))
        elif not before and sender.snd_wnd and recovery.outstanding:
            # The window was shut and is open again: what probed it was not kept by the peer.
            recovery.on_timeout(self.node.clock.now)
        if sender.snd_wnd and self._persist.deadline is not None:
            self._persist.stop()
        if self.node.events:
            self._tell()
        return acked

    def _on_ack(self, ack: Ack) -> None:
        now, recovery = ack.now, self.recovery
        sample, loss = recovery.on_ack(ack)
        if sample is not None:
            if sample.rtt is not None:
                self.rtt.sample(sample.rtt)
            self.congestion.on_ack(sample)
        if recovery.spurious and self._undoable:
            self.node.note(rules.SPURIOUS, **self._names)
            self.congestion.on_spurious()
            self._undoable = False
        if loss is not None:
            self._begin_recovery(loss)
        if self._reducing is not None and recovery.in_recovery and sample is not None:
            safe = ack.advanced > 0 and not sample.lost
            self._reducing.on_ack(sample.acked, recovery.in_flight, safe, self.mss)
        if loss is not None or (sample is not None and sample.lost):
            # The first one goes out at once, whatever the window says (RFC 5681 §3.2, step 2).
            self._retransmit(recovery.reason)
        if self._tlp.on_ack(ack) and not recovery.in_recovery:
            # The probe was the repair of the only loss: for the network it is one like any other.
            self.node.note(rules.PROBE_REPAIRED, **self._names)
            self.congestion.on_loss(LossEvent(now, self.mss, recovery.in_flight + self.mss))
            self._undoable = False
        if ack.advanced:
            if self._tuning.on:
                self._tuning.grow(2 * self.congestion.cwnd)
            if recovery.outstanding:
                self._retransmission.set(now + self.rtt.rto)  # RFC 6298 §5.3
            else:
                for alarm in (self._retransmission, self._reordering, self._probe):
                    alarm.stop()  # §5.2

    def _begin_recovery(self, loss: LossEvent) -> None:
        """A new episode of loss: the window is cut, and reached little by little."""
        congestion = self.congestion
        congestion.on_loss(loss)
        self._undoable = True
        self._ecn.reduced(self.sender.snd_nxt)
        self.node.counters.add(rules.FAST_RETRANSMIT.name)
        # Who paces is smooth already; duplicates without SACK do not say how much has arrived.
        reduces = self.recovery.selective and not congestion.pacing_rate
        cwnd = self.recovery.in_flight + self.mss
        self._reducing = ProportionalRate(loss.in_flight, congestion.cwnd, cwnd) if reduces else None

    @property
    def cwnd(self) -> int:
        """Bytes that congestion control allows to be under way now."""
        if self._reducing is not None and self.recovery.in_recovery:
            return self._reducing.cwnd
        return self.congestion.cwnd

    def _set_timers(self, now: int) -> None:
        """The reordering timer as recovery wants it, and the probe's, if nothing is known to be missing."""
        recovery = self.recovery
        if recovery.reordering_deadline is not None:
            self._reordering.set(recovery.reordering_deadline)
        elif self._reordering.deadline is not None:
            self._reordering.stop()
        if self._tlp.may_ask(recovery):
            deadline = now + self._tlp.patience(self.rtt, recovery.outstanding <= self.mss)
            if deadline < (self._retransmission.deadline or deadline):
                self._probe.set(deadline)
                return
        self._probe.stop()

    def heed_marks(self, flags: int, ack: int) -> None:
        """An acknowledgement may say that the network marked what was sent: cut the window, as for a loss,
        but send nothing again (RFC 3168 §6.1.2)."""
        if self._ecn.asks_to_slow_down(flags, ack, self.sender.snd_nxt):
            self.congestion.on_ecn(LossEvent(self.node.clock.now, 0, self.recovery.outstanding))
            self._undoable = False

    def is_under_way(self, seq: int) -> bool:
        """Whether `seq` has been sent and not acknowledged."""
        return self.open and seq_sub(seq, self.sender.snd_una) in range(self.recovery.outstanding)

    def narrow(self, mss: int) -> None:
        """The path turned out to carry no more than `mss` bytes a segment: send again at once what was
        longer. That is no sign of congestion (RFC 1191 §6.5)."""
        self.mss = self.sender.mss = self.congestion.mss = self.recovery.mss = mss
        self.output(rules.DATA)

    # --- sending
    def output_after_ack(self) -> None:
        """Send what an acknowledgement allows. Where the way takes long pieces: what all those that came
        together allow, once they are taken in."""
        if not self.offload:
            self.output(rules.DATA)
        elif self.recovery.outstanding or self.sender.unsent:
            self._batch.set(self.node.clock.now)

    def output(self, why: Rule) -> None:
        """Send what may be sent now: first what is lost, then what is new."""
        recovery, sender, congestion, mss = self.recovery, self.sender, self.congestion, self.mss
        if not recovery.outstanding and not sender.unsent:
            return  # as on the receiving side of most connections
        rate, cwnd = congestion.pacing_rate, self.cwnd
        while recovery.next_lost() is not None:
            if recovery.in_flight and recovery.in_flight + mss > cwnd:
                break
            if rate and not self._pacer.allows(rate, mss):
                break
            self._retransmit(recovery.reason)
        else:
            # Of a long piece, the device could not say how far from each segment the urgent data reaches.
            limit = mss if self._urgent or self.offload < mss else self.offload - self.offload % mss
            if rate:
                limit = min(limit, self._pacer.burst(rate, mss) // mss * mss)
            room = cwnd - recovery.in_flight
            while (not rate or (sender.unsent and self._pacer.allows(rate, mss))) and (
                segment := sender.next_segment(room, limit)
            ) is not None:
                self._newest = segment.seq
                self._transmit(segment, why, True)
                room -= len(segment.data) + segment.fin
        unsent = sender.unsent
        # Was it the congestion window that held us back, or had the program, or the peer, no more to give?
        self._cwnd_limited = recovery.in_flight + mss > cwnd
        self.app_limited = unsent < mss and not self._cwnd_limited
        waits = self._persist.deadline is not None or self._pacer.alarm.deadline is not None
        if unsent and not recovery.outstanding and not waits and self.config.window_probe:
            self._persist.set(self.node.clock.now + self.rtt.rto)
        self._set_timers(self.node.clock.now)
        if self.node.events:
            self._tell()

    def _transmit(self, segment: Segment, why: Rule, new: bool = False) -> None:
        """Send a segment, and see that somebody waits for its acknowledgement (RFC 6298 §5.1)."""
        now = self.node.clock.now
        size = len(segment.data) + segment.fin
        self.recovery.on_sent(segment.seq, size, now, self.app_limited)
        self.app_limited = False
        if self._retransmission.deadline is None:
            self._retransmission.set(now + self.rtt.rto)
        rate = self.congestion.pacing_rate
        if rate:
            self._pacer.sent(len(segment.data), rate)
        if self._reducing is not None:
            self._reducing.sent(size)
        self._send(segment, why, new)

    def _retransmit(self, why: Rule) -> None:
        lost = self.recovery.next_lost()
        if lost is not None:
            self._count_again()
            self._transmit(self._as_much_as_fits(*lost), why)
            if self.recovery.in_recovery:
                # A time-out now would say that this one is lost, and it has only just left (RFC 6675 §6).
                self._retransmission.set(self.node.clock.now + self.rtt.rto)

    def _count_again(self) -> None:
        self.retransmitted += 1
        self.node.counters.add(rules.RETRANSMIT.name)

    def _as_much_as_fits(self, seq: int, size: int) -> Segment:
        """What is lost, to be sent again. If it is the last thing that was sent, and short, such as the byte
        that probed a shut window, what has been written since goes in the same segment (RFC 9293 §3.7.4)."""
        sender = self.sender
        if size < self.mss and sender.unsent and (seq + size) & MASK == sender.snd_nxt:
            end, sender.snd_nxt = sender.snd_nxt, seq
            segment = sender.next_segment(self.mss, self.mss)
            if segment is not None and len(segment.data) >= size:
                return segment
            sender.snd_nxt = end
        return sender.again(seq, size)

    # --- timers
    def _on_timeout(self) -> None:
        """RFC 6298 §5.4 to §5.6, and R2 of RFC 9293 §3.8.3."""
        now = self.node.clock.now
        self.tries += 1
        if self.tries == 1:
            self._unanswered_since = now - self.rtt.rto
        if self._is_hopeless(now):
            self._give_up()
            return
        self.rtt.back_off()
        self._retransmission.set(now + self.rtt.rto)
        if self.sender.snd_wnd == 0:
            # The peer has shut its window: this is a probe, and says nothing of the network.
            self._transmit(self.sender.again(self.sender.snd_una, 1), rules.PROBE)
            return
        self.node.counters.add(rules.RETRANSMISSION_TIMEOUT.name)
        fresh = not (self.recovery.in_recovery or self.recovery.after_timeout)
        event = self.recovery.on_timeout(now)
        self._tlp.stop()
        if self.tries == 1:
            self._undoable = fresh
            # ssthresh is not halved again for a segment that is lost once more (RFC 5681 §3.1).
            self.congestion.on_timeout(event)
            self._ecn.reduced(self.sender.snd_nxt)
        self._retransmit(rules.RETRANSMIT)
        self.output(rules.DATA)

    def _on_reordering_timeout(self) -> None:
        loss = self.recovery.on_reordering_timeout(self.node.clock.now)
        if loss is not None:
            self._begin_recovery(loss)
            self._retransmit(self.recovery.reason)
        elif self._reducing is not None:
            self._reducing.on_ack(0, self.recovery.in_flight, False, self.mss)  # nothing has arrived
        self.output(rules.DATA)

    def _on_probe_timeout(self) -> None:
        """RFC 8985 §7.3: new bytes if there are any and the peer has room, or the last segment once more."""
        sender, mss = self.sender, self.mss
        if not self.recovery.outstanding or not sender.snd_wnd:
            return
        segment = sender.next_segment(mss, mss)
        again = segment is None
        if segment is None:
            size = min(seq_sub(sender.snd_nxt, self._newest), self.recovery.outstanding)
            size = min(size, (size - 1) % mss + 1)
            segment = sender.again(seq_add(sender.snd_nxt, -size), size)
            self._count_again()
        self._tlp.sent(sender.snd_nxt, again)
        self.node.counters.add(rules.TAIL_LOSS_PROBE.name)
        self._transmit(segment, rules.TAIL_LOSS_PROBE, new=not again)
        self._retransmission.set(self.node.clock.now + self.rtt.rto)

    def _is_hopeless(self, now: int) -> bool:
        """R2 of RFC 9293 §3.8.3, in tries or, where the program has set one, in time (RFC 5482)."""
        limit = self.config.user_timeout
        if limit is not None and not self.orphan:
            return now - self._unanswered_since >= limit
        return self.tries > (self.config.orphan_retries if self.orphan else self.config.retries)

    def _on_persist(self) -> None:
        if self.open and self.sender.unsent:
            self.rtt.back_off()  # twice as long to the next one (RFC 9293 §3.8.6.1, SHLD-30)
            self._transmit(self.sender.force(), rules.PROBE)

    # --- what observers see
    @property
    def timers(self) -> list[Alarm]:
        """Those that are set."""
        alarms = (self._retransmission, self._reordering, self._probe, self._persist, self._batch,
            self._pacer.alarm)  # fmt: skip
        return [alarm for alarm in alarms if alarm.deadline is not None]

    def _tell(self) -> None:
        events, congestion, recovery = self.node.events, self.congestion, self.recovery
        events.emit(rules.WINDOW, **self._names, cwnd=congestion.cwnd,
            ssthresh=congestion.ssthresh if congestion.ssthresh < INFINITE else None,
            in_flight=recovery.in_flight, peer_window=self.sender.snd_wnd, srtt=self.rtt.srtt,
            rto=self.rtt.rto)  # fmt: skip
        phase = self.phase_now()
        if phase != self._phase:
            self._phase = phase
            events.emit(rules.PHASE, **self._names, phase=phase)

    def phase_now(self) -> str:
        if self.recovery.in_recovery:
            return "recovery"
        if self.recovery.after_timeout:
            return "loss"
        own: str = getattr(self.congestion, "phase", "")
        if own:
            return own
        return "slow start" if self.congestion.cwnd < self.congestion.ssthresh else "congestion avoidance"
