"""The scene of chapter 24: a client, a server and a thief on three wires of one router, and what a thief can
write: segments in another's name, and acknowledgments of bytes that never came.

net, client, server, thief = world()
"""

from socket import IPPROTO_RAW, SOCK_RAW
from typing import Any

from labstack import Host, Network
from labstack.core.addresses import IPAddress
from labstack.core.seq import seq_add, seq_sub
from labstack.core.units import SECOND
from labstack.headers.ipv4 import LENGTH, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, RST, SYN, TCP, Options
from labstack.observe.packet import Packet
from labstack.observe.questions import Said
from labstack.observe.trace import Trace
from labstack.sockets.raw import Raw
from labstack.sockets.socket import Socket
from labstack.transport.tcp.config import TcpConfig

PROTO_TCP = 6
FULL = 1460
"""Bytes of a full segment."""

World = tuple[Network, Host, Host, Host]


def world(last_mile: str = "2 Mbit/s", server_tcp: TcpConfig | None = None, **server_has: Any) -> World:
    """The three machines. The server's own line carries 100 Mbit/s, those of the others `last_mile`; 10 ms to
    the router from each. `server_has`: options of `Network.host`."""
    net = Network(seed=24)
    router = net.router("router")
    hosts = []
    for at, name in enumerate(("client", "server", "thief")):
        options = {"tcp": server_tcp, **server_has} if name == "server" else {}
        host = net.host(name, f"10.0.{at}.1/24", gateway=f"10.0.{at}.254", **options)
        port = router.interface(f"eth{at}", f"10.0.{at}.254/24")
        rate = "100 Mbit/s" if name == "server" else last_mile
        net.wire(host, port, name=f"{name}'s line", rate=rate, delay="10 ms", queue="64 KiB")
        hosts.append(host)
    client, server, thief = hosts
    client.ping("server")
    thief.ping("server")
    return net, client, server, thief


def forged(source: str, target: str, segment: TCP) -> bytes:
    """A datagram with this segment that says it comes from `source`."""
    src, dst = IPAddress.parse(source), IPAddress.parse(target)
    header = IPv4(src, dst, PROTO_TCP, LENGTH + 20)
    return header.pack() + segment.pack(pseudo_sum(src, dst, PROTO_TCP, 20))


def flood(thief: Host, syns: int) -> None:
    """So many SYNs to the server's port 80, one a millisecond, from machines that do not exist."""
    below = thief.socket(SOCK_RAW, IPPROTO_RAW)
    for n in range(syns):
        source = f"192.168.{n // 250}.{n % 250 + 1}"
        below.sendto(forged(source, "10.0.1.1", TCP(5000, 80, n, 0, SYN, 65535)), ("server", 0))
        thief.sleep("1 ms")


def gets_in(client: Host) -> bool:
    """Whether the server answers the client's call within three seconds."""
    try:
        client.connect(("server", 80), timeout=3).close()
    except TimeoutError:
        return False
    return True


def storm(syns: int = 200, backlog: int = 8, **constants: Any) -> tuple[bool, Host]:
    """Whether a client gets in while the thief floods a server whose TCP has these constants; the server."""
    net, client, server, thief = world(server_tcp=TcpConfig(**constants))
    server.listen(80, backlog=backlog)
    attack = thief.spawn(flood, thief, syns)
    net.sleep("60 ms")
    served = gets_in(client)
    attack.join()
    net.sleep("50 ms")
    return served, server


def reset(thief: Host, ports: tuple[int, int], seq: int) -> None:
    """One reset to the server in the client's name; `ports` are the client's and the server's."""
    with thief.socket(SOCK_RAW, IPPROTO_RAW) as below:
        below.sendto(forged("10.0.0.1", "10.0.1.1", TCP(*ports, seq, 0, RST, 0)), ("server", 0))


def resets(thief: Host, ports: tuple[int, int], step: int) -> None:
    """One such reset for each `step` of the 2³² numbers, four a millisecond."""
    for n, seq in enumerate(range(0, 1 << 32, step)):
        reset(thief, ports, seq)
        if n % 4 == 3:
            thief.sleep("1 ms")


def pair(client: Host, server: Host) -> tuple[Socket, Socket]:
    """The two ends of a connection from the client to the server."""
    with server.listen(80) as listener:
        s = client.connect(("server", 80))
        return s, listener.accept()[0]


class Segments:
    """The thief's own TCP, as far as it needs one: it sends what it is told to, from port 5000 to port 80 of
    `target`."""

    def __init__(self, below: Raw, target: str = "server") -> None:
        self.below = below
        self.target = target

    def send(self, flags: int, seq: int, ack: int = 0, data: bytes = b"") -> None:
        """One segment, from the thief's own address."""
        options = Options(mss=FULL).pack() if flags & SYN else b""
        pseudo = self.below.pseudo_sum(self.target, 20 + len(options) + len(data))
        header = TCP(5000, 80, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, 65535, options=options)
        self.below.send(self.target, header.pack(pseudo, data) + data)

    def heard(self) -> TCP:
        """The header of the next segment that comes."""
        _, segment = self.below.receive("5 s")
        return TCP.parse(segment)

    def hello(self) -> int:
        """Open a connection; the number of the first byte that the server will send."""
        self.send(SYN, 0)
        begin = self.heard().seq + 1
        self.send(ACK, 1, begin)
        return begin


def film(server: Host, size: int) -> None:
    """A server's program: whoever asks gets so many bytes."""
    with server.listen(80) as listener:
        s = listener.accept()[0]
        s.recv(100)
        try:
            s.sendall(bytes(size))
        except OSError:
            return


def watch(thief: Host) -> None:
    """Ask for the film, and take it as it comes, for a second: an honest downloader."""
    s = thief.connect(("server", 80))
    s.sendall(b"the film")
    end = thief.now + 1
    while thief.now < end:
        s.recv(65536)


def sent(trace: Trace, name: str, seconds: float = 1.0) -> int:
    """Bytes of the stream that `name` sent within so many seconds of its first."""
    packets = [p for p in trace.packets if p.tcp and p.sender == name and p.payload_length]
    end = packets[0].sent + round(seconds * SECOND)
    return sum(p.payload_length for p in packets if p.sent <= end)


def caught(trace: Trace) -> tuple[Packet, Packet]:
    """The first packet that fell out of a queue, and the first of the thief's that acknowledges it all the
    same."""
    lost = next(p for p in trace.packets if p.fate == "queue full")
    assert lost.tcp is not None
    end = seq_add(lost.tcp.seq, lost.payload_length)
    later = (p for p in trace.packets if p.number > lost.number and p.sender == "thief" and p.tcp)
    return lost, next(p for p in later if p.tcp and seq_sub(p.tcp.ack, end) >= 0)


def play(backlog: int, syns: int, cookies: str) -> Said:
    """Whether an honest client gets in while so many SYNs come, one a millisecond."""
    served, server = storm(syns, backlog, syn_cookies=cookies == "on")
    half = sum(row[1] == "SYN-RECV" for row in server.ss().rows)
    answer = "connected" if served else "no answer for 3 s"
    return Said(f"the client: {answer}\nthe server keeps {half} half-open connections")
