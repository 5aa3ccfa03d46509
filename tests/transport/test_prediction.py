"""The short cut for the ordinary segment leads where the long way leads."""

import pytest

from labstack import Network
from labstack.transport.tcp.connection import Connection


def run(loss: float) -> tuple[list[tuple[int, bytes]], dict[str, int], dict[str, int]]:
    """Two streams and some talk over one wire: every frame with its time, and what both hosts counted."""
    with Network(seed=11) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(a, b, rate="20 Mbit/s", delay="5 ms", loss=loss, reorder=loss, duplicate=loss)
        trace = net.capture(wire)
        listener = b.listen(80)

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                asked = 0
                while data := connection.recv(10_000):
                    asked += len(data)
                    if asked < 10_000:
                        connection.sendall(data[:100])
                connection.sendall(bytes(asked))
                connection.close()

        b.spawn(serve)
        for size in (1, 1460, 300_000):
            with a.connect(("b", 80)) as s:
                s.sendall(bytes(range(256)) * (size // 256) + bytes(size % 256))
                s.shutdown(1)
                while s.recv(10_000):
                    pass
        net.run()
        return [(p.sent, p.frame) for p in trace.packets], dict(a.counters), dict(b.counters)


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_header_prediction_changes_nothing(monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    short = run(loss)
    taken = 0
    plain = Connection._is_next

    def counted(self: Connection, *of: object) -> bool:
        nonlocal taken
        found = plain(self, *of)
        taken += found
        return found

    monkeypatch.setattr(Connection, "_is_next", counted)
    assert run(loss) == short and taken > 100
    monkeypatch.setattr(Connection, "_is_next", lambda self, header, flags: False)
    assert run(loss) == short
