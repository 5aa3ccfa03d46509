"""The bare loop: the least that a Python program must do to move TCP's bytes through a TAP, for `labstack
bench`.

It opens one connection, and then reads or writes frames in a row. It computes checksums where no device does,
counts sequence numbers, and acknowledges or keeps to the window. It checks nothing, repeats nothing, and
knows of no second connection. What a whole stack costs is what it takes beyond this.
"""

from __future__ import annotations

import os
import select
import struct
import time
from collections.abc import Iterator

from labstack.core.addresses import BROADCAST, MAC, IPAddress, IPv4Address
from labstack.core.checksum import Buffer, ones_sum
from labstack.headers.arp import ARP, REPLY, REQUEST
from labstack.headers.ethernet import ETHERTYPE_ARP, ETHERTYPE_IPV4, Ethernet
from labstack.headers.ipv4 import PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, SYN, TCP, Options
from labstack.link.tap import Tap

MSS = 1460
PIECE = 44 * MSS
"""What crosses the TAP at once with offload, in bytes."""
SHIFT = 4
WINDOW = 65535 << SHIFT
TCP_AT = 34
PAYLOAD_AT = 54
BATCH = 64
ARP_TYPE = ETHERTYPE_ARP.to_bytes(2)


class BareLoop:
    """One TCP connection over `tap` from `own` to `peer`, and nothing else."""

    def __init__(self, tap: Tap, own: str, peer: str) -> None:
        self._tap = tap
        self._fd = tap.fileno()
        self._own, self._peer = IPv4Address(IPAddress.parse(own)), IPv4Address(IPAddress.parse(peer))
        self._peer_mac = BROADCAST
        self._frame = memoryview(bytearray(1 << 17))
        self._into: list[Buffer] = [bytearray(10), self._frame]
        self._pseudo = pseudo_sum(self._own, self._peer, PROTO_TCP, 0)
        self._port = 0
        self._seq = 1
        self._expected = 0
        self._peer_shift = 0

    def open(self, port: int) -> None:
        """Find the peer's MAC address, and shake hands with its port."""
        self._arp(REQUEST, BROADCAST, MAC(6))
        while self._peer_mac == BROADCAST:
            self._read(10)
        self._port = port
        options = Options(mss=MSS, window_scale=SHIFT).pack()
        self._tap.transmit(*self._segment(0, 0, SYN, options=options))
        while True:
            if not self._read(10):
                continue
            answer = TCP.parse(self._frame, TCP_AT)
            if answer.src_port == port and answer.flags & (SYN | ACK) == SYN | ACK:
                break
        self._peer_shift = Options.parse(answer.options).window_scale or 0
        self._expected = answer.seq + 1
        self._acknowledge()

    def receive(self, seconds: float, offload: bool) -> float:
        """Take the peer's bytes for so long; bytes a second."""
        frame, unpack = self._frame, struct.Struct(">I").unpack_from
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            for length in self._batch():
                size = length - PAYLOAD_AT
                if unpack(frame, TCP_AT + 4)[0] != self._expected:
                    continue
                if not offload:
                    ones_sum(frame[TCP_AT:length], self._pseudo)
                self._expected = (self._expected + size) & 0xFFFFFFFF
                count += size
            self._acknowledge()
        return count / (time.perf_counter() - started)

    def send(self, seconds: float, offload: bool) -> float:
        """Send bytes to the peer for so long, as its window allows; bytes a second."""
        frame, unpack = self._frame, struct.Struct(">IxxH").unpack_from
        size = PIECE if offload else MSS
        block = bytes(size)
        acknowledged, edge = self._seq, self._seq + 65535
        started = time.perf_counter()
        first = self._seq
        while time.perf_counter() - started < seconds:
            for _ in range(BATCH):
                if self._seq + size > edge:
                    break
                header, payload = self._segment(self._seq, self._expected, ACK, block, offload=offload)
                self._tap.transmit(header, payload, MSS if offload else 0)
                self._seq += size
            for _ in self._batch(wait=self._seq + size > edge):
                ack, window = unpack(frame, TCP_AT + 8)
                # The count goes on beyond 32 bits: the wire sees its lowest ones.
                acknowledged += (ack - acknowledged) & 0xFFFFFFFF
                edge = acknowledged + (window << self._peer_shift)
        return (acknowledged - first) / (time.perf_counter() - started)

    # --- frames

    def _batch(self, wait: bool = True) -> Iterator[int]:
        """The TCP frames that wait, each by its length; it lies in the buffer until the next."""
        for n in range(BATCH):
            length = self._read(1 if wait and not n else 0)
            if length < 0:
                return
            if length:
                yield length

    def _read(self, patience: float) -> int:
        """The length of the next frame if it is TCP, 0 if it is another, -1 if none came in `patience`
        seconds."""
        while True:
            try:
                length = os.readv(self._fd, self._into) - 10
                break
            except BlockingIOError:
                if not patience or not select.select([self._fd], [], [], patience)[0]:
                    return -1
        if bytes(self._frame[12:14]) == ARP_TYPE:
            arp = ARP.parse(self._frame, 14)
            self._peer_mac = arp.sender_mac
            if arp.operation == REQUEST:
                self._arp(REPLY, arp.sender_mac, arp.sender_mac)
            return 0
        return length if self._frame[23] == PROTO_TCP else 0

    def _arp(self, operation: int, to: MAC, target: MAC) -> None:
        header = Ethernet(to, self._tap.mac, ETHERTYPE_ARP).pack()
        self._tap.transmit(header, ARP(operation, self._tap.mac, self._own, target, self._peer).pack())

    def _acknowledge(self) -> None:
        self._tap.transmit(*self._segment(self._seq, self._expected, ACK))

    def _segment(
        self,
        seq: int,
        ack: int,
        flags: int,
        payload: bytes = b"",
        options: bytes = b"",
        offload: bool = False,
    ) -> tuple[bytes, bytes]:
        header = TCP(40000, self._port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, 65535, options=options)
        total = self._pseudo + 20 + len(options) + len(payload)
        if offload:
            header.checksum = total % 0xFFFF
            tcp = header.pack()
        else:
            tcp = header.pack(total, payload)
        ip = IPv4(self._own, self._peer, PROTO_TCP, 20 + len(tcp) + len(payload)).pack()
        return Ethernet(self._peer_mac, self._tap.mac, ETHERTYPE_IPV4).pack() + ip + tcp, payload
