"""The windows of a Linux connection, sampled from the kernel, to be laid over those of labstack.

    with linux.sample(5000) as flow:          # the connection at that port, on a `LinuxPeer`
        …                                     # let it send
    print(flow)                               # in numbers
    trace.window(s).beside(flow)              # both in one chart

The kernel tells of a change to nobody, so it is asked again and again, by `ss -ti`, which prints the
connection's TCP_INFO. Linux counts cwnd and ssthresh in segments; here all is in bytes (× MSS).
"""

from __future__ import annotations

import signal
from functools import cached_property
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from labstack.core.units import SECOND, duration
from labstack.observe.beside import Beside
from labstack.observe.window import Point

if TYPE_CHECKING:
    from labstack.linux import LinuxPeer

# Stands in the namespace, and prints a line for each connection at the port: nanoseconds, and what ss says.
_ASK = """
import subprocess, sys, time
port, pause, times = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
print("asking", flush=True)
for _ in range(times):
    asked = time.monotonic_ns()
    ss = ["ss", "-tinHO", f"( sport = :{port} or dport = :{port} )"]
    for line in subprocess.run(ss, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        print(asked, line, flush=True)
    time.sleep(pause)
"""
PATIENCE = 20.0
MOST = 20_000
"""Samples of one connection."""


class Sample(NamedTuple):
    """What `ss -ti` said of one connection at one time. Sizes in bytes, times in seconds; None for what it
    left out because nothing is known yet."""

    time: float
    local: str
    peer: str
    algorithm: str
    mss: int
    cwnd: int
    ssthresh: int | None
    in_flight: int
    peer_window: int | None
    srtt: float | None
    rto: float
    sent: int
    retransmissions: int


def parse(line: str, time: float = 0.0) -> Sample | None:
    """A line of `ss -tinHO`; None for a socket that has no connection. Raises ValueError for what is no such
    line."""
    words = line.split()
    if len(words) < 6 or words[0] in ("LISTEN", "TIME-WAIT"):
        return None
    named: dict[str, str] = {}
    flags = []
    for word in words[5:]:
        name, colon, value = word.partition(":")
        if colon:
            named[name] = value
        else:
            flags.append(name)
    if "mss" not in named or "cwnd" not in named:
        return None
    mss = int(named["mss"])
    now, _, ever = named.get("retrans", "0/0").partition("/")
    # Linux's own count of what is under way: sent, not known to have come, and not taken for lost.
    flight = int(named.get("unacked", 0)) + int(now)
    flight -= int(named.get("sacked", 0)) + int(named.get("lost", 0))
    rtt = named.get("rtt", "").partition("/")[0]
    return Sample(
        time, words[3], words[4], next((f for f in flags if f not in _OPTIONS), "?"), mss,
        int(named["cwnd"]) * mss, int(named["ssthresh"]) * mss if "ssthresh" in named else None,
        max(flight, 0) * mss, int(named["snd_wnd"]) if "snd_wnd" in named else None,
        float(rtt) / 1e3 if rtt else None, float(named.get("rto", 0)) / 1e3, int(named.get("bytes_sent", 0)),
        int(ever),
    )  # fmt: skip


_OPTIONS = {"ts", "sack", "ecn", "ecnseen", "fastopen", "send", "app_limited"}


class LinuxFlow(Beside):
    """The connection at `port` that sent most, sampled `every` so often from `start` to `stop` (or inside a
    `with`). `samples` holds all of it, `points` what a window chart draws, in seconds since the first."""

    def __init__(self, linux: LinuxPeer, port: int, every: str | float = "20 ms") -> None:
        self._linux = linux
        self._port = port
        self._pause = duration(every) / SECOND
        self._program: Any = None
        self._said = ""
        self.sides = (self,)

    def start(self) -> LinuxFlow:
        """Begin to ask. Raises FileNotFoundError in a sentence where there is no `ss`."""
        try:
            self._linux.check(["ss", "-V"])
        except FileNotFoundError:
            raise FileNotFoundError(
                "the kernel is asked by `ss`, of the package iproute2: install it"
            ) from None
        ask = ["python3", "-c", _ASK, str(self._port), str(self._pause), str(MOST)]
        self._program = self._linux.run(ask)
        deadline = monotonic() + PATIENCE
        while "asking" not in self._program.output and self._program.poll() is None:
            if monotonic() > deadline:
                raise TimeoutError(f"the program that asks did not start within {PATIENCE} s")
            sleep(0.005)
        return self

    def stop(self) -> None:
        """Ask no more. What was said stays."""
        if self._program is not None:
            self._program.send_signal(signal.SIGTERM)
            self._program.wait()
            self._said, self._program = self._program.output, None
            self.__dict__.pop("samples", None)

    def __enter__(self) -> LinuxFlow:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @cached_property
    def samples(self) -> list[Sample]:
        """What was said of it, in the order of time. Raises ValueError when no connection was there."""
        flows: dict[tuple[str, str], list[Sample]] = {}
        for line in self._said.splitlines():
            time, _, rest = line.partition(" ")
            sample = parse(rest, int(time) / SECOND) if time.isdigit() else None
            if sample is not None:
                flows.setdefault((sample.local, sample.peer), []).append(sample)
        if not flows:
            raise ValueError(
                f"Linux had no connection at port {self._port} while it was asked: start before the transfer"
            )
        return max(flows.values(), key=lambda samples: samples[-1].sent)

    @property
    def points(self) -> list[Point]:
        first = self.samples[0].time
        return [
            Point(s.time - first, s.cwnd, s.ssthresh, s.in_flight, s.peer_window or 0) for s in self.samples
        ]

    @property
    def name(self) -> str:
        return f"Linux ({self.samples[-1].algorithm})"

    @property
    def summary(self) -> str:
        last = self.samples[-1]
        rtt = f"; SRTT at the end {last.srtt * 1e3:.3f} ms" if last.srtt else ""
        return (
            f"{super().summary}\n{len(self.samples)} samples of {last.local} → {last.peer}: "
            f"{last.sent:,} bytes sent, {last.retransmissions} × retransmission{rtt}"
        )

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        return [*Sample._fields], [(s.time - self.samples[0].time, *s[1:]) for s in self.samples]
