"""What two TCPs agree on in their SYNs, labstack and Linux: SACK, timestamps, ECN and window scale, each on
and off at either end, whoever opens. What was agreed is read from the SYNs on the TAP, from labstack's
`socket.info()` and from `ss` on Linux; then bytes go both ways. And with losses, so that they are used.
"""

import hashlib
import itertools
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import Self

import pytest

from labstack import Host, TcpConfig
from labstack.core.units import MILLISECOND
from labstack.headers.ipv4 import ECT_0
from labstack.headers.tcp import CWR, ECE, SYN, Options
from labstack.linux import LinuxPeer
from labstack.observe import Trace
from labstack.observe.packet import Packet
from labstack.sockets.socket import Socket
from tests.scene import pattern

from .test_losses import Loser

pytestmark = pytest.mark.linux

PORT = 5000
PATIENCE = 60
SIZE = 20_000
MUCH = 400_000

# Serves at PORT and connects to labstack's, as often as it is told on its standard input. On each connection
# it sends so many bytes, says what it has read to the end, and goes.
TALKER = r"""
import hashlib, os, socket, sys, threading
port, size, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
go = threading.Event()

def talk(s):
    go.wait()
    s.sendall(bytes(k * 7 & 255 for k in range(size)))
    s.shutdown(socket.SHUT_WR)
    whole = hashlib.sha256()
    while piece := s.recv(65536):
        whole.update(piece)
    os.write(1, f"{whole.hexdigest()}\n".encode())

def accept():
    while True:
        threading.Thread(target=talk, args=listener.accept()[:1], daemon=False).start()

listener = socket.create_server(("", port))
threading.Thread(target=accept, daemon=True).start()
for line in sys.stdin:
    if line == "connect\n":
        threading.Thread(target=talk, args=[socket.create_connection((address, port))]).start()
    else:
        go.set()
"""


@dataclass(frozen=True)
class Offer:
    """What one end is ready for."""

    sack: bool = False
    timestamps: bool = False
    ecn: bool = False
    window_scaling: bool = False

    @classmethod
    def all(cls) -> list[Self]:
        return [cls(*choice) for choice in itertools.product((True, False), repeat=4)]

    def __and__(self, other: "Offer") -> "Offer":
        both = zip(vars(self).items(), vars(other).values(), strict=True)
        return Offer(**{name: mine and theirs for (name, mine), theirs in both})

    def __str__(self) -> str:
        return " ".join(name for name, on in vars(self).items() if on) or "nothing"

    def config(self) -> TcpConfig:
        """labstack's, and nothing that would take its time."""
        return TcpConfig.linux(
            msl=20 * MILLISECOND,
            sack=self.sack,
            timestamps=self.timestamps,
            ecn="request" if self.ecn else "off",
            window_scaling=self.window_scaling,
        )

    def set(self, linux: LinuxPeer) -> None:
        sysctl(linux, **{f"tcp_{name}": int(on) for name, on in vars(self).items()})


def sysctl(linux: LinuxPeer, **values: int) -> None:
    lines = [f"echo {value} > /proc/sys/net/ipv4/{name}" for name, value in values.items()]
    linux.check(["sh", "-ec", "\n".join(lines)])


def of_syn(packet: Packet) -> Offer:
    """What stands in a SYN, or in its answer: there ECE alone agrees to ECN (RFC 3168 §6.1.1)."""
    assert packet.tcp is not None
    options = Options.parse(packet.tcp.options)
    asks = ECE if "ACK" in packet.flags else ECE | CWR
    return Offer(
        options.sack_permitted,
        options.timestamps is not None,
        packet.tcp.flags & (ECE | CWR) == asks,
        options.window_scale is not None,
    )


def of_info(s: Socket) -> Offer:
    """labstack's own view."""
    info = s.info()
    return Offer(info.sack, info.timestamps, info.ecn, info.scales != (0, 0))


def of_ss(said: str) -> Offer:
    """What `ss -i` prints of a connection: "ts sack ecn wscale:4,7 cubic rto:201 …"."""
    words = said.split()
    return Offer("sack" in words, "ts" in words, "ecn" in words, "wscale:" in said)


Ports = tuple[int, int]
"""Of a connection: labstack's and Linux's."""


def opened(linux: LinuxPeer) -> dict[Ports, str]:
    """What `ss` says of each established connection."""
    lines = linux.check(["ss", "-tinoOH", "state", "established"]).stdout.splitlines()
    ends = [re.findall(r"\S+:(\d+)\s", line)[:2] for line in lines]
    return {(int(ours), int(theirs)): line for (theirs, ours), line in zip(ends, lines, strict=True)}


def ports_of(s: Socket) -> Ports:
    return s.getsockname()[1], s.getpeername()[1]


