"""iperf3: how many bytes a second? A server and a client that iperf3 understands, over TCP.

    client                      control connection                     server
      cookie  ────────────────────────────────────────────────────────▶
              ◀──────────────── PARAM_EXCHANGE ────────────────────────
      what is to be measured, as JSON  ───────────────────────────────▶
              ◀──────────────── CREATE_STREAMS ────────────────────────
      cookie  ══════════ one more connection for each stream ═════════▶
              ◀──────────────── TEST_START, TEST_RUNNING ──────────────
      bytes   ════════════════════════════════════════════════════════▶   (or ◀═══, "reverse")
      TEST_END  ──────────────────────────────────────────────────────▶
              ◀──────────────── EXCHANGE_RESULTS ──────────────────────
      its results  ───────────────────────────────────────────────────▶
              ◀──────────────── the server's, DISPLAY_RESULTS ─────────
      IPERF_DONE  ────────────────────────────────────────────────────▶

A state is one byte, JSON stands behind its length in four. No RFC says so: iperf3 does (esnet/iperf).
"""

from __future__ import annotations

import json
import socket as posix
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from labstack.applications import server
from labstack.core.clock import Waiters
from labstack.core.units import SECOND, duration
from labstack.sockets.socket import Socket

PORT = 5201
COOKIE = 37
"""Bytes, a zero at the end: what tells the connections of one test from those of another."""
BLOCK = 128 * 1024
"""Bytes that a sender hands over at a time."""
LINGER = 60
"""Seconds that the last bytes may take to arrive."""
MOST_STREAMS = 32
MOST_JSON = 65536
"""Bytes."""
NO_LIMIT = 1 << 63
LONGEST = 24 * 3600
"""Seconds that a test may last."""
NOT_HERE = ("udp", "sctp", "bidirectional", "omit", "authtoken")
"""What a client may ask for, and iperf3 can do."""

OPENING, RUNNING, OVER = range(3)
"""The stages of a test."""

# States: what the two ends tell one another, a signed byte each.
TEST_START, TEST_RUNNING, TEST_END = 1, 2, 4
PARAM_EXCHANGE, CREATE_STREAMS, EXCHANGE_RESULTS, DISPLAY_RESULTS, IPERF_DONE = 9, 10, 13, 14, 16
ACCESS_DENIED, SERVER_ERROR = -1, -2
REFUSAL = struct.pack(">bii", SERVER_ERROR, 13, 0)
"""With iperf3's own number of the error, "not implemented", and the system's, none."""


