"""The command line: what it does, over a real TAP and in simulation, and how it says that it cannot."""

import errno
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

import labstack
from labstack import cli, linux
from labstack.linux import LinuxPeer
from labstack.linux_program import LinuxProgram

ROOT = Path(__file__).resolve().parent.parent
LABSTACK = [
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); from labstack.cli import main; sys.exit(main())",
]


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence with which these arguments are refused."""
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"labstack: [^\n]+\n", err), f"one sentence, and nothing else: {err!r}"
    return err


# --- labstack -----------------------------------------------------------------------------------------------


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"labstack {labstack.__version__}\n"


@pytest.mark.parametrize("command", [[], ["doctor"], ["demo"], ["up"], ["bench"]], ids=" ".join)
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['labstack', *command])}")


def test_doctor_speaks_to_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json"])
    assert status in (0, 1)
    assert json.loads(capsys.readouterr().out)["checks"]


UP = ["up", "--tap", "lab0", "--address", "10.0.0.2/24"]


@pytest.mark.feature("Command line", "What cannot be done is told in one sentence, with exit status 2")
@pytest.mark.parametrize(
    "words, told",
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["demo", "--size", "0"], "0 is no size for a page"),
        (["demo", "--size", "-1"], "expected one argument|-1"),
        (["demo", "--size", "big"], "'big' is not a size"),
        (["demo", "--size", "1 TB"], "'1 TB' is not a size"),
        (["demo", "--size", "1 GB"], "1 GB is no size for a page: write a number from 1 to 10,000,000"),
        (["demo", "page"], "unrecognized arguments: page"),
        (["up"], "required: --tap, --address"),
        (["up", "--tap", "lab0", "--address", "10.0.0.2"], "'10.0.0.2' needs a prefix length"),
        (["up", "--tap", "lab0", "--address", "10.0.0.2/33"], "needs a prefix length"),
        (["up", "--tap", "lab0", "--address", "10.0.0/24"], "'10.0.0' is not an IPv4 address"),
        (["up", "--tap", "lab0", "--address", "10.0.0.0/24"], "10.0.0.0 stands for all of 10.0.0.0/24"),
        (["up", "--tap", "lab0", "--address", "10.0.0.255/24"], "10.0.0.255 stands for all of 10.0.0.0/24"),
        (["up", "--tap", "lab0", "--address", "224.0.0.1/24"], "224.0.0.1 is not the address of a machine"),
        (["up", "--tap", "lab0", "--address", "127.0.0.1/8"], "127.0.0.1 is not the address of a machine"),
        ([*UP, "--gateway", "nobody"], "'nobody' is not an IPv4 address"),
        ([*UP, "--gateway", "10.1.0.1"], "the gateway 10.1.0.1 must be another machine in 10.0.0.0/24"),
        ([*UP, "--gateway", "10.0.0.2"], "the gateway 10.0.0.2 must be another machine in 10.0.0.0/24"),
        ([*UP, "--mtu", "small"], "'small' is not a whole number"),
        ([*UP, "--serve", "gopher"], "'gopher' is none of the servers"),
        (
            [*UP, "--serve", "http"],
            "'http' is none of the servers echo, discard, chargen, iperf3 and http:DIR",
        ),
        ([*UP, "--serve", "echo:here"], "'echo:here' is none of the servers"),
        ([*UP, "--serve", "echo,echo"], "echo is there twice"),
        ([*UP, "--serve", "http:/no/such/folder"], "/no/such/folder is no folder that can be read"),
        (["bench", "--seconds", "0"], "'0' is no number of seconds"),
        (["bench", "--seconds", "nan"], "'nan' is no number of seconds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(told, refusal(capsys, *words))


def test_a_tap_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "up", "--tap", "nosuchtap", "--address", "10.0.0.2/24")
    assert "there is no TAP nosuchtap" in said and "ip tuntap add mode tap name nosuchtap" in said


# --- labstack demo ------------------------------------------------------------------------------------------


def check_the_demo(folder: Path, out: str, size: int) -> None:
    """The ladder tells of a whole connection; the two files are what they claim to be."""
    assert f"A page of {size:,} bytes" in out
    assert re.search(r"\|--  1 ARP.*\n.*<-.* 2 ARP.*\n.*--  3 SYN.*\n.*<-.* 4 SYN.*\n.*--  5 ACK", out)
    assert "FIN" in out or "more packets" in out
    assert out.endswith("Wrote demo.pcap (for Wireshark) and demo.svg (the ladder).\n")
    assert ElementTree.parse(folder / "demo.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    capture = (folder / "demo.pcap").read_bytes()
    assert struct.unpack_from("<I", capture)[0] == 0xA1B23C4D
    assert b"GET / HTTP/1.0" in capture


@pytest.mark.linux
@pytest.mark.feature("Command line", "`labstack demo` fetches a page from Linux over a TAP, and draws it")
def test_demo_over_a_tap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--size", "5000"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "from a Web server on Linux" in out
    check_the_demo(tmp_path, out, 5000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.pcap", "demo.svg"]


@pytest.mark.feature("Command line", "Where there can be no TAP, `labstack demo` says so and simulates")
def test_demo_without_a_tap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "no network namespace can be made here")

    monkeypatch.setattr(linux, "begin", refuse)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("No TAP can be had here, so this is a simulation; `labstack doctor` says why")
    check_the_demo(tmp_path, out, 4000)
    assert cli.main(["demo"]) == 0
    assert capsys.readouterr().out == out, "a simulation repeats exactly"


@pytest.mark.parametrize("size", [1, 1460, 100_000])
def test_demo_of_any_size(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_fetch_from_linux", lambda folder: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--size", str(size)]) == 0
    check_the_demo(tmp_path, capsys.readouterr().out, size)


def test_demo_in_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_fetch_from_linux", lambda folder: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.pcap").mkdir()  # root may write everywhere, but not into a folder as if it were a file
    said = refusal(capsys, "demo")
    assert f"cannot be written into {tmp_path}: Is a directory" in said


def test_demo_needs_the_standard_library_alone(tmp_path: Path) -> None:
    python, *code = LABSTACK
    run = [python, "-I", "-S", *code, "demo"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check_the_demo(tmp_path, done.stdout, 4000)


# --- labstack up --------------------------------------------------------------------------------------------


@pytest.fixture
def kernel() -> Iterator[LinuxPeer]:
    """A namespace with a TAP, lab0, that `labstack up` is to take; Linux has 10.0.0.1 on it."""
    with LinuxPeer() as kernel:
        kernel.check(["ip", "tuntap", "add", "mode", "tap", "name", "lab0"])
        kernel.check(["ip", "address", "add", "10.0.0.1/24", "dev", "lab0"])
        kernel.check(["ip", "link", "set", "lab0", "up"])
        yield kernel


def up(kernel: LinuxPeer, *words: str) -> tuple[LinuxProgram, str]:
    """Start `labstack up` on lab0; returns it and the line that it says once it is up."""
    program = kernel.run([*LABSTACK, *UP, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert program.stdout is not None
    return program, program.stdout.readline().decode()


def refused_in(kernel: LinuxPeer, *words: str) -> str:
    program = kernel.run([*LABSTACK, *words])
    assert program.wait(20) == 2, program.output
    assert re.fullmatch(r"labstack: [^\n]+\n", program.output), program.output
    return program.output


@pytest.mark.linux
@pytest.mark.feature("Command line", "`labstack up` is a host on a TAP, with servers: curl and ping reach it")
def test_linux_talks_to_a_host_that_is_up(kernel: LinuxPeer, tmp_path: Path) -> None:
    page = os.urandom(2_000_000)
    (tmp_path / "page.bin").write_bytes(page)
    program, line = up(kernel, "--serve", f"echo,discard,chargen,iperf3,http:{tmp_path}")
    ports = "echo 7, discard 9, chargen 19, iperf3 5201, http 80"
    assert line == f"10.0.0.2/24 is up on lab0: {ports}. Ctrl-C ends it.\n"

    kernel.check(["curl", "-sSf", "-o", str(tmp_path / "got"), "http://10.0.0.2/page.bin"])
    assert hashlib.sha256((tmp_path / "got").read_bytes()).digest() == hashlib.sha256(page).digest()
    head = kernel.check(["curl", "-sSI", "http://10.0.0.2/page.bin", "http://10.0.0.2/nothing"]).stdout
    assert "200 OK" in head and "404 Not Found" in head, "both on one connection"
    kernel.check(["ping", "-c", "3", "-i", "0.2", "-W", "1", "10.0.0.2"])
    echo = "import socket; s = socket.create_connection(('10.0.0.2', 7)); s.sendall(b'x' * 50000);"
    echo += "s.shutdown(socket.SHUT_WR); print(len(s.makefile('rb').read()))"
    assert kernel.check([sys.executable, "-c", echo]).stdout == "50000\n"
    lines = (
        "import socket; s = socket.create_connection(('10.0.0.2', 19)); print(s.makefile().readline()[:6])"
    )
    assert kernel.check([sys.executable, "-c", lines]).stdout == ' !"#$%\n'

    program.send_signal(signal.SIGINT)
    assert program.stdout is not None and program.stdout.read() == b"", "nothing more is said"
    assert program.wait(10) == 0


@pytest.mark.linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_gently(kernel: LinuxPeer, number: int) -> None:
    program, line = up(kernel)
    assert line == "10.0.0.2/24 is up on lab0: it answers pings. Ctrl-C ends it.\n"
    program.send_signal(number)
    assert program.stdout is not None and program.stdout.read() == b""
    assert program.wait(10) == 0
    # The TAP is free for the next one.
    _, line = up(kernel)
    assert "is up" in line


@pytest.mark.linux
def test_a_gateway_and_an_mtu(kernel: LinuxPeer) -> None:
    kernel.check(["ip", "address", "add", "10.9.0.1/32", "dev", "lo"])
    _, line = up(kernel, "--gateway", "10.0.0.1", "--mtu", "600", "--serve", "chargen")
    assert "is up" in line
    kernel.check(["ping", "-I", "10.9.0.1", "-c", "1", "-W", "2", "10.0.0.2"])
    size = "import socket; s = socket.create_connection(('10.0.0.2', 19));"
    size += "print(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))"
    assert int(kernel.check([sys.executable, "-c", size]).stdout) <= 560


@pytest.mark.linux
@pytest.mark.feature("Command line", "`labstack up` takes no address that another machine has (RFC 5227)")
def test_a_taken_address_is_told(kernel: LinuxPeer) -> None:
    said = refused_in(kernel, "up", "--tap", "lab0", "--address", "10.0.0.1/24")
    assert re.search("the address 10.0.0.1 is taken: [0-9a-f:]{17} on lab0 answers for it", said)


@pytest.mark.linux
def test_a_tap_in_use_is_told(kernel: LinuxPeer) -> None:
    up(kernel)
    assert "the TAP lab0 is in use by another program" in refused_in(kernel, *UP)


@pytest.mark.linux
def test_a_tap_that_is_down_is_told(kernel: LinuxPeer) -> None:
    kernel.check(["ip", "link", "set", "lab0", "down"])
    assert "the TAP lab0 is down: `ip link set lab0 up`" in refused_in(kernel, *UP)


@pytest.mark.linux
def test_a_device_that_is_no_tap_is_told(kernel: LinuxPeer) -> None:
    assert "'lo' cannot be a TAP" in refused_in(kernel, "up", "--tap", "lo", "--address", "10.0.0.2/24")


@pytest.mark.linux
def test_an_mtu_that_does_not_fit_is_told(kernel: LinuxPeer) -> None:
    assert "--mtu 9000 does not fit lab0: write a number from 68 to 1500" in refused_in(
        kernel, *UP, "--mtu", "9000"
    )
    assert "--mtu 60 does not fit" in refused_in(kernel, *UP, "--mtu", "60")


@pytest.mark.linux
def test_a_tap_that_vanishes_ends_it_with_a_sentence(kernel: LinuxPeer) -> None:
    program, _ = up(kernel, "--serve", "echo")
    kernel.check(["ip", "link", "delete", "lab0"])
    assert program.wait(10) == 2
    assert program.stdout is not None
    assert program.stdout.read() == b"labstack: the TAP lab0 is gone, and so is the host\n"


@pytest.mark.parametrize(
    "code, told",
    [
        (
            errno.EPERM,
            "the TAP lo is not yours: run as root, or make it with `ip tuntap add mode tap name lo user",
        ),
        (errno.EACCES, "some words"),
    ],
)
def test_a_tap_that_is_not_ours_is_told(
    code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str) -> None:
        raise OSError(code, "some words")

    monkeypatch.setattr(cli.Tap, "open", refuse)
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: 1)
    assert told in refusal(capsys, "up", "--tap", "lo", "--address", "10.0.0.2/24")
