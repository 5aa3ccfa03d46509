"""What the tests with a real Linux kernel share: a `LinuxPeer`, and looking for what one may have left."""

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labstack.doctor import tap_remedy
from labstack.linux import LinuxPeer

ROOT = Path(__file__).resolve().parents[2]
MARK = "LABSTACK_TEST_MARK"


@pytest.fixture
def linux() -> Iterator[LinuxPeer]:
    """A peer that ends with the test. In CI there must be one; elsewhere its absence is a reason to skip."""
    try:
        peer = LinuxPeer()
    except OSError as error:
        told = f"{error}; {tap_remedy()}"
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"CI is to run these tests, but {told}")
        pytest.skip(told)
    with peer:
        yield peer


def wait_until(true: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Ask again and again until it is true; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.01)  # the system does not tell of it: all that one can do is look again


def marked(mark: str) -> dict[int, str]:
    """All processes of this machine that have the mark in their environment: their numbers and commands."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(process.name)] = command
            except OSError:
                pass  # it ended, or is not ours to read
    return found


class Parent:
    """Another Python, whose processes, and those of its peers, all carry a mark."""

    def __init__(self, code: str, *before: str) -> None:
        self.mark = uuid.uuid4().hex
        # From a file: as an argument, the code would stand in the list of processes, and be found there.
        self._code = tempfile.NamedTemporaryFile("w", suffix=".py")  # noqa: SIM115
        self._code.write(code)
        self._code.flush()
        self.process = subprocess.Popen(
            [*before, sys.executable, self._code.name],
            cwd=ROOT,
            env={**os.environ, MARK: self.mark, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def alive(self) -> dict[int, str]:
        return marked(self.mark)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._code.close()


@pytest.fixture
def parent() -> Iterator[Callable[..., Parent]]:
    started: list[Parent] = []

    def start(code: str, *before: str) -> Parent:
        started.append(Parent(code, *before))
        return started[-1]

    yield start
    for one in started:
        one.close()
