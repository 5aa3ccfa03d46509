"""Keepalive: is there anybody at the other end of a connection on which nothing happens?

Off unless the program asks (SO_KEEPALIVE). Then, when nothing has come for two hours, a segment goes out that
no living peer can leave unanswered: without data, and one number below the window. Nine of them without an
answer, and the connection is over. RFC 9293 §3.8.4 (MUST-24 to MUST-29, SHLD-12). Chapter 25 of the book.
"""

from __future__ import annotations

from collections.abc import Callable

from labstack.core.node import Node
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig


class Keepalive:
    """The watch on one connection, from `start` on. `probe` sends the segment; `give_up` ends the connection;
    `busy()` says that something is under way, whose own timer watches."""

    def __init__(self, node: Node, config: TcpConfig, probe: Callable[[], None], give_up: Callable[[], None],
            busy: Callable[[], bool]) -> None:  # fmt: skip
        self.config = config
        self.alarm = node.alarm(rules.KEEPALIVE, self._on_idle)
        self._clock = node.clock
        self._probe = probe
        self._give_up = give_up
        self._busy = busy
        self._heard_at = 0
        self._unanswered = 0

    def start(self) -> None:
        """The connection is open, or the program has just changed its mind."""
        self.heard()
        self.alarm.stop()
        if self.config.keepalive:
            self.alarm.set(self._heard_at + self.config.keepalive_idle)

    def heard(self) -> None:
        """A segment came: the peer lives."""
        self._heard_at = self._clock.now
        self._unanswered = 0

    def _on_idle(self) -> None:
        config, now = self.config, self._clock.now
        if self._busy():
            self._heard_at = now
        quiet = now - self._heard_at
        if quiet < config.keepalive_idle:
            self.alarm.set(self._heard_at + config.keepalive_idle)
            return
        limit = config.user_timeout
        if self._unanswered and (
            self._unanswered >= config.keepalive_probes if limit is None else quiet >= limit
        ):
            self._give_up()
            return
        self._unanswered += 1
        self._probe()
        self.alarm.set(now + config.keepalive_interval)
