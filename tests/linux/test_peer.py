"""LinuxPeer: programs in its namespace, a host at this end, and nothing left afterwards."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from labstack.linux import LinuxPeer
from labstack.linux_program import LinuxCommandFailed

from .conftest import Parent, wait_until

pytestmark = pytest.mark.linux


# --- programs -----------------------------------------------------------------------------------------------


def test_it_is_a_network_of_its_own(linux: LinuxPeer) -> None:
    shown = linux.check(["ip", "-brief", "address"]).stdout.split()
    assert shown[0] == "lo" and "tap0" in shown and f"{linux.address}/24" in shown
    assert len([word for word in shown if word == "UNKNOWN"]) == 2, "lo and the TAP, and no other"
    assert linux.tap not in subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout


CONNECT = """
import socket, sys
s = socket.socket()
s.setblocking(False)
s.connect_ex((sys.argv[1], 9))
print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(bytes(1)).decode())
"""


def test_it_is_set_up_for_experiments(linux: LinuxPeer) -> None:
    read = ["cat", "/proc/sys/net/ipv4/tcp_no_metrics_save"]
    read.append(f"/proc/sys/net/ipv6/conf/{linux.tap}/disable_ipv6")
    assert linux.check(read).stdout.split() == ["1", "1"]
    assert linux.check([sys.executable, "-c", CONNECT, linux.host_address]).stdout == "cubic\n"
    assert "qlen 10000" in linux.check(["ip", "link", "show", linux.tap]).stdout


def test_parameters() -> None:
    with LinuxPeer("10.9.8.1/28", "10.9.8.14", mtu=9000, name="lab7") as linux:
        shown = linux.check(["ip", "address", "show", "lab7"]).stdout
        assert "10.9.8.1/28" in shown and "brd 10.9.8.15" in shown and "mtu 9000" in shown
        assert (linux.address, linux.host_address, linux.tap, linux.mtu) == (
            "10.9.8.1",
            "10.9.8.14",
            "lab7",
            9000,
        )
        with closing(linux.host()) as host:
            assert host["eth0"].mtu == 9000 and host.ping("linux", size=8000) != [None]


@pytest.mark.parametrize("other", ["10.0.0.1", "192.168.77.1"])
def test_the_two_addresses_must_fit(other: str) -> None:
    with pytest.raises(ValueError, match=r"must be another address of 192\.168\.77\.0/24"):
        LinuxPeer(host_address=other)


def test_a_name_that_is_taken() -> None:
    with pytest.raises(OSError, match="'lo' cannot be a TAP"):
        LinuxPeer(name="lo")


def test_check_returns_what_was_said(linux: LinuxPeer) -> None:
    done = linux.check(["sh", "-c", "cat; echo more >&2"], input="words\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "words\n", "more\n")


def test_check_raises_with_the_words_of_the_program(linux: LinuxPeer) -> None:
    with pytest.raises(LinuxCommandFailed, match="ended with status 3: what went wrong") as raised:
        linux.check(["sh", "-c", "echo what went wrong >&2; exit 3"])
    assert isinstance(raised.value, subprocess.CalledProcessError) and raised.value.returncode == 3
    with pytest.raises(LinuxCommandFailed, match="was ended by SIGTERM: it said nothing"):
        linux.check(["sh", "-c", "kill $$"])
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        linux.check(["no-such-program"])


def test_check_ends_what_takes_too_long(linux: LinuxPeer) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        linux.check(["sleep", "1000"], timeout=0.05)
    wait_until(lambda: "sleep" not in linux.check(["ps", "ax"]).stdout, "the program is gone")


def test_environment_and_directory(linux: LinuxPeer, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "WORD": "hello"}
    shown = linux.check(["sh", "-c", "echo $WORD $HOME; pwd"], env=env, cwd=tmp_path).stdout
    assert shown == f"hello\n{tmp_path}\n"


def test_a_program_is_like_popen(linux: LinuxPeer) -> None:
    pipe = subprocess.PIPE
    program = linux.run(["sh", "-c", "cat; echo end >&2; exit 4"], stdin=pipe, stdout=pipe, stderr=pipe)
    assert program.poll() is None
    assert program.communicate(b"x" * 200_000, timeout=20) == (b"x" * 200_000, b"end\n")
    assert (program.returncode, program.wait()) == (4, 4)
    with linux.run(["sleep", "1000"]) as sleeping, pytest.raises(subprocess.TimeoutExpired):
        sleeping.wait(0.01)
    assert sleeping.returncode == -signal.SIGTERM
    sleeping.kill()


def test_a_program_that_will_not_end_is_killed(linux: LinuxPeer) -> None:
    with linux.run(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]) as program:
        wait_until(lambda: program.output, "it has set its trap")
    assert program.returncode == -signal.SIGKILL


def test_output_is_kept(linux: LinuxPeer) -> None:
    program = linux.run(["sh", "-c", "echo one; echo two >&2; echo three"])
    assert program.wait(20) == 0
    assert program.output == "one\ntwo\nthree\n"


AT_ONCE = """
import os, threading
write = lambda: [os.write(1, b"0123456\\n") for _ in range(5000)]
threads = [threading.Thread(target=write) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_output_of_threads_that_write_at_once_is_kept(linux: LinuxPeer) -> None:
    program = linux.run([sys.executable, "-c", AT_ONCE])
    assert program.wait(20) == 0
    assert program.output == "0123456\n" * 20_000
    assert linux.check([sys.executable, "-c", AT_ONCE]).stdout == "0123456\n" * 20_000


def test_output_to_files_and_together(linux: LinuxPeer, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        linux.run(["sh", "-c", "echo one; echo two >&2"], stdout=file, stderr=subprocess.STDOUT).wait(20)
    assert (tmp_path / "out").read_text() == "one\ntwo\n"


def test_many_programs_at_once_from_many_threads(linux: LinuxPeer) -> None:
    said: list[str] = []

    def ask(number: int) -> None:
        said.append(linux.check(["sh", "-c", f"echo {number}"]).stdout.strip())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said, key=int) == [str(number) for number in range(30)]


# --- ports --------------------------------------------------------------------------------------------------

LISTEN = """
import socket, sys, time
time.sleep(0.2)  # so that the port is waited for, and not there at once
s = socket.socket(socket.AF_INET, {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]])
s.bind(("", 8053))
if sys.argv[1] == "tcp": s.listen()
time.sleep(1000)
"""


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_waiting_for_a_port(linux: LinuxPeer, protocol: str) -> None:
    linux.run([sys.executable, "-c", LISTEN, protocol])
    linux.wait_for_port(8053, protocol=protocol)  # type: ignore[arg-type]
    other = "udp" if protocol == "tcp" else "tcp"
    with pytest.raises(TimeoutError, match=f"nobody listens at {other} port 8053: (?s:.*) still runs"):
        linux.wait_for_port(8053, timeout=0.05, protocol=other)  # type: ignore[arg-type]


def test_waiting_for_a_server_that_failed_says_why(linux: LinuxPeer) -> None:
    start = time.monotonic()
    linux.run(["sh", "-c", "echo no configuration >&2; exit 1"])
    with pytest.raises(TimeoutError, match="ended with status 1: no configuration"):
        linux.wait_for_port(80, timeout=60)
    assert time.monotonic() - start < 30


# --- a host at this end -------------------------------------------------------------------------------------


@pytest.mark.feature("Real wires", "A host in real time and the Linux kernel ping each other over a TAP")
def test_pings_both_ways(linux: LinuxPeer) -> None:
    with closing(linux.host()) as host:
        assert None not in host.ping("linux", times=5, interval=0.01)
        said = linux.check(["ping", "-c", "5", "-i", "0.01", linux.host_address]).stdout
        assert " 0% packet loss" in said
        assert host.counters == {}, "and nothing was dropped on the way"


@pytest.mark.feature("Real wires", "A page comes over TCP from a server on a real Linux kernel")
def test_a_page_from_a_real_server(linux: LinuxPeer, tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    (tmp_path / "page").write_bytes(content)
    linux.run([sys.executable, "-m", "http.server", "8000"], cwd=tmp_path)
    linux.wait_for_port(8000)
    with closing(linux.host()) as host:
        s = host.connect((linux.address, 8000))
        s.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        page = s.makefile("rb").read()
        s.close()
    assert page.partition(b"\r\n\r\n")[2] == content


def test_one_host_after_the_other(linux: LinuxPeer) -> None:
    for offload in (False, True, False):
        with closing(linux.host(offload=offload)) as host:
            with pytest.raises(OSError, match="tap0 has a host already"):
                linux.host()
            assert host.ping("linux") != [None]
            assert host["eth0"].device.offloads == offload


def test_two_peers_at_once(linux: LinuxPeer) -> None:
    if linux.way == "container":
        pytest.skip("a container's own network has room for one")
    with LinuxPeer() as second, closing(linux.host()) as host, closing(second.host()) as other:
        assert host.ping("linux") != [None] and other.ping("linux") != [None]


def test_when_the_interface_goes_the_host_is_told(linux: LinuxPeer) -> None:
    host = linux.host()
    linux.check(["ip", "link", "delete", linux.tap])
    with pytest.raises(OSError, match="tap0 is gone"):
        host.sleep("20 s")
    assert host.ping("linux", timeout=0.05) == [None]
    assert host.counters["tap.closed"] > 0
    host.close()


# --- nothing is left ----------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    return {
        child
        for task in Path("/proc/self/task").iterdir()
        for child in (task / "children").read_text().split()
    }


@pytest.mark.feature(
    "Real wires", "A Linux peer leaves no process, file or thread behind, even after kill -9"
)
def test_twenty_times_nothing_is_left(linux: LinuxPeer) -> None:
    linux.close()
    gc.collect()  # an exception that an earlier test has caught holds a program, and itself in a circle
    before = descriptors(), children(), threading.active_count(), sys.getswitchinterval()
    for number in range(20):
        with LinuxPeer() as peer:
            peer.run(["sh", "-c", "setsid sleep 1000 & setsid sleep 1000 &"]).wait(20)
            peer.run(["sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            host = peer.host()
            assert host.ping("linux") != [None]
            if number % 2:
                host.close()
        del peer, host
    assert (descriptors(), children(), threading.active_count(), sys.getswitchinterval()) == before


def test_calls_after_the_end_say_so(linux: LinuxPeer) -> None:
    program = linux.run(["sleep", "1000"])
    linux.close()
    linux.close()
    assert program.wait(20) == -signal.SIGKILL
    program.terminate()
    for call in (lambda: linux.check(["true"]), linux.host, lambda: linux.wait_for_port(1)):
        with pytest.raises((OSError, RuntimeError), match="make a new"):
            call()


CODE = """
import os, sys, time
from labstack.linux import LinuxPeer
peer = LinuxPeer()
host = peer.host()
peer.run(["sh", "-c", "setsid sleep 1000 & setsid sh -c 'sleep 1001 & sleep 1002' & exit 0"]).wait()
peer.run([sys.executable, "-m", "http.server", "8000"])
peer.wait_for_port(8000)
fork = os.fork()
if fork == 0:
    time.sleep(1003)  # a child that has every descriptor of ours
    os._exit(0)
print(fork, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["kill -9", "an exit without closing"])
def test_nothing_is_left_when_the_parent_is_gone(
    parent: Callable[..., Parent], linux: LinuxPeer, how: str
) -> None:
    linux.close()
    started = parent(CODE)
    fork = int(started.line())
    try:
        wait_until(
            lambda: sum(c.startswith("sleep") for c in started.alive().values()) == 3, "three sleepers run"
        )
        assert any("linux_init" in command for command in started.alive().values())
        if how == "kill -9":
            started.process.kill()
        else:
            assert started.process.stdin is not None
            started.process.stdin.write("\n")
            started.process.stdin.flush()
        wait_until(lambda: started.alive().keys() == {fork}, "only the fork is left")
    finally:
        os.kill(fork, signal.SIGKILL)
