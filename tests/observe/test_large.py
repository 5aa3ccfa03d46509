"""A capture of 100,000 packets, looked at: table, ladder and charts, within seconds."""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from labstack import Network
from labstack.observe.trace import Trace

BOUND = 5.0


@pytest.fixture(scope="module")
def large() -> Trace:
    # What a reader's first table and chart import is not what is measured.
    small = transfer(10_000)
    small.table()
    small.window()._repr_png_()
    return transfer(97_000_000)


def transfer(size: int) -> Trace:
    with Network(seed=7) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b, rate="1 Gbit/s", delay="1 ms", queue="4 MiB", loss=0.0005)
        trace = net.capture()
        trace.limit = 2_000_000
        listener = b.listen(80)

        def send() -> None:
            with a.connect(("b", 80)) as s:
                s.sendall(bytes(size))

        a.spawn(send)
        connection, _ = listener.accept()
        while connection.recv(1 << 18):
            pass
        connection.close()
        net.run()
    return trace


@pytest.mark.check
@pytest.mark.feature("Observation", "100,000 packets become table, ladder and charts within 5 s")
def test_a_large_capture(large: Trace, tmp_path: Path) -> None:
    took: dict[str, float] = {}

    def timed(name: str, act: Callable[[], Any]) -> Any:
        started = process_time()
        result = act()
        took[name] = round(process_time() - started, 2)
        return result

    assert len(timed("packets", lambda: large.packets)) > 100_000
    assert len(timed("table", large.table)) == len(large)
    assert "<svg" in timed("ladder", lambda: large.ladder(between=(0.5, 0.51)).svg)
    timed("window chart", lambda: large.window()._repr_png_())
    timed("bytes over time", lambda: large.bytes_over_time()._repr_png_())
    assert sum(took.values()) < BOUND, took
    more = {
        "throughput": large.throughput, "time and sequence": large.time_sequence,
        "round trips": large.round_trips, "queue": large.queue,
    }  # fmt: skip
    for name, chart in more.items():
        timed(name, lambda chart=chart: chart()._repr_png_())
        assert took[name] < BOUND, took
    path = timed("pcapng with reasons", lambda: large.pcapng(tmp_path / "large.pcapng"))
    assert path.stat().st_size > 100_000_000 and took["pcapng with reasons"] < 10.0, took
    print(took)
