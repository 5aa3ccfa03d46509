"""The simulator: time jumps, programs take turns, and who waits for nothing is told so."""

import threading
import time

import pytest

from labstack import Deadlock, Network
from labstack.core.clock import Waiters
from labstack.drivers.simulator import Simulator
from tests.scene import connected, pair

# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.feature("Simulation", "Time jumps from event to event: a simulated year takes no time")
def test_calls_come_in_the_order_of_their_time_and_then_of_asking():
    simulator, heard = Simulator(), []
    for when, name in ((30, "c"), (10, "a"), (30, "d"), (20, "b"), (10, "a2")):
        simulator.call_at(when, lambda name=name: heard.append((simulator.now, name)))
    simulator.run()
    assert heard == [(10, "a"), (10, "a2"), (20, "b"), (30, "c"), (30, "d")]
    began = time.monotonic()
    simulator.call_at(365 * 86400 * 10**9, lambda: heard.append("a year later"))
    simulator.run()
    assert heard[-1] == "a year later" and time.monotonic() - began < 1


def test_a_call_for_the_past_comes_now_and_not_before_the_present_event():
    simulator, heard = Simulator(), []

    def first():
        simulator.call_at(3, lambda: heard.append(simulator.now))
        heard.append("first is through")

    simulator.call_at(10, first)
    simulator.run()
    assert heard == ["first is through", 10]


def test_a_cancelled_call_does_not_come_and_cancelling_twice_or_late_does_nothing():
    simulator, heard = Simulator(), []
    one = simulator.call_at(10, lambda: heard.append(1))
    two = simulator.call_at(20, lambda: heard.append(2))
    one.cancel()
    one.cancel()
    assert not simulator.idle
    simulator.run()
    two.cancel()
    assert heard == [2] and simulator.idle


def test_ten_thousand_cancelled_calls_leave_no_heap():
    simulator = Simulator()
    for k in range(10_000):
        simulator.call_at(10**9 + k, lambda: None).cancel()
    assert len(simulator._heap) < 2100
    assert simulator.idle


def test_housekeeping_does_not_keep_a_network_busy():
    simulator, ticks = Simulator(), []

    def tick():
        ticks.append(simulator.now)
        simulator.call_at(simulator.now + 10, tick, daemon=True)

    tick()
    simulator.call_at(35, lambda: None)
    simulator.run()
    assert simulator.idle and simulator.now == 35
    assert ticks == [0, 10, 20, 30]
    simulator.run(100)
    assert simulator.now == 100 and len(ticks) == 11


def test_an_idle_network_is_idle():
    with Network() as net:
        a, b, _ = pair(net)
        assert net.simulator.idle
        s, t = connected(net, a, b)
        s.sendall(b"x")
        net.run()
        assert net.simulator.idle, "an open, quiet connection needs no timer"


def test_an_exception_in_a_call_reaches_the_caller_and_the_world_goes_on():
    simulator, heard = Simulator(), []
    simulator.call_at(1, lambda: 1 / 0)
    simulator.call_at(2, lambda: heard.append(2))
    with pytest.raises(ZeroDivisionError):
        simulator.run()
    simulator.run()
    assert heard == [2]


# --- waiting --------------------------------------------------------------------------------------


def test_block_returns_when_ready_and_false_when_time_is_up():
    simulator, waiters, ready = Simulator(), Waiters(), []
    simulator.call_at(50, lambda: (ready.append(1), waiters.wake()))
    assert simulator.block(lambda: bool(ready), [waiters], 49) is False
    assert simulator.now == 49
    assert simulator.block(lambda: bool(ready), [waiters], 100) is True
    assert simulator.now == 50
    assert simulator.block(lambda: bool(ready), [], 0) is True
    assert simulator.block(lambda: False, [], 0) is False
    assert waiters == []


@pytest.mark.feature(
    "Simulation", "When nothing is left that could wake anyone, Deadlock names who waits for what"
)
def test_deadlock_names_who_waits_for_what():
    with Network() as net:
        a, b, _ = pair(net)
        s, t = connected(net, a, b)
        b.spawn(t.recv, 100, name="the server")
        with pytest.raises(Deadlock) as caught:
            s.recv(100)
        assert "the caller waits for bytes from 10.0.0.2" in str(caught.value)
        assert "the server waits for bytes from 10.0.0.1" in str(caught.value)


