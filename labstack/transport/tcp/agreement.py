"""What the two ends agree on in their SYNs, and what each segment carries because of it: TCP's options.

    in a SYN only          MSS; window scale (RFC 7323 §2); SACK permitted (RFC 2018 §2)
    from the SYN on        timestamps in every segment (RFC 7323 §3)
    while bytes are        SACK: which pieces have come behind a gap, or twice (RFC 2018 §3, RFC 2883)
    missing

Each end offers what its `TcpConfig` says; but for the MSS, only what both have offered counts.
"""

from __future__ import annotations

from labstack.core.clock import Clock
from labstack.core.events import Rule
from labstack.headers.tcp import LENGTH as HEADER, MAX_OPTIONS, RST, Options
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.receiver import MAX_FIELD, MAX_SHIFT, Block, scale_for
from labstack.transport.tcp.timestamps import LENGTH as TIMESTAMPS, Timestamps

DEFAULT_MSS = 536
"""What a peer takes that announces nothing (RFC 9293 §3.7.1)."""

Besides = tuple[tuple[Block, ...], int | None]
"""What options add to an acknowledgement: the pieces that the peer has, and when the segment was sent whose
time it echoes (nanoseconds; None if it is not known)."""
NOTHING: Besides = ((), None)


class Agreement:
    """The options of one connection. `clock_offset` is where its timestamps begin."""

    def __init__(self, config: TcpConfig, clock: Clock, clock_offset: int) -> None:
        self.mss = DEFAULT_MSS
        """The largest payload to send, in bytes."""
        self.own_mss = DEFAULT_MSS
        """The largest payload to receive, options included, as it is announced (RFC 6691 §2)."""
        self.snd_shift = 0
        """By how many bits the peer's windows are scaled."""
        self.rcv_shift = scale_for(config.receive_buffer) if config.window_scaling else 0
        self.sack = config.sack
        self.timestamps = Timestamps(clock, clock_offset)
        self._scaling = config.window_scaling
        self._config = config

    def fit(self, mtu: int) -> None:
        """Announce what fits the first link's frames, or less (RFC 9293 §3.7.1), and send no more; `mtu`
        without the IP header. Once more when the path turns out to be narrower (RFC 1191 §6.4)."""
        largest = min(mtu - HEADER, MAX_FIELD)
        self.own_mss = min(self._config.mss or largest, largest)
        self.mss = max(min(self.mss, self.own_mss - TIMESTAMPS * self.timestamps.on), 1)

    def read_syn(self, options: Options) -> int:
        """Take what the peer's SYN offers; unknown options are ignored (RFC 9293 §3.1). How many bytes of
        payload the peer's segments carry at most."""
        self._scaling = self._scaling and options.window_scale is not None
        self.snd_shift = min(options.window_scale or 0, MAX_SHIFT) if self._scaling else 0
        if not self._scaling:
            self.rcv_shift = 0
        self.sack = self.sack and options.sack_permitted
        if self._config.timestamps and options.timestamps is not None:
            self.timestamps.start(options.timestamps[0])
        # What stands in every segment leaves less room for bytes, in both directions (RFC 6691 §2). A peer
        # that announces nonsense gets at least one byte a segment.
        taken = TIMESTAMPS if self.timestamps.on else 0
        self.mss = max(min(options.mss or DEFAULT_MSS, self.own_mss) - taken, 1)
        return max(self.own_mss - taken, 1)

    def for_syn(self, answers: bool, ack: int) -> bytes:
        """The options of our SYN; one that `answers` the peer's says only what that offered too."""
        scale = self.rcv_shift if self._scaling else None
        options = Options(mss=self.own_mss, window_scale=scale, sack_permitted=self.sack)
        times = self.timestamps
        if times.on if answers else self._config.timestamps:
            options.timestamps = times.value(), times.recent
            times.last_ack_sent = ack
        return options.pack()

    def untimely(self, flags: int, options: Options | None) -> Rule | None:
        """The rule of timestamps that a segment breaks: only a reset may lack them (RFC 7323 §3.2), and it is
        no leftover of an earlier round of the sequence numbers (PAWS, §5.3, R1). A reset is judged by its
        number alone (§5.2)."""
        if flags & RST:
            return None
        if options is None or options.timestamps is None:
            return rules.NO_TIMESTAMP
        return rules.OLD_TIMESTAMP if self.timestamps.is_old(options.timestamps[0]) else None

    def learn(self, seq: int, options: Options | None) -> None:
        """An acceptable segment has come: its time, if it has one, is the next to be echoed."""
        if options is not None and options.timestamps is not None and self.timestamps.on:
            self.timestamps.learn(options.timestamps[0], seq)

    def read_ack(self, options: Options) -> Besides:
        """The options of an acknowledgement."""
        times = options.timestamps if self.timestamps.on else None
        return options.sack if self.sack else (), None if times is None else self.timestamps.sent_at(times[1])

    def for_segment(self, ack: int, blocks: tuple[Block, ...], size: int) -> bytes:
        """The options of a segment with `size` bytes that acknowledges up to `ack`; `blocks` is what has come
        behind a gap, or twice. A segment full of bytes has no room for those: the ACKs that they caused
        themselves have told them."""
        raw = self.timestamps.option(ack) if self.timestamps.on else b""
        if blocks and self.sack:
            room = MAX_OPTIONS - len(raw)
            if size:
                room = min(room, self.mss - size)
            fit = blocks[: max(room - 4, 0) // 8]
            if fit:
                raw += Options(sack=fit).pack()
        return raw
