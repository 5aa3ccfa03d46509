"""In real time, a program waits for the host's sockets together with the machine's files, such as a pipe."""

import asyncio
import os
import select
import selectors
import socket
import sys
import threading
from random import SystemRandom

import pytest

from labstack import Host, Network
from labstack.drivers.realtime import RealTime

LONG = 20


@pytest.fixture
def host():
    driver = RealTime()
    made = Host("alone", driver, random=lambda purpose: SystemRandom().random)
    yield made
    made.close()
    driver.close()


@pytest.fixture
def pipe():
    ends = [os.fdopen(end, mode, buffering=0) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)]
    yield ends
    for end in ends:
        end.close()


def later(do, *args):
    threading.Timer(0.05, do, args).start()


@pytest.mark.feature(
    "Sockets", "In real time, `select` over a host's sockets and the machine's files at once"
)
def test_select_and_poll(host, pipe):
    out, into = pipe
    with host:
        one, other = socket.socketpair()
        with one, other:
            assert select.select([one, out], [], [], 0) == ([], [], [])
            later(into.write, b"typed")
            assert select.select([one, out], [], [], LONG) == ([out], [], [])
            assert select.select([one, out], [one, into], [], LONG) == ([out], [one, into], [])
            assert out.read(10) == b"typed"
            later(other.send, b"heard")
            assert select.select([one, out], [], [], LONG) == ([one], [], [])
            poll = select.poll()
            poll.register(one, select.POLLIN)
            poll.register(out, select.POLLIN)
            assert poll.poll(LONG * 1000) == [(one.fileno(), select.POLLIN)]
            assert one.recv(10) == b"heard"
            later(into.close)
            assert poll.poll(LONG * 1000) == [(out.fileno(), select.POLLIN)]  # its end can be read
            poll.unregister(one)
            assert poll.poll(0) == [(out.fileno(), select.POLLHUP)]  # by the machine's own poll


def test_a_selector(host, pipe):
    out, into = pipe
    with host, selectors.DefaultSelector() as selector, socket.socket(socket.AF_UNIX) as unix:
        key = selector.register(out, selectors.EVENT_READ, "typed")
        with pytest.raises(KeyError):
            selector.register(out.fileno(), selectors.EVENT_READ)
        assert selector.select(0.01) == []
        into.write(b"x")
        assert selector.select(LONG) == [(key, selectors.EVENT_READ)]
        assert selector.select(LONG) == [(key, selectors.EVENT_READ)], "for as long as it is ready"
        selector.modify(out, selectors.EVENT_READ, "other data")
        assert selector.select(LONG)[0][0].data == "other data"
        assert selector.unregister(out).fd == out.fileno()
        assert selector.select(0) == []
        selector.register(unix, selectors.EVENT_READ)
        with open(__file__) as file, pytest.raises(PermissionError):
            selector.register(file, selectors.EVENT_READ)
        closed = os.dup(0)
        os.close(closed)
        with pytest.raises(ValueError, match="no open socket"):
            selector.register(closed, selectors.EVENT_READ)
    assert not host.driver._devices, "nothing is left to be waited for"


def test_asyncio(host, pipe):
    """A pipe, a UNIX-domain socket and another program's output, in a coroutine beside TCP."""
    out, into = pipe

    async def echo(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async def ask(reader, writer):
        writer.write(b"hello\n")
        answer = await reader.read()
        writer.close()
        return answer

    async def main(path):
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), out)
        into.write(b"typed\n")
        answers = [await reader.readline()]
        async with (
            await asyncio.start_server(echo, "127.0.0.1", 7),
            await asyncio.start_unix_server(echo, path),
        ):
            answers.append(await ask(*await asyncio.open_connection("127.0.0.1", 7)))
            answers.append(await ask(*await asyncio.open_unix_connection(path)))
        words = [sys.executable, "-c", "print('from a program')"]
        program = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        answers.append((await program.communicate())[0])
        return answers

    answers = host.run(main(f"\0labstack-{os.getpid()}"))
    assert answers == [b"typed\n", b"HELLO\n", b"HELLO\n", b"from a program\n"]


def test_not_in_virtual_time(pipe):
    with Network() as net:
        selector = net.host("a", "10.0.0.1/24").selector()
        with pytest.raises(ValueError, match="no open socket of a"):
            selector.register(pipe[0], selectors.EVENT_READ)
