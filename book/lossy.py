"""The wire of chapter 17: two programs, a message in pieces, and what a wire that loses some makes of it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from labstack import Host, Network
from labstack.observe import look
from labstack.observe.charts import Chart
from labstack.observe.questions import Said
from labstack.observe.trace import Trace
from labstack.physical.faults import Match, Seen
from labstack.physical.wire import Wire

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Sender = Callable[[socket.socket, Sequence[bytes], int, int], None]
Receiver = Callable[[socket.socket, "Heard", int, int], None]

WORDS = b"Anna and Bert agree the house goes to Bert and the debts are for nobody else".split()
PIECE = 1183
"""Bytes that fill a millisecond of 10 Mbit/s, with a number of one byte and all headers and gaps."""
ROUND = 41.0672
"""Milliseconds from the first bit of such a piece to the last of its answer: 1, 0.0672, and twice 20."""
PATIENCE = 0.100
PORT = 7


class Heard(list[bytes]):
    """What a receiver hands up, piece by piece, and when: `times`, in seconds."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self.times: list[float] = []

    def append(self, piece: bytes) -> None:
        super().append(piece)
        self.times.append(self._net.now)


def world(loss: float = 0, seed: int = 17, **b_has: Any) -> tuple[Network, Host, Host, Wire]:
    """Two machines, 20 ms of wire at 10 Mbit/s that loses this share of all frames, once they know each
    other; b has these of `Network.host`'s options."""
    net = Network(seed)
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24", **b_has)
    wire = net.wire(a, b, rate="10 Mbit/s", delay="20 ms")
    a.ping("b")
    wire.chance["loss"] = loss
    return net, a, b, wire


class Transfer:
    """One message from a to b: what was `heard`, in how many `frames`, how well the wire was `used` (the
    share of the time from the first piece heard to the last that the pieces take), and the `trace`."""

    def __init__(
        self,
        sender: Sender,
        receiver: Receiver,
        pieces: Sequence[bytes],
        window: int = 1,
        numbers: int = 256,
        loss: float = 0,
        drop: Match | None = None,
        machines: tuple[Network, Host, Host, Wire] | None = None,
    ) -> None:
        net, a, b, wire = machines or world(loss)
        if drop:
            wire.drop(drop)
        self.trace: Trace = net.capture(wire)
        self.heard = Heard(net)
        s, t = a.socket(socket.SOCK_DGRAM), b.socket(socket.SOCK_DGRAM)
        s.settimeout(PATIENCE)
        s.bind(("", PORT))
        t.bind(("", PORT))
        s.connect(("b", PORT))
        # A receiver never knows whether its last answer came: it goes on answering.
        listening = b.spawn(_until_closed, receiver, t, self.heard, window, numbers)
        a.spawn(sender, s, pieces, window, numbers).join()
        self.frames = sum(p.protocol == "UDP" and p.sender == "a" for p in self.trace.packets)
        s.close()
        t.close()
        listening.join()
        if machines is None:
            net.close()

    @property
    def used(self) -> float:
        taken = self.heard.times[-1] - self.heard.times[0]
        return (len(self.heard) - 1) * 0.001 / taken


def _until_closed(receiver: Receiver, t: socket.socket, heard: Heard, window: int, numbers: int) -> None:
    try:
        receiver(t, heard, window, numbers)
    except OSError:
        return


def answers(*which: int) -> Match:
    """The 1st, 2nd … datagram from b, for `drop`."""
    seen = 0

    def match(frame: Seen) -> bool:
        nonlocal seen
        if frame.sender != "b" or frame.ip is None:
            return False
        seen += 1
        return seen in which

    return match


class Utilisation(Chart):
    """How well the wire is used with each window: measured, in `runs`, by name, and by the formula."""

    def __init__(self, runs: dict[str, dict[int, float]]) -> None:
        self.runs = runs

    @property
    def summary(self) -> str:
        windows = sorted({window for points in self.runs.values() for window in points})
        rows = [("window", *map(str, windows)), ("formula", *(f"{100 * formula(w):.1f} %" for w in windows))]
        for name, points in self.runs.items():
            rows.append((name, *(f"{100 * points[w]:.1f} %" if w in points else "" for w in windows)))
        return look.align(rows, frozenset(range(1, len(windows) + 1)))

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [(name, w, share) for name, points in self.runs.items() for w, share in points.items()]
        return ["run", "window", "utilisation"], rows

    def _draw(self, axes: Axes) -> None:
        windows = [2 ** (k / 8) for k in range(49)]
        axes.plot(windows, [100 * formula(w) for w in windows], color=look.INK, lw=1.2, label="the formula")
        looks = [(look.BLUE, "o"), (look.GREEN, "^"), (look.VERMILION, "s")]
        for (name, points), (colour, marker) in zip(self.runs.items(), looks, strict=False):
            shares = [100 * share for share in points.values()]
            axes.plot(list(points), shares, marker, color=colour, ms=7, label=name)
        axes.set_xscale("log", base=2)
        ticks = [2**k for k in range(7)]
        axes.set_xticks(ticks, list(map(str, ticks)))
        axes.set_xlabel("window (packets)")
        axes.set_ylabel("time that goes into new pieces (%)")
        axes.set_ylim(0, 105)
        axes.set_title("How well is the wire used?", pad=12)
        axes.legend(loc="upper left", fontsize=9)


def formula(window: float) -> float:
    """The share of time that is used, without loss: `window` pieces a round trip."""
    return min(1.0, window / ROUND)


def told(transfer: Transfer, pieces: Sequence[bytes]) -> Said:
    """A transfer in two lines."""
    right = "as they were sent" if list(transfer.heard) == list(pieces) else "NOT as they were sent"
    return Said(
        f"{len(transfer.heard)} pieces heard, {right}\n"
        f"{transfer.frames} packets sent, wire used for {100 * transfer.used:.1f} % of the time"
    )
