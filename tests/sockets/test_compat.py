"""`with host:`: Python's own modules on the host's stack, and on the machine's everywhere else."""

import _thread
import asyncio
import queue
import select
import selectors
import socket
import subprocess
import sys
import threading
import time

import pytest

from labstack import Network
from labstack.core.clock import Deadlock
from labstack.sockets.compat import EPOCH, replacements
from labstack.sockets.tls import TLSSocket
from tests.sockets.tls_scene import contexts, pair


@pytest.fixture
def net():
    with Network(seed=1) as network:
        yield network


@pytest.fixture
def two(net):
    return pair(net)


def echo():
    """A server that knows nothing of labstack."""
    with socket.create_server(("", 7)) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,)).start()


def serve(connection):
    with connection:
        while data := connection.recv(1000):
            connection.sendall(data.upper())


@pytest.mark.feature("Sockets", "`with host:` runs unmodified Python programs on the host's stack")
def test_sockets_and_names(net, two):
    a, b = two
    b.spawn(echo)
    with a:
        s = socket.create_connection(("b", 7))
        assert isinstance(s, socket.socket)
        assert not isinstance("s", socket.socket)
        s.sendall(b"hello")
        assert s.recv(100) == b"HELLO"
        assert socket.gethostbyname("b") == "10.0.0.2"
        assert socket.gethostname() == "a"
        assert socket.getaddrinfo("b", 80, type=socket.SOCK_DGRAM)[0][4] == ("10.0.0.2", 80)
        with pytest.raises(socket.gaierror):
            socket.gethostbyname("nobody")
        with pytest.raises(OSError, match="family"):
            socket.socket(socket.AF_INET6)
        one, other = socket.socketpair()
        one.send(b"x")
        assert select.select([other, s], [], [], 1)[0] == [other]
        with socket.socket(socket.AF_UNIX) as unix:  # no matter of the network
            assert unix.fileno() < 1000
    assert 0.04 < net.now < 0.1


def test_elsewhere_everything_is_the_machines(two):
    before = [getattr(owner, name) for owner, name, _ in replacements()]
    a, b = two
    call, answer = queue.SimpleQueue(), queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(call.get()())).start()  # no host is selected in it

    def elsewhere():
        call.put(lambda: (socket.socket(), time.time()))
        return answer.get()

    with a:
        subprocess.run([sys.executable, "-c", ""], check=True)  # waits with the machine's own poll
        other, now = elsewhere()
        other.close()
        assert type(other).__module__ == "socket"
        assert now > 1.7e9
        assert now != time.time()
        with b:
            assert socket.gethostname() == "b"
        assert socket.gethostname() == "a"
    assert [getattr(owner, name) for owner, name, _ in replacements()] == before
    assert socket.gethostname() != "a"


def test_threads_of_the_lowest_kind_are_the_hosts_too(net, two):
    a, b = two
    b.spawn(echo)
    got = []

    def ask(name, *, then):
        with socket.create_connection((name, 7)) as s:
            s.sendall(b"hello")
            got.append(s.recv(100))
        then()
        got.append("not reached")

    with a:
        _thread.start_new_thread(ask, ("b",), {"then": _thread.exit})
        time.sleep(1)
    assert got == [b"HELLO"]


