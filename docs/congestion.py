"""Writes docs/congestion.md: what each congestion control gets out of a path, over a grid of paths.

`make congestion` runs this, for some minutes. tests/transport/test_golden.py runs every row again and fails
when it is not, to the last digit, what stands in the table: the same seed gives the same figures for ever.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from labstack import CoDel, Network
from labstack.core.randomness import stream
from labstack.physical.queue import DropTail
from tests.bottleneck import FRAME, Bottleneck, bdp, jain

PAGE = Path(__file__).parent / "congestion.md"
RATE = "10 Mbit/s"
SEED = 1
CONTROLS = ("reno", "cubic", "bbr")

ALONE = list(product((0.0, 0.001, 0.01), ("40 ms", "120 ms"), (0.5, 1, 5)))
"""Loss, round-trip time, and the buffer in bandwidth-delay products."""
TOGETHER = [
    (pair, rtts, discipline)
    for discipline in ("drop tail", "CoDel")
    for pair, rtts in [
        (("reno", "reno"), ("60 ms", "60 ms")),
        (("cubic", "cubic"), ("60 ms", "60 ms")),
        (("bbr", "bbr"), ("60 ms", "60 ms")),
        (("reno", "cubic"), ("60 ms", "60 ms")),
        (("cubic", "bbr"), ("60 ms", "60 ms")),
        (("reno", "reno"), ("30 ms", "120 ms")),
        (("cubic", "cubic"), ("30 ms", "120 ms")),
    ]
]
"""Two flows: their congestion controls, their round-trip times, and the discipline of the queue."""

HEAD = """# What congestion control gets out of a path

One bottleneck of 10 Mbit/s, and senders that have something to send all the time (`tests/bottleneck.py` is
the scene). In each cell: the goodput, in percent of what the bottleneck can carry in payload of full segments
without options, and the mean wait in its queue. Times of round trips are those without a queue. A buffer of
1 BDP holds as many bytes as are on the way when the path is just full. A goodput may exceed 100 %: what came
behind a gap before the count began is delivered when the gap is closed.

Reno, here, is RFC 5681 with byte counting (RFC 3465: in slow start up to two segments for each
acknowledgement, one after a time-out). CUBIC is RFC 9438 with HyStart++ (RFC 9406). BBR is version 1
(draft-cardwell-iccrg-bbr-congestion-control-00), paced. CoDel is RFC 8289 with its own constants.

Written by `make congestion`; a test of `make check` runs every row again and compares.

## One flow, over loss × round-trip time × buffer

Fifteen simulated seconds, of which the first five do not count.

| loss | RTT | buffer | Reno | CUBIC | BBR |
|---|---|---|---|---|---|
"""
BETWEEN = """
## Two flows that share

Thirty simulated seconds, of which the first ten do not count; both begin within the first, when the seed
says. Jain's index is 1 when both have the same, and ½ when one has all. The buffer is 3 BDP of 60 ms.

| flows | RTT | queue | shares | together | Jain | wait |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Cell:
    """One run: the goodput of each flow as a share of the bottleneck, and the mean wait in milliseconds."""

    shares: list[float]
    wait: float


def run(controls: tuple[str, ...], rtts: list[str], queue: int, seconds: float, warm_up: float,
        **options: Any) -> Cell:  # fmt: skip
    """Let these flows share the bottleneck. Both begin at once if there is one, else within a second."""
    draw = stream(SEED, "flows", "start")
    starts = [draw() for _ in controls] if len(controls) > 1 else [0.0]
    with Network(seed=SEED) as net:
        scene = Bottleneck(net, list(controls), rate=RATE, rtt=rtts, queue=queue, starts=starts, **options)
        shares = scene.run(seconds, warm_up)
        wait = sum(scene.queue) / len(scene.queue) * 8 / scene.rate * 1000
    return Cell(shares, wait)


def alone(loss: float, rtt: str, buffer: float) -> str:
    """A row of the first table."""
    queue = max(round(bdp(RATE, rtt) * buffer), 2) * FRAME
    cells = [run((control,), [rtt], queue, 15, 5, loss=loss) for control in CONTROLS]
    figures = [f"{round(100 * cell.shares[0])} %, {round(cell.wait)} ms" for cell in cells]
    return f"| {loss * 100:g} % | {rtt} | {buffer:g} BDP | " + " | ".join(figures) + " |"


def together(controls: tuple[str, str], rtts: tuple[str, str], discipline: str) -> str:
    """A row of the second table."""
    kinds: dict[str, Callable[[int], Any]] = {"drop tail": DropTail, "CoDel": CoDel}
    cell = run(controls, list(rtts), 3 * bdp(RATE, "60 ms") * FRAME, 30, 10, discipline=kinds[discipline])
    names = " and ".join({"reno": "Reno", "cubic": "CUBIC", "bbr": "BBR"}[control] for control in controls)
    times = rtts[0] if rtts[0] == rtts[1] else " and ".join(rtts)
    shares = " + ".join(f"{round(100 * share)} %" for share in cell.shares)
    return (
        f"| {names} | {times} | {discipline} | {shares} | {round(100 * sum(cell.shares))} % "
        f"| {jain(cell.shares):.2f} | {round(cell.wait)} ms |"
    )


def main() -> None:
    rows = [alone(*case) for case in ALONE]
    pairs = [together(*case) for case in TOGETHER]
    PAGE.write_text(HEAD + "\n".join(rows) + "\n" + BETWEEN + "\n".join(pairs) + "\n", encoding="utf-8")
    print(f"{PAGE.name}: {len(rows) + len(pairs)} rows")


if __name__ == "__main__":
    main()
