"""One small run, to be looked at in many ways."""

from typing import Any

from labstack import Network, TcpConfig, data_segment
from labstack.observe.trace import Trace

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def download(size: int = 12_000, lose: int = 3, tcp: TcpConfig | None = None, **wire_options: Any) -> Trace:
    """`b` sends `size` bytes to `a`; its `lose`-th data segment gets lost."""
    with Network(seed=7) as net:
        a, b = (net.host(name, f"10.0.0.{k}/24", tcp=tcp) for k, name in enumerate("ab", 1))
        options = {"rate": "10 Mbit/s", "delay": "20 ms", **wire_options}
        wire = net.wire(a, b, **options)
        if lose:
            wire.drop(data_segment(lose, sender="b"))
        trace = net.capture(wire)

        def serve(listener) -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.sendall(b"x" * size)
            connection.close()

        b.spawn(serve, b.listen(80))
        s = a.connect(("b", 80))
        s.sendall(REQUEST)
        while s.recv(65536):
            pass
        s.close()
        net.run()
    return trace
