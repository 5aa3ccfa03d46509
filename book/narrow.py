"""The scene of chapters 22 and 23: programs that send all the time, and one narrow line that they all need.

    a ──┐                                      each sender has 100 Mbit/s of its own, up to the router;
        ├── router ══ the line, a queue ══ b   what limits them is the line, and the queue before it
    …  ──┘

Run("reno")                                                 one sender, for twenty seconds
Run({"anna": "reno", "bert": "reno"}, connections={"anna": 9})   two, of whom one has nine connections
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import mean
from typing import TYPE_CHECKING, Any

from labstack import Host, Network, TcpConfig, Wire
from labstack.applications import discard
from labstack.core.units import SECOND, duration
from labstack.headers.ethernet import LENGTH
from labstack.headers.header import HeaderError
from labstack.headers.ipv4 import IPv4
from labstack.observe import look
from labstack.observe.charts import Chart, finish
from labstack.observe.panels import Panels
from labstack.observe.trace import Trace
from labstack.physical.faults import Match, Seen
from labstack.sockets.socket import Socket

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]

MSS = 1460
FRAME = MSS + 40 + 14 + 24
"""A full segment on the line: all headers, preamble, check sequence and gap."""
STEP = 0.010
"""Seconds from one look at the queue to the next."""
PORT = 9
PIECE = bytes(1 << 20)
ROOMY = TcpConfig(receive_buffer=4 << 20, send_buffer=2 << 20)
"""The receiver's window is never what limits a sender here."""


class Run:
    """What comes of these senders in so many `seconds`: one, or a name for each, with its congestion control
    (a name or a class), and how many `connections` it has, if not one.

    `rtt` is without the queue; a mapping gives each sender its own. The first `warm_up` seconds do not count.
    With `watched`, all frames are kept for the charts. `lose` says which frames get lost on the line; further
    options are the line's: `loss`, `discipline`.
    """

    def __init__(
        self,
        senders: Any,
        *,
        connections: Mapping[str, int] | None = None,
        rate: str = "2 Mbit/s",
        rtt: str | Mapping[str, str] = "100 ms",
        queue: str | int = "25 kB",
        seconds: float = 20.0,
        warm_up: float = 0.0,
        watched: bool = False,
        lose: Match | None = None,
        tcp: TcpConfig = ROOMY,
        **line: Any,
    ) -> None:
        self.net = net = Network(seed=22)
        router = net.router("router")
        self.b = net.host("b", "10.1.0.1/24", gateway="10.1.0.254", tcp=tcp)
        out = router.interface("line", "10.1.0.254/24")
        self.line: Wire = net.wire(out, self.b, name="line", rate=rate, queue=queue, **line)
        self.hosts: dict[str, Host] = {}
        for k, (name, control) in enumerate(_named(senders).items(), 1):
            host = net.host(name, f"10.2.{k}.1/24", gateway=f"10.2.{k}.254", tcp=tcp, congestion=control)
            port = router.interface(f"eth{k}", f"10.2.{k}.254/24")
            there = duration(rtt if isinstance(rtt, str) else rtt[name]) / (2 * SECOND)
            net.wire(host, port, name=f"{name}'s line", rate="100 Mbit/s", delay=there, queue="8 MiB")
            host.ping("b")
            self.hosts[name] = host
        if lose is not None:
            self.line.drop(lose)
        self.trace = net.capture() if watched else None
        self.sockets: dict[str, list[Socket]] = {name: [] for name in self.hosts}
        self.arrived: dict[str, list[int]] = {name: [] for name in self.hosts}
        self.waits: list[tuple[float, float]] = []
        """Every 10 ms: seconds, and the milliseconds that who comes then will wait before the line."""
        self.b.spawn(self._listen)
        for name, host in self.hosts.items():
            for _ in range((connections or {}).get(name, 1)):
                host.spawn(self._send, name)
        self._go(seconds, warm_up)
        net.close()

    def _go(self, seconds: float, warm_up: float) -> None:
        net, end, rate = self.net, self.line.ends[0], self.line.rate or 1
        net.sleep(warm_up)
        before = {name: list(each) for name, each in self.arrived.items()}
        for _ in range(round((seconds - warm_up) / STEP)):
            net.sleep(STEP)
            self.waits.append((net.now, end.queued * 8 / rate * 1000))
        self.each = {
            name: [n - (before[name][k : k + 1] or [0])[0] for k, n in enumerate(each)]
            for name, each in self.arrived.items()
        }
        """Bytes of each sender's streams that came to b, connection by connection."""
        self.got = {name: sum(each) for name, each in self.each.items()}
        self.seconds = round((seconds - warm_up) / STEP) * STEP
        """For so long."""
        most = rate * self.seconds / 8 * MSS / FRAME
        self.used = sum(self.got.values()) / most
        """The share of what the line can carry that they are, all together."""
        self.wait = mean(wait for _, wait in self.waits)
        """Milliseconds of waiting before the line, on average."""
        self.dropped = sum(self.line.counters[f"wire.{why}"] for why in ("queue_full", "queue_dropped"))
        self.marked = self.line.counters["wire.marked"]

    # --- the programs
    def _send(self, name: str) -> None:
        s = self.hosts[name].socket()
        self.sockets[name].append(s)
        with suppress(OSError):
            s.connect(("b", PORT))
            while True:
                s.sendall(PIECE)

    def _listen(self) -> None:
        names = {host.address: name for name, host in self.hosts.items()}
        with self.b.listen(PORT) as listener:
            while True:
                t, (address, _) = listener.accept()
                self.b.spawn(self._read, t, self.arrived[names[address]])

    def _read(self, t: Socket, arrived: list[int]) -> None:
        arrived.append(0)
        mine = len(arrived) - 1
        with suppress(OSError):
            while data := t.recv(1 << 20):
                arrived[mine] += len(data)

    # --- charts
    @property
    def socket(self) -> Socket:
        """The first sender's first."""
        return next(iter(self.sockets.values()))[0]

    @property
    def chart(self) -> Panels:
        """The first sender's windows, and below them the queue."""
        assert self.trace is not None, "only what was watched can be drawn"
        return Panels(self.trace.window(self.socket), self.trace.queue("line"))