def test_a_socket_by_its_number(two):
    a, b = two
    b.spawn(echo)
    with a:
        s = socket.create_connection(("b", 7))
        with socket.fromfd(s.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
            copy.sendall(b"one")
        with socket.socket(fileno=s.detach()) as again:
            assert again.recv(10) == b"ONE"
        with socket.socket(socket.AF_UNIX) as unix:
            assert socket.fromfd(unix.fileno(), socket.AF_UNIX, socket.SOCK_STREAM).family == socket.AF_UNIX
        with pytest.raises(OSError, match="descriptor"):
            socket.socket(fileno=2_000_000)


def test_time_is_the_hosts(net, two):
    a, _ = two
    with a:
        began, wall = time.monotonic(), time.time()
        time.sleep(1000)
        assert time.monotonic() - began == 1000
        assert time.time() == wall + 1000
        assert wall == EPOCH
        assert time.perf_counter_ns() == net.simulator.now
        assert time.time_ns() == EPOCH * 10**9 + net.simulator.now
        with pytest.raises(ValueError):
            time.sleep(-1)


def test_select_poll_and_selectors(two):
    a, b = two
    b.spawn(echo)
    with a:
        s, t = socket.create_connection(("b", 7)), socket.create_connection(("b", 7))
        assert select.select([s, t], [s], [], 0) == ([], [s], [])
        began = time.monotonic()
        assert select.select([s, t], [], [], 2.5) == ([], [], [])
        assert time.monotonic() - began == 2.5
        t.send(b"x")
        assert select.select([s, t.fileno()], [], [], 10) == ([t.fileno()], [], [])
        poll = select.poll()
        poll.register(s, select.POLLIN)
        poll.register(t)
        assert poll.poll(0) == [(t.fileno(), select.POLLIN | select.POLLOUT)]
        poll.modify(t, select.POLLIN)
        t.recv(1)
        assert poll.poll(1500) == []
        poll.unregister(t)
        with selectors.DefaultSelector() as selector:
            selector.register(s, selectors.EVENT_WRITE, "data")
            ((key, _),) = selector.select(1)
            assert (key.fileobj, key.data) == (s, "data")
        s.close()
        with pytest.raises(ValueError):
            select.select([s], [], [], 0)


def test_threads_wait_in_virtual_time(two):
    a, _ = two
    said = []

    def work(jobs, done):
        while (job := jobs.get()) is not None:
            time.sleep(job)
            said.append((time.monotonic(), threading.current_thread() is not None))
        done.set()

    with a:
        jobs, done = queue.Queue(), threading.Event()
        thread = threading.Thread(target=work, args=(jobs, done), name="worker")
        thread.start()
        assert thread.is_alive()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
        jobs.put(3)
        jobs.put(4)
        assert not done.wait(5)
        jobs.put(None)
        assert done.wait()
        thread.join()
        assert not thread.is_alive()
        assert [at for at, _ in said] == [3, 7]
        lock = threading.Lock()
        lock.acquire()
        assert not lock.acquire(timeout=2)
        assert time.monotonic() == 9
        with pytest.raises(Deadlock, match="a lock"):
            lock.acquire()
        lock.release()
    with lock:  # it outlives the host's time
        assert lock.locked()


def test_locks_conditions_and_pools(two):
    a, _ = two
    from concurrent.futures import ThreadPoolExecutor

    def job(seconds):
        time.sleep(seconds)
        return seconds, time.monotonic()

    with a:
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(job, [5, 3, 1])) == [(5, 5), (3, 3), (1, 4)]
        condition, turns = threading.Condition(), []

        def taker(name):
            with condition:
                condition.wait_for(lambda: len(turns) % 2 == name)
                turns.append(name)
                condition.notify_all()

        threads = [threading.Thread(target=taker, args=(n,)) for n in (1, 0, 1, 0)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert turns == [0, 1, 0, 1]


def test_tls_by_wrap_socket(two):
    a, b = two
    client, server = contexts()

    def https():
        with (
            socket.create_server(("", 443)) as listener,
            server.wrap_socket(listener, server_side=True) as tls,
        ):
            serve(tls.accept()[0])

    b.spawn(https)
    with a, client.wrap_socket(socket.create_connection(("b", 443)), server_hostname="b") as tls:
        assert type(tls) is TLSSocket
        assert isinstance(tls, socket.socket)
        tls.sendall(b"quiet")
        assert tls.recv(10) == b"QUIET"


def test_asyncio_run(two):
    a, b = two
    b.spawn(echo)

    async def client():
        reader, writer = await asyncio.open_connection("b", 7)
        writer.write(b"hi")
        await asyncio.sleep(10)
        answer = await reader.read(10)
        writer.close()
        return answer, time.monotonic()

    with a:
        answer, at = asyncio.run(client())
        assert answer == b"HI"
        assert 10 < at < 11
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            assert runner.run(client())[0] == b"HI"


def test_an_error_inside_leaves_nothing_behind(two):
    a, _ = two
    with pytest.raises(ZeroDivisionError), a:
        raise ZeroDivisionError
    assert socket.gethostname() != "a"


def test_default_timeout_and_flags(two):
    a, _ = two
    socket.setdefaulttimeout(5)
    try:
        with a:
            assert socket.socket().gettimeout() == 5
            flagged = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            assert flagged.gettimeout() == 0
            assert flagged.type == socket.SOCK_STREAM
            assert flagged.family == socket.AF_INET
    finally:
        socket.setdefaulttimeout(None)
