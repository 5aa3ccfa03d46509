"""The real-time driver: timers that keep their time, waits that end, errors that reach somebody, nothing left
behind.

Times are never compared from above but with many times their size, for another test may hold the processor.
"""

import fcntl
import gc
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from labstack.core.clock import Driver, Waiters
from labstack.core.units import MILLISECOND, SECOND
from labstack.drivers.background import SWITCH_INTERVAL
from labstack.drivers.realtime import RealTime

RunPython = Callable[[str], subprocess.Popen[str]]
LONG = 20 * SECOND


@pytest.fixture
def driver() -> Iterator[RealTime]:
    made = RealTime()
    try:
        yield made
    finally:
        made.close()


def never() -> bool:
    return False


class Arrivals:
    """What a handler puts down, and the test waits for."""

    def __init__(self, driver: RealTime) -> None:
        self.driver = driver
        self.seen: list[object] = []
        self.waiters = Waiters()

    def add(self, what: object) -> None:
        self.seen.append(what)
        self.waiters.wake()

    def wait(self, number: int) -> list[object]:
        assert self.driver.block(lambda: len(self.seen) >= number, [self.waiters], LONG, "arrivals")
        return self.seen


@pytest.fixture
def arrivals(driver: RealTime) -> Arrivals:
    return Arrivals(driver)


def test_it_is_a_driver(driver: RealTime) -> None:
    declared: Driver = driver
    assert abs(declared.now - time.monotonic_ns()) < SECOND


# --- timers -------------------------------------------------------------------------------------------------


def test_timers_run_in_order_and_never_early(driver: RealTime, arrivals: Arrivals) -> None:
    start = driver.now
    for after in (30, 10, 20, 10):
        when = start + after * MILLISECOND
        driver.call_at(when, lambda after=after, when=when: arrivals.add((after, driver.now >= when)))
    driver.call_at(0, lambda: arrivals.add((0, True)))
    assert arrivals.wait(5) == [(0, True), (10, True), (10, True), (20, True), (30, True)]


def test_calls_due_at_the_same_time_run_in_the_order_asked(driver: RealTime, arrivals: Arrivals) -> None:
    with driver:
        when = driver.now
        for number in range(100):
            driver.call_at(when, lambda number=number: arrivals.add(number))
    assert arrivals.wait(100) == list(range(100))


def test_a_cancelled_timer_does_not_run(driver: RealTime, arrivals: Arrivals) -> None:
    timer = driver.call_at(driver.now + 5 * MILLISECOND, lambda: arrivals.add("cancelled"))
    timer.cancel()
    timer.cancel()
    driver.call_at(driver.now + 10 * MILLISECOND, lambda: arrivals.add("kept"))
    assert arrivals.wait(1) == ["kept"]


def test_cancelled_timers_do_not_pile_up(driver: RealTime) -> None:
    with driver:
        for _ in range(100_000):
            driver.call_at(driver.now + 3600 * SECOND, lambda: None).cancel()
        assert len(driver._heap) < 3_000


def test_time_is_kept_to_less_than_a_millisecond(driver: RealTime, arrivals: Arrivals) -> None:
    def again() -> None:
        arrivals.add(driver.now)
        driver.call_at(driver.now + 100_000, again)

    driver.call_at(0, again)
    times = [when for when in arrivals.wait(200) if isinstance(when, int)]
    steps = [after - before for before, after in itertools.pairwise(times)]
    # One that counts in whole milliseconds would never be below one.
    assert min(steps) >= 100_000 and statistics.median(steps) < MILLISECOND


def test_a_timer_that_asks_for_at_once_lets_others_in(driver: RealTime) -> None:
    def again() -> None:
        driver.call_at(0, again)

    driver.call_at(0, again)
    for _ in range(100):
        with driver:
            pass
    assert not driver.block(never, [], MILLISECOND)


# --- devices ------------------------------------------------------------------------------------------------


def drain_into(arrivals: Arrivals, end: socket.socket) -> Callable[[], None]:
    end.setblocking(False)
    return lambda: arrivals.add(end.recv(100))


@pytest.fixture
def ends(driver: RealTime) -> Iterator[tuple[socket.socket, socket.socket]]:
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with a, b:
        yield a, b
        driver.unwatch(a.fileno())


