"""The short cuts for ordinary segments and datagrams lead where the long ways lead."""

import pytest

from labstack import Network
from labstack.core.checksum import Buffer
from labstack.internet.ipv4 import IPv4
from labstack.transport.tcp.connection import Connection


def run(loss: float) -> tuple[list[tuple[int, bytes]], dict[str, int], dict[str, int]]:
    """Streams and some talk over one wire: every frame with its time, and what both hosts counted."""
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
        # Several transfers: in the long run of one, behind a gap, nothing is the next byte.
        for size in (1, 1460, *[150_000] * 4):
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


@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_the_short_way_up_through_ipv4_changes_nothing(monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    short = run(loss)
    taken = 0
    plain = IPv4._receive_ordinary

    def counted(self: IPv4, packet: Buffer, segment_size: int) -> bool:
        nonlocal taken
        found = plain(self, packet, segment_size)
        taken += found
        return found

    monkeypatch.setattr(IPv4, "_receive_ordinary", counted)
    assert run(loss) == short and taken > 400
    monkeypatch.setattr(IPv4, "_receive_ordinary", lambda self, packet, segment_size: False)
    assert run(loss) == short
