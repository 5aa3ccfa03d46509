"""Pacing and BBR: segments that leave by the clock, and a model of the path in place of a full queue.

draft-cardwell-iccrg-bbr-congestion-control-00.
"""

import socket
import sys
from itertools import pairwise
from statistics import mean

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.transport.tcp.congestion.bbr import BBR
from labstack.transport.tcp.congestion.reno import Reno
from tests.bottleneck import Bottleneck, bdp
from tests.scene import SECOND, Tape, connected, nothing_left, pair, pattern, read_all


class Steady(Reno):
    """A window without end, and a pacing rate: 100 segments of 1,460 bytes a second."""

    def __init__(self, mss, initial_window):
        super().__init__(mss, 1 << 20)
        self.pacing_rate = 146_000


# --- pacing ---------------------------------------------------------------------------------------


@pytest.mark.feature(
    "Congestion control", "Pacing: at a pacing rate, segments leave on a timer, two at a time"
)
def test_segments_leave_at_the_pacing_rate():
    with Network() as net:
        a, b, _ = pair(net, wire={"delay": "10 ms"}, a={"congestion": Steady})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(1460 * 40))
        s.close()
        assert reader.join() == pattern(1460 * 40)
        shots = tape.data(a)
        times = [round(shot.time - shots[0].time, 6) for shot in shots]
        # Two may leave at once; then each pair has to be paid for.
        assert times == [round(k // 2 * 0.02, 6) for k in range(40)]
        assert "tcp.pacing" in tape.why(shots[-1])
        assert len(tape.named("tcp.pacing", a)) == 19


def test_who_was_silent_saves_nothing_up_but_a_burst():
    with Network() as net:
        a, b, _ = pair(net, a={"congestion": Steady})
        tape = Tape(net)
        s, t = connected(net, a, b)
        for _ in range(3):
            net.sleep(5)
            s.sendall(pattern(1460 * 6))
            net.sleep(1)
        shots = tape.data(a)
        for first in range(0, 18, 6):
            times = [round(shot.time - shots[first].time, 6) for shot in shots[first : first + 6]]
            assert times == [0, 0, 0.02, 0.02, 0.04, 0.04]


def test_retransmissions_are_paced_too_and_the_last_timer_ends():
    with Network() as net:
        a, b, wire = pair(
            net, wire={"delay": "1 ms"}, a={"congestion": Steady, "tcp": TcpConfig(msl=SECOND)},
            b={"tcp": TcpConfig(msl=SECOND)},
        )  # fmt: skip
        for n in (5, 6, 20, 30):
            wire.drop(data_segment(n))
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(1460 * 40))
        s.close()
        assert reader.join() == pattern(1460 * 40)
        t.close()
        net.run()
        times = [shot.time for shot in tape.data(a)]
        assert len(times) >= 44
        # 10 ms each, whatever is sent; but the first retransmission of an episode goes out at once.
        assert all(sum(at <= time < at + 0.1 for time in times) <= 10 + 2 + 1 for at in times)
        nothing_left(net, (a, b))


def test_without_a_pacing_rate_there_is_no_timer():
    with Network() as net:
        a, b, _ = pair(net, wire={"delay": "10 ms", "rate": "10 Mbit/s"}, a={"congestion": "cubic"})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(200_000))
        s.close()
        reader.join()
        assert not tape.named("tcp.pacing")


def test_a_rate_in_pieces_of_a_millisecond_where_that_is_more_than_two_segments():
    class Fast(Steady):
        def __init__(self, mss, initial_window):
            super().__init__(mss, initial_window)
            self.pacing_rate = 10_000_000

    with Network() as net:
        a, b, _ = pair(net, wire={"delay": "10 ms"}, a={"congestion": Fast})
        tape = Tape(net)
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(1460 * 42))
        s.close()
        reader.join()
        times = [shot.time for shot in tape.data(a)]
        bursts = [sum(1 for time in times if time == at) for at in sorted(set(times))]
        assert set(bursts[:-1]) == {7}, "10,000 bytes, begun segments counted"
        gaps = [b - a for a, b in pairwise(sorted(set(times)))]
        assert all(gap == pytest.approx(7 * 1460 / 10_000_000, abs=1e-6) for gap in gaps)


