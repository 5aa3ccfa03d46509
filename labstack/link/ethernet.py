"""An Ethernet interface: the place where a machine meets a cable.

Downwards it puts the 14-byte header before a packet and hands both to its device. Upwards it looks at the
destination address, is silent about frames for others, and hands the payload to whoever registered for the
EtherType:

    interface.handlers[0x0800] = ipv4.receive

An interface has a name, a MAC address, an MTU and any number of IP addresses, none at first.
IEEE 802.3 clause 3, RFC 894; chapter 04 of the book.
"""

from __future__ import annotations

from collections.abc import Callable

from labstack.core.addresses import BROADCAST, MAC, InterfaceAddress, IPAddress
from labstack.core.checksum import Buffer
from labstack.core.events import Rule
from labstack.core.node import Node
from labstack.headers.ethernet import LENGTH, TRUNCATED, dst_and_type, pack
from labstack.physical.device import Device

NOT_FOR_ME = Rule("ethernet.not_for_me", "the frame is addressed to another machine", "IEEE 802.3 §4.1.2")
NO_CABLE = Rule("ethernet.no_cable", "the interface stands on no device: nothing can leave")
UNKNOWN_TYPE = Rule("ethernet.unknown_type", "no layer of this machine reads that EtherType", "RFC 894")

Handler = Callable[["Interface", Buffer, int, bool], None]
"""`handler(interface, packet, segment_size, to_group)`: `packet` is borrowed; `to_group` says that the frame
was addressed to a group (multicast or broadcast), to which no errors may be sent."""
Watcher = Callable[["Interface", bytes, bool], bool]
"""`watcher(interface, frame, outgoing)`: a packet socket sees a frame. True if it takes that EtherType: then
it is none that nobody reads."""


class Interface:
    """A named interface of `node`, standing on `device`."""

    def __init__(self, node: Node, name: str, device: Device | None = None) -> None:
        self.node = node
        self.name = name
        self.addresses: list[InterfaceAddress] = []
        self.handlers: dict[int, Handler] = {}
        self.promiscuous = False
        self.watchers: list[Watcher] = []
        """Who sees each frame, as it comes and as it goes."""
        self.overhearing = 0
        """How many of them want to see frames for others too, which the layers above do not get."""
        self.device: Device | None = None
        self._mac = MAC(6)
        self.mtu = 1500
        """The largest IP datagram that one frame carries, in bytes."""
        self.received_frames = self.received_bytes = 0
        self.sent_frames = self.sent_bytes = 0
        if device is not None:
            self.plug(device)

    def plug(self, device: Device) -> None:
        """Stand on `device` from now on. Raises ValueError when the interface stands on one already."""
        if self.device is not None:
            raise ValueError(
                f"{self.node.name}[{self.name!r}] is wired already: add another interface for another wire"
            )
        self.device = device
        self._mac, self.mtu = device.mac, device.mtu
        device.attach(self._receive)

    @property
    def mac(self) -> MAC:
        return self._mac

    @property
    def offload(self) -> int:
        """The largest TCP payload that the device takes in one piece, in bytes; 0 for finished frames
        only."""
        return self.device.offload if self.device is not None else 0

    def owns(self, address: IPAddress) -> bool:
        """Whether `address` is one of this interface's own."""
        return any(own.address == address for own in self.addresses)

    def address_near(self, address: IPAddress) -> InterfaceAddress | None:
        """The own address whose network holds `address`; else the first one; None without addresses."""
        for own in self.addresses:
            if address in own.prefix:
                return own
        return self.addresses[0] if self.addresses else None

    def send(
        self, dst: MAC, ethertype: int, header: bytes, payload: Buffer = b"", segment_size: int = 0
    ) -> None:
        """Send a packet (`header` and `payload` behind one another) in a frame to `dst`."""
        device = self.device
        if device is None:
            self.node.drop(NO_CABLE, interface=self.name)
            return
        front = pack(dst, self._mac, ethertype) + header
        self.sent_frames += 1
        self.sent_bytes += len(front) + len(payload)
        if self.watchers:
            self._show(b"".join((front, payload)), True)
        device.transmit(front, payload, segment_size)

    def send_frame(self, frame: bytes) -> None:
        """Send a whole frame as it is, header first, whatever that says."""
        device = self.device
        if device is None:
            self.node.drop(NO_CABLE, interface=self.name)
            return
        self.sent_frames += 1
        self.sent_bytes += len(frame)
        if self.watchers:
            self._show(frame, True)
        device.transmit(frame[:LENGTH], memoryview(frame)[LENGTH:], 0)

    def _show(self, frame: bytes, outgoing: bool) -> bool:
        """Let the watchers see it; whether one of them takes its EtherType."""
        return True in [watcher(self, frame, outgoing) for watcher in list(self.watchers)]

    def _receive(self, number: int, frame: Buffer, segment_size: int) -> None:
        size = len(frame)
        self.received_frames += 1
        self.received_bytes += size
        if size < LENGTH:
            self.node.drop(TRUNCATED, interface=self.name)
            return
        # Of the header, only this is needed here: whom the frame is for, and what is inside.
        dst, ethertype = dst_and_type(frame)
        to_group = False
        if dst != self._mac:
            to_group = bool(dst[0] & 1)
            if not (to_group or self.promiscuous):
                if self.overhearing:
                    self._show(bytes(frame), False)
                self.node.drop(NOT_FOR_ME, interface=self.name, dst=dst)
                return
        handler = self.handlers.get(ethertype)
        taken = False
        if self.watchers:
            taken = self._show(bytes(frame), False)
        if handler is None:
            if not taken:
                self.node.drop(UNKNOWN_TYPE, interface=self.name, ethertype=ethertype)
            return
        handler(self, frame[LENGTH:], segment_size, to_group)

    def close(self) -> None:
        if self.device is not None:
            self.device.close()

    def __repr__(self) -> str:
        addresses = ", ".join(map(str, self.addresses)) or "no address"
        return f"<interface {self.node.name}[{self.name!r}] {self._mac} {addresses}>"


__all__ = ["BROADCAST", "Handler", "Interface", "Watcher"]
