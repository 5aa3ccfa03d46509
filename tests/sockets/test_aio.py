"""asyncio on a host: its loop, its tasks, and their end."""

import asyncio
import contextvars
import gc
import socket
import subprocess
import sys
import time

import pytest

from labstack import Network
from labstack.core.clock import Deadlock
from tests.sockets.tls_scene import contexts, pair


@pytest.fixture
def net():
    with Network(seed=1) as network:
        yield network


@pytest.fixture
def two(net):
    return pair(net)


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


async def ask(port=7, **options):
    reader, writer = await asyncio.open_connection("b", port, **options)
    writer.write(b"hello")
    answer = await reader.read(100)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.feature("Sockets", "asyncio: one loop a host, in virtual time, also inside a notebook cell")
def test_streams(net, two):
    a, b = two
    b.run(asyncio.start_server(echo, port=7))
    assert a.run(ask()) == b"HELLO"
    assert 0.04 < net.now < 0.1


def test_in_a_cell_where_a_loop_runs_already(two):
    a, b = two

    async def cell():
        b.run(asyncio.start_server(echo, port=7))
        with a:
            here = asyncio.run(ask())
        assert asyncio.get_running_loop() is outer
        return a.run(ask()), here

    with asyncio.Runner() as runner:
        outer = runner.get_loop()
        assert runner.run(cell()) == (b"HELLO", b"HELLO")


def test_tls_and_start_tls(two):
    a, b = two
    client, server = contexts()
    b.run(asyncio.start_server(echo, port=443, ssl=server))
    assert a.run(ask(443, ssl=client)) == b"HELLO"

    async def upgrade(reader, writer):
        writer.write(b"go")
        await writer.start_tls(server)
        await echo(reader, writer)

    async def upgraded():
        reader, writer = await asyncio.open_connection("b", 25)
        assert await reader.read(2) == b"go"
        await writer.start_tls(client, server_hostname="b")
        writer.write(b"x" * 200_000)
        writer.write_eof() if writer.can_write_eof() else None
        answer = await reader.readexactly(200_000)
        writer.close()
        return answer

    if hasattr(asyncio.StreamWriter, "start_tls"):
        b.run(asyncio.start_server(upgrade, port=25))
        assert a.run(upgraded()) == b"X" * 200_000


def test_datagrams(two):
    a, b = two

    class Upper(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Once(asyncio.DatagramProtocol):
        def __init__(self):
            self.answer = asyncio.get_running_loop().create_future()

        def datagram_received(self, data, address):
            self.answer.set_result((data, address))

    async def serve():
        await asyncio.get_running_loop().create_datagram_endpoint(Upper, local_addr=("0.0.0.0", 9))

    async def client():
        loop = asyncio.get_running_loop()
        transport, once = await loop.create_datagram_endpoint(Once, remote_addr=("b", 9))
        transport.sendto(b"hi")
        try:
            return await once.answer
        finally:
            transport.close()

    b.run(serve())
    assert a.run(client()) == (b"HI", ("10.0.0.2", 9))


def test_the_sock_calls(two):
    a, b = two
    listener = b.listen(7)
    b.spawn(lambda: listener.accept()[0].sendall(b"welcome"))

    async def client():
        loop = asyncio.get_running_loop()
        assert loop is a.loop
        with a.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("b", 7))
            return await loop.sock_recv(sock, 100)

    assert a.run(client()) == b"welcome"


