"""What TCP knows of a connection: for people as `socket.info()`, for programs as Linux's `struct tcp_info`.

Times are in seconds and sizes in bytes for people; the structure counts microseconds and segments, as Linux
does. What labstack does not keep count of is 0 in the structure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from labstack.core.units import MICROSECOND, SECOND
from labstack.transport.tcp.congestion import INFINITE
from labstack.transport.tcp.connection import Connection
from labstack.transport.tcp.states import State

LAYOUT = struct.Struct("=8B24I4Q2I4IQ3Q2I2Q4I")
"""`struct tcp_info` of linux/tcp.h: 8 bytes of state and scales, then words and double words."""
LINUX_STATES = {
    State.ESTABLISHED: 1, State.SYN_SENT: 2, State.SYN_RECEIVED: 3, State.FIN_WAIT_1: 4, State.FIN_WAIT_2: 5,
    State.TIME_WAIT: 6, State.CLOSED: 7, State.CLOSE_WAIT: 8, State.LAST_ACK: 9, State.LISTEN: 10,
    State.CLOSING: 11,
}  # fmt: skip
_OPEN, _RECOVERY, _LOSS = 0, 3, 4  # of tcpi_ca_state
_TIMESTAMPS, _SACK, _WINDOW_SCALING, _ECN = 1, 2, 4, 8  # of tcpi_options


@dataclass(slots=True, frozen=True)
class TcpInfo:
    """A moment of a connection. Sizes in bytes, times in seconds; None for what is not known yet."""

    state: str
    phase: str = ""
    """slow start, congestion avoidance, recovery or loss."""
    mss: int = 0
    announced_mss: int = 0
    cwnd: int = 0
    ssthresh: int | None = None
    srtt: float | None = None
    rttvar: float = 0.0
    rto: float = 0.0
    in_flight: int = 0
    """What is believed to be under way."""
    unacknowledged: int = 0
    """Sent, and not acknowledged."""
    unsent: int = 0
    unread: int = 0
    """Arrived in order, and not read by the program."""
    retransmitted: int = 0
    """Segments sent again since the connection began."""
    tries: int = 0
    """Retransmissions or probes since the last answer."""
    peer_window: int = 0
    own_window: int = 0
    scales: tuple[int, int] = (0, 0)
    """By how many bits the peer's windows, and its own, are scaled."""
    ecn: bool = False
    """Both ends understand congestion marks."""
    sack: bool = False
    timestamps: bool = False
    """Whether both ends use these options."""
    congestion: str = ""
    pacing_rate: int | None = None
    """Bytes a second at which congestion control lets segments out; None: as acknowledgements allow."""
    timers: tuple[tuple[str, float], ...] = ()
    """The timers that are set, and in how many seconds each is due."""
    app_limited: bool = False

    def pack(self) -> bytes:
        """As `getsockopt(IPPROTO_TCP, TCP_INFO, 232)` of Linux returns it."""
        mss = self.mss or 1
        microseconds = SECOND // MICROSECOND
        in_loss = {"recovery": _RECOVERY, "loss": _LOSS}.get(self.phase, _OPEN)
        options = _TIMESTAMPS * self.timestamps | _SACK * self.sack
        options |= _WINDOW_SCALING * any(self.scales) | _ECN * self.ecn
        scales = self.scales[0] | self.scales[1] << 4
        first = [_NUMBERS[self.state], in_loss, self.tries, 0, self.tries, options, scales, self.app_limited]
        words = [0] * 24
        words[0] = round(self.rto * microseconds)
        words[2] = self.mss
        words[3] = self.announced_mss
        words[4] = -(-self.unacknowledged // mss)
        words[13] = self.announced_mss + 40
        words[15] = round((self.srtt or 0) * microseconds)
        words[16] = round(self.rttvar * microseconds)
        words[17] = (INFINITE * 2 - 1) if self.ssthresh is None else self.ssthresh // mss
        words[18] = self.cwnd // mss
        words[19] = self.announced_mss
        words[23] = self.retransmitted
        counts = [0, 0, self.unsent, 0, 0, 0]
        return LAYOUT.pack(
            *first, *words, self.pacing_rate or 0, *[0] * 3, *counts, *[0] * 11, self.peer_window
        )


_NUMBERS = {state.value: number for state, number in LINUX_STATES.items()}


def tcp_info(connection: Connection | None, otherwise: State = State.CLOSED) -> TcpInfo:
    """What is known now; without a connection only its state, `otherwise`."""
    if connection is None:
        return TcpInfo(otherwise.value)
    flight, now = connection.flight, connection.node.clock.now
    rtt, sender, receiver = flight.rtt, flight.sender, connection.receiver
    agreed = connection.agreed
    common = dict[str, object](
        state=connection.state.value,
        mss=connection.mss,
        announced_mss=agreed.own_mss,
        srtt=None if rtt.srtt is None else rtt.srtt / SECOND,
        rttvar=rtt.rttvar / SECOND,
        rto=rtt.rto / SECOND,
        unsent=sender.unsent,
        unread=receiver.available,
        retransmitted=flight.retransmitted,
        tries=flight.tries,
        peer_window=sender.snd_wnd,
        own_window=receiver.rcv_wnd,
        scales=(agreed.snd_shift, agreed.rcv_shift),
        timers=tuple(
            (alarm.rule.name.rpartition(".")[2], max((alarm.deadline or now) - now, 0) / SECOND)
            for alarm in connection.timers
        ),
        app_limited=flight.app_limited,
    )
    if flight.mss:  # the handshake is through
        congestion, recovery = flight.congestion, flight.recovery
        common |= {
            "phase": flight.phase_now(),
            "cwnd": congestion.cwnd,
            "ssthresh": congestion.ssthresh if congestion.ssthresh < INFINITE else None,
            "in_flight": recovery.in_flight,
            "unacknowledged": recovery.outstanding,
            "congestion": type(congestion).__name__.lower(),
            "pacing_rate": congestion.pacing_rate,
            "ecn": connection.ecn.agreed,
            "sack": agreed.sack,
            "timestamps": agreed.timestamps.on,
        }
    return TcpInfo(**common)  # type: ignore[arg-type]
