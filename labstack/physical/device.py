"""The device: where a stack ends and a wire, a TAP or a veth begins.

A device is handed a finished *header* (Ethernet, IP, TCP or UDP), the *payload* behind it, and a *segment
size*:

- 0: header and payload are a finished frame; send it as it is.
- n > 0: a TCP segment that is not finished. Its checksum field holds only the sum of the pseudo-header, and
  its payload may be many times n bytes. A device that offers `offload` passes it on like this and leaves the
  rest to hardware (or to the kernel behind a TAP). For all others `segment()` cuts it into frames of n bytes
  of payload and finishes each.

So TCP's code is the same with and without offload (RFC 9293 §3.7.1 calls the pieces segments; Linux calls
this TSO).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from labstack.core.addresses import MAC
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.headers.segmentation import segment as segment  # the one plain step for devices that cannot

Receive = Callable[[int, Buffer, int], None]
"""`receive(number, frame, segment_size)`: `frame` is borrowed, valid during the call; its check sequence is
already verified and gone. A segment size above 0 says that the transport checksum is unfinished and needs no
verifying."""


class Device(Protocol):
    """What an interface stands on."""

    name: str
    """Of the wire, or of the TAP: one for each in a network or on a machine."""
    mac: MAC
    mtu: int
    """The largest IP datagram that fits into one frame, in bytes."""
    offload: int
    """The largest TCP payload that the device takes in one piece; 0 when it takes finished frames only."""

    def attach(self, receive: Receive) -> None:
        """Hand every arriving frame to `receive`."""

    def transmit(self, header: bytes, payload: Buffer, segment_size: int = 0) -> None:
        """Send. The payload is borrowed: a device that keeps it copies it."""

    def close(self) -> None: ...


SENT = Rule("device.sent", "a frame is handed to the device")
"""Fields: `number` of the frame, `device`, `frame` (bytes without check sequence), `segment_size`."""
RECEIVED = Rule("device.received", "a frame arrived")
"""Fields: `number`, `device`, `frame`."""

__all__ = ["RECEIVED", "SENT", "Device", "Receive", "segment"]
