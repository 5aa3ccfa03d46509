"""iperf3, labstack to labstack in virtual time: figures that stay the same, and what it turns away."""

import json
import struct
from collections.abc import Iterator

import pytest

from labstack import Host, Network
from labstack.applications import discard, echo, iperf3
from labstack.sockets.socket import Socket

FULL = 1460 / 1538 * 10_000_000
"""Bits a second of payload at 10 Mbit/s: a frame has 58 bytes of headers and check sequence, and 20 of
preamble and gap."""


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b, rate="10 Mbit/s", delay="5 ms")
        b.spawn(iperf3.serve, b)
        yield net


@pytest.fixture
def a(net: Network) -> Host:
    return net.hosts["a"]


SERVER = ("b", iperf3.PORT)


@pytest.mark.feature(
    "Applications", "iperf3, server and client: bits a second, over one or several connections, either way"
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("streams", [1, 3])
def test_a_wire_is_filled(a: Host, streams: int, reverse: bool) -> None:
    result = iperf3.measure(a, SERVER, 10, streams=streams, reverse=reverse)
    assert len(result.streams) == streams and all(result.streams)
    assert 0.99 * FULL < result.rate < FULL


def test_the_figure_is_the_same_for_ever() -> None:
    results = []
    for _ in range(2):
        with Network(seed=1) as net:
            a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
            net.wire(a, b, rate="10 Mbit/s", delay="5 ms")
            b.spawn(iperf3.serve, b)
            results.append(iperf3.measure(a, SERVER, "10 s", reverse=True))
    assert results[0] == results[1] and results[0].seconds == 10
    assert f"{results[0].rate / 1e6:.2f} Mbit/s" == "9.49 Mbit/s"


def test_so_many_bytes_arrive_before_the_test_ends(a: Host) -> None:
    result = iperf3.measure(a, SERVER, size=1_000_000)
    assert result.streams == (1_000_000,) and 0.9 * FULL < result.rate < FULL
    result = iperf3.measure(a, SERVER, size=1_000_000, streams=3)
    assert sum(result.streams) == 1_000_000 and max(result.streams) - min(result.streams) == 1


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"streams": 0}, "take 1 to 32"), ({"streams": 33}, "33 streams"), ({"seconds": 0}, "0 s"),
        ({"seconds": "2 h", "size": 0}, "0 bytes"), ({"size": -1}, "-1 bytes"), ({"seconds": "25 h"}, "25 h"),
        ({"size": 10, "reverse": True}, "from the client"), ({"seconds": "soon"}, "'soon' is not a time"),
    ],
)  # fmt: skip
def test_what_is_no_test_is_told(a: Host, wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        iperf3.measure(a, SERVER, **wrong)  # type: ignore[arg-type]


def test_one_test_at_a_time(net: Network, a: Host) -> None:
    first = a.spawn(iperf3.measure, a, SERVER, 5)
    a.sleep(1)
    with pytest.raises(ConnectionError, match="busy with another test"):
        iperf3.measure(a, SERVER, 1)
    assert 0.98 * FULL < first.join().rate < FULL  # type: ignore[attr-defined]
    assert iperf3.measure(a, SERVER, 1).rate > 0


def test_a_server_of_another_kind_is_told(net: Network, a: Host) -> None:
    b = net.hosts["b"]
    b.spawn(echo.serve, b)
    with pytest.raises(
        ConnectionError, match="said 108 where iperf3 says 9"
    ):  # the first letter of our cookie
        iperf3.measure(a, ("b", echo.PORT), 1)
    b.spawn(discard.serve, b)
    with pytest.raises(TimeoutError):
        iperf3.measure(a, ("b", discard.PORT), 1)
    with pytest.raises(ConnectionRefusedError):
        iperf3.measure(a, ("b", 5202), 1)


def opened(a: Host) -> Socket:
    """The first step of a test of one's own."""
    s = a.connect(SERVER, timeout=100)
    s.sendall(b"x" * iperf3.COOKIE)
    assert s.recv(1) == bytes([iperf3.PARAM_EXCHANGE])
    return s


def as_json(value: object) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack(">I", len(text)) + text


@pytest.mark.parametrize(
    "asked",
    [
        {"udp": True, "parallel": 1}, {"bidirectional": True, "parallel": 1}, {"omit": 1, "parallel": 1}, {},
        {"parallel": 129}, {"parallel": "many"}, {"parallel": 1, "time": -1}, {"parallel": 1, "time": 10**6},
    ],
)  # fmt: skip
def test_what_the_server_cannot_do_it_says_as_iperf3_does(a: Host, asked: dict[str, object]) -> None:
    with opened(a) as s:
        s.sendall(as_json(asked))
        assert s.recv(100, 0x100) == iperf3.REFUSAL
    assert iperf3.measure(a, SERVER, 1).rate > 0


@pytest.mark.parametrize(
    "said",
    [
        b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 100_000, as_json([1]), as_json(None), as_json("yes"),
        b"\0\0\0\x05{{{{{", as_json({"parallel": 1}) + b"!", b"\0\0\xff\xff" + b"[" * 65535,
    ],
)  # fmt: skip
def test_a_client_that_talks_nonsense_costs_nobody_else_anything(a: Host, said: bytes) -> None:
    with opened(a) as s:
        s.sendall(said)
    a.sleep(100)  # what is still missing after a minute is not waited for
    assert iperf3.measure(a, SERVER, 1).rate > 0


@pytest.mark.parametrize("amount", [{"seconds": 5}, {"size": 10**9}], ids=str)
def test_a_client_that_vanishes_is_given_up(net: Network, a: Host, amount: dict[str, int]) -> None:
    """Also one that has not said for how long it would send."""
    c = net.host("c", "10.0.1.1/24")
    c.route("0.0.0.0/0", via="10.0.1.2")
    b = net.hosts["b"]
    b.interface("eth1", "10.0.1.2/24")
    net.wire(c, b["eth1"], rate="10 Mbit/s", delay="5 ms")
    c.spawn(lambda: iperf3.measure(c, ("10.0.1.2", iperf3.PORT), **amount))  # type: ignore[arg-type]
    c.sleep(1)
    c.close()
    with pytest.raises(ConnectionError, match="busy"):
        iperf3.measure(a, SERVER, 1)
    a.sleep(70)
    assert iperf3.measure(a, SERVER, 1).rate > 0


@pytest.mark.parametrize("results", [{}, {"streams": []}, {"streams": [{"bytes": 1}]}, {"streams": 5}])
def test_a_server_that_lies_is_told(net: Network, a: Host, results: object) -> None:
    b = net.hosts["b"]

    def lie() -> None:
        with b.listen(5202) as listener:
            control, _ = listener.accept()
            control.sendall(bytes([iperf3.PARAM_EXCHANGE, iperf3.CREATE_STREAMS]))
            stream, _ = listener.accept()
            control.sendall(bytes([iperf3.TEST_START, iperf3.TEST_RUNNING, iperf3.EXCHANGE_RESULTS]))
            control.sendall(as_json(results) + bytes([iperf3.DISPLAY_RESULTS]))
            while stream.recv(65536):
                pass

    b.spawn(lie)
    with pytest.raises(ConnectionError, match="not as iperf3 writes them"):
        iperf3.measure(a, ("b", 5202), 1)
