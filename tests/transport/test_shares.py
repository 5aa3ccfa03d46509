"""What congestion control is there for: how much of a path a flow gets, and how several share it.

Each claim has its law: 1.22/√p for Reno, Jain's index for fairness, a share of the bottleneck for BBR.
"""

from functools import cache
from math import sqrt
from statistics import mean

import pytest

from labstack import CoDel, Network
from labstack.core.randomness import stream
from tests.bottleneck import FRAME, Bottleneck, bdp, jain

RATE, RTT = "10 Mbit/s", "80 ms"
BDP = bdp(RATE, RTT)


def test_the_path_of_these_stories_holds_65_segments():
    assert BDP == 65


@pytest.mark.check
@pytest.mark.feature(
    "Congestion control", "Reno keeps the 1.22/√p law within 25 % over 200 losses, without a time-out"
)
@pytest.mark.parametrize("p, seconds", [(0.01, 50), (0.003, 90), (0.001, 140)])
def test_reno_is_as_fast_as_the_square_root_law_says(p, seconds):
    """Mathis et al. 1997: a window of 1.22/√p segments on average. (With byte counting, a delayed ACK is no
    hindrance.) A path without a bottleneck, so that chance alone loses."""
    with Network(seed=2) as net:
        scene = Bottleneck(net, ["reno"], rate="1 Gbit/s", rtt="20 ms", queue="64 MiB", loss=p)
        (flow,) = scene.flows
        net.sleep(2)
        before, lost_before = flow.received, flow.client.counters["tcp.fast_retransmit"]
        net.sleep(seconds)
        mss = flow.connection.mss
        window = (flow.received - before) / mss / (seconds / 0.02)
        assert flow.client.counters["tcp.fast_retransmit"] - lost_before >= 200
        assert flow.client.counters["tcp.retransmission_timeout"] == 0
        assert scene.wire.counters["wire.queue_full"] == 0
        assert window == pytest.approx(1.22 / sqrt(p), rel=0.25)


@pytest.mark.feature(
    "Congestion control", "Two Reno flows, and two CUBIC flows, share a CoDel queue: Jain's index ≥ 0.95"
)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.check)])
@pytest.mark.parametrize("control", ["reno", "cubic"])
def test_two_of_a_kind_share(control, seed):
    draw = stream(seed, "flows", "start")
    with Network(seed=seed) as net:
        scene = Bottleneck(
            net, [control] * 2, rate=RATE, rtt="60 ms", queue="300 KiB", discipline=CoDel,
            starts=[draw(), draw()],
        )  # fmt: skip
        shares = scene.run(20, warm_up=8)
        assert jain(shares) >= 0.95, shares
        assert sum(shares) > 0.8


@cache
def with_loss(control: str) -> float:
    """The share of the bottleneck that one flow has when 1 % gets lost; a buffer of 1 BDP."""
    with Network(seed=1) as net:
        scene = Bottleneck(net, [control], rate=RATE, rtt=RTT, queue=BDP * FRAME, loss=0.01)
        (share,) = scene.run(18, warm_up=4)
        assert scene.wire.counters["wire.lost"] > 20
        return share


@pytest.mark.feature(
    "Congestion control", "BBR holds 85 % of a path that loses 1 %, where Reno holds less than 40 %"
)
def test_bbr_does_not_take_chance_for_congestion():
    assert with_loss("bbr") >= 0.85
    assert with_loss("reno") < 0.4


@pytest.mark.check
@pytest.mark.feature(
    "Congestion control", "BBR's queue is less than a quarter of CUBIC's in a buffer of 5 BDP"
)
def test_bbr_leaves_the_buffer_empty():
    queues = {}
    for control in ("bbr", "cubic"):
        with Network(seed=1) as net:
            scene = Bottleneck(net, [control], rate=RATE, rtt=RTT, queue=5 * BDP * FRAME)
            (share,) = scene.run(24, warm_up=8)
            assert share > 0.9
            queues[control] = mean(scene.queue)
    assert queues["cubic"] > 2 * BDP * FRAME, "CUBIC fills it"
    assert queues["bbr"] < queues["cubic"] / 4
