"""Where the book's live cells get their Linux: a real one if this machine can, or else a recording of one.

A live cell asks only for what is true of both. LABSTACK_NO_TAP=1 in the environment chooses the recording.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import walls
from heist import Segments

from labstack.core.seq import seq_add
from labstack.headers.tcp import ACK, CWR, ECE, FIN, RST, SYN, TCP
from labstack.host import Host
from labstack.linux import LinuxPeer
from labstack.observe import recording
from labstack.observe.questions import Said
from labstack.observe.trace import Trace
from labstack.transport.tcp.receiver import Reassembly

CAPTURES = Path(__file__).resolve().parent / "captures"
NAMES = {"192.168.77.2": "lab", "192.168.77.1": "linux", "10.0.0.1": "lab", "10.0.0.2": "linux"}


def linux(*addresses: str) -> tuple[LinuxPeer | None, Said]:
    """A Linux peer, or None where this machine cannot have one; and a notice that says which. `addresses` are
    Linux's, with its prefix, and labstack's; without them, the usual ones."""
    try:
        if os.environ.get("LABSTACK_NO_TAP"):
            raise OSError("LABSTACK_NO_TAP is set")
        peer = LinuxPeer(*addresses)
    except OSError as error:
        return None, Said(
            "No Linux peer here, so the live cells show a recording of one.\n"
            f"The reason: {error.strerror or error}.\nWhat to do: run `labstack doctor` in a terminal."
        )
    return peer, Said(f"A Linux kernel is at the other end of {peer.tap}.")


def serve(peer: LinuxPeer, files: dict[str, bytes], port: int = 80) -> None:
    """Start Python's own Web server on the Linux side, for these files; return when it answers."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    weakref.finalize(peer, shutil.rmtree, folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    peer.run([sys.executable, "-m", "http.server", str(port)], cwd=folder)
    peer.wait_for_port(port)


def recorded(name: str) -> Trace:
    """The recording book/captures/NAME.pcap."""
    return recording.read(CAPTURES / f"{name}.pcap", NAMES)


def stubborn(address: str, port: int) -> None:
    """Chapter 25's program: the peer has closed, and it sends. One line to say so, one for each try."""
    s = socket.create_connection((address, port))
    assert s.recv(100) == b""
    print("closed", flush=True)
    while input():
        try:
            print(s.send(b"hello"), flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)


def send_to_nobody(peer: LinuxPeer | None) -> tuple[str, list[str]]:
    """Run `stubborn` on Linux, and close on it from here: what Linux's `ss` says then, and what the program
    says. Without a peer, what they said when it was recorded."""
    if peer is None:
        table, said = json.loads((CAPTURES / "25-linux.json").read_text(encoding="utf-8"))
        return table, said
    lab = peer.host()
    captured, listener = lab.capture("linux"), lab.listen(80)
    program = peer.run(walls.program(stubborn, lab.address, 80), stdin=PIPE, stdout=PIPE)
    assert program.stdin and program.stdout
    listener.accept()[0].close()
    said = [program.stdout.readline().decode().strip()]
    table = peer.check(["ss", "-Htn", "dst", lab.address]).stdout
    for _ in range(2):
        program.stdin.write(b"again\n")
        program.stdin.flush()
        said.append(program.stdout.readline().decode().strip())
        while not any("RST" in p.flags for p in captured.packets if p.tcp):
            lab.sleep(0.01)
    peer.close()
    return table, said


# One client for each connection, all at once; a refusal means that the server has not begun yet.
CROWD = """
import asyncio, sys

async def client(host, port):
    for _ in range(100):
        try:
            reader, writer = await asyncio.open_connection(host, port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
    writer.write(b"hello")
    assert await reader.read() == b"HELLO"
    writer.close()

async def crowd(host, port, clients):
    await client(host, port)
    await asyncio.gather(*(client(host, port) for _ in range(int(clients))))

asyncio.run(crowd(*sys.argv[1:]))
"""


def crowd(peer: LinuxPeer, host: Host, port: int, clients: int) -> None:
    """Let so many clients on the Linux side say hello to the host's port, all at the same time, after one
    that tries whether it is there. Raises LinuxCommandFailed if one of them has no answer."""
    peer.check([sys.executable, "-c", CROWD, host.address, str(port), str(clients)])


# To each client ten full segments, and then the other end's last word is waited for.
TEN_SEGMENTS = """
import socket, sys

with socket.create_server(("", int(sys.argv[1]))) as listener:
    while True:
        client, _ = listener.accept()
        client.sendall(bytes(14_600))
        client.recv(1)
"""


