"""Threads, select and asyncio together: the same trace and the same times, for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sockets.mixed_world import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.feature("Simulation", "threads, select and asyncio give the same trace in 20 runs and anywhere")
def test_twenty_runs_and_other_processes_are_one():
    first = run()
    for _ in range(19):
        assert run() == first
    for seed in ("0", "1", "77"):  # of Python's hashes
        environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=str(ROOT))
        program = [sys.executable, "-m", "tests.sockets.mixed_world"]
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == first
