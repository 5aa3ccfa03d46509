"""A small language for stories about TCP: a program's calls, a peer's segments, and what must come back when.

    def test_three_segments_open(story):
        listener = story.listen()
        story.inject(SYN)
        story.expect(SYN | ACK, ack=1)
        story.inject(ACK)
        assert listener.accept().state == "ESTABLISHED"

The *machine* under test is labstack, on a clock turned by hand, or the Linux kernel behind a TAP. The story
plays its peer. Sequence numbers are told from each side's first one: a SYN has number 0, the first byte
has 1. What the story leaves out follows from what has happened: the peer's next number, and an
acknowledgment of all that has come.

A story that breaks tells itself: the steps up to there, and then what did not happen.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any, Protocol, cast

from labstack.core.addresses import IPAddress, IPv4Address
from labstack.core.checksum import checksum
from labstack.core.seq import seq_add, seq_sub
from labstack.headers.ipv4 import PROTO_ICMP, PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, TCP, Options, flag_names

ISS = 4_294_960_000
"""Where the peer's numbers begin: near the wrap, so that every story that moves some bytes crosses it."""
TOLERANCE = 0.002
"""How far from its time, in seconds, an answer may come that a story expects at a time."""


class Program(Protocol):
    """A socket on the machine under test. Nothing here waits: what cannot be done yet raises
    BlockingIOError."""

    def listen(self, port: int, backlog: int) -> None: ...

    def accept(self) -> Program: ...
    def connect(self, address: str, port: int) -> None: ...
    def send(self, data: bytes, flags: int = 0) -> int: ...
    def recv(self, size: int, flags: int = 0) -> bytes: ...
    def shutdown(self, how: int) -> None: ...
    def setsockopt(self, level: int, option: int, value: int | bytes) -> None: ...
    def getsockopt(self, level: int, option: int) -> int: ...
    def close(self) -> None: ...
    @property
    def state(self) -> str: ...


class Machine(Protocol):
    """The machine under test, seen from its network. Times are in seconds."""

    name: str
    address: IPAddress
    peer: IPAddress
    patience: float
    """How long an answer that is due at once may take."""

    @property
    def now(self) -> float: ...
    def socket(self) -> Program: ...
    def inject(self, datagram: bytes) -> None: ...
    def take(self, patience: float) -> tuple[float, bytes] | None:
        """The next datagram that was sent, waiting for it up to `patience` seconds."""

    def wait(self, seconds: float) -> None: ...
    def fresh_port(self) -> int: ...
    def fresh_service(self) -> int:
        """A port of the machine under test at which nobody listens."""


@dataclass
class Seen:
    """A segment that the machine under test sent, its numbers as the story tells them."""

    time: float
    header: TCP
    ip: IPv4
    data: bytes
    seq: int
    ack: int

    @property
    def flags(self) -> int:
        return self.header.flags

    @property
    def window(self) -> int:
        return self.header.window

    @property
    def length(self) -> int:
        return len(self.data)

    @property
    def options(self) -> Options:
        return Options.parse(self.header.options)

    def __str__(self) -> str:
        words = f"{flag_names(self.flags)} seq={self.seq} ack={self.ack} win={self.window}"
        return words + (f" len={len(self.data)}" if self.data else "")


class Broken(AssertionError):
    """What a story expected did not happen: `sentence` says what, the message tells the story up to there."""

    def __init__(self, machine: str, steps: list[str], sentence: str) -> None:
        told = "\n  ".join(steps)
        super().__init__(f"on {machine}, the story went\n  {told}\nand then: {sentence}")
        self.sentence = sentence


