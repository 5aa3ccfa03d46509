"""Experiments for the explorers: a network is handed in, a trace comes back."""

from labstack import Network
from labstack.observe.trace import Trace


def download(
    net: Network, size: int = 60_000, loss: float = 0.0, delay: str = "20 ms", queue: str = "64 KiB"
) -> Trace:
    """`b` sends `size` bytes to `a`."""
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    wire = net.wire(a, b, rate="10 Mbit/s", delay=delay, queue=queue, loss=loss)
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
