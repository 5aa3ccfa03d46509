"""A film of two sockets: what `ss` shows of a client's and of a server's, one picture a call. For chapter 25.

film = Film(client, server)
s.connect(…)
film.shot("client: connect")
"""

from __future__ import annotations

from dataclasses import dataclass

from labstack import Host
from labstack.observe import look

COLOURS = {
    "ESTAB": look.PALE_GREEN,
    "LISTEN": look.PALE_BLUE,
    "CLOSE-WAIT": look.PALE_VERMILION,
    "": look.PAPER,
}
"""The others are grey."""
ROW = 30.0


@dataclass(frozen=True)
class Frame:
    """What was in the tables after a call: of each host a state, the Recv-Q and the Send-Q."""

    time: float
    call: str
    client: tuple[str, str, str]
    server: tuple[str, str, str]


class Film(look.Picture):
    """Shots of `client` and `server`, which have one connection at a time."""

    def __init__(self, client: Host, server: Host) -> None:
        self.client, self.server = client, server
        self.frames: list[Frame] = []

    def shot(self, call: str) -> None:
        """Keep what `ss` shows now."""
        self.frames.append(Frame(self.client.now, call, _seen(self.client), _seen(self.server)))

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
