"""What the tests say they show, for the tables in README.md and docs/tcp-scenarios.md.

A test says so by a mark: `@pytest.mark.feature("TCP", "retransmission by RFC 6298")`, or, a scenario,
`@pytest.mark.clause("3.5", "MUST-10", "two ends may open at once")`. pytest collects them, and
tests/conftest.py writes them down.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Feature:
    """What one mark says: `test` ("tests/test_x.py::test_y") shows `text`.

    `idle` names a mark that keeps the test from ever running or counting.
    """

    area: str
    text: str
    test: str
    idle: str = ""


@dataclass(frozen=True)
class Scenario:
    """`test` shows, in so many `cases`, what a clause of RFC 9293 asks: its section, and its number in the
    RFC's own list ("MUST-10"; "" where the clause has none).

    `linux`: "" when it is told to labstack alone, "the same" when the Linux kernel does so too, or else why
    the kernel does otherwise.
    """

    section: str
    requirement: str
    text: str
    test: str
    linux: str
    cases: int


def collect() -> tuple[list[Feature], list[Scenario]]:
    """All features, each (area, text, test) once, and all scenarios.

    Raises RuntimeError with pytest's words when the tests cannot be collected.
    """
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder, "marks.json")
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", f"--marks-to={marks}", "tests"]
        # Inside a test run, pytest's and xdist's own variables would turn this run into a worker.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pytest could not collect the tests:\n{done.stdout}{done.stderr}")
        told = json.loads(marks.read_text(encoding="utf-8"))
        return [Feature(**mark) for mark in told["features"]], [Scenario(**m) for m in told["scenarios"]]
