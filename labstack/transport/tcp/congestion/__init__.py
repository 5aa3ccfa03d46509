"""Congestion control: how many bytes may be under way, so that the network is used and not flooded.

Everyone who sends decides for themselves, from what comes back. A controller sees acknowledgements, losses,
time-outs and congestion marks, and shows a window. It sends nothing: `Flight` does.

    reno    RFC 5681: add a segment a round trip, halve for a loss. Slow start counts bytes (RFC 3465, L = 2)
    cubic   RFC 9438: a curve over time, that does not ask how long a round trip takes. Slow start by
            HyStart++ (RFC 9406): byte counting with L = 8, and a way out before anything is lost
    bbr     version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): the rate of the path, paced

`names.by_name("cubic")` is the class of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

INFINITE = 1 << 30
"""A slow-start threshold that was never set, in bytes: "arbitrarily high" (RFC 5681 §3.1)."""


@dataclass(slots=True)
class AckSample:
    """What one acknowledgement tells. Bytes and nanoseconds."""

    now: int
    acked: int
    """Bytes that it acknowledges for the first time."""
    lost: int
    """Bytes that it shows to be lost."""
    rtt: int | None
    """The round-trip time that it measures, if it does."""
    in_flight: int
    """Bytes that were under way before it came."""
    delivered: int
    """Bytes delivered since the connection began."""
    prior_delivered: int
    """The same, when what it acknowledges was sent: the newest of it."""
    interval: int
    """How long the delivery of the last sample's bytes took; 0 if unknown."""
    delivery_rate: int
    """Bytes a second over that interval; 0 if unknown."""
    app_limited: bool
    """The program had nothing to send in that interval: the rate says nothing about the path."""
    in_recovery: bool
    """A loss is being repaired (RFC 6582): the window does not grow."""
    cwnd_limited: bool
    """The congestion window, and not the program or the peer, held the sender back."""


@dataclass(slots=True)
class LossEvent:
    """The beginning of one episode of loss; further losses in the same window are part of it. Bytes and
    nanoseconds."""

    now: int
    lost: int
    in_flight: int
    """FlightSize: sent and not acknowledged when the loss was noticed (RFC 5681 §2)."""


class CongestionControl(Protocol):
    """Replaceable: `net.host("a", …, congestion=Mine)`; made as `Mine(mss, initial_window)` for each
    connection, with both in bytes."""

    cwnd: int
    """The congestion window, in bytes."""
    ssthresh: int
    """The slow-start threshold, in bytes."""
    mss: int
    """Bytes that a segment carries at most; lowered when the path turns out to carry less."""
    pacing_rate: int | None
    """Bytes a second at which to send, or None: as acknowledgements allow."""

    def on_ack(self, sample: AckSample) -> None: ...

    def on_loss(self, event: LossEvent) -> None:
        """A new episode of loss was noticed by duplicate acknowledgements."""

    def on_timeout(self, event: LossEvent) -> None:
        """The retransmission timer expired: all that was under way is taken for lost."""

    def on_ecn(self, event: LossEvent) -> None:
        """A router on the way marked a packet in place of dropping it (RFC 3168)."""

    def on_spurious(self) -> None:
        """The last loss or time-out was none: what it cut may be given back (RFC 5682, RFC 9438 §4.9)."""
