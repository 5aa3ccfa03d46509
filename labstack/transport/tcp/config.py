"""Every constant of TCP in one place: what it is, its unit, and where it comes from.

net.host("a", "10.0.0.1/24", tcp=TcpConfig.linux(receive_buffer=65536))
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from labstack.core.units import MILLISECOND, SECOND
from labstack.transport.tcp.congestion.names import Make, by_name


@dataclass(slots=True, frozen=True)
class TcpConfig:
    """The constants of a host's TCP, and of each socket made there. Times are in nanoseconds, sizes in bytes.

    As it stands, this is the profile `rfc`: what the standards say. `linux()` is what Linux does.
    """

    congestion: str | Make = "reno"
    """Congestion control, by name ("reno", "cubic") or as a class of one's own (RFC 5681, RFC 9438)."""
    initial_window: int = 10
    """Segments that may be sent before the first acknowledgement (RFC 6928 §2)."""
    initial_rto: int = SECOND
    """The retransmission time-out before anything was measured (RFC 6298 §2.1)."""
    min_rto: int = SECOND
    """RFC 6298 §2.4."""
    rto_margin: int = 0
    """How far above the smoothed round trip it stays at least. On Linux TCP_RTO_MIN is that too: RTO = SRTT +
    max(4 RTTVAR, 200 ms), so that a queue that fills within a round trip does not pass for a loss."""
    max_rto: int = 60 * SECOND
    """RFC 6298 §2.5: at least 60 s."""
    clock_granularity: int = MILLISECOND
    """G in RFC 6298 §2.3."""
    delayed_ack: int = 200 * MILLISECOND
    """How long an acknowledgement may wait for company; 0: never (RFC 9293 §3.8.6.3: less than 0.5 s)."""
    msl: int = 30 * SECOND
    """The maximum segment lifetime; TIME-WAIT lasts twice that. RFC 9293 §3.4.1 says 2 minutes; hosts take
    less."""
    fin_wait_2: int = 60 * SECOND
    """How long a connection whose program has closed waits for the peer's FIN."""
    send_buffer: int = 1 << 20
    receive_buffer: int = 1 << 20
    """Near 1 MB: a TAP's queue holds 1,000 frames, and what overflows it is lost without a word."""
    auto_tuning: bool = False
    """Begin with a receive buffer of `first_buffer` and let it grow as the program reads, up to
    `receive_buffer`; a socket's SO_RCVBUF ends that. See `tuning`."""
    send_tuning: bool = False
    """The same of the send buffer: it follows the congestion window, up to `send_buffer`; SO_SNDBUF ends
    that."""
    first_buffer: int = 1 << 16
    """Bytes with which a buffer that is tuned begins."""
    max_tuned: int = 1 << 20
    """Where growing ends: when all tuned receive buffers of a host hold so much together, or all its send
    buffers do. What they begin with they have in any case."""
    syn_cookies: bool = False
    """When half-open connections fill the backlog, answer SYNs without keeping anything (RFC 4987 §3.6)."""
    syn_retries: int = 6
    """Unanswered SYNs after the first one, before connecting fails."""
    retries: int = 15
    """Retransmissions of the same data, or probes, without an answer, before the connection fails (R2 of RFC
    9293 §3.8.3)."""
    orphan_retries: int = 8
    """The same, once the program has closed: answers that the window is still shut do not count any more."""
    user_timeout: int | None = None
    """How long what is sent, or a keepalive probe, may go unanswered before the connection fails, whatever
    the counts above say; None: only they count (RFC 9293 §3.8.3 and its MUST-21; RFC 5482)."""
    keepalive: bool = False
    """Probe a connection on which nothing comes (RFC 9293 §3.8.4); a socket's SO_KEEPALIVE."""
    keepalive_idle: int = 7200 * SECOND
    """Nothing has come for so long: probe (MUST-28: not less than two hours, unless asked for)."""
    keepalive_interval: int = 75 * SECOND
    """From one unanswered probe to the next."""
    keepalive_probes: int = 9
    """Unanswered probes before the connection fails."""
    ttl: int = 64
    """Time to live of its datagrams (RFC 9293 §3.9.1, MUST-49)."""
    dscp: int = 0
    """How its datagrams want to be treated, RFC 2474 (RFC 9293 §3.9.1, MUST-48)."""
    mss: int | None = None
    """The largest segment payload to announce and to send; None: as the MTU allows (RFC 9293 §3.7.1)."""
    ecn: Literal["off", "accept", "request"] = "accept"
    """Congestion marks in place of losses (RFC 3168): asked for in the own SYN, only agreed to when the peer
    asks (as Linux does by default), or neither."""
    window_scaling: bool = True
    """Offer the window scale option (RFC 7323 §2)."""
    sack: bool = True
    """Offer selective acknowledgements (RFC 2018, RFC 2883): they cost nothing until something is lost."""
    timestamps: bool = False
    """Offer timestamps (RFC 7323 §3). They take 12 bytes of every segment and some microseconds, and pay
    where sequence numbers come round while old segments may be alive, above 100 Mbit/s: `linux` has them, and
    plain pictures of segments do without."""
    duplicates: int = 3
    """DupThresh: so many duplicate ACKs, or segments behind a gap, show a loss (RFC 5681 §3.2)."""
    tail_loss_probe: bool = True
    """Where the peer sends SACK: ask after two round trips whether the last segments were lost (RFC 8985
    §7)."""
    max_ack_delay: int = 200 * MILLISECOND
    """How long the peer may wait with the acknowledgement of a single segment, as a probe of it takes into
    account (RFC 8985 §7.2)."""
    nagle: bool = True
    """RFC 9293 §3.7.4; a socket's TCP_NODELAY switches it off."""
    oob_inline: bool = False
    """Leave urgent bytes in the stream, in place of reading them apart; a socket's SO_OOBINLINE (RFC 6093
    §6)."""
    window_probe: bool = True
    """Ask again when the peer's window has no room and nothing is under way (RFC 9293 §3.8.6.1, MUST-35).
    Without it, a window update that gets lost stops the connection for ever: chapter 21."""
    max_holes: int = 256
    """Separate pieces of out-of-order data that a connection keeps."""
    max_time_wait: int = 4096
    """Connections in TIME-WAIT that a host keeps; the oldest goes first."""
    max_connections: int = 65536
    """Connections of a host, in all states."""

    def __post_init__(self) -> None:
        by_name(self.congestion)  # a name that nobody has is an error here, not at the first connection

    @classmethod
    def rfc(cls, **changes: Any) -> Self:
        """The standards' constants."""
        return replace(cls(), **changes)

    @classmethod
    def linux(cls, **changes: Any) -> Self:
        """The constants of Linux 6: it waits less for acknowledgements, retransmits sooner, uses timestamps,
        and takes CUBIC."""
        return replace(cls(congestion="cubic", syn_cookies=True, min_rto=200 * MILLISECOND,
            rto_margin=200 * MILLISECOND, max_rto=120 * SECOND, delayed_ack=40 * MILLISECOND, timestamps=True,
            auto_tuning=True, send_tuning=True), **changes)  # fmt: skip