class Meeting:
    """A host, with a talker on Linux, and all that crosses the TAP between them."""

    def __init__(self, linux: LinuxPeer, host: Host, size: int) -> None:
        self.linux, self.host, self.size = linux, host, size
        self.talker = linux.run(
            [sys.executable, "-c", TALKER, str(PORT), str(size), linux.host_address], stdin=subprocess.PIPE
        )
        linux.wait_for_port(PORT)
        self.trace: Trace = host.capture("linux")

    def tell(self, word: str) -> None:
        assert self.talker.stdin is not None
        self.talker.stdin.write(f"{word}\n".encode())
        self.talker.stdin.flush()

    def connect(self, offer: Offer, we_open: bool) -> Socket:
        with self.host.driver:
            self.host.tcp.config = offer.config()  # a socket takes it when it is made
        if we_open:
            return self.host.connect((self.linux.address, PORT), timeout=PATIENCE)
        with self.host.listen(PORT) as listener:
            listener.settimeout(PATIENCE)
            self.tell("connect")
            s, _ = listener.accept()
        s.settimeout(PATIENCE)
        return s

    def talk(self, sockets: list[Socket]) -> None:
        """Send bytes both ways on each connection, to the end of both directions: they are equal."""

        def send(s: Socket) -> None:
            s.sendall(pattern(self.size))
            s.shutdown(1)

        self.tell("go")
        # Linux too sends all before it reads: somebody has to read meanwhile.
        senders = [self.host.spawn(send, s) for s in sockets]
        expected = bytes(k * 7 & 255 for k in range(self.size))
        for s in sockets:
            came = hashlib.sha256()
            while piece := s.recv(1 << 16):
                came.update(piece)
            assert came.hexdigest() == hashlib.sha256(expected).hexdigest()
        for sender, s in zip(senders, sockets, strict=True):
            sender.join(PATIENCE)
            s.close()
        assert self.talker.stdin is not None
        self.talker.stdin.close()
        assert self.talker.wait(PATIENCE) == 0
        ours = hashlib.sha256(pattern(self.size)).hexdigest()
        assert self.talker.output.split() == [ours] * len(sockets)

    def segments(self, ports: Ports) -> list[Packet]:
        """Those of one connection. (Another may have the same two ports, the other way round.)"""
        names = {self.host.name: ports, "linux": ports[::-1]}
        return [p for p in self.packets if p.tcp and (p.tcp.src_port, p.tcp.dst_port) == names[p.sender]]

    def listen_no_more(self) -> None:
        self.trace.close()
        self.packets = self.trace.packets


def used(segments: list[Packet], sender: str) -> Offer:
    """Which options one end's segments with bytes show (ECN: their datagrams may be marked)."""
    ours = [p for p in segments if p.sender == sender and p.payload_length]
    assert ours
    times = {Options.parse(p.tcp.options).timestamps is not None for p in ours if p.tcp}
    assert len(times) == 1, "all, or none"
    marks = {p.ip.ecn for p in ours if p.ip and not p.retransmission}
    assert marks <= {0, ECT_0}
    return Offer(timestamps=times == {True}, ecn=ECT_0 in marks)


@pytest.mark.feature(
    "Real wires",
    "SACK, timestamps, ECN, window scale on and off at either end: Linux agrees on what both have",
)
@pytest.mark.parametrize("theirs", Offer.all(), ids=str)
def test_what_both_offer_is_agreed(linux: LinuxPeer, theirs: Offer) -> None:
    theirs.set(linux)
    with closing(linux.host()) as host:
        meeting = Meeting(linux, host, SIZE)
        cases = list(itertools.product(Offer.all(), (True, False)))
        sockets = [meeting.connect(ours, we_open) for ours, we_open in cases]
        names = [ports_of(s) for s in sockets]
        seen = opened(linux)
        infos = [(of_info(s), s.info().scales) for s in sockets]
        meeting.talk(sockets)
        meeting.listen_no_more()
        for (ours, we_open), ports, (info, (snd, rcv)) in zip(cases, names, infos, strict=True):
            case = f"we are ready for {ours}, and {'we open' if we_open else 'Linux opens'}"
            segments = meeting.segments(ports)
            syn, answer = [p for p in segments if p.tcp and p.tcp.flags & SYN]
            both = ours & theirs
            assert of_syn(syn) == (ours if we_open else theirs), case
            assert of_syn(answer) == both, case
            assert info == both, case
            assert of_ss(seen[ports]) == both, f"{case}: {seen[ports]}"
            assert not both.window_scaling or f"wscale:{rcv},{snd} " in seen[ports], case
            expected = Offer(timestamps=both.timestamps, ecn=both.ecn)
            assert used(segments, host.name) == used(segments, "linux") == expected, case


@pytest.mark.feature(
    "Real wires", "Losses in both directions, with each choice of SACK, timestamps, ECN and window scale"
)
@pytest.mark.parametrize("we_open", [True, False], ids=["we open", "Linux opens"])
@pytest.mark.parametrize("both", [o for o in Offer.all() if sum(vars(o).values()) != 2], ids=str)
def test_what_is_agreed_serves_when_segments_are_lost(linux: LinuxPeer, both: Offer, we_open: bool) -> None:
    both.set(linux)
    with closing(linux.host()) as host:
        losers = [Loser(host, 9, 3, incoming) for incoming in (False, True)]
        meeting = Meeting(linux, host, MUCH)
        s = meeting.connect(both, we_open)
        ports = ports_of(s)
        meeting.talk([s])
        meeting.listen_no_more()
        assert [loser.lost for loser in losers] == [3, 3]
        assert host.counters["tcp.retransmitted"] >= 3
        segments = meeting.segments(ports)
        for sender in (host.name, "linux"):
            ours = [p for p in segments if p.sender == sender and p.tcp and not p.tcp.flags & SYN]
            named = [p for p in ours if p.tcp and Options.parse(p.tcp.options).sack]
            assert bool(named) is both.sack, f"{sender} tells of what came behind a gap"
            # A cut of the window is told with the next new bytes (RFC 3168 §6.1.2).
            assert any(p.tcp.flags & CWR for p in ours if p.tcp) is both.ecn
            assert used(segments, sender) == Offer(timestamps=both.timestamps, ecn=both.ecn)