def test_after_a_deadlock_the_world_goes_on():
    with Network() as net:
        a, b, _ = pair(net)
        s, t = connected(net, a, b)
        with pytest.raises(Deadlock):
            s.recv(1)
        t.sendall(b"now")
        assert s.recv(10) == b"now"


def test_joining_a_program_that_waits_for_ever_is_a_deadlock():
    with Network() as net:
        a, b, _ = pair(net)
        program = b.spawn(lambda: b.listen(80).accept())
        with pytest.raises(Deadlock, match="a connection to port 80"):
            program.join()


# --- programs -------------------------------------------------------------------------------------


def test_programs_take_turns_and_only_one_runs_at_a_time():
    with Network() as net:
        order, inside = [], []

        def program(name, step):
            for k in range(3):
                inside.append(name)
                assert len(inside) == 1, "two programs at once"
                order.append((net.now, name, k))
                inside.pop()
                net.sleep(step)

        programs = [net.spawn(program, "a", 1), net.spawn(program, "b", 1), net.spawn(program, "c", 0.75)]
        for p in programs:
            p.join()
        assert order == [
            (0, "a", 0), (0, "b", 0), (0, "c", 0), (0.75, "c", 1), (1, "a", 1), (1, "b", 1),
            (1.5, "c", 2), (2, "a", 2), (2, "b", 2),
        ]  # fmt: skip


def test_a_program_gives_its_result_and_its_exception_to_whoever_joins(capsys):
    with Network() as net:
        assert net.spawn(lambda: 42).join() == 42

        def fails():
            net.sleep(1)
            raise KeyError("lost")

        program = net.spawn(fails)
        with pytest.raises(KeyError, match="lost"):
            program.join()
        with pytest.raises(KeyError):
            program.join()
        assert "KeyError" in capsys.readouterr().err, "it is shown at once, also if nobody joins"
        with pytest.raises(TimeoutError, match="still running after 2 s"):
            net.spawn(net.sleep, 5).join(timeout=2)


def test_programs_spawn_and_join_programs():
    with Network() as net:

        def outer():
            inner = [net.spawn(lambda n=n: (net.sleep(n), n)[1]) for n in (3, 1, 2)]
            return [p.join() for p in inner], net.now

        assert net.spawn(outer).join() == ([3, 1, 2], 3)


def test_a_program_cannot_run_the_world():
    with Network() as net:
        program = net.spawn(net.run)
        with pytest.raises(RuntimeError, match=r"host\.spawn"):
            program.join()
        net.simulator.call_at(net.simulator.now, net.run)
        with pytest.raises(RuntimeError, match=r"host\.spawn"):
            net.run()


def test_close_ends_programs_where_they_wait_and_their_threads():
    before = threading.active_count()
    ended = []
    with Network() as net:
        a, b, _ = pair(net)

        def server():
            try:
                b.listen(80).accept()
            finally:
                ended.append("server")

        def sleeper():
            try:
                net.sleep(1000)
            finally:
                ended.append("sleeper")

        b.spawn(server)
        net.spawn(sleeper)
        net.spawn(lambda: ended.append("never began, or did"))
        net.run(until=1.0)
    assert {"server", "sleeper"} <= set(ended)
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        net.run()


def test_close_ends_programs_that_will_not_let_go():
    """A program that catches everything is still not given the baton for ever."""
    with Network() as net:

        def stubborn():
            while True:
                try:
                    net.sleep(1)
                except Exception:
                    pass

        net.spawn(stubborn)
        net.run(until=2.5)
    assert net.simulator._closed


def test_a_thousand_programs():
    with Network() as net:
        done = []
        for k in range(1000):
            net.spawn(lambda k=k: (net.sleep(k % 7), done.append(k)))
        net.run()
        assert len(done) == 1000 and net.now == 6


def test_seconds_at_the_face_nanoseconds_inside():
    with Network() as net:
        net.sleep("1500 us")
        net.sleep(0.25)
        assert net.simulator.now == 251_500_000 and net.now == 0.2515
        net.run(until="2 s")
        assert net.now == 2
        with pytest.raises(ValueError, match="negative"):
            net.sleep(-1)
