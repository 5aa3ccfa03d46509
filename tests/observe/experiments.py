"""Experiments for the explorers: a network is handed in, a trace comes back."""

from typing import Any

from labstack import Network
from labstack.observe.trace import Trace


def download(
    net: Network,
    size: int = 60_000,
    loss: float = 0.0,
    delay: str = "20 ms",
    rate: str = "10 Mbit/s",
    queue: str = "64 KiB",
    algorithm: str = "reno",
    **wire_options: Any,
) -> Trace:
    """`b` sends `size` bytes to `a`."""
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24", congestion=algorithm)
    wire = net.wire(a, b, rate=rate, delay=delay, queue=queue, loss=loss, **wire_options)
    trace = net.capture(wire)

    def serve(listener) -> None:
        connection, _ = listener.accept()
        connection.sendall(b"x" * size)
        connection.close()

    b.spawn(serve, b.listen(80))
    s = a.connect(("b", 80))
    while s.recv(65536):
        pass
    s.close()
    net.run()
    return trace


def contest(net: Network, algorithms: tuple[str, ...] = ("reno", "reno"), size: int = 600_000) -> Trace:
    """Hosts behind a router, one for each algorithm, send to `z` at the same time, over one wire of
    8 Mbit/s."""
    z, r = net.host("z", "10.9.0.2/24", gateway="10.9.0.1"), net.router("r")
    net.wire(r.interface("out", "10.9.0.1/24"), z, rate="8 Mbit/s", delay="10 ms", queue="48 KiB")
    senders = []
    for k, algorithm in enumerate(algorithms, start=1):
        host = net.host(f"s{k}", f"10.0.{k}.2/24", gateway=f"10.0.{k}.1", congestion=algorithm)
        net.wire(host, r.interface(f"in{k}", f"10.0.{k}.1/24"), rate="100 Mbit/s", delay="5 ms")
        senders.append(host)
    trace = net.capture()
    listener = z.listen(80)

    def take() -> None:
        for _ in algorithms:
            connection, _ = listener.accept()
            z.spawn(drain, connection)

    def drain(connection) -> None:
        while connection.recv(1 << 16):
            pass
        connection.close()

    def send(host) -> None:
        with host.connect(("10.9.0.2", 80)) as s:
            s.sendall(bytes(size))

    z.spawn(take)
    for host in senders:
        host.spawn(send, host)
    net.run()
    return trace
