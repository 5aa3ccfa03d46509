"""When a connection says what has arrived: at once, with the second full segment, or after a little while.

`receiver` tells how urgent it is; this file waits, or does not. An acknowledgement that travels with data
ends the wait. Challenges, which may answer an attacker, are limited in number. RFC 9293 §3.8.6.3, RFC 5681
§4.2, RFC 5961 §7. Chapter 19 of the book.
"""

from __future__ import annotations

from collections.abc import Callable

from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.core.units import SECOND
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.receiver import LATER, NO, SOON, Acknowledge

CHALLENGES = SECOND // 2
"""At most one challenge ACK in so many nanoseconds (RFC 5961 §10)."""


class Acknowledgement:
    """What one connection owes its peer. `send(why)` sends a segment that says only what has arrived."""

    def __init__(self, node: Node, config: TcpConfig, send: Callable[[Rule], None]) -> None:
        self._clock = node.clock
        self.config = config
        self._send = send
        self._delayed = node.alarm(rules.DELAYED_ACK, self._acknowledge)
        self._second_segment = node.alarm(rules.SECOND_SEGMENT, self._acknowledge)
        self.alarms = self._delayed, self._second_segment
        self._challenged_at = -CHALLENGES

    def owe(self, urgency: Acknowledge, why: Rule) -> None:
        """Something has arrived. `why` is the reason, should it be told at once."""
        if urgency is SOON:
            self._second_segment.set(self._clock.now)
        elif urgency is LATER:
            if self._delayed.deadline is None:
                self._delayed.set(self._clock.now + self.config.delayed_ack)
        elif urgency is not NO:
            self._send(why)

    def sent(self) -> None:
        """A segment has left, and every segment acknowledges: nothing is owed any more."""
        for alarm in self.alarms:
            if alarm.deadline is not None:
                alarm.stop()

    def challenge(self, why: Rule) -> None:
        """Tell a peer, who may be an attacker, what is expected; but not more often than now and then (RFC
        5961 §7)."""
        now = self._clock.now
        if now - self._challenged_at >= CHALLENGES:
            self._challenged_at = now
            self._send(why)

    def _acknowledge(self) -> None:
        self._send(rules.ACKNOWLEDGE)
