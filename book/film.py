"""The two machines of chapter 25, and a film of their sockets: what `ss` shows of both, one picture a call.

net, client, server, wire = world()
film = Film(net)
film.call(s.sendall, b"hello")
film.wait("15 ms")
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from labstack import Host, Network
from labstack.observe import look
from labstack.observe.questions import Said
from labstack.physical.wire import Wire
from labstack.sockets.socket import Socket

T = TypeVar("T")

COLOURS = {
    "ESTAB": look.PALE_GREEN,
    "LISTEN": look.PALE_BLUE,
    "CLOSE-WAIT": look.PALE_VERMILION,
    "": look.PAPER,
}
"""The others are grey."""
ROW = 30.0


def world(delay: str = "10 ms", **server_options: Any) -> tuple[Network, Host, Host, Wire]:
    """A network with a client, a server and a wire between them."""
    net = Network(seed=25)
    client, server = net.host("client", "10.0.0.1/24"), net.host("server", "10.0.0.2/24", **server_options)
    return net, client, server, net.wire(client, server, delay=delay)


def connected(client: Host, server: Host) -> tuple[Socket, Socket]:
    """The two ends of a connection from the client to the server's port 80; nobody listens there any more."""
    with server.listen(80) as listener:
        s = client.connect(("server", 80))
        return s, listener.accept()[0]


def sends_to_nobody(pause: float, delay: int) -> Said:
    """How often a program may send to a peer that has closed, on a wire of `delay` milliseconds, if it waits
    for `pause` milliseconds between two sends."""
    net, client, server, _ = world(f"{delay} ms")
    s, t = connected(client, server)
    t.close()
    net.sleep(1)
    worked = 0
    with suppress(BrokenPipeError):
        while True:
            s.send(b"hello")
            worked += 1
            net.sleep(pause / 1000)
    return Said(f"{worked} sends succeeded, {5 * worked} bytes for nobody")


@dataclass(frozen=True)
class Frame:
    """What was in the tables after a call: of each host a state, the Recv-Q and the Send-Q."""

    time: float
    call: str
    client: tuple[str, str, str]
    server: tuple[str, str, str]


class Film(look.Picture):
    """Shots of a `world`'s two machines, which have one connection at a time."""

    def __init__(self, net: Network) -> None:
        self.net, self.client, self.server = net, net.hosts["client"], net.hosts["server"]
        self.frames: list[Frame] = []

    def call(self, method: Callable[..., T], *arguments: object) -> T:
        """Call a socket's method, keep what `ss` shows then, and return what the method returned."""
        socket = method.__self__  # type: ignore[attr-defined]
        who = next(h.name for h in (self.client, self.server) if h.sockets.get(socket.fileno()) is socket)
        try:
            answer = method(*arguments)
        except OSError as error:
            self._keep(f"{who}: {type(error).__name__}")
            raise
        self._keep(f"{who}: {method.__name__}{', the end' if answer == b'' else ''}")
        return answer

    def wait(self, time: str = "") -> None:
        """Let so much time pass, or without one all that is to come; keep what `ss` shows then."""
        if time:
            self.net.sleep(time)
        else:
            self.net.run()
        self._keep(f"{time} later" if time else "all is quiet")

    def _keep(self, what: str) -> None:
        self.frames.append(Frame(self.net.now, what, _seen(self.client), _seen(self.server)))

    def states(self, host: str) -> list[str]:
        """The states of "client" or "server", each once, in the order in which they came."""
        return list(
            dict.fromkeys(getattr(frame, host)[0] for frame in self.frames if getattr(frame, host)[0])
        )

    @property
    def text(self) -> str:
        sides = [
            f"{side} {what}".strip() for side in ("client", "server") for what in ("", "Recv-Q", "Send-Q")
        ]
        rows = [("s", "after", *sides)]
        rows += [(f"{f.time:.3f}", f.call, *f.client, *f.server) for f in self.frames]
        return look.align(rows, right=frozenset({0, 3, 4, 6, 7}))

    @property
    def svg(self) -> str:
        drawing = look.Drawing("the states of a client's and a server's socket, call by call")
        for x, name in ((150, "client"), (395, "after"), (640, "server")):
            drawing.words(x, 20, name, 12, look.INK, "middle", bold=True)
        top = 32.0
        for at, frame in enumerate(self.frames):
            y = top + at * ROW
            before = self.frames[at - 1] if at else None
            drawing.words(58, y + 19, f"{frame.time:.3f} s", 10, look.GREY, "end")
            drawing.words(395, y + 19, frame.call, 11, look.INK, "middle", font=look.MONO)
            drawing.line(240, y, 550, y, look.FAINT)
            _state(drawing, 70, y, frame.client, before.client if before else None)
            _state(drawing, 560, y, frame.server, before.server if before else None)
        bottom = top + len(self.frames) * ROW
        legend = "R: Recv-Q, bytes not read yet   S: Send-Q, bytes not acknowledged yet"
        drawing.words(395, bottom + 20, legend, 10, look.GREY, "middle")
        return drawing.svg(740, bottom + 32)


def _seen(host: Host) -> tuple[str, str, str]:
    """State, Recv-Q and Send-Q of the host's connection; of its listener, where it has none."""
    rows = [row for row in host.ss().rows if row[0] == "tcp"]
    return rows[-1][1:4] if rows else ("", "", "")


def _state(
    drawing: look.Drawing, x: float, y: float, now: tuple[str, str, str], before: tuple[str, str, str] | None
) -> None:
    state, unread, unacknowledged = now
    if not state:
        drawing.words(x + 80, y + 19, "–", 11, look.GREY, "middle")
        return
    new = before is None or before[0] != state
    drawing.box(x, y + (2 if new else 0), 160, ROW - (2 if new else 0), COLOURS.get(state, look.PALE_GREY))
    if new:
        drawing.words(x + 10, y + 19, state, 11, look.INK, bold=True)
    queues = [f"{name} {size}" for name, size in (("R", unread), ("S", unacknowledged)) if size != "0"]
    if state != "LISTEN" and queues:
        drawing.words(x + 150, y + 19, "  ".join(queues), 10.5, look.INK, "end", font=look.MONO)
