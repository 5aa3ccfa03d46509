"""The eleven states of a connection, and what leads from one to another (RFC 9293 §3.3.2, figure 5).

The table is the machine: `Connection` moves through nothing else, and the book draws its diagram from it. How
a connection ends is a role of its own: a part may be handed in that says what follows, and whether a reset is
to be believed (RFC 5961 §3). Chapter 18 of the book.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from labstack.core.seq import seq_sub


class State(Enum):
    """What both ends know of each other."""

    __hash__ = object.__hash__  # each member exists once; the inherited hash is of its name, and slow

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    def __init__(self, name: str) -> None:
        self.synchronized = name not in ("CLOSED", "LISTEN", "SYN-SENT", "SYN-RECEIVED")
        """Both ends know both initial sequence numbers."""
        self.can_send = name in ("ESTABLISHED", "CLOSE-WAIT")
        """The program may still write."""
        self.can_receive = name in ("ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2")
        """The peer may still send."""
        self.has_flight = self.can_send or name in ("FIN-WAIT-1", "CLOSING", "LAST-ACK")
        """Something of ours may be under way: bytes, or the FIN."""


class Input(Enum):
    """What moves a connection: a call of the program, a segment, or a timer."""

    PASSIVE_OPEN = "the program listens"
    ACTIVE_OPEN = "the program connects"
    SYN = "a SYN arrives"
    SYN_ACK = "a SYN arrives that acknowledges ours"
    ACK_OF_SYN = "our SYN is acknowledged"
    CLOSE = "the program has nothing more to send"
    FIN = "a FIN arrives"
    ACK_OF_FIN = "our FIN is acknowledged"
    TIME_OUT = "two maximum segment lifetimes have passed"
    ABORT = "a reset, or giving up"


# Names of their own, for they are asked for on every segment, and `State.…` is a long way there.
SYN_SENT, ESTABLISHED, TIME_WAIT = State.SYN_SENT, State.ESTABLISHED, State.TIME_WAIT

TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.CLOSED, Input.PASSIVE_OPEN): State.LISTEN,
    (State.CLOSED, Input.ACTIVE_OPEN): State.SYN_SENT,
    (State.LISTEN, Input.SYN): State.SYN_RECEIVED,
    (State.LISTEN, Input.CLOSE): State.CLOSED,
    (State.SYN_SENT, Input.SYN_ACK): State.ESTABLISHED,
    (State.SYN_SENT, Input.SYN): State.SYN_RECEIVED,
    (State.SYN_SENT, Input.CLOSE): State.CLOSED,
    (State.SYN_RECEIVED, Input.ACK_OF_SYN): State.ESTABLISHED,
    (State.SYN_RECEIVED, Input.CLOSE): State.FIN_WAIT_1,
    (State.SYN_RECEIVED, Input.FIN): State.CLOSE_WAIT,
    (State.ESTABLISHED, Input.CLOSE): State.FIN_WAIT_1,
    (State.ESTABLISHED, Input.FIN): State.CLOSE_WAIT,
    (State.CLOSE_WAIT, Input.CLOSE): State.LAST_ACK,
    (State.LAST_ACK, Input.ACK_OF_FIN): State.CLOSED,
    (State.FIN_WAIT_1, Input.ACK_OF_FIN): State.FIN_WAIT_2,
    (State.FIN_WAIT_1, Input.FIN): State.CLOSING,
    (State.FIN_WAIT_2, Input.FIN): State.TIME_WAIT,
    (State.CLOSING, Input.ACK_OF_FIN): State.TIME_WAIT,
    (State.TIME_WAIT, Input.TIME_OUT): State.CLOSED,
} | {(state, Input.ABORT): State.CLOSED for state in State if state is not State.CLOSED}

CLOSING = frozenset({Input.CLOSE, Input.FIN, Input.ACK_OF_FIN, Input.TIME_OUT})
"""What leads, once both ends know each other, to the end."""


class Reset(Enum):
    """What to do about a reset."""

    BELIEVED = "the connection is over"
    CHALLENGED = "ask for a better one: an ACK says which number is expected"
    IGNORED = "the peer, who knows the numbers, would not have sent it"


class Closing(Protocol):
    """Replaceable: `net.host("a", …, closing=Mine)`; made as `Mine(config)` for each connection."""

    def after(self, state: State, what: Input) -> State:
        """The state that follows `state`, one of those in which both ends know each other; `what` is CLOSE,
        FIN, ACK_OF_FIN or TIME_OUT. In CLOSED, nothing of the connection is kept."""

    def reset(self, seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
        """What to do about a reset with the number `seq`, where `rcv_nxt` is expected next, and `rcv_wnd`
        bytes are allowed from there."""


class Rfc9293:
    """A `Closing` by the standard's table, and RFC 5961's rule."""

    def __init__(self, config: object) -> None: ...

    def after(self, state: State, what: Input) -> State:
        return TRANSITIONS[state, what]

    def reset(self, seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
        ahead = seq_sub(seq, rcv_nxt)
        if ahead == 0:
            return Reset.BELIEVED
        return Reset.CHALLENGED if 0 < ahead < rcv_wnd else Reset.IGNORED
