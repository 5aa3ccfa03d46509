"""A world in which everything waits for something: threads, select, asyncio, plain programs, on a wire that
loses frames. Run as a program, it prints a hash of all that happened, and when it ended."""

import asyncio
import hashlib
import queue
import select
import socket
import threading
import time

from labstack import Network


def threaded_server():
    with socket.create_server(("", 1), backlog=50) as listener:
        while True:
            threading.Thread(target=talk, args=(listener.accept()[0],)).start()


def talk(connection):
    with connection:
        while data := connection.recv(3000):
            time.sleep(0.001)
            connection.sendall(data.upper())


def select_server():
    listener = socket.create_server(("", 2), backlog=50)
    sockets = [listener]
    while True:
        for ready in select.select(sockets, [], [], 0.7)[0]:
            if ready is listener:
                sockets.append(listener.accept()[0])
            elif data := ready.recv(3000):
                ready.sendall(data.upper())
            else:
                sockets.remove(ready)
                ready.close()


async def asyncio_talk(reader, writer):
    while data := await reader.read(3000):
        await asyncio.sleep(0.001)
        writer.write(data.upper())
        await writer.drain()
    writer.close()


def client(number, results):
    for port in (1, 2, 3):
        with socket.create_connection(("b", port)) as sock:
            message = bytes([97 + number]) * (100 + 977 * number)
            sock.sendall(message)
            got = b""
            while len(got) < len(message):
                got += sock.recv(4096)
            assert got == message.upper()
        results.put((number, port, time.monotonic()))


async def asyncio_client(number):
    reader, writer = await asyncio.open_connection("b", 1 + number % 3)
    async with asyncio.timeout(1000):
        for size in (10, 5000, 100):
            writer.write(b"z" * size)
            assert await reader.readexactly(size) == b"Z" * size
            await asyncio.sleep(0.05 * number)
    writer.close()
    await asyncio.to_thread(time.sleep, 0.25)
    return asyncio.get_running_loop().time()


async def asyncio_clients():
    return await asyncio.gather(*(asyncio_client(number) for number in range(5)))


def run():
    """A hash over every frame with its time and bytes, and the times at which the parts ended."""
    told = hashlib.sha256()
    with Network(seed=5) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="10 Mbit/s", delay="5 ms", loss=0.02)
        trace = net.capture(wire)
        b.spawn(threaded_server)
        b.spawn(select_server)
        b.run(asyncio.start_server(asyncio_talk, port=3))
        with a:
            results = queue.Queue()
            threads = [threading.Thread(target=client, args=(n, results)) for n in range(6)]
            for thread in threads:
                thread.start()
            beside = a.start(asyncio_clients())
            ends = [results.get(timeout=500) for _ in range(18)]
            for thread in threads:
                thread.join()
            ends.append(beside.join())
        net.sleep(5)
        for packet in trace.packets:
            told.update(f"{packet.sent} {bytes(packet.frame).hex()}\n".encode())
        return f"{told.hexdigest()} {len(trace.packets)} {net.now} {ends}"


if __name__ == "__main__":
    print(run())