def _named(senders: Any) -> dict[str, Any]:
    return dict(senders) if isinstance(senders, Mapping) else {"a": senders}


def every(n: int) -> Match:
    """Each n-th frame that carries data, for `lose`."""
    seen = 0

    def match(frame: Seen) -> bool:
        nonlocal seen
        seen += frame.payload_length > 0
        return frame.payload_length > 0 and seen % n == 0

    return match


def noting(control: Any) -> tuple[type, list[tuple[float, int]]]:
    """The same congestion control, and a list where it notes its window at each acknowledgment: seconds,
    bytes."""
    notes: list[tuple[float, int]] = []

    class Noting(control):  # type: ignore[misc]
        def on_ack(self, sample: Any) -> None:
            super().on_ack(sample)
            notes.append((sample.now / SECOND, self.cwnd))

    return Noting, notes


class Raced(look.Grid):
    """How well these congestion controls `used` a long path that loses a frame in a thousand, by name."""

    def __init__(self, runs: dict[str, Run]) -> None:
        self.used = {name: run.used for name, run in runs.items()}
        rows = [(name, f"{run.used:.0%}", f"{run.wait:.0f}", str(run.dropped)) for name, run in runs.items()]
        super().__init__(
            ("control", "line used", "wait in the queue, ms", "dropped"), rows, frozenset({1, 2, 3})
        )


def race(*controls: Any) -> Raced:
    """Let each of them have a line of 10 Mbit/s for itself, 200 ms there and back, for twenty seconds."""
    runs = {}
    for control in controls:
        name = control if isinstance(control, str) else control.__name__
        runs[name] = Run(control, rate="10 Mbit/s", rtt="200 ms", queue="125 kB", loss=0.001)
    return Raced(runs)


def play(control: Any, rate: int, rtt: int, queue: int) -> Panels:
    """Ten seconds of one sender: Mbit/s, ms and kB."""
    how = {"rate": f"{rate} Mbit/s", "rtt": f"{rtt} ms", "queue": f"{queue} kB"}
    return Run(control, seconds=10, watched=True, **how).chart


class Fetched:
    """So many bytes over a line of this rate and 50 ms: the `seconds` from the call to the last byte, and the
    `trace`."""

    def __init__(self, rate: str, size: int = 100_000, congestion: Any = "reno") -> None:
        with Network(seed=22) as net:
            a = net.host("a", "10.0.0.1/24", congestion=congestion)
            b = net.host("b", "10.0.0.2/24")
            line = net.wire(a, b, rate=rate, delay="50 ms", queue="1 MiB")
            a.ping("b")
            self.trace: Trace = net.capture(line)
            b.spawn(discard.serve, b)
            begun = net.now
            with a.connect(("b", discard.PORT)) as self.socket:
                self.socket.sendall(bytes(size))
            net.run()
        arrived = [p.arrived for p in self.trace.packets if p.payload_length and p.arrived]
        self.seconds = arrived[-1] / SECOND - begun
        came = self.trace.bytes_over_time(self.socket).arrived[self.trace.find_flow(self.socket)]
        self.stairs = [(0.0, 0), *((time - begun, total) for time, total in came)]
        """Seconds from the call, and the bytes that had come by then."""