def ten_segments(peer: LinuxPeer, receiver: type[Reassembly]) -> Trace:
    """Let Linux send ten segments, over each of two connections to a host with this receiver."""
    peer.run([sys.executable, "-c", TEN_SEGMENTS, "20"])
    peer.wait_for_port(20)
    lab = peer.host(receiver=receiver)
    trace = lab.capture("linux")
    for _ in range(2):
        with lab.connect((peer.address, 20)) as s:
            left = 14_600
            while left:
                left -= len(s.recv(left))
    lab.sleep(0.1)
    return trace


# Every datagram comes back in capitals.
UDP_ECHO = """
import socket, sys

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
while True:
    data, sender = s.recvfrom(2000)
    s.sendto(data.upper(), sender)
"""


def udp_echo(peer: LinuxPeer, port: int) -> Host:
    """A program on the Linux side that answers at this UDP port, and a host that knows the way there."""
    peer.run([sys.executable, "-c", UDP_ECHO, str(port)])
    peer.wait_for_port(port, protocol="udp")
    lab = peer.host()
    lab.ping(peer.address)
    return lab


# To whoever connects: ten sends of six bytes, as fast as they can be made.
TEN_SENDS = """
import socket, sys

with socket.create_server(("", int(sys.argv[1]))) as listener:
    s, _ = listener.accept()
    for n in range(10):
        s.sendall(b"word %d" % n)
    s.recv(1)
"""


def ten_sends(peer: LinuxPeer, lab: Host) -> Trace:
    """Let Linux send six bytes ten times to this host of its peer's."""
    peer.run([sys.executable, "-c", TEN_SENDS, "7"])
    peer.wait_for_port(7)
    trace = lab.capture("linux")
    with lab.connect((peer.address, 7)) as s:
        s.makefile("rb").read(60)
    return trace


def flights(peer: LinuxPeer, rounds: int, round_trip: float = 0.3, marked: bool = False) -> Trace:
    """Ask Linux's Web server for its page, and acknowledge what has come only once each `round_trip` seconds,
    as if the path were that long; after so many rounds, hang up. `marked`: offer ECN (RFC 3168), and say with
    the first acknowledgment that a router has marked what came."""
    lab = peer.host()
    captured = lab.capture("linux")
    request = b"GET / HTTP/1.0\r\n\r\n"
    with lab.raw(6) as below:
        mine = Segments(below, peer.address)
        mine.send(SYN | (ECE | CWR) * marked, 0)
        begin = mine.heard().seq + 1
        lab.sleep(round_trip)
        mine.send(ACK, 1, begin, request)
        for n in range(rounds):
            lab.sleep(round_trip)
            last = [p for p in captured.packets if p.sender == "linux" and p.payload_length][-1]
            end = seq_add(last.tcp.seq, last.payload_length)
            mine.send(ACK | ECE * (marked and n == 0), 1 + len(request), end)
        mine.send(RST, 1 + len(request))
    return captured


# It takes a connection, reads nothing until a line comes from its standard input, then all there is.
SLOW_READER = """
import socket, sys

with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    listener.bind(("", int(sys.argv[1])))
    listener.listen()
    s, _ = listener.accept()
    input()
    total = 0
    while data := s.recv(65536):
        total += len(data)
    print(total, flush=True)
"""


def sent_to_a_slow_reader(peer: LinuxPeer, size: int) -> Trace:
    """Send `size` bytes to a program on Linux that reads nothing until Linux's window is shut, and then all
    of it; the trace. Raises TimeoutError if the window stays open for ten seconds, or the connection."""
    program = peer.run([sys.executable, "-c", SLOW_READER, "7"], stdin=PIPE, stdout=PIPE)
    assert program.stdin and program.stdout
    peer.wait_for_port(7)
    lab = peer.host()
    trace = lab.capture("linux")
    s = lab.connect((peer.address, 7))
    s.sendall(bytes(size))
    s.close()
    _until(lab, trace, "shuts its window", lambda segment: not segment.window)
    program.stdin.write(b"read\n")
    program.stdin.flush()
    assert int(program.stdout.readline()) == size
    _until(lab, trace, "closes", lambda segment: bool(segment.flags & FIN))
    return trace


def _until(lab: Host, trace: Trace, what: str, has: Callable[[TCP], bool]) -> None:
    """Wait for a segment from Linux that has this. Raises TimeoutError after ten seconds."""
    end = lab.now + 10
    while not any(p.tcp and p.sender == "linux" and has(p.tcp) for p in trace.packets):
        if lab.now > end:
            raise TimeoutError(f"Linux never {what}")
        lab.sleep(0.01)