def test_a_frame_wakes_the_thread(
    driver: RealTime, arrivals: Arrivals, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    driver.watch(ours.fileno(), drain_into(arrivals, ours))
    for number in range(5):
        theirs.send(b"%d" % number)
    assert arrivals.wait(5) == [b"0", b"1", b"2", b"3", b"4"]


def test_who_sends_much_turns_the_stack_itself(
    driver: RealTime, arrivals: Arrivals, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    threads: list[int] = []

    def drain() -> None:
        threads.append(threading.get_ident())
        ours.setblocking(False)
        try:
            ours.recv(100)
        except BlockingIOError:
            return
        driver.call_at(driver.now + 20 * MILLISECOND, lambda: arrivals.add("later"))

    with driver:
        driver.watch(ours.fileno(), drain)
        theirs.send(b"an acknowledgement")
        driver.carry_on(False)
        assert threads == [], "little was sent: there is another thread for this"
        driver.carry_on(True)
        driver.carry_on(False)
        assert threads == [threading.get_ident()] * 2, "and who led a moment ago goes on"
    assert arrivals.wait(1) == ["later"], "the timers that were set meanwhile are not forgotten"
    theirs.send(b"another")
    assert arrivals.wait(2) == ["later", "later"], "nor the frames that come when the caller is gone"


def test_what_is_not_watched_is_left_alone(
    driver: RealTime, arrivals: Arrivals, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    driver.watch(ours.fileno(), drain_into(arrivals, ours))
    driver.unwatch(ours.fileno())
    driver.unwatch(ours.fileno())
    theirs.send(b"x")
    driver.call_at(driver.now + 5 * MILLISECOND, lambda: arrivals.add("later"))
    assert arrivals.wait(1) == ["later"]


def test_a_descriptor_that_was_closed_is_forgotten(driver: RealTime, arrivals: Arrivals) -> None:
    a, b = socket.socketpair()
    driver.watch(a.fileno(), drain_into(arrivals, a))
    a.close()
    driver.call_at(driver.now + MILLISECOND, lambda: arrivals.add("still there"))
    assert arrivals.wait(1) == ["still there"]
    assert driver._devices == {}
    b.close()


def test_descriptors_above_what_select_can_take(
    driver: RealTime, arrivals: Arrivals, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    high = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, 1100)
    try:
        os.set_blocking(high, False)
        driver.watch(high, lambda: arrivals.add(os.read(high, 100)))
        theirs.send(b"high")
        driver.call_at(driver.now + 50 * MILLISECOND, lambda: arrivals.add("later"))
        assert arrivals.wait(2) == [b"high", "later"]
    finally:
        driver.unwatch(high)
        os.close(high)


# --- waiting ------------------------------------------------------------------------------------------------


def test_block_returns_at_once_what_is_ready(driver: RealTime) -> None:
    assert driver.block(lambda: True, [], 0)
    assert not driver.block(never, [], 0)


def test_block_times_out_and_not_early(driver: RealTime) -> None:
    waiters = Waiters()
    start = driver.now
    assert not driver.block(never, [waiters], 20 * MILLISECOND)
    assert driver.now - start >= 20 * MILLISECOND
    assert waiters == [] and not driver._sleepers


def test_waking_for_others_does_not_end_a_wait(driver: RealTime) -> None:
    waiters, asked = Waiters(), []

    def ready() -> bool:
        asked.append(driver.now)
        return len(asked) > 5

    def wake() -> None:
        waiters.wake()
        driver.call_at(driver.now + MILLISECOND, wake)

    driver.call_at(0, wake)
    assert driver.block(ready, [waiters, Waiters()], LONG)
    assert len(asked) == 6


def test_ready_is_asked_under_the_lock_and_waiting_frees_it(driver: RealTime) -> None:
    waiters, done = Waiters(), []

    def finish() -> None:
        with driver:
            done.append(1)
            waiters.wake()

    with driver, driver:
        other = threading.Thread(target=finish)
        other.start()
        assert driver.block(lambda: bool(done), [waiters], LONG)
        assert not taken_elsewhere(driver)
    other.join()
    assert taken_elsewhere(driver)


def taken_elsewhere(driver: RealTime) -> bool:
    """Whether another thread can have the lock."""
    taken = threading.Event()

    def take() -> None:
        with driver:
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken.wait(0.2)


def test_many_threads_wait_and_all_go_on(driver: RealTime) -> None:
    waiters, passed = Waiters(), []

    def run(number: int) -> None:
        assert driver.block(lambda: number < len(passed) + 1, [waiters], LONG)
        with driver:
            passed.append(number)
            waiters.wake()

    programs = [driver.spawn(run, number) for number in reversed(range(20))]
    for program in programs:
        program.join(20)
    assert passed == list(range(20))


def test_a_busy_stack_lets_the_next_caller_in(driver: RealTime) -> None:
    turns = 0

    def work() -> None:
        nonlocal turns
        turns += 1
        time.sleep(0.001)  # the work: a millisecond in which the lock is held but the interpreter is free
        driver.call_at(0, work)

    driver.call_at(0, work)
    waited = []
    for _ in range(30):
        before = turns
        with driver:
            waited.append(turns - before)
    assert statistics.median(waited) <= 2


def test_waiting_inside_the_stack_is_refused(driver: RealTime) -> None:
    waiters: Waiters = Waiters()
    driver.call_at(driver.now + 5 * MILLISECOND, lambda: driver.block(never, [waiters], None, "a frame"))
    with pytest.raises(RuntimeError, match=r"waiting for a frame inside the stack .* use host\.spawn"):
        driver.block(never, [], LONG)


# --- errors -------------------------------------------------------------------------------------------------


def fail() -> None:
    raise ZeroDivisionError("made up")


def test_an_error_reaches_whoever_waits(driver: RealTime) -> None:
    driver.call_at(driver.now + 5 * MILLISECOND, fail)
    with pytest.raises(ZeroDivisionError) as raised:
        driver.block(never, [], LONG)
    assert raised.traceback[-1].name == "fail"
    assert not driver.block(never, [], MILLISECOND), "it is told once, and the stack goes on"


def test_an_error_reaches_the_next_call(driver: RealTime, capfd: pytest.CaptureFixture[str]) -> None:
    ran = threading.Event()
    driver.call_at(0, fail)
    driver.call_at(driver.now, ran.set)
    assert ran.wait(20)
    with pytest.raises(ZeroDivisionError), driver:
        pytest.fail("the call must not begin")
    assert "made up" in capfd.readouterr().err
    with driver:
        pass


def test_an_error_that_nobody_was_told_comes_with_close(capfd: pytest.CaptureFixture[str]) -> None:
    driver, ran = RealTime(), threading.Event()
    driver.call_at(0, fail)
    driver.call_at(driver.now, ran.set)
    assert ran.wait(20)
    with pytest.raises(ZeroDivisionError):
        driver.close()
    assert not driver._thread.is_alive()


def test_an_error_in_a_frame_costs_that_frame(
    driver: RealTime, arrivals: Arrivals, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends
    ours.setblocking(False)

    def drain() -> None:
        frame = ours.recv(100)
        if frame == b"bad":
            fail()
        arrivals.add(frame)

    driver.watch(ours.fileno(), drain)
    theirs.send(b"bad")
    with pytest.raises(ZeroDivisionError):
        arrivals.wait(1)
    theirs.send(b"good")
    assert arrivals.wait(1) == [b"good"]


def test_a_device_that_is_gone_is_told_once_and_left(
    driver: RealTime, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = ends

    def drain() -> None:
        raise OSError(77, "the TAP is gone")  # EBADFD, as /dev/net/tun says it

    theirs.send(b"x")
    driver.watch(ours.fileno(), drain)
    with pytest.raises(OSError, match="the TAP is gone"):
        driver.block(never, [], LONG)
    assert not driver.block(never, [], 5 * MILLISECOND)
    assert driver._devices == {}


def test_when_the_thread_dies_every_call_says_why() -> None:
    driver = RealTime()

    def die() -> None:
        raise SystemExit("made up")

    driver.call_at(driver.now + 5 * MILLISECOND, die)
    for _ in range(3):
        with pytest.raises(SystemExit, match="made up"):
            driver.block(never, [], LONG)
    with pytest.raises(SystemExit), driver:
        pass
    driver._thread.join(20)
    driver.call_at(0, fail)
    driver.close()


# --- programs -----------------------------------------------------------------------------------------------


def test_a_program_returns_what_it_returned(driver: RealTime) -> None:
    program = driver.spawn(lambda a, b: a + b, 1, 2, name="sum")
    assert program.join(20) == 3
    assert program.done and program.name == "sum" and repr(program) == "<program sum: ended>"


def test_a_program_raises_at_once_and_at_join(driver: RealTime, capfd: pytest.CaptureFixture[str]) -> None:
    program = driver.spawn(fail)
    with pytest.raises(ZeroDivisionError):
        program.join(20)
    assert "made up" in capfd.readouterr().err


def test_joining_a_program_that_runs_times_out(driver: RealTime) -> None:
    program = driver.spawn(driver.block, never, [])
    with pytest.raises(TimeoutError, match=r"block is still running after 0\.01 s"):
        program.join(0.01)


def test_closing_ends_programs_and_waits() -> None:
    driver, ended = RealTime(), []

    def serve() -> None:
        try:
            driver.block(never, [])
        finally:
            ended.append("served")

    programs = [driver.spawn(serve) for _ in range(3)]
    waits = threading.Thread(target=lambda: ended.append(type(raised_by(driver)).__name__))
    waits.start()
    while len(driver._sleepers) < 4:
        assert waits.is_alive()
    driver.close()
    waits.join(20)
    assert sorted(ended) == ["RuntimeError", "served", "served", "served"]
    assert all(program.done for program in programs)


def raised_by(driver: RealTime) -> BaseException:
    with pytest.raises(RuntimeError, match="this host is closed") as raised:
        driver.block(never, [], None, "a frame")
    return raised.value


# --- nothing is left ----------------------------------------------------------------------------------------


def test_closing_twice_and_calls_afterwards_do_nothing() -> None:
    driver = RealTime()
    driver.close()
    driver.close()
    driver.call_at(0, fail).cancel()
    driver.unwatch(0)
    with driver:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        driver.block(never, [])


def test_nothing_is_left() -> None:
    interval, threads = sys.getswitchinterval(), threading.active_count()
    before = set(os.listdir("/proc/self/fd")) if sys.platform == "linux" else set()
    for _ in range(20):
        first, second = RealTime(), RealTime()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL)
        first.close()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL), "another driver still needs it"
        second.close()
        assert sys.getswitchinterval() == pytest.approx(interval)
    assert threading.active_count() == threads
    if sys.platform == "linux":
        assert set(os.listdir("/proc/self/fd")) == before


def test_a_driver_that_everybody_forgot_goes() -> None:
    driver = RealTime()
    thread, gone = driver._thread, weakref.ref(driver)
    driver.call_at(driver.now + 3600 * SECOND, lambda: None)
    del driver
    # The thread may just have been at work for it, and a timer knows its driver: so the collector must come
    # along.
    deadline = time.monotonic() + 20
    while gone() is not None and time.monotonic() < deadline:
        gc.collect()
    thread.join(20)
    assert gone() is None and not thread.is_alive()


def test_a_driver_may_be_closed_from_its_own_thread() -> None:
    driver = RealTime()
    driver.call_at(0, driver.close)
    driver._thread.join(20)
    assert not driver._thread.is_alive()


def test_leaving_without_closing_ends_the_process(run_python: RunPython) -> None:
    program = run_python(
        """
        from labstack.drivers.realtime import RealTime
        driver = RealTime()
        driver.call_at(driver.now + 10**12, print)
        driver.spawn(driver.block, lambda: False, [])
        """
    )
    out, err = program.communicate(timeout=30)
    assert (program.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("cell", ["sync", "async"])
def test_ctrl_c_ends_a_wait(run_python: RunPython, cell: str) -> None:
    wait = "driver.block(lambda: False, [], None)"
    code = f"""
        import asyncio, signal, sys
        from labstack.drivers.realtime import RealTime
        driver = RealTime()
        def wait():
            driver.call_at(driver.now + 10**8, lambda: print("waiting", flush=True))
            try:
                {wait}
            except KeyboardInterrupt:
                print("interrupted", driver.block(lambda: False, [], 1000))
        async def cell():
            # As the notebook's kernel does it: Ctrl-C cancels the task, which cannot run before we return.
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, print, "cancelled")
            signal.signal(signal.SIGINT, lambda *_: None)
            wait()
        asyncio.run(cell()) if {cell == "async"} else wait()
        driver.close()
        """
    program = run_python(code)
    assert program.stdout is not None
    assert program.stdout.readline() == "waiting\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert (out.splitlines()[0], err, program.returncode) == ("interrupted False", "", 0)


def test_ctrl_c_at_any_moment_leaves_a_driver_that_works(run_python: RunPython) -> None:
    """The main thread takes and gives the lock as fast as it can, and is interrupted every 0.3 ms."""
    program = run_python(
        """
        import signal, threading, time
        from labstack.drivers.realtime import RealTime
        driver, armed, interrupted = RealTime(), False, 0
        def interrupt(*_):
            global armed
            if armed:
                armed = False
                raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                armed = True
                while True:
                    driver.block(lambda: False, [], 1000)
                    with driver:
                        driver.call_at(0, lambda: None)
            except KeyboardInterrupt:
                interrupted += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        ran = threading.Event()
        driver.call_at(0, ran.set)
        print(interrupted > 100, ran.wait(10), driver.block(lambda: False, [], 1000))
        driver.close()
        """
    )
    try:
        out, err = program.communicate(timeout=60)
    finally:
        program.kill()
    assert (out, err) == ("True True False\n", "")


def test_who_comes_finds_done_what_is_due(driver: RealTime) -> None:
    """What a host sends to itself has arrived when it looks again, whoever else may be busy."""
    seen: list[int] = []
    with driver:
        driver.call_at(driver.now, lambda: seen.append(threading.get_ident()))
        with driver:
            assert not seen, "in the middle of a call nothing else happens"
    with driver:
        assert seen


def test_a_forked_process_leaves_the_stack_to_its_parent(driver: RealTime) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            driver.block(never, [], SECOND)
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    assert os.read(reader, 1000).startswith(b"this process was forked")
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    assert not driver.block(never, [], MILLISECOND)  # as before
