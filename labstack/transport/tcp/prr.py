"""Proportional rate reduction: how the window gets from the old size to the new one while a loss is repaired.

A cut halves the window at once. Who then waits until half of what was under way has arrived falls silent for
half a round trip, and has no acknowledgements to send by afterwards. So for what arrives, a share of it is
sent, new window to old, and both reach the new size together. Should more be lost meanwhile, so that too
little is under way, as much is sent as arrives, and a segment more where nothing new is missing. RFC 9937
(RFC 6937). Chapter 22 of the book.
"""

from __future__ import annotations


class ProportionalRate:
    """One recovery, from `flight_size` bytes down to `target`. `cwnd` is what may be under way now: until an
    acknowledgement comes, the first repair and no more."""

    def __init__(self, flight_size: int, target: int, cwnd: int) -> None:
        self.cwnd = cwnd
        self._flight_size = flight_size
        self._target = target
        self._delivered = self._out = 0

    def on_ack(self, delivered: int, in_flight: int, safe: bool, mss: int) -> None:
        """`delivered` bytes have arrived, as was not known before, and `in_flight` are under way; `safe`: the
        acknowledgement moves on, and shows no new loss."""
        self._delivered += delivered
        if in_flight > self._target:
            room = -(-self._delivered * self._target // self._flight_size) - self._out
        else:
            room = max(self._delivered - self._out, delivered) + (mss if safe else 0)
            room = min(room, self._target - in_flight)
        # The first repair leaves at once, whatever this says.
        self.cwnd = in_flight + max(room, 0 if self._out else mss)

    def sent(self, size: int) -> None:
        """So many bytes have left, new or not."""
        self._out += size
