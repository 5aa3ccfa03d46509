"""Beside Linux: over the same bottleneck a flow of labstack gets what one of Linux gets, and they share it.

For each setting and congestion control three flows from Linux and three from labstack run for a minute, each
over a bottleneck of its own, and beside them one bottleneck that a flow from each shares. All are received by
Linux.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bottleneck import jain

pytestmark = [pytest.mark.linux, pytest.mark.check]

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
BOTTLENECKS = [*[["linux"], ["labstack"]] * 3, ["linux", "labstack"]]
SETTINGS = {
    "losses on a short way": {"rate": "10 Mbit/s", "rtt": 0.04, "queue": "64 KiB", "every": 80},
    "losses on a long way": {"rate": "20 Mbit/s", "rtt": 0.1, "queue": "256 KiB", "every": 300},
    "a narrow way": {"rate": "2 Mbit/s", "rtt": 0.04, "queue": "30 KiB", "every": 60},
}


def start(algorithm: str, setting: dict[str, Any]) -> subprocess.Popen[str]:
    told = {"algorithm": algorithm, "seconds": SECONDS, "apart": 0.2, "bottlenecks": BOTTLENECKS} | setting
    command = [sys.executable, "-m", "tests.linux.beside", json.dumps(told)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.feature(
    "Congestion control", "Beside Linux, over one bottleneck: Reno and CUBIC get as much, and share fairly"
)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_flow_beside_linux(name: str) -> None:
    """Medians of three within 20 % of each other, and Jain's index of the two that share at least 0.9."""
    running = {algorithm: start(algorithm, SETTINGS[name]) for algorithm in ("reno", "cubic")}
    told = {algorithm: process.communicate(timeout=SECONDS + 60)[0] for algorithm, process in running.items()}
    for algorithm, answer in told.items():
        *alone, shared = json.loads(answer)
        linux = statistics.median(flow["linux"] for flow in alone if "linux" in flow)
        lab = statistics.median(flow["labstack"] for flow in alone if "labstack" in flow)
        index = jain(list(shared.values()))
        print(f"{name}, {algorithm}: Linux {linux / 1e6:.2f}, labstack {lab / 1e6:.2f} Mbit/s, ", end="")
        print(f"together {shared['linux'] / 1e6:.2f} and {shared['labstack'] / 1e6:.2f}, Jain {index:.3f}")
        assert len(shared) == 2
        assert abs(lab - linux) <= 0.2 * max(lab, linux), f"{algorithm}, {name}: {alone}"
        assert index >= 0.9, f"{algorithm}, {name}: {shared}"
