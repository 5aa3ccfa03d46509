"""The crowd of chapter 26: clients that all ask at the same instant on one machine, a server on another."""

import asyncio
from collections.abc import Callable

from labstack import Host, Network
from labstack.core.events import Counters


def machines(rate: str = "1 Gbit/s") -> tuple[Network, Host, Host]:
    """A network of two machines, a and b, a millisecond apart. a knows the way to b: ARP, which keeps few
    packets waiting, has asked."""
    net = Network(seed=1)
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    net.wire(a, b, rate=rate, delay="1 ms", queue="1 MiB")
    a.ping("b")
    return net, a, b


def crowd(
    server: Callable[..., object], answer: Callable[[bytes], bytes], clients: int = 1000, backlog: int = 1000
) -> tuple[list[float], Counters]:
    """Run `server(answer, 7, backlog)` on b, and let the clients call on it: the seconds that each waited for
    its answer, and b's counters."""
    net, a, b = machines()
    with net:
        b.spawn(server, answer, 7, backlog)

        async def client(begun: float) -> float:
            reader, writer = await asyncio.open_connection("b", 7)
            writer.write(b"hello")
            assert await reader.read(100) == b"HELLO"
            writer.close()
            return net.now - begun

        async def everybody() -> list[float]:
            return await asyncio.gather(*(client(net.now) for _ in range(clients)))

        return a.run(everybody()), b.counters
