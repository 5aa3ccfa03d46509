"""Locks, events and queues for programs: in virtual time, in the order of asking; and in real time."""

import queue

import pytest

from labstack import Network
from labstack.core.clock import Deadlock
from labstack.drivers.primitives import Event, Lock, Queue
from labstack.drivers.realtime import RealTime


@pytest.fixture
def net():
    with Network() as network:
        yield network


@pytest.mark.feature("Simulation", "Locks, events, queues and sleep for programs, in virtual time")
def test_a_lock_goes_to_who_has_waited_longest(net):
    lock, order = net.lock("the printer"), []

    def work(name):
        for _ in range(2):
            with lock:
                order.append((name, net.now))
                net.sleep("1 s")

    programs = [net.spawn(work, name, name=name) for name in "abc"]
    for program in programs:
        program.join()
    assert order == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4), ("c", 5)]
    assert not lock.locked and lock.holder is None


def test_a_lock_that_is_not_free_in_time(net):
    lock = net.lock()
    net.spawn(lambda: (lock.acquire(), net.sleep(3), lock.release()), name="holder")
    net.sleep(1)
    assert lock.holder == "holder"
    assert not lock.acquire("500 ms") and net.now == 1.5
    assert lock.acquire("2 s") and net.now == 3
    lock.release()
    with pytest.raises(RuntimeError, match="nobody has it"):
        lock.release()


def test_an_event(net):
    event = net.event("the start")
    woken = []
    for name in "ab":
        net.spawn(lambda name=name: (event.wait(), woken.append((name, net.now))))
    assert not event.wait(2)
    event.set()
    assert event.wait() and event.is_set
    net.run()
    assert woken == [("a", 2), ("b", 2)]
    event.clear()
    assert not event.wait(0)


def test_a_queue(net):
    items, got = net.queue(2), []

    def produce():
        for number in range(5):
            items.put(number)

    def consume():
        for _ in range(5):
            net.sleep(1)
            got.append((items.get(), net.now))

    producer, consumer = net.spawn(produce), net.spawn(consume)
    net.sleep(0.5)
    assert len(items) == 2 and not producer.done
    with pytest.raises(queue.Full):
        items.put(9, timeout=0)
    consumer.join()
    assert got == [(number, number + 1) for number in range(5)]
    with pytest.raises(queue.Empty):
        items.get("1 s")
    assert net.now == 6


def test_deadlock_names_who_waits_for_what(net):
    left, right, items = net.lock("the left fork"), net.lock("the right fork"), net.queue(name="the plate")

    def eat(first, second):
        with first:
            net.sleep(1)
            with second:
                items.get()

    net.spawn(eat, left, right, name="Plato")
    net.spawn(eat, right, left, name="Kant")
    net.spawn(net.event("the bill").wait, name="the waiter")
    with pytest.raises(Deadlock) as caught:
        items.get()
    told = str(caught.value)
    assert "the caller waits for something in the plate" in told
    assert "Plato waits for the right fork, which Kant has" in told
    assert "Kant waits for the left fork, which Plato has" in told
    assert "the waiter waits for the bill" in told


def test_closing_the_network_ends_who_waits(net):
    lock = net.lock()
    lock.acquire()
    program = net.spawn(lock.acquire)
    net.run()
    net.close()
    assert program.done


def test_the_same_in_real_time():
    driver = RealTime()
    try:
        lock, event, items = Lock(driver), Event(driver), Queue(driver)
        total = 0

        def work():
            nonlocal total
            event.wait()
            for _ in range(100):
                with lock:
                    total += 1
            items.put("done")

        programs = [driver.spawn(work) for _ in range(4)]
        event.set()
        assert [items.get(5) for _ in range(4)] == ["done"] * 4
        assert total == 400
        with pytest.raises(queue.Empty):
            items.get("10 ms")
        for program in programs:
            program.join(5)
    finally:
        driver.close()
