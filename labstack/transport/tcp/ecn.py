"""Explicit congestion notification: a router marks a packet in place of dropping it, and TCP slows down as if
it had been lost (RFC 3168 §6.1).

      sender                      router                   receiver
    data, ECT(0)  ──────────▶  queue too long: CE ──────▶  notes it
    slows down    ◀──────────────────────────────  ECE  ── on every ACK …
    data, CWR     ───────────────────────────────────────▶ … until it hears of that

Both ends say in their SYNs that they understand it: ECE and CWR together ask, ECE alone agrees. Only new data
is sent as ECN-capable; retransmissions, probes and pure ACKs are not, for their loss, or their mark, could
not be told (§6.1.4 to §6.1.6). Chapter 23 of the book.
"""

from __future__ import annotations

from labstack.core.node import Node
from labstack.core.seq import seq_le
from labstack.headers.ipv4 import CE, ECT_0
from labstack.headers.tcp import ACK, CWR, ECE
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig


class Ecn:
    """Both halves of one connection's ECN. `echo` is ECE while the peer has to hear of a mark, else 0."""

    def __init__(self, node: Node, names: dict[str, str], config: TcpConfig) -> None:
        self.agreed = False
        self.echo = 0
        self._node = node
        self._names = names
        self._mode = config.ecn
        self._asked = False
        self._reduced = False
        """The window was cut, and the peer has not been told."""
        self._until: int | None = None
        """Echoes of what was sent before this number belong to a cut that was made."""

    # --- the handshake: §6.1.1
    def for_syn(self, answers: bool, again: bool) -> int:
        """The flags of our SYN. One that was not answered is sent `again` without: some old box on the way
        may drop what it does not know (§6.1.1.1)."""
        if answers:
            return ECE if self.agreed else 0
        if self._mode != "request" or again:
            return 0
        self._asked = True
        return ECE | CWR

    def read_syn(self, flags: int) -> None:
        """The flags of the peer's SYN, or of its answer to ours. Some peers give back all that they got: ECE
        and CWR are no answer."""
        if flags & ACK:
            self.agreed = self._asked and flags & (ECE | CWR) == ECE
        else:
            self.agreed = self._mode != "off" and flags & (ECE | CWR) == ECE | CWR

    # --- receiving: §6.1.3
    def heard(self, ecn: int, flags: int, size: int) -> None:
        """An acceptable segment with `size` bytes came, and `ecn` in its IP header."""
        if flags & CWR:
            self.echo = 0
        if ecn == CE and size and not self.echo:
            self.echo = ECE
            self._node.note(rules.CONGESTION_MARK, **self._names)

    # --- sending: §6.1.2
    def asks_to_slow_down(self, flags: int, ack: int, snd_nxt: int) -> bool:
        """Whether an acknowledgement up to `ack` calls for a smaller window; once for each window of data."""
        if self._until is not None and not seq_le(ack, self._until):
            self._until = None
        if not flags & ECE or self._until is not None:
            return False
        self.reduced(snd_nxt)
        self._node.note(rules.SLOW_DOWN, **self._names)
        return True

    def reduced(self, snd_nxt: int) -> None:
        """The window has been cut, for whatever reason: the next new data tells so, and what was sent before
        it, up to `snd_nxt`, is no reason for another cut."""
        if self.agreed:
            self._reduced, self._until = True, snd_nxt

    def for_data(self) -> tuple[int, int]:
        """TCP's flags, and the IP header's code point, for a segment of new data, once ECN is agreed on."""
        flags = CWR if self._reduced else 0
        self._reduced = False
        return flags, ECT_0
