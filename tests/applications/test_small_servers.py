"""Echo, discard and character generator over the simulated stack, and what they survive."""

import socket as posix
from collections.abc import Iterator

import pytest

from labstack import Host, Network, data_segment
from labstack.applications import chargen, discard, echo
from labstack.applications.address_probe import find_owner
from labstack.applications.server import serve
from labstack.core.addresses import IPAddress
from labstack.core.units import SECOND
from labstack.sockets.socket import Socket


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b, rate="100 Mbit/s", delay="1 ms")
        for application in (echo, discard, chargen):
            b.spawn(application.serve, b)
        yield net


@pytest.fixture
def a(net: Network) -> Host:
    return net.hosts["a"]


def read_all(s: Socket) -> bytes:
    return b"".join(iter(lambda: s.recv(65536), b""))


def running(net: Network) -> list[str]:
    return [program.name for program in net.simulator._programs if not program.done]


@pytest.mark.feature("Applications", "Echo, discard and character generator (RFC 862, 863, 864) over TCP")
def test_echo_sends_back_what_comes_also_to_a_client_that_has_closed(net: Network, a: Host) -> None:
    net.wires[0].drop(data_segment(4))
    message = bytes(range(256)) * 2000
    with a.connect(("b", echo.PORT)) as s:
        s.sendall(message)
        s.shutdown(posix.SHUT_WR)
        assert read_all(s) == message


def test_discard_takes_everything_and_says_nothing(a: Host) -> None:
    with a.connect(("b", discard.PORT)) as s:
        s.sendall(bytes(300_000))
        s.shutdown(posix.SHUT_WR)
        assert read_all(s) == b""


def test_the_character_generator_prints_the_pattern_of_its_rfc(a: Host) -> None:
    with a.connect(("b", chargen.PORT)) as s:
        lines = s.makefile("rb")
        first = [lines.readline() for _ in range(97)]
    assert all(len(line) == 74 and line.endswith(b"\r\n") for line in first)
    assert first[0].startswith(b' !"#') and first[1].startswith(b'!"#$')
    assert first[94].startswith(b"~ !") and first[95:] == first[:2]
    shown = [line[4:] for line in str(chargen.__doc__).splitlines() if line.startswith("    ")]
    assert [line.encode() + b"\r\n" for line in shown] == first[: len(shown)]


def test_the_character_generator_waits_for_a_client_that_reads_slowly(net: Network, a: Host) -> None:
    s = a.socket()
    s.setsockopt(posix.SOL_SOCKET, posix.SO_RCVBUF, 10_000)
    s.connect(("b", chargen.PORT))
    got = b""
    for _ in range(50):
        net.sleep(1)
        got += s.recv(1000)
    assert (chargen.PATTERN * 10).startswith(got) and len(got) == 50_000


def test_the_character_generator_ends_when_the_client_closes(net: Network, a: Host) -> None:
    s = a.connect(("b", chargen.PORT))
    s.sendall(b"bytes that it throws away")
    s.shutdown(posix.SHUT_WR)
    assert read_all(s)
    assert len(running(net)) == 3, "only the programs that accept go on"


@pytest.mark.parametrize("port", [echo.PORT, discard.PORT, chargen.PORT])
def test_an_abort_ends_one_connection_and_no_server(
    net: Network, a: Host, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        s = a.connect(("b", port))
        s.sendall(bytes(5000))
        net.sleep(0.1)
        connection = s._connection
        assert connection is not None
        connection.abort()
        s.close()
    net.sleep(1)
    assert len(running(net)) == 3
    with a.connect(("b", echo.PORT)) as s:
        s.sendall(b"still there?")
        assert s.recv(100) == b"still there?"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("port", [echo.PORT, discard.PORT, chargen.PORT])
def test_who_vanishes_is_given_up(net: Network, a: Host, port: int) -> None:
    s = a.connect(("b", port))
    s.sendall(b"the last words")
    net.sleep(0.1)
    net.wires[0].chance["loss"] = 1.0
    net.sleep(200)
    assert len(running(net)) == 3


def test_echo_does_not_wait_for_ever_for_one_who_never_reads(net: Network, a: Host) -> None:
    s = a.connect(("b", echo.PORT), timeout=100)
    with pytest.raises(OSError):
        while True:
            s.sendall(bytes(1_000_000))
    net.sleep(100)
    assert len(running(net)) == 3


@pytest.mark.feature("Applications", "A server talks to a bounded number of clients at once; the others wait")
def test_the_third_of_two_waits(net: Network, a: Host) -> None:
    b = net.hosts["b"]
    b.spawn(lambda: serve(b, 2007, lambda s: s.sendall(s.recv(100)), most=2))
    clients = [a.connect(("b", 2007)) for _ in range(6)]
    for s in clients:
        s.sendall(b"hello")
    net.sleep(1)
    assert [s.recv(100) for s in clients] == [b"hello"] * 6, "each ends, and makes room for the next"
    waiting = [a.connect(("b", 2007), timeout=1) for _ in range(3)]
    waiting[2].sendall(b"me?")
    with pytest.raises(TimeoutError):
        waiting[2].recv(100)
    waiting[0].close()
    assert waiting[2].recv(100) == b"me?"


def test_a_fault_in_a_conversation_is_told_and_ends_only_that(
    net: Network, a: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    b = net.hosts["b"]
    b.spawn(lambda: serve(b, 2007, lambda s: s.sendall(b"%d" % (1 // int(s.recv(1)))), most=1))
    with a.connect(("b", 2007)) as s:
        s.sendall(b"0")
        assert s.recv(1) == b""
    with a.connect(("b", 2007)) as s:
        s.sendall(b"1")
        assert s.recv(1) == b"1"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_taken_port_is_told(net: Network, capfd: pytest.CaptureFixture[str]) -> None:
    b = net.hosts["b"]
    with pytest.raises(OSError, match="port 7 of b is in use"):
        b.spawn(echo.serve, b).join()


def test_an_address_is_probed_before_it_is_taken() -> None:
    with Network(seed=1) as net:
        a, b = net.host("a"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a.interface("eth0"), b)
        trace = net.capture(wire)
        assert find_owner(net.simulator, a["eth0"], IPAddress.parse("10.0.0.2")) == b["eth0"].mac
        assert not b.arps["eth0"].cache.entries(net.simulator.now), (
            "a probe spoils nobody's cache (RFC 5227 §1.1)"
        )
        started = net.now
        assert find_owner(net.simulator, a["eth0"], IPAddress.parse("10.0.0.3")) is None
        assert net.now - started == pytest.approx(0.6)
        assert len(trace) == 2 + 3
        assert a.arps["eth0"].receive == a["eth0"].handlers[0x0806], "its own ARP listens again"


def test_two_who_probe_for_the_same_address_both_see_it() -> None:
    with Network(seed=1) as net:
        a, b = net.host("a"), net.host("b")
        net.wire(a.interface("eth0"), b.interface("eth0"))
        wanted = IPAddress.parse("10.0.0.9")
        other = b.spawn(find_owner, net.simulator, b["eth0"], wanted)
        assert find_owner(net.simulator, a["eth0"], wanted) == b["eth0"].mac
        assert other.join() == a["eth0"].mac
        assert net.simulator.now < SECOND
