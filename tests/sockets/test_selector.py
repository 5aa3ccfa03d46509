"""The selector: one program, many sockets, told which are ready for as long as they are."""

import errno
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector

import pytest

from labstack import Deadlock, Network
from tests.scene import connected, pair


@pytest.fixture
def net():
    with Network() as network:
        yield network


@pytest.fixture
def two(net):
    a, b, _ = pair(net, wire={"delay": "5 ms"})
    return a, b


@pytest.mark.feature("Sockets", "Selector: level-triggered, with the interface of Python's selectors")
def test_ready_for_as_long_as_it_is_ready(net, two):
    s, t = connected(net, *two)
    selector = two[0].selector()
    assert isinstance(selector, BaseSelector)
    key = selector.register(s, EVENT_READ, "data")
    assert selector.select(0) == []
    t.send(b"ab")
    assert selector.select() == [(key, EVENT_READ)]
    assert selector.select() == [(key, EVENT_READ)]
    s.recv(1)
    assert selector.select(0) == [(key, EVENT_READ)]
    s.recv(1)
    assert selector.select(0) == []
    t.close()
    assert selector.select() == [(key, EVENT_READ)]
    assert s.recv(1) == b""
    assert selector.select(0) == [(key, EVENT_READ)]


def test_a_time_out_is_exact(net, two):
    s, _ = connected(net, *two)
    selector = two[0].selector()
    selector.register(s, EVENT_READ)
    began = net.simulator.now
    assert selector.select(0.25) == []
    assert net.simulator.now - began == 250_000_000


def test_a_listener_and_a_connect(net, two):
    a, b = two
    listening, connecting = b.selector(), a.selector()
    listener = b.listen(80)
    listening.register(listener, EVENT_READ | EVENT_WRITE)
    assert listening.select(0) == []
    s = a.socket()
    s.setblocking(False)
    assert s.connect_ex(("b", 80)) == errno.EINPROGRESS
    key = connecting.register(s, EVENT_READ | EVENT_WRITE)
    assert connecting.select(0) == []
    assert connecting.select() == [(key, EVENT_WRITE)]
    [(key, events)] = listening.select()
    assert (key.fileobj, events) == (listener, EVENT_READ)
    listener.accept()
    assert listening.select(0) == []


def test_a_connect_that_fails_is_both(net, two):
    s = two[0].socket()
    s.setblocking(False)
    s.connect_ex(("b", 80))
    selector = two[0].selector()
    key = selector.register(s, EVENT_READ | EVENT_WRITE)
    assert selector.select(5) == [(key, EVENT_READ | EVENT_WRITE)]


def test_room_to_write(net, two):
    s, t = connected(net, *two)
    s.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            s.send(bytes(100_000))
            net.sleep(0.1)
    selector = two[0].selector()
    selector.register(s, EVENT_WRITE)
    assert selector.select(1) == []

    def read():
        for _ in range(200):
            t.recv(10_000)

    two[1].spawn(read)
    assert len(selector.select(5)) == 1


def test_datagrams(net, two):
    a, b = two
    s, t = a.socket(2), b.socket(2)
    selector = b.selector()
    key = selector.register(t, EVENT_READ)
    assert selector.select(0) == []
    t.bind(("", 53))  # it had no port when it was registered
    s.sendto(b"x", ("b", 53))
    assert selector.select(1) == [(key, EVENT_READ)]
    selector.modify(t, EVENT_READ | EVENT_WRITE, "both")
    [(key, events)] = selector.select(1)
    assert (key.data, events) == ("both", EVENT_READ | EVENT_WRITE)


def test_by_number_and_from_another_program(net, two):
    s, t = connected(net, *two)
    selector = two[0].selector()
    program = two[0].spawn(lambda: selector.select(5))
    net.sleep(0.1)
    selector.register(s.fileno(), EVENT_WRITE)  # whoever waits already hears of a new socket
    [(key, _)] = program.join()
    assert key.fileobj == key.fd == s.fileno()


def test_the_map(net, two):
    s, t = connected(net, *two)
    selector = two[0].selector()
    key = selector.register(s, EVENT_READ)
    assert dict(selector.get_map()) == {s.fileno(): key}
    assert selector.get_map()[s] is selector.get_key(s) is key
    with pytest.raises(KeyError):
        selector.register(s, EVENT_READ)
    with pytest.raises(ValueError):
        selector.register(t, EVENT_READ)  # another machine's
    with pytest.raises(ValueError):
        selector.modify(s, 0)
    with pytest.raises(KeyError):
        selector.unregister(two[0].socket())
    s.close()
    assert selector.select(0) == []
    assert selector.unregister(s) == key
    assert not s._connection.readable and not s._changed
    selector.close()
    assert selector.get_map() is None
    with pytest.raises(RuntimeError):
        selector.get_key(s)


def test_a_thousand_quiet_sockets_cost_nothing(net, two):
    a, b = two
    selector = b.selector()
    for port in range(1000):
        t = b.socket(2)
        t.bind(("", 10_000 + port))
        selector.register(t, EVENT_READ)
    assert selector.select(0) == []
    a.socket(2).sendto(b"x", ("b", 10_500))
    [(key, _)] = selector.select()
    assert key.fileobj.getsockname()[1] == 10_500
    assert len(selector._candidates) == 1


def test_who_waits_for_a_thousand_sockets_names_four(net, two):
    a, b = two
    selector = b.selector()
    for port in range(1000):
        t = b.socket(2)
        t.bind(("", 10_000 + port))
        selector.register(t, EVENT_READ)
    with pytest.raises(Deadlock, match=r"the caller waits for one of (<[^>]*>, ){3}<[^>]*> and 996 more$"):
        selector.select()
