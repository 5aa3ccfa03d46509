"""labstack against a real Linux kernel: megabytes both ways, and every way a connection begins and ends.

The programs at Linux's end are a few lines of plain Python each, or curl, nginx, ping and ss. Whatever has to
come to pass has a deadline; nothing sleeps and hopes.
"""

import gc
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from labstack import Host, TcpConfig
from labstack.applications.http.server import serve
from labstack.core.units import MILLISECOND, SECOND
from labstack.linux import LinuxPeer
from labstack.linux_program import LinuxCommandFailed, LinuxProgram
from tests.programs.peers import wait_for_port
from tests.scene import pattern

from .conftest import wait_until

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("tidy")]

TEN_MB = 10_000_000
PATIENCE = 60
"""Seconds that any one call may wait. Reached only when something is wrong."""
QUICK = TcpConfig.linux(msl=20 * MILLISECOND)
"""As Linux, but TIME-WAIT is over in a moment."""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def ten_megabytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "ten"
    path.write_bytes(pattern(TEN_MB))
    return path


# --- nothing is left ----------------------------------------------------------------------------------------


def descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{number} → {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            pass  # the one that lists them
    return found


def children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found.update((task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            return children()  # a thread has just ended, and another one has its children
    return found


@pytest.fixture
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around the peer: no descriptor, thread or process is left of it, whatever the test did."""
    threads, open_before, born = set(threading.enumerate()), descriptors(), children()
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        return  # the report of the failure holds on to all that was there
    # What programs wrote can be read as long as somebody holds on to them: here, pytest does.
    request.node.funcargs.clear()
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) <= threads, "its threads have ended")
    wait_until(lambda: children() <= born, "its processes have ended")
    assert descriptors() <= open_before


@pytest.fixture
def linux(tidy: None, linux: LinuxPeer) -> LinuxPeer:
    """The same peer, made after `tidy` has looked and ended before it looks again."""
    return linux


def at_rest(host: Host) -> None:
    """All connections of the host are over, TIME-WAIT too, and no timer waits."""
    wait_until(lambda: not host.tcp.connections, f"{host.tcp.connections} are over")

    def timers() -> list[object]:
        with host.driver:
            return [timer for _, _, timer in host.driver._heap if timer._fn is not None]

    wait_until(lambda: not timers(), f"no timer waits: {timers()}")


def states(linux: LinuxPeer, *filters: str) -> list[str]:
    """What `ss` says of Linux's TCP connections: a state each."""
    said = linux.check(["ss", "-Htan", *filters]).stdout
    return sorted(line.split()[0] for line in said.splitlines() if not line.startswith("LISTEN"))


def read_to_end(s: object) -> bytes:
    pieces = []
    while piece := s.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def python(linux: LinuxPeer, code: str, *args: object, **streams: int) -> LinuxProgram:
    return linux.run([sys.executable, "-u", "-c", code, *map(str, args)], **streams)


# --- ten megabytes ------------------------------------------------------------------------------------------

NGINX = """
user root; daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/errors;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c;
    uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;
    server {{ listen 8000; root {1}; }}
}}
"""


def start_server(linux: LinuxPeer, which: str, folder: Path, scratch: Path) -> None:
    if which == "nginx":
        if not shutil.which("nginx"):
            pytest.skip("needs nginx")
        (scratch / "nginx.conf").write_text(NGINX.format(scratch, folder))
        linux.run(["nginx", "-p", scratch, "-e", scratch / "errors", "-c", scratch / "nginx.conf"])
    else:
        linux.run([sys.executable, "-m", "http.server", "8000"], cwd=folder)
    linux.wait_for_port(8000)


def fetch(host: Host, address: tuple[str, int], path: str) -> bytes:
    s = host.connect(address, timeout=PATIENCE)
    with s:
        s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = read_to_end(s).partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    return body


@pytest.mark.feature("Real wires", "10 MB from Linux's own web servers: equal, with and without offload")
@pytest.mark.parametrize("offload", [False, True], ids=["plain", "offload"])
@pytest.mark.parametrize("which", ["http.server", "nginx"])
def test_ten_megabytes_from_linux(
    linux: LinuxPeer, ten_megabytes: Path, tmp_path: Path, which: str, offload: bool
) -> None:
    start_server(linux, which, ten_megabytes.parent, tmp_path)
    with closing(linux.host(offload=offload, tcp=QUICK)) as host:
        came = fetch(host, (linux.address, 8000), "/ten")
        assert len(came) == TEN_MB
        assert digest(came) == digest(ten_megabytes.read_bytes())
        at_rest(host)


@pytest.mark.feature("Real wires", "10 MB served to curl: equal, with and without offload")
@pytest.mark.parametrize("offload", [False, True], ids=["plain", "offload"])
def test_ten_megabytes_to_curl(linux: LinuxPeer, ten_megabytes: Path, tmp_path: Path, offload: bool) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    with closing(linux.host(offload=offload, tcp=QUICK)) as host:
        host.spawn(serve, host, ten_megabytes.parent)
        wait_for_port(host, 80)
        url = f"http://{linux.host_address}/ten"
        linux.check(["curl", "-sS", "--fail", "--max-time", str(PATIENCE), "-o", tmp_path / "came", url])
        assert digest((tmp_path / "came").read_bytes()) == digest(ten_megabytes.read_bytes())
        at_rest(host)


BOTH = """
import hashlib, socket, sys, threading
listener = socket.create_server(("", 5201))
s, _ = listener.accept()
data = open(sys.argv[1], "rb").read()[::-1]

def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)

sender = threading.Thread(target=send)
sender.start()
seen = hashlib.sha256()
while piece := s.recv(65536):
    seen.update(piece)
sender.join()
print(seen.hexdigest())
"""


@pytest.mark.feature("Real wires", "10 MB in both directions of one connection at once")
@pytest.mark.parametrize("offload", [False, True], ids=["plain", "offload"])
def test_both_directions_at_once(linux: LinuxPeer, ten_megabytes: Path, offload: bool) -> None:
    data = ten_megabytes.read_bytes()
    program = python(linux, BOTH, ten_megabytes)
    linux.wait_for_port(5201)
    with closing(linux.host(offload=offload, tcp=QUICK)) as host:
        s = host.connect((linux.address, 5201), timeout=PATIENCE)

        def send() -> None:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)

        sender = host.spawn(send)
        came = read_to_end(s)
        sender.join(PATIENCE)
        s.close()
        assert digest(came) == digest(data[::-1])
        assert program.wait(PATIENCE) == 0
        assert program.output.strip() == digest(data)
        at_rest(host)


# --- many ---------------------------------------------------------------------------------------------------


@pytest.mark.feature("Real wires", "20 connections at the same time, opened from either side")
def test_twenty_connections_to_linux(linux: LinuxPeer, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(pattern(100_000, number))
    start_server(linux, "http.server", tmp_path, tmp_path)
    with closing(linux.host(tcp=QUICK)) as host:
        programs = [host.spawn(fetch, host, (linux.address, 8000), f"/{number}") for number in range(20)]
        for number, program in enumerate(programs):
            assert program.join(PATIENCE) == pattern(100_000, number)
        at_rest(host)


@pytest.mark.feature("Real wires", "20 connections at the same time, opened from either side")
def test_twenty_connections_from_linux(linux: LinuxPeer, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    site, came = tmp_path / "site", tmp_path / "came"
    site.mkdir()
    came.mkdir()
    for number in range(20):
        (site / f"{number}").write_bytes(pattern(100_000, number))
    with closing(linux.host(tcp=QUICK)) as host:
        host.spawn(serve, host, site)
        wait_for_port(host, 80)
        url = f"http://{linux.host_address}/[0-19]"
        at_once = ["--parallel", "--parallel-immediate", "--parallel-max", "20", "-H", "Connection: close"]
        limits = ["-sS", "--fail", "--max-time", str(PATIENCE)]
        linux.check(["curl", *limits, *at_once, "-o", f"{came}/#1", url])
        for number in range(20):
            assert (came / f"{number}").read_bytes() == pattern(100_000, number)
        at_rest(host)


# --- half-closed --------------------------------------------------------------------------------------------

ANSWER_AFTER_THE_END = """
import socket, sys
s, _ = socket.create_server(("", 7)).accept()
said = bytearray()
while piece := s.recv(65536):
    said += piece
print("heard the end")
sys.stdin.readline()
s.sendall(said[::-1])
s.close()
"""


@pytest.mark.feature("Real wires", "Half-closed connections, both ways; `ss` on Linux shows each state")
def test_we_close_our_half(linux: LinuxPeer) -> None:
    program = python(linux, ANSWER_AFTER_THE_END, stdin=subprocess.PIPE)
    linux.wait_for_port(7)
    # What Linux says has to wait in one piece until it is read.
    with closing(linux.host(tcp=replace(QUICK, auto_tuning=False))) as host:
        s = host.connect((linux.address, 7), timeout=PATIENCE)
        s.sendall(pattern(300_000))
        s.shutdown(socket.SHUT_WR)
        wait_until(lambda: "heard the end" in program.output, "Linux heard that we have no more")
        assert states(linux) == ["CLOSE-WAIT"]
        with pytest.raises(BrokenPipeError):
            s.send(b"more")
        program.communicate(b"go on\n", timeout=PATIENCE)
        assert read_to_end(s) == pattern(300_000)[::-1]
        s.close()
        wait_until(lambda: not states(linux), "Linux is through LAST-ACK")
        at_rest(host)


TALK_AFTER_ITS_OWN_END = """
import hashlib, socket, sys
s = socket.create_connection((sys.argv[1], 7))
s.sendall(b"question")
s.shutdown(socket.SHUT_WR)
seen = hashlib.sha256()
while piece := s.recv(65536):
    seen.update(piece)
print(seen.hexdigest())
"""


@pytest.mark.feature("Real wires", "Half-closed connections, both ways; `ss` on Linux shows each state")
def test_linux_closes_its_half(linux: LinuxPeer) -> None:
    with closing(linux.host(tcp=QUICK)) as host:
        listener = host.listen(7)
        program = python(linux, TALK_AFTER_ITS_OWN_END, linux.host_address)
        s, _ = listener.accept()
        s.settimeout(PATIENCE)
        assert read_to_end(s) == b"question"
        wait_until(lambda: states(linux) == ["FIN-WAIT-2"], "Linux waits for our end")
        s.sendall(pattern(300_000))
        s.close()
        listener.close()
        assert program.wait(PATIENCE) == 0
        assert program.output.strip() == digest(pattern(300_000))
        wait_until(lambda: states(linux) == ["TIME-WAIT"], "Linux, who closed first, waits for what is late")
        at_rest(host)


CLOSE_FIRST = """
import socket
s, _ = socket.create_server(("", 7)).accept()
s.close()
"""

CLOSE_LAST = """
import socket
s, _ = socket.create_server(("", 7)).accept()
assert s.recv(1) == b""
"""


@pytest.mark.feature("Real wires", "TIME-WAIT stays with the end that closed first, as `ss` on Linux shows")
@pytest.mark.parametrize("first", ["we", "Linux"])
def test_time_wait_is_with_who_closed_first(linux: LinuxPeer, first: str) -> None:
    program = python(linux, CLOSE_LAST if first == "we" else CLOSE_FIRST)
    linux.wait_for_port(7)
    with closing(linux.host(tcp=TcpConfig.linux(msl=30 * SECOND))) as host:
        s = host.connect((linux.address, 7), timeout=PATIENCE)
        if first == "Linux":
            assert s.recv(1) == b""
        s.close()
        assert program.wait(PATIENCE) == 0, program.output

        def ours() -> list[str]:
            with host.driver:
                return [connection.state.value for connection in host.tcp.connections.values()]

        mine, other = (["TIME-WAIT"], []) if first == "we" else ([], ["TIME-WAIT"])
        wait_until(lambda: (ours(), states(linux)) == (mine, other), "it is over, but for TIME-WAIT")


# --- windows that shut --------------------------------------------------------------------------------------

SLOW_READER = """
import hashlib, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
listener.bind(("", 9))
listener.listen()
s, _ = listener.accept()
sys.stdin.readline()
seen = hashlib.sha256()
while piece := s.recv(65536):
    seen.update(piece)
print(seen.hexdigest())
"""


@pytest.mark.feature(
    "Real wires", "A program on Linux stops reading: zero window, probes, and on when it reads"
)
@pytest.mark.parametrize("offload", [False, True], ids=["plain", "offload"])
def test_linux_stops_reading(linux: LinuxPeer, offload: bool) -> None:
    data = pattern(1_000_000)
    program = python(linux, SLOW_READER, stdin=subprocess.PIPE)
    linux.wait_for_port(9)
    with closing(linux.host(tcp=QUICK, offload=offload)) as host:
        trace = host.capture("linux")
        s = host.connect((linux.address, 9), timeout=PATIENCE)

        def send() -> None:
            s.sendall(data)
            s.close()

        sender = host.spawn(send)

        def probes() -> int:
            return sum(1 for event in list(trace.events) if event.rule.name == "tcp.probe")

        wait_until(lambda: probes() >= 3, "three probes ask whether the window is still shut")
        assert any(p.sender == "linux" and p.tcp and p.tcp.window == 0 for p in trace.packets)
        retransmitted = host.counters.get("tcp.retransmission_timeout", 0)
        program.communicate(b"go on\n", timeout=PATIENCE)
        sender.join(PATIENCE)
        assert program.output.strip() == digest(data)
        assert host.counters.get("tcp.retransmission_timeout", 0) == retransmitted == 0, "no probe was a loss"
        at_rest(host)


SENDER = """
import socket, sys
s = socket.create_connection((sys.argv[1], 9))
s.sendall(open(sys.argv[2], "rb").read())
s.close()
print("sent")
"""


@pytest.mark.feature("Real wires", "Our program stops reading: Linux probes the shut window, and goes on")
@pytest.mark.parametrize("offload", [False, True], ids=["plain", "offload"])
def test_we_stop_reading(linux: LinuxPeer, ten_megabytes: Path, offload: bool) -> None:
    config = TcpConfig.linux(msl=20 * MILLISECOND, receive_buffer=100_000)
    with closing(linux.host(tcp=config, offload=offload)) as host:
        trace = host.capture("linux")
        listener = host.listen(9)
        program = python(linux, SENDER, linux.host_address, ten_megabytes)
        s, _ = listener.accept()
        s.settimeout(PATIENCE)
        listener.close()

        def shut() -> list[object]:
            return [p for p in trace.packets if p.sender == host.name and p.tcp and p.tcp.window == 0]

        wait_until(lambda: len(shut()) >= 3, "Linux has probed, and was told that the window is shut")
        assert digest(read_to_end(s)) == digest(ten_megabytes.read_bytes())
        s.close()
        assert program.wait(PATIENCE) == 0 and program.output == "sent\n"
        at_rest(host)


# --- ends that are not orderly ------------------------------------------------------------------------------

NEVER_READS = """
import socket, time
s, _ = socket.create_server(("", 9)).accept()
print("accepted")
time.sleep(1000)
"""


@pytest.mark.feature("Real wires", "A program on Linux is killed in the middle: ConnectionResetError")
def test_a_program_is_killed_in_the_middle_of_our_sending(linux: LinuxPeer) -> None:
    program = python(linux, NEVER_READS)
    linux.wait_for_port(9)
    with closing(linux.host(tcp=QUICK)) as host:
        s = host.connect((linux.address, 9), timeout=PATIENCE)
        errors: list[OSError] = []

        def send() -> None:
            try:
                while True:
                    s.sendall(bytes(100_000))
            except OSError as error:
                errors.append(error)

        sender = host.spawn(send)
        wait_until(lambda: "accepted" in program.output and _unread(linux), "bytes wait there")
        program.send_signal(signal.SIGKILL)
        sender.join(PATIENCE)
        assert [type(error) for error in errors] == [ConnectionResetError]
        s.close()
        at_rest(host)
        assert not states(linux)


def _unread(linux: LinuxPeer) -> int:
    """Bytes that have come to Linux and that no program has read."""
    said = linux.check(["ss", "-Htn"]).stdout.split()
    return int(said[1]) if said else 0


TALKS_AND_NEVER_READS = """
import socket, time
s, _ = socket.create_server(("", 9)).accept()
while True:
    s.sendall(bytes(1000))
    time.sleep(0.01)
"""


@pytest.mark.feature("Real wires", "A program on Linux is killed in the middle: ConnectionResetError")
def test_a_program_is_killed_in_the_middle_of_our_reading(linux: LinuxPeer) -> None:
    program = python(linux, TALKS_AND_NEVER_READS)
    linux.wait_for_port(9)
    with closing(linux.host(tcp=QUICK)) as host:
        s = host.connect((linux.address, 9), timeout=PATIENCE)
        s.sendall(b"what it never reads turns its end into a reset")
        wait_until(lambda: _unread(linux) > 0, "it has come")
        assert s.recv(100)
        program.send_signal(signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            read_to_end(s)
        s.close()
        at_rest(host)


RESET_SEEN = """
import socket, sys
s = socket.create_connection((sys.argv[1], 9))
s.sendall(b"x" * 1000)
try:
    s.recv(1)
except ConnectionResetError:
    print("reset")
"""


@pytest.mark.feature("Real wires", "To close with bytes unread resets the connection, and Linux sees it")
def test_we_close_with_bytes_unread(linux: LinuxPeer) -> None:
    with closing(linux.host(tcp=QUICK)) as host:
        listener = host.listen(9)
        program = python(linux, RESET_SEEN, linux.host_address)
        s, _ = listener.accept()
        s.settimeout(PATIENCE)
        assert s.recv(1) == b"x"
        s.close()
        listener.close()
        assert program.wait(PATIENCE) == 0 and program.output == "reset\n"
        at_rest(host)
        assert not states(linux)


REFUSED = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9))
except ConnectionRefusedError:
    print("refused")
"""


@pytest.mark.feature("Real wires", "Connections refused, both ways: ConnectionRefusedError at once")
def test_connections_are_refused(linux: LinuxPeer) -> None:
    with closing(linux.host()) as host:
        with pytest.raises(ConnectionRefusedError):
            host.connect((linux.address, 9), timeout=PATIENCE)
        assert linux.check([sys.executable, "-c", REFUSED, linux.host_address]).stdout == "refused\n"
        at_rest(host)
        assert not states(linux)


# --- ping and UDP -------------------------------------------------------------------------------------------


@pytest.mark.feature("Real wires", "Pings of every size up to the MTU, both ways")
@pytest.mark.parametrize("mtu", [1500, 9000, 576, 68])
def test_pings_up_to_the_mtu(tidy: None, mtu: int) -> None:
    with LinuxPeer(mtu=mtu) as linux, closing(linux.host()) as host:
        # Linux needs 16 bytes to write the time into, or it says nothing about it. 20 + 8 bytes are headers.
        for size in (0, 1, 15, 16, 17, 18, mtu - 29, mtu - 28):
            assert None not in host.ping("linux", size=size, timeout=PATIENCE), size
            whole = ["ping", "-c", "2", "-i", "0.01", "-M", "do", "-s", str(size), linux.host_address]
            said = linux.check(whole)
            assert " 0% packet loss" in said.stdout, size
            assert "wrong" not in said.stdout, "ping looks at every byte of what comes back"
        with pytest.raises(LinuxCommandFailed, match="too long"):
            linux.check(["ping", "-c", "1", "-M", "do", "-s", str(mtu - 27), linux.host_address])
        assert host.counters == {}


UDP_ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7))
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data, peer)
"""

UDP_ASK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.connect((sys.argv[1], 7))
for size in range(0, 1473, 92):
    data = bytes(k & 255 for k in range(size))
    s.send(data)
    assert s.recv(65536) == data, size
print("all came back")
"""


@pytest.mark.feature("Real wires", "UDP datagrams of every size up to the MTU, both ways")
def test_udp_both_ways(linux: LinuxPeer) -> None:
    python(linux, UDP_ECHO)
    linux.wait_for_port(7, protocol="udp")
    with closing(linux.host()) as host:
        with host.socket(socket.SOCK_DGRAM) as s:
            s.settimeout(PATIENCE)
            for size in range(0, 1473, 92):
                s.sendto(pattern(size), (linux.address, 7))
                assert s.recvfrom(65536) == (pattern(size), (linux.address, 7))

        def echo(s: object) -> None:
            while True:
                data, peer = s.recvfrom(65536)
                s.sendto(data, peer)

        answering = host.socket(socket.SOCK_DGRAM)
        answering.bind(("", 7))
        host.spawn(echo, answering)
        assert linux.check([sys.executable, "-c", UDP_ASK, linux.host_address]).stdout == "all came back\n"
        assert host.counters == {}


UDP_REFUSED = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.connect((sys.argv[1], 9))
s.send(b"anybody?")
try:
    s.recv(100)
except ConnectionRefusedError:
    print("refused")
"""


@pytest.mark.feature("Real wires", "A datagram to a closed port: ConnectionRefusedError, both ways")
def test_udp_to_nobody(linux: LinuxPeer) -> None:
    with closing(linux.host()) as host:
        with host.socket(socket.SOCK_DGRAM) as s:
            s.settimeout(PATIENCE)
            s.connect((linux.address, 9))
            s.send(b"anybody?")
            with pytest.raises(ConnectionRefusedError):
                s.recv(100)
            s.send(b"and now?")  # the error was told: the socket goes on
        assert linux.check([sys.executable, "-c", UDP_REFUSED, linux.host_address]).stdout == "refused\n"