def test_names(two):
    a, _ = two

    async def ask():
        loop = asyncio.get_running_loop()
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("nobody", 1)
        return await loop.getaddrinfo("b", "http", type=socket.SOCK_STREAM), await loop.getnameinfo(
            ("10.0.0.2", 80)
        )

    infos, name = a.run(ask())
    assert infos == [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.2", 80))]
    assert name == ("10.0.0.2", "80")


def test_time_is_virtual(net, two):
    a, _ = two

    async def wait():
        await asyncio.sleep(1800)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert a.run(wait()) == pytest.approx(1830)
    assert net.now == pytest.approx(1830)
    assert time.monotonic() - began < 5


def test_a_year_does_not_spin(net, two):
    """After seven months, a nanosecond is less than a float can tell."""
    a, _ = two

    async def year():
        for _ in range(366):
            await asyncio.sleep(86_400)

    running = a.start(year())
    net.run(until=366 * 86_400 + 1)
    assert running.done
    assert net.now == pytest.approx(366 * 86_400 + 1)


def test_an_executor_is_in_virtual_time_too(two):
    a, _ = two

    async def several():
        loop = asyncio.get_running_loop()
        jobs = [asyncio.to_thread(time.sleep, 5), loop.run_in_executor(None, time.sleep, 7)]
        await asyncio.gather(*jobs)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        return loop.time()

    assert a.run(several()) == pytest.approx(7)


def test_a_blocking_call_holds_up_its_own_loop_only(two):
    a, b = two
    b.run(asyncio.start_server(echo, port=7))

    async def rude():
        with a.connect(("b", 7)) as sock:
            sock.sendall(b"hi")
            return sock.recv(10)

    assert a.run(rude()) == b"HI"


def test_errors_reach_the_caller(two, capsys):
    a, _ = two

    async def wrong():
        raise KeyError("wrong")

    with pytest.raises(KeyError):
        a.run(wrong())
    assert capsys.readouterr().err == ""
    with pytest.raises(ConnectionRefusedError):
        a.run(ask())
    running = a.start(wrong())
    two[1].sleep(1)
    assert "KeyError" in capsys.readouterr().err  # at once, where the reader sees it
    with pytest.raises(KeyError):
        running.join()


def test_start_join_cancel(two):
    a, _ = two
    running = a.start(asyncio.sleep(100, "slept"))
    assert not running.done
    with pytest.raises(TimeoutError):
        running.join(10)
    assert running.join() == "slept"
    assert running.done
    other = a.start(asyncio.sleep(100))
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        other.join()


def test_who_waits_for_nothing_is_told(two):
    a, _ = two

    async def never():
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"the end of a\.never"):
        a.run(never())


def test_a_task_that_nobody_holds_goes_on(two, net):
    a, _ = two
    said = []

    async def alone():
        try:
            await asyncio.Event().wait()
        finally:
            said.append("ended")

    a.start(alone())
    net.run(until=1)
    gc.collect()
    assert said == []
    assert len(a.loop.running) == 1


def test_run_inside_of_itself_is_told(two):
    a, _ = two

    async def outer():
        with pytest.raises(RuntimeError, match="await it"):
            a.run(asyncio.sleep(1))

    a.run(outer())


def test_a_fresh_context(two):
    a, _ = two
    here = contextvars.ContextVar("here", default="fresh")
    here.set("stale")

    async def look():
        return here.get()

    assert a.run(look()) == "fresh"


@pytest.mark.parametrize("close_what", ["network", "host"])
def test_closing_cancels_and_nothing_is_said(close_what, capfd):
    log = []

    async def stay(name):
        try:
            await asyncio.sleep(1e6)
        finally:
            log.append(name)

    async def stubborn():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                log.append("no")

    net = Network()
    a, b = pair(net)
    b.run(asyncio.start_server(echo, port=7))
    a.start(stay("one"))
    a.start(stubborn())
    a.start(ask())
    net.run(until=5)
    a.start(stay("never began"))
    a.close() if close_what == "host" else None
    net.close()
    assert "one" in log
    assert a.loop.is_closed()
    assert b.loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        a.run(stay("late"))
    del net, a, b
    gc.collect()
    assert capfd.readouterr().err == ""


def test_nothing_is_said_at_the_interpreters_end():
    code = (
        "import asyncio\nfrom labstack import Network\nnet = Network()\na = net.host('a', '10.0.0.1/24')\n"
        "a.start(asyncio.sleep(5)); net.run(until=1)\nprint('end')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)
