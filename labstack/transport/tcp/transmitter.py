"""How a segment of a connection leaves: its header is built, its reason is told, and the network layer gets
both.

With a device that offloads, the checksum field holds only the sum of the pseudo-header, and the device does
the rest (see `physical/device`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from labstack.core.addresses import IPAddress
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.headers.ipv4 import PROTO_TCP
from labstack.headers.tcp import LENGTH, pack_segment
from labstack.internet.layer import NetworkLayer
from labstack.transport.tcp import rules
from labstack.transport.tcp.config import TcpConfig


class Transmitter:
    """Sends the segments of one connection. `names` are the fields by which its events name it; `pseudo_sum`
    is the sum of its pseudo-header for a length of 0, the same in both directions; `too_long()` is called
    when a segment is longer than the path carries."""

    def __init__(self, node: Node, network: NetworkLayer, local: tuple[IPAddress, int],
            peer: tuple[IPAddress, int], config: TcpConfig,
            too_long: Callable[[], None]) -> None:  # fmt: skip
        self.node = node
        self.network = network
        self.names = {"local": f"{local[0]}:{local[1]}", "peer": f"{peer[0]}:{peer[1]}"}
        self._src, self._dst = local[0], peer[0]
        self._ports = local[1], peer[1]
        self.pseudo_sum = network.pseudo_sum(local[0], peer[0], PROTO_TCP, 0)
        self.config = config
        self._too_long = too_long

    def find_way(self) -> tuple[int, int]:
        """The largest segment, header included, that reaches the peer uncut, and the largest payload that the
        way takes in one piece (0: one MSS at a time), in bytes. Raises OSError without a way."""
        return self.network.mtu(self._dst), self.network.offload(self._dst)

    def send(self, flags: int, seq: int, ack: int, window: int, why: Rule, data: Buffer = b"",
            options: bytes = b"", segment_size: int = 0, ecn: int = 0, urgent: int = 0) -> None:  # fmt: skip
        """Send one segment; `window` as it stands in the header. `segment_size` above 0 leaves the rest to
        the device. `ecn` is the IP header's code point. Without a way to the peer it is lost, as any segment
        may be: a timer will try again. So is what is too long for a path of which another socket has heard
        that it is narrow; then `too_long` sees to it."""
        total = self.pseudo_sum + LENGTH + len(options) + len(data)
        packed = pack_segment(
            self._ports, seq, ack, flags, window, options, total, None if segment_size else data, urgent
        )
        events = self.node.events
        before = events.cause
        if events:
            events.cause = events.emit(why, **self.names, seq=seq, ack=ack, flags=flags,
                length=len(data), window=window)  # fmt: skip
        try:
            self.network.send(self._dst, PROTO_TCP, packed, data, src=self._src, ecn=ecn,
                segment_size=segment_size, ttl=self.config.ttl, dscp=self.config.dscp)  # fmt: skip
        except OSError as error:
            self.node.drop(rules.NO_WAY, **self.names)
            if error.errno == errno.EMSGSIZE:
                self._too_long()
        events.cause = before
