"""Urgent data: one end wants the other to look at once, whatever lies unread in front.

The sender's segments say, with URG and a pointer, up to where the stream is urgent, as soon as that is known
and until it has arrived. Of it, programs everywhere get one byte: the last one, the *mark*. It is read apart
from the others (MSG_OOB), or where it stands (SO_OOBINLINE); no ordinary read crosses it unnoticed.

RFC 9293 §3.8.5. RFC 6093: the pointer is behind the last urgent byte; new programs should do without, and old
ones, such as Telnet's, should read it where it stands.
"""

from __future__ import annotations

from labstack.core.seq import seq_add, seq_lt, seq_sub
from labstack.transport.tcp.receiver import Receiver


class Urgent:
    """The urgent data of one connection, both ways."""

    def __init__(self, receiver: Receiver) -> None:
        self.snd_up: int | None = None
        """SND.UP: our stream is urgent up to here; None when the peer has all that was."""
        self.mark: int | None = None
        """The number of the peer's last urgent byte, until something behind it has been read."""
        self.byte: bytes | None = None
        """That byte, once it is here and until a program has read it apart."""
        self._receiver = receiver
        self._fetched = False

    # --- sending
    def pointer(self, seq: int) -> int:
        """What a segment numbered `seq` says: 0, or how far the urgent data reaches from there."""
        return 0 if self.snd_up is None else min(max(seq_sub(self.snd_up, seq), 0), 0xFFFF)

    # --- receiving
    @property
    def head(self) -> int:
        """The number of the byte that the program reads next."""
        receiver = self._receiver
        return seq_add(receiver.rcv_nxt, -receiver.finished - receiver.available)

    def heard(self, seq: int, pointer: int) -> bool:
        """A segment numbered `seq` says how far the urgent data reaches. Whether that is new."""
        mark = seq_add(seq, pointer - 1)
        known = self.head if self.mark is None else seq_add(self.mark, 1)
        if seq_lt(mark, known):
            return False
        self.mark, self.byte, self._fetched = mark, None, False
        return True

    def fetch(self, inline: bool) -> None:
        """Bytes have arrived, or been read: take the urgent one out, if it is its turn. `inline`: it stays
        where it is."""
        if self.mark is None or inline:
            return
        ahead, receiver = seq_sub(self.mark, self.head), self._receiver
        if 0 <= ahead < receiver.available and not self._fetched:
            self.byte, self._fetched = bytes(receiver.peek(ahead + 1)[ahead:]), True
        if ahead == 0 and self._fetched:
            receiver.consume(1)

    @property
    def at_mark(self) -> bool:
        """All in front of the urgent byte has been read, and nothing behind it."""
        return self.mark is not None and seq_sub(self.head, self.mark) in (0, 1 if self._fetched else 0)

    def up_to(self, size: int, peek: bool = False) -> int:
        """How many of `size` bytes may be read (or looked at) in one piece: not across the mark."""
        if self.mark is None:
            return size
        ahead = seq_sub(self.mark, self.head)
        if ahead > 0:
            return min(size, ahead)
        if not peek:
            self.mark = None  # what is read now lies behind it
        return size
