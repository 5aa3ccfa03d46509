"""SYN cookies: what a listening port needs to know of a half-open connection, kept by the peer.

A flood of SYNs fills the backlog, and honest clients find it full. A port that sends cookies answers all the
same, and keeps nothing: its initial sequence number *is* the memory. Who gives it back, plus one, in the ACK
of the handshake has shown that it can be reached at its address.

    31        27 26   24 23                                              0
    ┌───────────┬───────┬─────────────────────────────────────────────────┐
    │ minute    │  MSS  │  a keyed hash of both addresses, ports and ISN  │
    └───────────┴───────┴─────────────────────────────────────────────────┘

The price: of the peer's options only the MSS survives, and only roughly. RFC 4987 §3.6 and appendix A.
Chapter 24 of the book.
"""

from __future__ import annotations

from hashlib import blake2s

from labstack.core.addresses import IPAddress
from labstack.core.units import SECOND

MSS_TABLE = (216, 536, 768, 1024, 1220, 1360, 1440, 1460)
"""What three bits can say of the peer's MSS; the next smaller one is taken."""
PERIOD = 60 * SECOND
LIFETIME = 2
"""Periods for which a cookie is good, the one in which it was made included."""

FourTuple = tuple[IPAddress, int, IPAddress, int]
"""Own address and port, the peer's address and port."""


class SynCookies:
    """The cookies of one host; `secret` keeps others from making them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, name: FourTuple, irs: int, mss: int, now: int) -> int:
        """The initial number for a peer whose SYN had the number `irs` and announced `mss`."""
        fitting = [index for index, size in enumerate(MSS_TABLE) if size <= mss]
        top = (now // PERIOD % 32) << 3 | (fitting[-1] if fitting else 0)
        return top << 24 | self._digest(name, irs, top)

    def check(self, name: FourTuple, irs: int, cookie: int, now: int) -> int | None:
        """The MSS that a cookie stands for; None if this host did not make it, or too long ago."""
        top = cookie >> 24
        age = (now // PERIOD - (top >> 3)) % 32
        if age >= LIFETIME or cookie & 0xFFFFFF != self._digest(name, irs, top):
            return None
        return MSS_TABLE[top & 7]

    def _digest(self, name: FourTuple, irs: int, top: int) -> int:
        own, port, peer, peer_port = name
        numbers = port.to_bytes(2) + peer_port.to_bytes(2) + irs.to_bytes(4) + top.to_bytes(1)
        return int.from_bytes(blake2s(own + peer + numbers, key=self._secret, digest_size=3).digest())
