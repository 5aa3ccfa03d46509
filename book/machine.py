"""Your machine: nine parts, those of them that you have made, and a page that comes through them all.

A part that passes its check in a chapter is kept in `mystack/`, in a file of its name, and plugged in where
the package lets a class be replaced. One that does not carry a page on its own is named, with the reason, and
the book's stands in: whatever is in the folder, the page comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from stream import Reassemble, receiving

from labstack import Network
from labstack.applications.http import get
from labstack.applications.server import serve
from labstack.core.checksum import Buffer
from labstack.core.seq import seq_sub
from labstack.headers.ipv4 import IPv4
from labstack.observe import look
from labstack.sockets.socket import Socket
from labstack.transport.tcp.config import TcpConfig
from labstack.transport.tcp.receiver import Acknowledge, Reassembly
from labstack.transport.tcp.rtt import Rfc6298

MYSTACK = Path(os.environ.get("LABSTACK_MYSTACK", "mystack"))
"""LABSTACK_MYSTACK in the environment is another folder: what the book stores comes of an empty one."""
PAGE = b"""\
<h3>Hello from the other machine</h3>
<p>I came as bits, in frames, over a wire. What put me together can be yours.</p>
"""
PATIENCE = 5.0
"""Seconds of virtual time that the machine waits for anything, before its page counts as not come."""


@dataclass(frozen=True)
class Part:
    """A brick of the tower: its name, as its file in `mystack/` has it; what it does; its layer; its
    chapter."""

    name: str
    words: str
    layer: str
    chapter: str


PARTS = (
    Part("http_client", "asks for a page", "application", "28"),
    Part("congestion", "how much may be on its way", "transport", "22"),
    Part("estimate", "how long to wait for an answer", "transport", "20"),
    Part("reassemble", "bytes in order, whatever came", "transport", "19"),
    Part("ack_number", "which byte comes next", "transport", "01"),
    Part("routing_table", "which way to send it", "internet", "08"),
    Part("header_length", "where a header ends", "internet", "00"),
    Part("arp_cache", "who has this address", "link", "06"),
    Part("frame_check", "is this frame as it was sent", "link", "04"),
)
"""From the top of the tower down."""

Options = dict[str, Any]
"""Those of `Network.host`."""


# --- where each part goes -----------------------------------------------------------------------------------
def _reassembling(reassemble: Reassemble, options: Options) -> Options:
    """A receiver that puts bytes in order by `reassemble`, as chapter 19 makes it."""
    return {"receiver": receiving(reassemble)}


def _counting(ack_number: Callable[[int, int, bool, bool], int], options: Options) -> Options:
    """A receiver whose every acknowledgment number comes from `ack_number`."""
    receiver: Any = options.get("receiver", Reassembly)

    class Counting(receiver):  # type: ignore[misc]
        def start(self, irs: int, mss: int, shift: int) -> None:
            super().start(irs, mss, shift)
            self.rcv_nxt = ack_number(irs, 0, True, False)

        def accept(self, seq: int, data: Buffer, fin: bool) -> Acknowledge:
            before, ended = self.rcv_nxt, self.finished
            soon: Acknowledge = super().accept(seq, data, fin)
            ends = self.finished and not ended
            self.rcv_nxt = ack_number(before, seq_sub(self.rcv_nxt, before) - ends, False, ends)
            return soon

    return {"receiver": Counting}


def _reading(header_length: Callable[[int], int], options: Options) -> Options:
    """An IP header that ends where `header_length` says."""

    class Reading(IPv4):
        @classmethod
        def parse(cls, data: Buffer, offset: int = 0, verify: bool = True) -> Reading:
            header = super().parse(data, offset, verify)
            header.header_length = header_length(data[offset])
            return header

    return {"ip_header": Reading}


def _waiting(estimate: Callable[[int | None, int, int], tuple[float, float]], options: Options) -> Options:
    """A patience that knows its round trips by `estimate`, as chapter 20 makes it."""

    class Waiting(Rfc6298):
        def __init__(self, config: TcpConfig) -> None:
            super().__init__(config)
            self.config = config

        def sample(self, rtt: int) -> None:
            self.srtt, self.rttvar = map(round, estimate(self.srtt, self.rttvar, rtt))
            rto = self.srtt + max(self.config.clock_granularity, 4 * self.rttvar)
            self.rto = min(max(rto, self.config.min_rto), self.config.max_rto)

    return {"rtt": Waiting}


def _as(name: str) -> Callable[[Any, Options], Options]:
    """The host's own option of that name."""
    return lambda part, options: {name: part}


