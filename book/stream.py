"""Chapter 19's view of a connection: what became of each send on its way to a recv; and two receivers, one
that puts bytes in order by the reader's function, and one that tells its peer of every single free byte."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from doors import pair, world

from labstack import TcpConfig
from labstack.core.checksum import Buffer
from labstack.core.seq import seq_sub
from labstack.observe import look
from labstack.observe.trace import Trace
from labstack.sockets.socket import Socket
from labstack.transport.tcp.receiver import Acknowledge, Reassembly
from labstack.transport.tcp.sender import Segmentation, Sender

Reassemble = Callable[[dict[int, bytes], int, int, bytes], bytes]
WIDTH = 620.0
LEFT = 110.0


class Cuts(look.Picture):
    """One stream of bytes, and where each of these rows cuts it: names, and the sizes of the pieces."""

    def __init__(self, rows: Mapping[str, Sequence[int]]) -> None:
        self.rows = {name: list(sizes) for name, sizes in rows.items()}

    @property
    def text(self) -> str:
        lines = [(name, f"{len(sizes)}:", _list(sizes)) for name, sizes in self.rows.items()]
        return look.align(lines, right=frozenset({1}))

    @property
    def svg(self) -> str:
        drawing = look.Drawing(self.text)
        total = max(1, *(sum(sizes) for sizes in self.rows.values()))
        colours = (look.PALE_BLUE, look.PALE_ORANGE, look.PALE_GREEN)
        for at, (name, sizes) in enumerate(self.rows.items()):
            y, begin = 16 + at * 52.0, 0
            drawing.words(LEFT - 12, y + 24, name, size=12, anchor="end", bold=True)
            for size in sizes:
                x, width = LEFT + WIDTH * begin / total, WIDTH * size / total
                drawing.box(x, y, width, 38, fill=colours[at % 3], stroke=look.INK)
                if width > look.width_of(str(size), 11) + 4:
                    drawing.words(x + width / 2, y + 24, str(size), size=11, anchor="middle")
                begin += size
        bottom = 16 + len(self.rows) * 52.0
        drawing.words(LEFT, bottom + 8, "first byte", size=10, colour=look.GREY)
        drawing.words(LEFT + WIDTH, bottom + 8, f"byte {total:,}", size=10, colour=look.GREY, anchor="end")
        return drawing.svg(LEFT + WIDTH + 16, bottom + 20)


def _list(sizes: Sequence[int]) -> str:
    """`6 54`, and `1460 × 13, 1020` where many are alike."""
    runs: list[list[int]] = []
    for size in sizes:
        if runs and runs[-1][0] == size:
            runs[-1][1] += 1
        else:
            runs.append([size, 1])
    shown = [f"{size} × {times}" if times > 1 else str(size) for size, times in runs]
    return ", ".join(shown[:8]) + (", …" if len(shown) > 8 else "") + " bytes"


def sizes(trace: Trace, sender: str = "a") -> list[int]:
    """The payloads that `sender` sent, in bytes, without what was sent again."""
    packets = (p for p in trace.packets if p.tcp and p.sender == sender)
    return [p.payload_length for p in packets if p.payload_length and not p.retransmission]


def receiving(reassemble: Reassemble) -> type[Reassembly]:
    """A class for `receiver=` whose bytes are put in order by `reassemble`. When to acknowledge, and how much
    may come, stays with the package."""

    class Receiving(Reassembly):
        def __init__(self, config: TcpConfig) -> None:
            super().__init__(config)
            self.kept: dict[int, bytes] = {}
            self.wanted = 0
            self.end: int | None = None

        def accept(self, seq: int, data: Buffer, fin: bool) -> Acknowledge:
            if self.finished or not (len(data) or fin):
                return super().accept(seq, data, fin)
            at = self.wanted + seq_sub(seq, self.rcv_nxt)
            if fin:
                self.end = at + len(data)
            ready = reassemble(self.kept, self.wanted, at, bytes(data))
            self.wanted += len(ready)
            soon = super().accept(self.rcv_nxt, ready, self.wanted == self.end)
            # What came early, late or twice, the sender has to know at once (RFC 5681 §4.2).
            return soon if len(ready) == len(data) and not self.kept else Acknowledge.NOW

    return Receiving


class Frank(Reassembly):
    """A receiver that offers every free byte, and says so whenever the program has read one."""

    def offer(self) -> int:
        super().offer()
        self.rcv_wnd = self.limit - self.available
        return self.rcv_wnd

    def wants_update(self) -> bool:
        return True


class Hasty(Segmentation):
    """A sender that finds every segment worth sending."""

    def worth_sending(self, size: int, waiting: int, unanswered: int, largest: int) -> bool:
        return True


def trickle(sender: Callable[[TcpConfig], Sender], receiver: type[Reassembly] = Frank) -> Trace:
    """20,000 bytes from a machine with this sender to one with this receiver, by default one that is frank
    about its 4,096 bytes of room, whose program reads 50 bytes every millisecond."""
    net, a, b, wire = world({"sender": sender}, {"receiver": receiver, "tcp": TcpConfig(receive_buffer=4096)})
    with net:
        s, t = pair(a, b)
        trace = net.capture(wire)

        def read() -> None:
            while t.recv(50):
                b.sleep("1 ms")

        reading = b.spawn(read)
        s.sendall(bytes(20_000))
        s.close()
        reading.join()
        return trace


def tally(trace: Trace) -> tuple[int, int]:
    """How many segments with data a sent, and how many without any b."""
    packets = [(p.sender, p.payload_length > 0) for p in trace.packets if p.tcp]
    return packets.count(("a", True)), packets.count(("b", False))


def reads(t: Socket, size: int = 65536) -> list[int]:
    """How much each recv brings, until nothing is there any more."""
    return [len(t.recv(size)) for _ in iter(t.readable, False)]


def play(size: int, sends: int, pause: int, nagle: str) -> Cuts:
    """So many sends of `size` bytes, `pause` milliseconds apart, and a program that reads whatever comes as
    soon as it is there. The wire carries 10 Mbit/s."""
    net, a, b, wire = world()
    with net:
        wire.rate = 10_000_000  # or else all that is sent at once arrives at once
        s, t = pair(a, b)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nagle == "off")
        trace = net.capture(wire)

        def read() -> list[int]:
            return [len(data) for data in iter(lambda: t.recv(65536), b"")]

        reading: Any = b.spawn(read)
        for _ in range(sends):
            s.sendall(bytes(size))
            net.sleep(pause / 1000)
        s.close()
        return Cuts({"sends": [size] * sends, "segments": sizes(trace), "reads": reading.join()})