# --- BBR ------------------------------------------------------------------------------------------


@pytest.mark.feature(
    "Congestion control", "BBR version 1 finds a path's rate and round trip, and queues little"
)
def test_bbr_measures_the_path():
    with Network() as net:
        scene = Bottleneck(net, ["bbr"], rate="10 Mbit/s", rtt="40 ms", queue="1 MiB")
        (flow,) = scene.flows
        phases = []
        flow.client.events.append(
            lambda event: phases.append(event.fields["phase"]) if event.rule.name == "tcp.phase" else None
        )
        (share,) = scene.run(9, warm_up=2)
        assert phases == ["startup", "drain", "probe bandwidth"]
        bottleneck = 10e6 / 8 * 1460 / 1538
        assert flow.congestion.bandwidth == pytest.approx(bottleneck, rel=0.03)
        # The way there and back, and one frame's time on each of two wires.
        assert flow.congestion.rtprop / SECOND == pytest.approx(0.0415, abs=0.0015)
        assert share > 0.95
        assert mean(scene.queue) < 0.5 * bdp("10 Mbit/s", "40 ms") * 1538
        assert scene.wire.counters["wire.queue_full"] == 0


def test_bbr_looks_for_a_shorter_round_trip_every_ten_seconds():
    with Network() as net:
        scene = Bottleneck(net, ["bbr"], rate="4 Mbit/s", rtt="40 ms", queue="1 MiB")
        (flow,) = scene.flows
        times = []
        flow.client.events.append(
            lambda event: (
                times.append((event.fields["phase"], event.time / SECOND))
                if event.rule.name == "tcp.phase"
                else None
            )
        )
        net.sleep(24)
        probes = [k for k, (phase, _) in enumerate(times) if phase == "probe RTT"]
        assert len(probes) == 2
        for k in probes:
            assert 0.2 <= times[k + 1][1] - times[k][1] < 0.4 and times[k + 1][0] == "probe bandwidth"
        assert 10 < times[probes[1]][1] - times[probes[0]][1] < 11
        assert flow.congestion.cwnd > 10 * 1460


def test_a_program_that_sends_little_does_not_spoil_the_model():
    with Network() as net:
        a, b, _ = pair(
            net, wire={"delay": "20 ms", "rate": "10 Mbit/s", "queue": "1 MiB"}, a={"congestion": BBR}
        )
        s, t = connected(net, a, b)
        b.spawn(read_all, t)
        s.sendall(pattern(1_500_000))
        congestion = s._connection.flight.congestion
        net.sleep(2)
        before = congestion.bandwidth
        assert congestion.phase == "probe bandwidth"
        for _ in range(30):
            s.sendall(pattern(1000))
            net.sleep(0.1)
        assert congestion.bandwidth == pytest.approx(before, rel=0.05)


def test_bbr_transfers_what_it_is_given_over_a_bad_wire():
    with Network(seed=4) as net:
        a, b, _ = pair(
            net,
            wire={"delay": "10 ms", "rate": "10 Mbit/s", "loss": 0.03, "reorder": 0.02},
            a={"congestion": "bbr", "tcp": TcpConfig(msl=SECOND)},
            b={"tcp": TcpConfig(msl=SECOND)},
        )
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(600_000))
        s.close()
        assert reader.join() == pattern(600_000)
        t.close()
        net.run()
        nothing_left(net, (a, b))


def test_two_bbr_flows_share():
    with Network() as net:
        scene = Bottleneck(
            net, ["bbr", "bbr"], rate="10 Mbit/s", rtt="40 ms", queue="256 KiB", starts=[0, 0.7]
        )
        shares = scene.run(20, warm_up=8)
        assert min(shares) > 0.35 and sum(shares) > 0.95


def test_a_socket_tells_its_pacing_rate():
    """In `info()`, and where Linux's TCP_INFO has it: the first of the 64-bit numbers."""
    with Network(seed=1) as net:
        a, b, _ = pair(net, wire={"delay": "10 ms"}, a={"congestion": Steady})
        s, t = connected(net, a, b)
        packed = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
        assert s.info().pacing_rate == int.from_bytes(packed[104:112], sys.byteorder) == 146_000
        assert t.info().pacing_rate is None