PLUGS: dict[str, Callable[[Any, Options], Options]] = {
    "reassemble": _reassembling,
    "ack_number": _counting,  # behind the receiver, whose numbers it counts
    "congestion": _as("congestion"),
    "estimate": _waiting,
    "routing_table": _as("routing_table"),
    "header_length": _reading,
    "arp_cache": _as("arp_cache"),
}
"""For each part that the package lets one replace: from the part, and the options so far, to its options."""


class NotUsable(Exception):
    """What a part did, in words: it is not there, or no page came through it."""


# --- what is kept -------------------------------------------------------------------------------------------
@dataclass(slots=True)
class Kept:
    """The parts in a folder: those that work, and a sentence for each that does not."""

    parts: dict[str, Any] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)


def kept(folder: Path = MYSTACK) -> Kept:
    """Load every kept part that can be plugged in, and let each fetch a page on its own."""
    found = Kept()
    for name in PLUGS:
        path = folder / f"{name}.py"
        if not path.is_file():
            continue
        try:
            part = _load(name, path)
            _fetch({name: part})
        except Exception as error:
            found.troubles[name] = (
                f"{name}, in {folder.name}/{path.name}, does not carry a page: {_in_words(error)}."
                " Until it does, the book's stands in."
            )
        else:
            found.parts[name] = part
    return found


def _load(name: str, path: Path) -> Any:
    names: dict[str, Any] = {"__name__": f"mystack.{name}"}
    exec(compile(path.read_text(encoding="utf-8"), path.name, "exec"), names)
    if not callable(names.get(name)):
        raise NotUsable(f"nothing in it has the name {name}")
    return names[name]


def _in_words(error: Exception) -> str:
    if isinstance(error, NotUsable):
        return str(error)
    return f"{type(error).__name__}: {error}".rstrip(".")


# --- a page -------------------------------------------------------------------------------------------------


def _answer(client: Socket) -> None:
    client.recv(1000)
    client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE)


def _fetch(parts: dict[str, Any]) -> tuple[bytes, int, float]:
    """Fetch the page by a machine with these parts: the page, the frames that it took, and the seconds.

    Raises NotUsable, or whatever a part raises.
    """
    options: Options = {}
    for name in PLUGS:
        if name in parts:
            options |= PLUGS[name](parts[name], options)
    with Network(seed=1) as net:
        you, server = net.host("you", "10.0.0.1/24", **options), net.host("server", "10.0.0.2/24")
        trace = net.capture(net.wire(you, server, rate="10 Mbit/s", delay="20 ms"))
        server.spawn(serve, server, 80, _answer)
        try:
            page = get(you, "http://server/", timeout=PATIENCE).body
        except OSError as error:
            raise NotUsable(f"the page did not come ({error})") from error
        if page != PAGE:
            raise NotUsable("the page came, but not as it was sent")
        return page, len(trace), net.now


class Fetched(look.Shown):
    """The page, and whose parts it came through: `yours` are their names."""

    def __init__(self, folder: Path) -> None:
        found = kept(folder)
        self.yours = list(found.parts)
        self.troubles = list(found.troubles.values())
        try:
            self.page, self.frames, self.seconds = _fetch(found.parts)
        except Exception as error:
            together = " and ".join(self.yours)
            self.troubles.append(
                f"Each alone carries a page, but {together} together do not: {_in_words(error)}."
                " The book's stand in for all of them."
            )
            self.yours = []
            self.page, self.frames, self.seconds = _fetch({})

    @property
    def whose(self) -> str:
        """How many of the parts were the reader's."""
        which = f": {', '.join(self.yours)}" if self.yours else ""
        return f"The page loads with {len(self.yours)} of {len(PARTS)} parts yours{which}."

    @property
    def cost(self) -> str:
        return f"{len(self.page)} bytes, {self.frames} frames, {self.seconds:.3f} s over a wire of 20 ms"

    @property
    def text(self) -> str:
        return "\n".join([self.page.decode().rstrip(), "", self.cost, self.whose, *self.troubles])

    def _repr_html_(self) -> str:
        troubles = "".join(f"<p>✗ {escape(trouble)}</p>" for trouble in self.troubles)
        frame = f"border:1px solid {look.GREY};border-radius:6px;max-width:760px;overflow:hidden"
        bar = (
            f"background:{look.BAND};color:{look.GREY};padding:4px 12px;border-bottom:1px solid {look.FAINT}"
        )
        sheet = f"background:{look.PAPER};color:{look.INK};padding:2px 16px"
        return (
            f'<div style="{frame}"><div style="{bar}">http://server/ &nbsp; {escape(self.cost)}</div>'
            f'<div style="{sheet}">{self.page.decode()}</div></div>'
            f'<p style="margin-top:10px"><b>{escape(self.whose)}</b></p>{troubles}'
        )


def fetch(folder: Path = MYSTACK) -> Fetched:
    """Fetch a page by a machine of the parts in `folder`, and the book's for all others."""
    return Fetched(folder)
