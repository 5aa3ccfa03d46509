"""The worlds of chapter 16: two machines, a box between them that changes what it carries, and the alphabet
in 26 datagrams."""

import socket
import struct
from collections.abc import Callable
from string import ascii_uppercase

from labstack import Host, Network
from labstack.observe import look
from labstack.physical.wire import Wire

ALL = 3  # every EtherType: packet(7)
UDP_AT = 14 + 20  # bytes of Ethernet's and IP's headers
PROMISCUOUS = struct.Struct("iHH8s")  # struct packet_mreq

Change = Callable[[bytes], bytes]


def two(join: Callable[[Network, Host, Host], object] | None = None) -> tuple[Network, Host, Host, Wire]:
    """Two machines and the wire between them, or whatever `join` puts there; and the network."""
    net = Network(seed=16)
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    if join is None:
        net.wire(a, b, rate="10 Mbit/s", delay="1 ms")
    else:
        join(net, a, b)
    a.ping("b")  # a knows the way to b: ARP, which keeps few packets waiting, has asked
    return net, a, b, net.wires[0]


def echo(host: Host, port: int, answer: Callable[[bytes], bytes]) -> None:
    """Answer every datagram at this port."""
    with host.socket(socket.SOCK_DGRAM) as s:
        s.bind(("", port))
        while True:
            data, sender = s.recvfrom(2000)
            s.sendto(answer(data), sender)


def refused(host: Host, peer: tuple[str, int]) -> bool:
    """Whether a connected socket of the host's is told that there is nobody at `peer`."""
    with host.socket(socket.SOCK_DGRAM) as s:
        s.connect(peer)
        s.send(b"anybody?")
        try:
            s.recv(100)
        except ConnectionRefusedError:
            return True
        return False


def box(net: Network, left: Host, right: Host, change: Change) -> Host:
    """Wire `left` and `right` to a box between them. Every frame from the left goes through `change`, and
    leaves with a check sequence of its own, as from any switch or router."""
    middle = net.host("box")
    for name, host in (("left", left), ("right", right)):
        net.wire(host, middle.interface(name), delay="1 ms")
    middle.spawn(_copy, middle, 1, 2, change)
    middle.spawn(_copy, middle, 2, 1, lambda frame: frame)
    return middle


def _copy(middle: Host, here: int, there: int, change: Change) -> None:
    names = list(middle.interfaces)
    source, target = (middle.socket(socket.SOCK_RAW, 0, socket.AF_PACKET) for _ in range(2))
    target.bind((names[there - 1], 0))
    source.bind((names[here - 1], ALL))
    membership = PROMISCUOUS.pack(here, 1, 0, b"")  # PACKET_MR_PROMISC: also what is for other machines
    source.setsockopt(263, 1, membership)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
    while True:
        frame, (_, _, kind, *_) = source.recvfrom(2000)
        if kind != socket.PACKET_OUTGOING:
            target.send(change(frame))


def swap(first: int, second: int) -> Change:
    """Two 16-bit words of each UDP datagram change places; 0 is the source port."""

    def change(frame: bytes) -> bytes:
        words = [frame[at : at + 2] for at in range(0, len(frame), 2)]
        i, j = (UDP_AT // 2 + n for n in (first, second))
        if frame[23:24] == b"\x11" and len(words) > j:  # IP's protocol: 17
            words[i], words[j] = words[j], words[i]
        return b"".join(words)

    return change


class Letters(look.Shown):
    """What came of the alphabet: `heard`, and the letters that are `missing`, or came `twice`."""

    def __init__(self, heard: str) -> None:
        self.heard = heard
        self.missing = "".join(c for c in ascii_uppercase if c not in heard)
        self.twice = "".join(c for c in ascii_uppercase if heard.count(c) > 1)

    @property
    def text(self) -> str:
        return f"{self.heard}\nmissing: {self.missing or '–'}   twice: {self.twice or '–'}"


def letters(loss: int, reorder: int, duplicate: int, seed: int = 1) -> Letters:
    """Send the alphabet, a letter a datagram, a millisecond apart, over a wire to which that happens to so
    many of a hundred frames."""
    with Network(seed) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="10 Mbit/s", delay="5 ms")
        a.ping("b")
        wire.chance |= {"loss": loss / 100, "reorder": reorder / 100, "duplicate": duplicate / 100}
        s, t = a.socket(socket.SOCK_DGRAM), b.socket(socket.SOCK_DGRAM)
        t.bind(("", 7))
        for letter in ascii_uppercase:
            s.sendto(letter.encode(), ("b", 7))
            net.sleep("1 ms")
        net.run()
        return Letters("".join(t.recv(9).decode() for _ in iter(t.readable, False)))
