"""labstack's iperf3 and iperf3 itself: either one serves, bytes go either way."""

import json
import shutil
from contextlib import closing

import pytest

from labstack.applications import iperf3
from labstack.linux import LinuxPeer
from labstack.linux_program import LinuxCommandFailed
from tests.programs.peers import wait_for_port

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(not shutil.which("iperf3"), reason="needs the command iperf3"),
]

FEATURE = "iperf3: its client measures labstack's server, and labstack's client its server, either way"


@pytest.mark.feature("Real wires", FEATURE)
@pytest.mark.parametrize("words", ["-t1", "-t1 -R", "-t1 -P3", "-n2M", "-t1 -P2 -R", "-n2M -R"])
def test_iperf3_is_the_client(linux: LinuxPeer, words: str) -> None:
    with closing(linux.host()) as host:
        host.spawn(iperf3.serve, host)
        wait_for_port(host, iperf3.PORT)
        for _ in range(2):  # the server is free again at once
            said = linux.check(["iperf3", "-J", "-c", linux.host_address, *words.split()], timeout=30).stdout
            end = json.loads(said)["end"]
            sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
            assert sent >= received > 100_000
            assert len(end["streams"]) == (3 if "-P3" in words else 2 if "-P2" in words else 1)


@pytest.mark.feature("Real wires", FEATURE)
@pytest.mark.parametrize(
    "asked",
    [{}, {"reverse": True}, {"streams": 3}, {"streams": 3, "reverse": True}, {"size": 2_000_000}],
    ids=str,
)
def test_iperf3_is_the_server(linux: LinuxPeer, asked: dict[str, int]) -> None:
    program = linux.run(["iperf3", "-s", "-1", "-J"])
    linux.wait_for_port(iperf3.PORT)
    with closing(linux.host()) as host:
        result = iperf3.measure(host, ("linux", iperf3.PORT), 1, **asked)  # type: ignore[arg-type]
    assert program.wait(20) == 0, program.output
    end = json.loads(program.output)["end"]
    assert len(end["streams"]) == len(result.streams) == asked.get("streams", 1)
    received = sum(result.streams)
    if asked.get("reverse"):
        assert end["sum_sent"]["bytes"] >= received > 100_000
    else:
        # iperf3 stops reading when it hears of the end, also what has come by then.
        assert end["sum_received"]["bytes"] == received
        assert 100_000 < received <= asked.get("size", received)


@pytest.mark.parametrize("words", ["-u", "--bidir", "-O 1", "-P 33"])
def test_what_labstack_cannot_do_iperf3_is_told(linux: LinuxPeer, words: str) -> None:
    with closing(linux.host()) as host:
        host.spawn(iperf3.serve, host)
        wait_for_port(host, iperf3.PORT)
        with pytest.raises(LinuxCommandFailed, match="is not implemented yet"):
            linux.check(["iperf3", "-c", linux.host_address, "-t", "1", *words.split()], timeout=30)