class Lines(Chart):
    """Lines over one axis, by name: `measured` are stairs (or dots, where `dots`), `formula` is dashed. The
    text gives each line's value at the places `at`."""

    def __init__(
        self,
        measured: Mapping[str, Points],
        formula: Mapping[str, Points] | None = None,
        *,
        title: str,
        unit: str,
        at: Sequence[float],
        along: str = "time (seconds)",
        dots: bool = False,
    ) -> None:
        self.lines = {**measured, **(formula or {})}
        self.dashed = frozenset(formula or {})
        self.title, self.unit, self.along, self.at, self.dots = title, unit, along, list(at), dots

    @property
    def summary(self) -> str:
        rows = [(self.along, *(f"{x:g}" for x in self.at))]
        rows += [(name, *(_number(value_at(line, x)) for x in self.at)) for name, line in self.lines.items()]
        return f"{self.title}, {self.unit}:\n{look.align(rows, frozenset(range(1, len(self.at) + 1)))}"

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [(name, x, y) for name, line in self.lines.items() for x, y in line]
        return ["line", self.along, self.unit], rows

    def _draw(self, axes: Axes) -> None:
        from matplotlib.ticker import FuncFormatter, NullFormatter

        looks = [(look.BLUE, "o"), (look.ORANGE, "s"), (look.GREEN, "^"), (look.PURPLE, "d")]
        for (name, line), (colour, marker) in zip(self.lines.items(), looks, strict=False):
            x, y = zip(*line, strict=True)
            if name in self.dashed:
                axes.plot(x, y, color=look.INK, lw=1.6, linestyle=(0, (5, 3)), label=name, zorder=4)
            elif self.dots:
                axes.plot(x, y, marker, color=colour, ms=9, label=name)
            else:
                axes.step(x, y, where="post", color=colour, lw=2.2, label=name)
        finish(axes, self.title, self.unit)
        axes.set_xlabel(self.along)
        if self.dots:
            values = sorted(y for line in self.lines.values() for _, y in line)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(self.at, [f"{x:g}" for x in self.at])
            axes.set_ylim(values[0] / 1.5, values[-1] * 1.5)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_minor_formatter(NullFormatter())
            axes.set_yticks(_round_numbers(*axes.get_ylim()))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def value_at(line: Points, x: float) -> float:
    """The value of stairs at x: the last one up to there."""
    return max((point for point in line if point[0] <= x), default=line[0])[1]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.1f}"


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20 … from low to high."""
    return [step * 10.0**ten for ten in range(-3, 7) for step in (1, 2, 5) if low <= step * 10.0**ten <= high]


class Shares(look.Picture):
    """Who got how much, in per cent: a bar for each run, by name, from what each sender `got` there."""

    def __init__(self, runs: Mapping[str, Run]) -> None:
        self.shares = {
            name: {who: 100 * bytes_ / sum(run.got.values()) for who, bytes_ in run.got.items()}
            for name, run in runs.items()
        }

    @property
    def text(self) -> str:
        rows = [
            (name, *(f"{who} {share:.0f} %" for who, share in shares.items()))
            for name, shares in self.shares.items()
        ]
        return look.align(rows)

    @property
    def svg(self) -> str:
        drawing = look.Drawing("who got how much of the line")
        colours = (look.PALE_BLUE, look.PALE_ORANGE, look.PALE_GREEN, look.PALE_PURPLE)
        for at, (name, shares) in enumerate(self.shares.items()):
            x, y = 190.0, 12.0 + at * 38
            drawing.words(x - 10, y + 20, name, size=12, anchor="end")
            for k, (who, share) in enumerate(shares.items()):
                width = 5.4 * share
                drawing.box(x, y, width, 30, fill=colours[k % len(colours)], stroke=look.INK)
                words = f"{who} {share:.0f} %"
                if look.width_of(words, 12) < width - 6:
                    drawing.words(x + width / 2, y + 20, words, size=12, anchor="middle")
                elif k == len(shares) - 1:
                    drawing.words(x + width + 6, y + 20, words, size=12)
                elif k == 0:
                    drawing.words(x + width / 2, y + 20, f"{share:.0f} %", size=10, anchor="middle")
                x += width
        return drawing.svg(820, 16 + len(self.shares) * 38)


def source(frame: bytes) -> str:
    """The address that a frame says it comes from; nothing, if it carries no IPv4."""
    try:
        return str(IPv4.parse(frame, LENGTH).src)
    except HeaderError:
        return ""
