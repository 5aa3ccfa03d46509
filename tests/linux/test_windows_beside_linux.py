"""The windows of a Linux connection beside labstack's: what `ss` said, held to what the program that sends
reads by getsockopt, and to the frames that crossed the TAP."""

import json
import struct
from pathlib import Path

import pytest

from labstack import LinuxPeer, Network
from labstack.host import Host
from labstack.observe.linux_flow import parse
from labstack.physical.wire import Wire
from tests.linux.conftest import wait_until
from tests.observe.experiments import download

SIZE = 171 * 1460
SEND = f"""
import json, socket, struct, sys
server = socket.create_server(("", 5000))
s, _ = server.accept()
s.sendall(bytes({SIZE}))
s.recv(1)  # all has been read at the other end: nothing changes any more
info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
words = struct.unpack("=8B24I", info)[8:]
print(json.dumps(dict(mss=words[2], ssthresh=words[17], cwnd=words[18], again=words[23])), flush=True)
s.recv(1)
"""
LINE = (
    "ESTAB 0 1512560 192.168.77.1:5000 192.168.77.2:60981 cubic wscale:4,10 rto:204 rtt:1.741/2.277 "
    "mss:1460 pmtu:1500 rcvmss:536 advmss:1460 cwnd:320 ssthresh:200 bytes_sent:873080 "
    "bytes_retrans:2920 bytes_acked:452600 segs_out:598 send 2146812177bps retrans:1/2 "
    "lost:3 sacked:4 unacked:288 snd_wnd:768256"
)


def test_a_line_of_ss() -> None:
    sample = parse(LINE, 1.5)
    assert sample is not None
    assert (sample.time, sample.local, sample.peer, sample.algorithm) == (
        1.5, "192.168.77.1:5000", "192.168.77.2:60981", "cubic",
    )  # fmt: skip
    assert (sample.cwnd, sample.ssthresh, sample.peer_window) == (320 * 1460, 200 * 1460, 768_256)
    # tcp_packets_in_flight: what was sent, less what came or got lost, and what was sent again.
    assert sample.in_flight == (288 - 3 - 4 + 1) * 1460
    assert (sample.srtt, sample.rto) == pytest.approx((0.001741, 0.204))
    assert (sample.sent, sample.retransmissions) == (873_080, 2)
    fresh = parse(LINE.replace("ssthresh:200 ", "").replace("cubic", "ts sack bbr"))
    assert fresh is not None and fresh.ssthresh is None and fresh.algorithm == "bbr"
    assert parse("LISTEN 0 128 0.0.0.0:5000 0.0.0.0:* cubic cwnd:10") is None and parse("") is None


@pytest.mark.linux
@pytest.mark.feature("Observation", "A Linux flow's windows, sampled by ss, over labstack's in one chart")
def test_linux_and_labstack_in_one_chart(linux: LinuxPeer, tmp_path: Path) -> None:
    # Linux sends through a labstack router, which has the slow wire on its other side.
    router = linux.host("r", forwarding=True)
    host = Host("h", router.driver)
    with router.driver:
        wire = Wire(router.driver, rate="8 Mbit/s", delay="20 ms", queue="32 KiB")
        sides = (router, "eth1", "10.9.0.1/24"), (host, "eth0", "10.9.0.2/24")
        for end, (machine, name, address) in zip(wire.ends, sides, strict=True):
            end.node = machine.node
            machine.interface(name, address).plug(end)
        host.route("0.0.0.0/0", via="10.9.0.1")
    way = ["ip", "route", "add", "10.9.0.0/24", "via", linux.host_address, "congctl", "reno"]
    linux.check(way)
    program = linux.run(["python3", "-c", SEND])
    linux.wait_for_port(5000)
    trace = host.capture("linux")
    with linux.sample(5000, every="10 ms") as flow, host.connect((linux.address, 5000)) as s:
        come = 0
        while come < SIZE:
            come += len(s.recv(1 << 16))
        s.sendall(b"x")
        wait_until(lambda: "cwnd" in program.output, "the program read TCP_INFO")
        asked = len(flow._program.output)
        wait_until(lambda: len(flow._program.output) > asked + 1000, "it was asked once more")
    told = json.loads(program.output)
    first, last = flow.samples[0], flow.samples[-1]
    # Nothing is under way any more, and both ways of asking the kernel give the same.
    assert last.mss == told["mss"] == 1460 and last.algorithm == "reno"
    assert last.cwnd == told["cwnd"] * 1460 and last.ssthresh == told["ssthresh"] * 1460
    assert last.retransmissions == told["again"] > 0 and last.in_flight == 0
    assert first.cwnd >= 10 * 1460, "RFC 6928"
    assert last.sent == pytest.approx(SIZE + told["again"] * 1460, abs=1460)
    # Of all that was sent, the frames that came are those that the queue let through.
    arrived = [p for p in trace.packets if p.sender == "linux" and p.payload_length]
    dropped = router.counters["wire.queue_full"] + wire.counters["wire.queue_full"]
    assert sum(p.payload_length for p in arrived) + dropped * 1460 == pytest.approx(last.sent, abs=1460)
    # Between wire and queue there is room for 50 segments and some; Linux never had much more under way.
    assert 22 * 1460 < max(point.in_flight for point in flow.points) < 150 * 1460
    assert [point.time for point in flow.points] == sorted(point.time for point in flow.points)

    with Network(seed=7) as net:
        mine = download(net, SIZE, rate="8 Mbit/s", queue="32 KiB").window()
    mine.name = "labstack"
    both = mine.beside(flow)
    lines = both.summary.splitlines()
    assert lines[0].startswith(f"labstack: peak cwnd {max(p.cwnd for p in mine.points):,} bytes")
    assert lines[1].startswith(f"Linux (reno): peak cwnd {max(p.cwnd for p in flow.points):,} bytes")
    table = both.table()
    assert list(table[table["whose"] == "Linux (reno)"]["cwnd"]) == [s.cwnd for s in flow.samples]
    assert len(table) == len(mine.points) + len(flow.points) and table["time s"].is_monotonic_increasing
    shown = {text.get_text() for text in both.figure.axes[0].get_legend().get_texts()}
    assert {"labstack: cwnd", "labstack: in flight", "Linux (reno): cwnd", "Linux (reno): in flight"} <= shown
    assert f"{last.sent:,} bytes sent" in flow.summary and len(flow.table()) == len(flow.samples)
    assert both.save(tmp_path / "both.png").stat().st_size > 20_000


@pytest.mark.linux
def test_where_nothing_can_be_asked_a_sentence_says_so(linux: LinuxPeer) -> None:
    with linux.sample(5000) as flow:
        pass
    with pytest.raises(ValueError, match="had no connection at port 5000"):
        str(flow)
    assert struct.calcsize("=8B24I") == 104