class Story:
    """One story: a program on the machine under test, and its peer, whose part the story plays."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.steps: list[str] = []
        self.port = machine.fresh_service()
        self.peer_port = machine.fresh_port()
        self.iss = ISS
        self.irs: int | None = None
        self.snd_nxt = 0
        """The peer's next number."""
        self.rcv_nxt = 0
        """The number that the peer expects next from the machine under test."""
        self.window = 65535
        """What the peer offers, as it stands in the header."""
        self._programs: list[Program] = []

    # --- the program's side
    def socket(self) -> Program:
        """A new socket on the machine under test."""
        return self._keep(self.machine.socket())

    def listen(self, backlog: int = 8) -> Listener:
        """A program listens at the story's port."""
        return Listener(self, backlog)

    def connect(self) -> Program:
        """A program connects to the peer; its SYN is there to be expected."""
        s = self.socket()
        self._step(f"the program connects to port {self.peer_port}")
        try:
            s.connect(str(self.machine.peer), self.peer_port)
        except BlockingIOError:
            pass
        return s

    def _keep(self, program: Program) -> Program:
        self._programs.append(program)
        return cast(Program, _Told(self, program))

    # --- the peer's side
    def inject(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        options: Options | bytes = b"",
        urgent: int = 0,
        src: IPAddress | None = None,
        dst: IPAddress | None = None,
        damage: bool = False,
    ) -> None:
        """The peer sends a segment. With `seq` it says which; else it is the next one, and the peer's number
        moves on. `damage` makes its checksum wrong."""
        number = self.snd_nxt if seq is None else seq
        if seq is None:
            self.snd_nxt += len(data) + bool(flags & SYN) + bool(flags & FIN)
        acked = self.rcv_nxt if ack is None else ack
        raw = options.pack() if isinstance(options, Options) else options
        sequence = seq_add(self.iss, number)
        acknowledgment = seq_add(self.irs or 0, acked) if flags & ACK else 0
        offered = self.window if window is None else window
        header = TCP(self.peer_port, self.port, sequence, acknowledgment, flags, offered, 0, urgent, raw)
        src, dst = src or self.machine.peer, dst or self.machine.address
        size = len(header.pack()) + len(data)
        segment = header.pack(pseudo_sum(src, dst, PROTO_TCP, size), data) + data
        if damage:
            segment = segment[:16] + bytes([segment[16] ^ 0x55]) + segment[17:]
        shown = f"{flag_names(flags)} seq={number}" + (f" ack={acked}" if flags & ACK else "")
        self._step(f"the peer sends {shown}" + (f" len={len(data)}" if data else ""))
        self.machine.inject(IPv4(IPv4Address(src), IPv4Address(dst), PROTO_TCP, 20 + size).pack() + segment)

    def inject_icmp(self, type: int, code: int, of: Seen, detail: int = 0, router: str = "") -> None:
        """An ICMP error arrives about the segment `of`."""
        quoted = of.ip.pack() + of.header.pack()[:8]
        message = bytes([type, code, 0, 0]) + detail.to_bytes(4, "big") + quoted
        message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
        src = IPAddress.parse(router) if router else self.machine.peer
        self._step(f"an ICMP error arrives: type {type}, code {code}")
        header = IPv4(IPv4Address(src), IPv4Address(self.machine.address), PROTO_ICMP, 20 + len(message))
        self.machine.inject(header.pack() + message)

    # --- what must come back
    def expect(
        self,
        flags: int,
        *,
        seq: int | None = None,
        ack: int | None = None,
        data: bytes | None = None,
        length: int | None = None,
        window: int | None = None,
        after: float | None = None,
        within: float | None = None,
        tolerance: float | None = None,
    ) -> Seen:
        """The machine under test sends a segment with these flags (PSH aside), and what else is told of it.

        At once, or `after` so many seconds, counted from here, or at any time `within` so many.
        """
        began = self.machine.now
        slack = self.machine.patience if tolerance is None else tolerance
        limit = (after + slack + TOLERANCE) if after is not None else within
        asked = {"seq": seq, "ack": ack, "data": data, "length": length, "window": window}
        shown = [f"{name}={value}" for name, value in asked.items() if value is not None and name != "data"]
        wanted = " ".join([flag_names(flags), *shown])
        seen = self._next(self.machine.patience if limit is None else limit)
        if seen is None:
            raise self._broken(f"expected {wanted}, and nothing came")
        self._step(f"the machine sends {seen}")
        if seen.flags & ~(PSH & ~flags) != flags:
            raise self._broken(f"expected {wanted}: its flags are {flag_names(seen.flags)}")
        for name, value in asked.items():
            if value is not None and value != (got := getattr(seen, name)):
                raise self._broken(f"expected {wanted}: its {name} is {got!r}, not {value!r}")
        took = seen.time - began
        if after is not None and not after - TOLERANCE <= took <= after + slack + TOLERANCE:
            raise self._broken(f"expected {wanted} after {after} s, and it came after {took:.3f} s")
        return seen

    def expect_nothing(self, seconds: float = 0.0) -> None:
        """The machine under test sends nothing in so many seconds; at least, not at once."""
        seen = self._next(seconds or self.machine.patience)
        if seen is not None:
            raise self._broken(f"expected silence, and the machine sent {seen}")
        self._step("silence")

    def sent(self) -> list[Seen]:
        """All that was sent and not looked at yet."""
        found = []
        while (seen := self._next(0.0)) is not None:
            self._step(f"the machine sends {seen}")
            found.append(seen)
        return found

    def wait(self, seconds: float) -> None:
        self._step(f"{seconds} s pass")
        self.machine.wait(seconds)

    # --- whole chapters
    def established(
        self, *, window: int | None = None, options: Options | bytes = b"", backlog: int = 8
    ) -> Program:
        """The peer connects to a listening program; the program's end of the connection."""
        if window is not None:
            self.window = window
        listener = self.listen(backlog)
        self.inject(SYN, options=options)
        self.expect(SYN | ACK, ack=1)
        self.inject(ACK)
        accepted = listener.accept()
        listener.close()
        return accepted

    def connected(self, *, window: int | None = None, options: Options | bytes = b"") -> Program:
        """The program connects to the peer, which agrees; the program's end of the connection."""
        if window is not None:
            self.window = window
        s = self.connect()
        self.expect(SYN)
        self.inject(SYN | ACK, options=options)
        self.expect(ACK, seq=1, ack=1)
        return s

    # --- within
    def _next(self, patience: float) -> Seen | None:
        """The next segment of this story, if it comes in time."""
        until = self.machine.now + patience
        while True:
            taken = self.machine.take(max(until - self.machine.now, 0.0))
            if taken is None:
                return None
            seen = self._read(*taken)
            if seen is not None:
                return seen

    def _read(self, time: float, datagram: bytes) -> Seen | None:
        ip = IPv4.parse(datagram)
        if ip.protocol != PROTO_TCP:
            return None
        body = datagram[ip.header_length : ip.total_length]
        header = TCP.parse(body)
        if header.dst_port != self.peer_port:
            return None
        if header.flags & SYN:
            self.port, self.irs = header.src_port, header.seq
        if header.src_port != self.port:
            return None
        data = body[header.header_length :]
        first = self.irs if self.irs is not None else (0 if header.flags & RST else header.seq)
        seq = seq_sub(header.seq, first)
        ack = seq_sub(header.ack, self.iss) if header.flags & ACK else 0
        end = seq + len(data) + bool(header.flags & SYN) + bool(header.flags & FIN)
        if not header.flags & RST and seq <= self.rcv_nxt < end:
            self.rcv_nxt = end
        return Seen(time, header, ip, data, seq, ack)

    def _step(self, words: str) -> None:
        self.steps.append(f"{self.machine.now:9.3f} s  {words}")

    def _broken(self, words: str) -> Broken:
        return Broken(self.machine.name, self.steps, words)

    def close(self) -> None:
        """The end of the story: nothing of it is left on the machine."""
        for program in self._programs:
            program.close()


class _Told:
    """A `Program` whose calls are steps of its story."""

    def __init__(self, story: Story, program: Program) -> None:
        self._story = story
        self._program = program

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def send(self, data: bytes, flags: int = 0) -> int:
        sent = self._program.send(data, flags)
        self._story._step(f"the program sends {sent} bytes")
        return sent

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = self._program.recv(size, flags)
        self._story._step(f"the program reads {f'{len(data)} bytes' if data else 'the end'}")
        return data

    def shutdown(self, how: int) -> None:
        self._story._step("the program has no more to send" if how else "the program reads no more")
        self._program.shutdown(how)

    def close(self) -> None:
        self._story._step("the program closes")
        self._program.close()


class Listener:
    """A program that listens at the story's port."""

    def __init__(self, story: Story, backlog: int) -> None:
        self._story = story
        self._socket = story.machine.socket()
        story._programs.append(self._socket)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.listen(story.port, backlog)
        story._step(f"a program listens at port {story.port}")

    def accept(self) -> Program:
        self._story._step("the program accepts")
        return self._story._keep(self._socket.accept())

    def close(self) -> None:
        self._socket.close()


__all__ = ["ISS", "Broken", "Listener", "Machine", "Program", "Seen", "Story"]
