"""The eleven states of a connection, and what leads from one to another (RFC 9293 §3.3.2, figure 5).

The table is the machine: `Connection` moves through nothing else, and the book draws its diagram from it.
"""

from __future__ import annotations

from enum import Enum


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


_ = State
TRANSITIONS: dict[tuple[State, Input], State] = {
    (_.CLOSED, Input.PASSIVE_OPEN): _.LISTEN,
    (_.CLOSED, Input.ACTIVE_OPEN): _.SYN_SENT,
    (_.LISTEN, Input.SYN): _.SYN_RECEIVED,
    (_.LISTEN, Input.CLOSE): _.CLOSED,
    (_.SYN_SENT, Input.SYN_ACK): _.ESTABLISHED,
    (_.SYN_SENT, Input.SYN): _.SYN_RECEIVED,
    (_.SYN_SENT, Input.CLOSE): _.CLOSED,
    (_.SYN_RECEIVED, Input.ACK_OF_SYN): _.ESTABLISHED,
    (_.SYN_RECEIVED, Input.CLOSE): _.FIN_WAIT_1,
    (_.SYN_RECEIVED, Input.FIN): _.CLOSE_WAIT,
    (_.ESTABLISHED, Input.CLOSE): _.FIN_WAIT_1,
    (_.ESTABLISHED, Input.FIN): _.CLOSE_WAIT,
    (_.CLOSE_WAIT, Input.CLOSE): _.LAST_ACK,
    (_.LAST_ACK, Input.ACK_OF_FIN): _.CLOSED,
    (_.FIN_WAIT_1, Input.ACK_OF_FIN): _.FIN_WAIT_2,
    (_.FIN_WAIT_1, Input.FIN): _.CLOSING,
    (_.FIN_WAIT_2, Input.FIN): _.TIME_WAIT,
    (_.CLOSING, Input.ACK_OF_FIN): _.TIME_WAIT,
    (_.TIME_WAIT, Input.TIME_OUT): _.CLOSED,
} | {(state, Input.ABORT): _.CLOSED for state in State if state is not State.CLOSED}
del _

SYNCHRONIZED = frozenset(State) - {State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED}
"""Both ends know both initial sequence numbers."""
CAN_SEND = frozenset({State.ESTABLISHED, State.CLOSE_WAIT})
"""The program may still write."""
CAN_RECEIVE = frozenset({State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2})
"""The peer may still send."""
HAS_FLIGHT = CAN_SEND | {State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK}
"""Something of ours may be under way: bytes, or the FIN."""
