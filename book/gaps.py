"""The wire of chapter 20: ten segments, of which some get lost or overtaken, and how long all of it takes.

Transfer(5).took                  30 ms: the fifth got lost
Transfer(5, tcp=NO_SACK).took     the same, where nobody speaks of SACK
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from doors import pair

from labstack import Host, Network, TcpConfig, data_segment
from labstack.core.events import Counters
from labstack.observe import look
from labstack.observe.charts import Chart
from labstack.observe.packet import LOST
from labstack.observe.questions import Said
from labstack.observe.trace import Trace
from labstack.physical.wire import Wire
from labstack.sockets.socket import Socket

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MSS = 1460
NO_SACK = TcpConfig(sack=False)
NO_PROBE = TcpConfig(tail_loss_probe=False)
WAYS: dict[str, dict[str, Any]] = {
    "duplicate ACKs alone": {"tcp": NO_SACK},
    "SACK, without a probe": {"tcp": NO_PROBE},
    "SACK and a probe": {},
}
"""Three ways to find a loss, as options of `Network.host`."""

REPAIRS = {
    "tcp.fast_retransmit": "fast retransmit:",
    "tcp.tail_loss_probe": "tail loss probe:",
    "tcp.retransmission_timeout": "time-out:",
}

World = tuple[Network, Host, Host, Wire]


def world(rate: str | None = None, **a_has: Any) -> World:
    """Two machines, 10 ms of wire between them, that know the way to each other; a has these of
    `Network.host`'s options."""
    net = Network(seed=20)
    a, b = net.host("a", "10.0.0.1/24", **a_has), net.host("b", "10.0.0.2/24")
    wire = net.wire(a, b, rate=rate, delay="10 ms", queue="1 MiB")
    a.ping("b")
    return net, a, b, wire


class Transfer:
    """So many full segments from a to b, over a wire that loses the frames of these numbers (of those with
    data, counted from 1) and delays a `reorder` share of all by up to 5 ms. `took`: milliseconds from the
    first byte sent to the last received; `lost`, and sent `again`: so many segments; `trace`; a's socket `s`
    and `counters`."""

    def __init__(
        self, *lost: int, segments: int = 10, reorder: float = 0, rate: str | None = None, **a_has: Any
    ) -> None:
        net, a, b, wire = world(rate, **a_has)
        with net:
            self.s, t = pair(a, b)
            for number in lost:
                wire.drop(data_segment(number))
            wire.hold, wire.chance["reorder"] = 5_000_000, reorder
            self.trace: Trace = net.capture(wire)
            began, size = net.now, segments * MSS
            a.spawn(self.s.sendall, bytes(size))
            while size:
                size -= len(t.recv(size))
            self.took = round(1000 * (net.now - began))
            net.sleep("50 ms")  # what is under way arrives
            self.again = sum(p.retransmission for p in self.trace.packets)
            self.lost = sum(p.fate == LOST for p in self.trace.packets)
            self.counters = a.counters


def echo(t: Socket) -> None:
    """Send back whatever comes, at once."""
    while words := t.recv(100):
        t.sendall(words)


def conversation(**a_has: Any) -> tuple[Trace, Socket, Host]:
    """150 times a says "ping" and b says it back, while the path changes twice: from calm (20 ms there and
    back) to restless (three frames in ten are held up, by up to 60 ms), and to far (100 ms)."""
    net, a, b, wire = world(**a_has)
    with net:
        s, t = pair(a, b)
        b.spawn(echo, t)
        trace = net.capture(wire)
        for n in range(150):
            if n == 50:
                wire.hold, wire.chance["reorder"] = 60_000_000, 0.3
            if n == 100:
                wire.propagation, wire.chance["reorder"] = 50_000_000, 0
            s.sendall(b"ping")
            answer = b""
            while len(answer) < 4:
                answer += s.recv(4)
            net.sleep("20 ms")
    return trace, s, a


def far(**config: Any) -> tuple[float, Counters]:
    """600 segments at 10 Mbit/s to a peer that is 10 ms away, and after 60 ms 300. Nothing gets lost; a's
    time-out may be as short as Linux's. The seconds that it took, and what a counted."""
    net, a, b, wire = world("10 Mbit/s", tcp=TcpConfig(min_rto=200_000_000, **config))
    with net:
        s, t = pair(a, b)
        began, left = net.now, 600 * MSS
        a.spawn(s.sendall, bytes(left))
        net.sleep("60 ms")
        wire.propagation = 300_000_000
        while left:
            left -= len(t.recv(left))
        return net.now - began, a.counters


class Costs(Chart):
    """How long ten segments took, in ms, for each way to find a loss and each segment that got lost."""

    def __init__(self, costs: dict[str, list[int]]) -> None:
        self.costs = costs

    @property
    def summary(self) -> str:
        numbers = range(1, 1 + max(map(len, self.costs.values())))
        rows = [("lost segment", *map(str, numbers))]
        rows += [(way, *(f"{took:,}" for took in times)) for way, times in self.costs.items()]
        return look.align(rows, frozenset(range(1, len(rows[0])))) + "\nin milliseconds"

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [(way, n, took) for way, times in self.costs.items() for n, took in enumerate(times, 1)]
        return ["way", "lost segment", "ms"], rows

    def _draw(self, axes: Axes) -> None:
        looks = [(look.VERMILION, "s", 9), (look.ORANGE, "^", 8), (look.BLUE, "o", 5)]
        for (way, times), (colour, marker, size) in zip(self.costs.items(), looks, strict=False):
            numbers = range(1, len(times) + 1)
            axes.plot(numbers, times, color=colour, marker=marker, ms=size, lw=1.4, label=way)
        axes.set_yscale("log")
        ticks = [10, 30, 100, 300, 1000]
        axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(9, 1500)
        axes.set_xticks(range(1, 11))
        axes.set_xlabel("which of the ten segments got lost")
        axes.set_ylabel("time for all ten (ms, logarithmic)")
        axes.set_title("One loss, and what it costs", pad=12)
        axes.legend(loc="upper left", fontsize=9)


class Tale(Said):
    """What became of a transfer, in words; an explorer shows its ladder below them."""

    themed: str


def play(first: int, last: int, segments: int, delayed: int, way: str) -> Tale:
    """So many segments, of which those from the first to the last get lost, `delayed` percent of the frames
    are late, and the sender finds out in this way."""
    lost = range(first, last + 1)
    done = Transfer(*lost, segments=segments, reorder=delayed / 100, **WAYS[way])
    counters = done.counters
    how = [f"{name} {counters[rule]}" for rule, name in REPAIRS.items() if counters[rule]]
    tale = Tale(
        f"{segments} segments in {done.took:,} ms; {done.lost} lost, {done.again} sent again\n"
        f"{', '.join(how) or 'nothing found missing'}"
    )
    tale.themed = f"<pre style='margin:0 0 8px'>{tale}</pre>{done.trace.ladder().themed}"
    return tale