@dataclass(slots=True, frozen=True)
class Result:
    """What was measured: the bytes that came over each stream, in so many seconds, as the receiver counts."""

    seconds: float
    streams: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Bits a second that came, over all streams together."""
        return sum(self.streams) * 8 / self.seconds


# --- the server ---------------------------------------------------------------------------------------------


def serve(host: server.Host, port: int = PORT) -> None:
    """Answer clients, one test at a time; who comes in between is turned away. Run it by
    `host.spawn(serve, host)`."""
    server.serve(host, port, _Server(host).talk)


class _Server:
    """The test that runs now, or None. Each connection is a program: the first one of a test conducts it, the
    others are its streams."""

    def __init__(self, host: server.Host) -> None:
        self.host = host
        self.test: _Test | None = None
        self.control: Socket
        """The first connection of the last test."""

    def talk(self, connection: Socket) -> None:
        cookie = _receive(connection, COOKIE)
        with self.host.driver:
            free = self.test is None
            test = self.test = self.test or _Test(self.host, cookie)
        if free:
            self.control = connection
            try:
                self._conduct(connection, test)
            finally:
                test.enter(OVER)
                self.test = None
        elif cookie == test.cookie and test.join(connection):
            try:
                test.move(connection)
            except OSError:
                self.control.shutdown(posix.SHUT_RD)  # the client has vanished: nobody will say TEST_END
        else:
            _say(connection, ACCESS_DENIED)

    def _conduct(self, control: Socket, test: _Test) -> None:
        # What lets the streams begin is not to wait for an acknowledgement, and be overtaken by their bytes.
        control.setsockopt(posix.IPPROTO_TCP, posix.TCP_NODELAY, 1)
        _say(control, PARAM_EXCHANGE)
        if not test.prepare(_receive_json(control)):
            control.sendall(REFUSAL)
            return
        _say(control, CREATE_STREAMS)
        test.wait(lambda: len(test.moved) == test.wanted, f"{test.wanted} streams")
        _say(control, TEST_START, TEST_RUNNING)
        test.enter(RUNNING)
        control.settimeout(server.PATIENCE + test.longest)
        _hear(control, TEST_END)
        test.enter(OVER)
        _say(control, EXCHANGE_RESULTS)
        _receive_json(control)
        _send_json(control, test.results())
        _say(control, DISPLAY_RESULTS)
        _hear(control, IPERF_DONE)


# --- the client ---------------------------------------------------------------------------------------------


def measure(host: server.Host, address: tuple[str, int], seconds: str | float = 10, *,
        size: int | None = None, streams: int = 1, reverse: bool = False) -> Result:  # fmt: skip
    """Send to the iperf3 server at `address` for so long, or `size` bytes in all, over so many connections at
    once; with `reverse`, the server sends, for a time only.

    Raises ValueError for numbers that make no test, and OSError: ConnectionError in a sentence when the
    server turns us away or is none.
    """
    span = duration(seconds)
    if not 0 < span <= LONGEST * SECOND or not 1 <= streams <= MOST_STREAMS:
        raise ValueError(f"{streams} streams, {seconds} s: take 1 to {MOST_STREAMS}, and up to {LONGEST} s")
    if size is not None and (reverse or not 0 < size < NO_LIMIT):
        raise ValueError(f"{size} bytes: at least one must go, and from the client to the server")
    asked = {"tcp": True, "time": 0 if size else -(-span // SECOND), "num": size or 0, "parallel": streams}
    asked |= {"reverse": True} if reverse else {}
    with ExitStack() as stack:
        control = stack.enter_context(host.connect(address, timeout=server.PATIENCE))
        test = _Test(host, "labstack {} {}".format(*control.getsockname()).encode().ljust(COOKIE, b"\0"))
        test.wanted, test.sends, test.size = streams, not reverse, size or NO_LIMIT
        control.sendall(test.cookie)
        _hear(control, PARAM_EXCHANGE)
        _send_json(control, asked)
        _hear(control, CREATE_STREAMS)
        for _ in range(streams):
            stream = stack.enter_context(host.connect(address, timeout=server.PATIENCE))
            test.join(stream)
            stream.sendall(test.cookie)
        _hear(control, TEST_START, TEST_RUNNING)
        stack.callback(test.enter, OVER)
        programs = [host.spawn(test.move, stream) for stream in test.moved]
        test.enter(RUNNING)
        if size is None:
            host.driver.block(lambda: False, [], span, "the test to end")
        else:
            for program in programs:
                program.join()
        test.enter(OVER)
        _say(control, TEST_END)
        _hear(control, EXCHANGE_RESULTS)
        _send_json(control, test.results())
        theirs = _receive_json(control)
        _hear(control, DISPLAY_RESULTS)
        _say(control, IPERF_DONE)
    if reverse:
        return Result(test.seconds, tuple(test.moved.values()))
    try:
        counted = theirs["streams"]
        return Result(float(counted[0]["end_time"]), tuple(int(stream["bytes"]) for stream in counted))
    except (LookupError, TypeError, ValueError):
        raise ConnectionError("the server's results are not as iperf3 writes them") from None


# --- what both are made of ----------------------------------------------------------------------------------


class _Test:
    """One test, at either end: its streams, and how many bytes each has moved."""

    def __init__(self, host: server.Host, cookie: bytes) -> None:
        self.host, self.cookie = host, cookie
        self.moved: dict[Socket, int] = {}
        self.wanted, self.longest, self.sends, self.size = 0, LONGEST, False, NO_LIMIT
        self.stage, self.seconds = OPENING, 0.0
        self._changed = Waiters()

    def prepare(self, asked: dict[str, Any]) -> bool:
        """Take what is asked of a server; False where that cannot be done. How many bytes, the client
        counts."""
        wanted, longest = asked.get("parallel"), asked.get("time") or LONGEST
        if any(map(asked.get, NOT_HERE)) or not isinstance(wanted, int) or not isinstance(longest, int):
            return False
        self.wanted, self.longest, self.sends = wanted, longest, bool(asked.get("reverse"))
        return 1 <= wanted <= MOST_STREAMS and 0 < longest <= LONGEST

    def wait(self, ready: Callable[[], bool], what: str) -> None:
        if not self.host.driver.block(ready, [self._changed], round(server.PATIENCE * SECOND), what):
            raise TimeoutError(f"waited {server.PATIENCE:g} s for {what}")

    def join(self, stream: Socket) -> bool:
        """One more stream; False when all are there."""
        with self.host.driver:
            if missing := len(self.moved) < self.wanted:
                self.moved[stream] = 0
            self._changed.wake()
        return missing

    def enter(self, stage: int) -> None:
        """RUNNING, or OVER: what moves from then on does not count."""
        with self.host.driver:
            if stage > self.stage:
                self.stage, self.seconds = stage, self.host.now - self.seconds
            self._changed.wake()

    def move(self, stream: Socket) -> None:
        """Send or receive over one stream until the test is over."""
        self.wait(lambda: self.stage > OPENING, "the test to begin")
        zeros, left = memoryview(bytes(BLOCK)), (self.size + list(self.moved).index(stream)) // self.wanted
        try:
            while self.stage == RUNNING and left:
                count = stream.send(zeros[:left]) if self.sends else len(stream.recv(BLOCK))
                if not count or self.stage != RUNNING:
                    return
                left -= count
                self.moved[stream] += count
            if not left:
                # To close is to wait until all has arrived: TEST_END shall not overtake it.
                stream.setsockopt(posix.SOL_SOCKET, posix.SO_LINGER, struct.pack("ii", 1, LINGER))
                stream.close()
        except OSError:
            if self.stage == RUNNING:
                raise

    def results(self) -> dict[str, Any]:
        """For the other end. iperf3 numbers streams 1, 3, 4, 5 …"""
        same = dict.fromkeys(("retransmits", "jitter", "errors", "packets", "start_time"), 0)
        streams = [same | {"id": n + 1 + (n > 0), "bytes": count, "end_time": self.seconds}
            for n, count in enumerate(self.moved.values())]  # fmt: skip
        return {"cpu_util_total": 0, "cpu_util_user": 0, "cpu_util_system": 0, "sender_has_retransmits": 0,
            "streams": streams}  # fmt: skip


def _receive(connection: Socket, size: int) -> bytes:
    data = connection.recv(size, posix.MSG_WAITALL)
    if len(data) < size:
        raise ConnectionError("the other end closed the connection in the middle of a test")
    return data


def _say(control: Socket, *states: int) -> None:
    control.sendall(bytes(state & 0xFF for state in states))


def _hear(control: Socket, *expected: int) -> None:
    for state in expected:
        (heard,) = struct.unpack("b", _receive(control, 1))
        if heard != state:
            busy = " (it is busy with another test)" if heard == ACCESS_DENIED else ""
            raise ConnectionError(f"the other end said {heard} where iperf3 says {state}{busy}")


def _send_json(control: Socket, value: dict[str, Any]) -> None:
    text = json.dumps(value).encode()
    control.sendall(struct.pack(">I", len(text)) + text)


def _receive_json(control: Socket) -> dict[str, Any]:
    (length,) = struct.unpack(">I", _receive(control, 4))
    try:
        return dict(json.loads(_receive(control, min(length, MOST_JSON))))
    except (ValueError, TypeError, RecursionError):
        raise ConnectionError("what came in place of iperf3's JSON object is none") from None
