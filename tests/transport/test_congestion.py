"""Congestion control: the RFCs' curves, held against the RFCs' own formulas, and what they do to a path.

RFC 5681, RFC 9438 (CUBIC), RFC 9406 (HyStart++).
"""

from itertools import pairwise

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.transport.tcp.congestion import INFINITE, AckSample, LossEvent
from labstack.transport.tcp.congestion.cubic import Cubic, cube_root
from labstack.transport.tcp.congestion.names import CONTROLS, by_name
from labstack.transport.tcp.congestion.reno import Reno
from tests.bottleneck import Bottleneck
from tests.scene import MS, SECOND, connected, pair, pattern, read_all

MSS = 1000


class Path:
    """Acknowledgements by hand: each covers two segments, `rtt` after they were sent."""

    def __init__(self, control, rtt=100 * MS):
        self.control, self.rtt = control, rtt
        self.now = self.delivered = 0

    def ack(self, acked=2 * MSS, rtt=None, limited=True, in_recovery=False):
        self.delivered += acked
        self.control.on_ack(
            AckSample(
                now=self.now, acked=acked, lost=0, rtt=rtt or self.rtt, in_flight=self.control.cwnd,
                delivered=self.delivered, prior_delivered=0, interval=self.rtt, delivery_rate=0,
                app_limited=False, in_recovery=in_recovery, cwnd_limited=limited,
            )
        )  # fmt: skip

    def round(self, rtt=None, **how):
        """A window's worth of acknowledgements, evenly over a round trip."""
        window = self.control.cwnd
        took = rtt or self.rtt
        for _ in range(max(window // (2 * MSS), 1)):
            self.now += took * 2 * MSS // max(window, 2 * MSS)
            self.ack(rtt=took, **how)

    def lose(self):
        self.control.on_loss(LossEvent(self.now, MSS, self.control.cwnd))


# --- by name, by class, for each socket -----------------------------------------------------------


def test_a_control_is_chosen_by_name_by_class_and_by_the_profile():
    with Network() as net:
        hosts = [
            net.host("named", congestion="cubic"),
            net.host("classed", congestion=Cubic),
            net.host("linux", tcp=TcpConfig.linux()),
            net.host("rfc", tcp=TcpConfig.rfc()),
        ]
        chosen = [by_name(host.tcp.config.congestion) for host in hosts]
        assert chosen == [Cubic, Cubic, Cubic, Reno]
        with pytest.raises(ValueError, match="no congestion control 'vegas'"):
            net.host("x", congestion="vegas")
        with pytest.raises(TypeError):
            CONTROLS["vegas"] = Reno


def test_a_connection_may_change_its_control_and_goes_on_with_its_window():
    with Network() as net:
        a, b, _ = pair(net, wire={"delay": "10 ms"})
        s, t = connected(net, a, b)
        reader = b.spawn(read_all, t)
        s.sendall(pattern(100_000))
        net.sleep(1)
        flight = s._connection.flight
        cwnd, flight.congestion.ssthresh = flight.congestion.cwnd, 50_000
        flight.use("cubic")
        assert s.info().congestion == "cubic"
        assert (flight.congestion.cwnd, flight.congestion.ssthresh) == (cwnd, 50_000)
        s.sendall(pattern(100_000))
        s.close()
        assert reader.join() == pattern(100_000) * 2


# --- CUBIC: RFC 9438 ------------------------------------------------------------------------------


def w_cubic(t, w_max, k):
    """RFC 9438 §4.2, equation 1, in segments and seconds."""
    return 0.4 * (t - k) ** 3 + w_max


@pytest.mark.parametrize("x", [1, 7, 8, 9, 26, 27, 10**27, 10**27 - 1, 3 * 10**30 + 17, 2**90])
def test_the_cube_root_is_exact(x):
    root = cube_root(x)
    assert root**3 <= x < (root + 1) ** 3


def test_the_curve_by_hand():
    """100 segments were lost at: 70 are left, and after K = ∛(30 / 0.4) s it is back at 100."""
    control = Cubic(MSS, 100 * MSS)
    path = Path(control, rtt=200 * MS)
    path.lose()
    assert control.cwnd == control.ssthresh == 70 * MSS
    path.ack()
    began = path.now
    assert control.curve.w_max == 100 * MSS
    assert control.curve.k / SECOND == pytest.approx((30 / 0.4) ** (1 / 3), abs=1e-6)
    while path.now < began + 7 * SECOND:
        path.round()
        t = (path.now - began) / SECOND
        expected = w_cubic(t, 100, control.curve.k / SECOND)
        assert control.cwnd / MSS == pytest.approx(expected, rel=0.05), t
    assert control.cwnd > 105 * MSS


def test_fast_convergence_makes_room():
    """§4.7: a loss below the last one's window takes the plateau lower still."""
    control = Cubic(MSS, 100 * MSS)
    path = Path(control)
    path.lose()
    path.lose()
    assert control.curve.w_max == 70 * MSS * 17 // 20
    assert control.cwnd == 49 * MSS


def test_on_a_short_path_cubic_is_as_fast_as_reno():
    """§4.3: 3 (1 − β) / (1 + β) segments a round trip, until the old window is reached; then one."""
    control = Cubic(MSS, 40 * MSS)
    path = Path(control, rtt=5 * MS)
    path.lose()
    windows = []
    for _ in range(40):
        path.round()
        windows.append(control.cwnd / MSS)
    steps = [b - a for a, b in pairwise(windows)]
    below = [step for step, window in zip(steps, windows, strict=False) if window < 39]
    above = [step for step, window in zip(steps, windows, strict=False) if window > 41]
    assert all(step == pytest.approx(9 / 17, rel=0.1) for step in below) and len(below) > 10
    assert all(step == pytest.approx(1, rel=0.1) for step in above) and len(above) > 10


def test_after_a_time_out_the_curve_begins_at_its_plateau():
    """§4.8: K = 0."""
    control = Cubic(MSS, 100 * MSS)
    path = Path(control)
    control.on_timeout(LossEvent(0, 100 * MSS, 100 * MSS))
    assert (control.cwnd, control.ssthresh) == (MSS, 70 * MSS)
    path.ack(acked=10 * MSS)
    assert control.cwnd == 2 * MSS, "L = 1 after a time-out (RFC 3465 §2.3)"
    while control.cwnd < control.ssthresh:
        path.round()
    path.ack()
    assert (control.curve.k, control.curve.w_max) == (0, 70 * MSS)


@pytest.mark.parametrize("make", [Reno, Cubic])
@pytest.mark.parametrize("what", ["on_loss", "on_timeout"])
def test_what_a_spurious_loss_cut_is_given_back(make, what):
    control = make(MSS, 10 * MSS)
    path = Path(control)
    path.lose()
    for _ in range(5):
        path.round()
    cwnd, ssthresh = control.cwnd, control.ssthresh
    getattr(control, what)(LossEvent(path.now, MSS, cwnd))
    assert control.cwnd < cwnd
    control.on_spurious()
    assert (control.cwnd, control.ssthresh) == (cwnd, ssthresh)
    path.round()
    path.round()
    assert cwnd < control.cwnd <= cwnd + 2.1 * MSS, "and it goes on from there"


@pytest.mark.parametrize("make, share", [(Reno, 0.5), (Cubic, 0.7)])
@pytest.mark.parametrize("what", ["on_loss", "on_timeout", "on_ecn"])
def test_a_cut_is_of_what_was_under_way_and_never_of_more_than_the_window(make, share, what):
    """RFC 5681 §3.1, equation 4. FlightSize may be larger than cwnd: right behind a recovery, it counts what
    waits at the receiver behind new gaps."""
    for in_flight, base in ((60, 60), (100, 100), (250, 100)):
        control = make(MSS, 100 * MSS)
        getattr(control, what)(LossEvent(0, MSS, in_flight * MSS))
        assert control.ssthresh == base * share * MSS


def test_the_curve_waits_while_the_window_is_not_used():
    control = Cubic(MSS, 100 * MSS)
    path = Path(control)
    path.lose()
    path.round()
    before, at = control.cwnd, path.now - control.curve.epoch
    path.now += 10 * SECOND
    path.ack(limited=False)
    assert control.cwnd == before
    path.ack()
    assert path.now - control.curve.epoch == at


@pytest.mark.feature("Congestion control", "CUBIC's window stays within 5 % of RFC 9438's curve")
def test_the_window_follows_the_formula():
    """One loss on a long path without a bottleneck. What the formula needs is recorded when it begins."""
    with Network() as net:
        scene = Bottleneck(net, ["cubic"], rate="1 Gbit/s", rtt="200 ms", queue="64 MiB")
        scene.wire.drop(data_segment(150))
        (flow,) = scene.flows
        flow.watch()
        net.sleep(14)
        curve = flow.congestion.curve
        w_max, k, began = curve.w_max / 1460, curve.k / SECOND, curve.epoch / SECOND
        assert k == pytest.approx(((w_max - curve.cwnd_prior / 1460 * 0.7) / 0.4) ** (1 / 3), rel=0.02)
        followed = 0
        for time, cwnd in flow.windows:
            t = time - began
            expected = w_cubic(t, w_max, k)
            # W_est of §4.3, with α = 9/17 throughout: a lower bound for where Reno's line would take over.
            if t <= 0 or expected < curve.cwnd_prior / 1460 * 0.7 + 9 / 17 * t / 0.2 * 1.1:
                continue
            followed += 1
            assert cwnd / 1460 == pytest.approx(expected, rel=0.05), t
        assert followed > 2000
        assert flow.windows[-1][1] / 1460 > w_max * 1.1 and w_max > 100


# --- HyStart++: RFC 9406 --------------------------------------------------------------------------


def test_slow_start_ends_when_the_round_trips_grow():
    """§4.2: a round whose smallest is an eighth longer slows the growth to a quarter; five rounds later,
    avoidance."""
    control = Cubic(MSS, 20 * MSS)
    path = Path(control)
    for _ in range(2):
        before = control.cwnd
        path.round()
        assert control.cwnd == 2 * before
    before = control.cwnd
    path.round(rtt=113 * MS)
    assert control.phase == "conservative slow start"
    assert before * 1.2 < control.cwnd < before * 1.5
    rounds = 0
    while control.ssthresh == INFINITE:
        before = control.cwnd
        path.round(rtt=113 * MS)
        rounds += 1
        assert control.cwnd <= before * 1.3
    assert rounds in (5, 6) and control.phase == ""
    assert control.ssthresh <= control.cwnd


def test_a_false_alarm_goes_by():
    control = Cubic(MSS, 20 * MSS)
    path = Path(control)
    path.round()
    path.round()
    path.round(rtt=115 * MS)
    assert control.phase
    path.round(rtt=100 * MS)
    assert not control.phase and control.ssthresh == INFINITE
    before = control.cwnd
    path.round()
    assert control.cwnd == 2 * before


def test_too_few_samples_say_nothing():
    control = Cubic(MSS, 4 * MSS)
    path = Path(control)
    for rtt in (100, 200, 400):
        for _ in range(7):
            path.ack(acked=control.cwnd // 7, rtt=rtt * MS)
    assert not control.phase


@pytest.mark.feature("Congestion control", "HyStart++ leaves slow start before the queue overflows")
def test_slow_start_ends_before_anything_is_lost():
    drops = {}
    for control in ("reno", "cubic"):
        with Network() as net:
            scene = Bottleneck(net, [control], rate="20 Mbit/s", rtt="40 ms", queue="1200 KiB")
            net.sleep(3)
            (flow,) = scene.flows
            drops[control] = scene.wire.counters["wire.queue_full"]
            ends = flow.congestion.ssthresh
    assert drops["reno"] > 300 and drops["cubic"] == 0
    assert ends < INFINITE


def test_the_scene_is_limited_by_its_bottleneck_alone():
    """One Reno flow fills a path that loses nothing."""
    with Network() as net:
        scene = Bottleneck(net, ["reno"], rate="10 Mbit/s", rtt="20 ms", queue="8 MiB")
        (share,) = scene.run(3, warm_up=1)
        assert 0.99 < share < 1.01
