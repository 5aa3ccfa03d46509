"""A thousand clients at once, in simulation, of each kind of server that can serve them; nothing is left."""

import asyncio
import gc
import os
import selectors
import socket
import threading

import pytest

from labstack import Network
from tests.sockets.tls_scene import pair

CLIENTS = 1000


def threads():
    with socket.create_server(("", 7), backlog=CLIENTS) as listener:
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],)).start()


def talk(connection):
    with connection:
        while data := connection.recv(100):
            connection.sendall(data.upper())


def select():
    selector, listener = selectors.DefaultSelector(), socket.create_server(("", 7), backlog=CLIENTS)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
            elif data := key.fileobj.recv(100):
                key.fileobj.sendall(data.upper())
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def asynchronous():
    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    async def serve():
        server = await asyncio.start_server(echo, port=7, backlog=CLIENTS)
        await server.serve_forever()

    asyncio.run(serve())


SERVERS = [threads, select, asynchronous]


def descriptors():
    """How many descriptors of the machine's this process has."""
    return len(os.listdir("/dev/fd"))


@pytest.mark.feature("Sockets", "1,000 connections at once to a server of threads, of select, of asyncio")
@pytest.mark.parametrize("server", SERVERS)
def test_a_thousand_clients(server, capfd, caplog):
    gc.collect()
    before = descriptors(), set(threading.enumerate())
    with Network(seed=1) as net:
        a, b = pair(net)
        b.spawn(server)

        async def client(number):
            reader, writer = await asyncio.open_connection("b", 7)
            await everybody.wait()  # all of them are connected at the same time
            writer.write(b"n%d" % number)
            assert await reader.read(100) == b"N%d" % number
            most.append(len(b.tcp.connections))
            writer.close()

        everybody, most = asyncio.Barrier(CLIENTS), []
        a.run(gather(client))
        net.sleep(100)  # until the last TIME-WAIT is over
        assert max(most) == CLIENTS
        assert [s.kind for s in b.sockets.values()] == ["stream"], "the one that listens"
        assert not a.sockets and not a.tcp.connections and not b.tcp.connections
        assert a.driver.idle, "no timer is left but housekeeping"
    gc.collect()
    assert (descriptors(), set(threading.enumerate())) == before
    assert not capfd.readouterr().err and not caplog.records


async def gather(client):
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
