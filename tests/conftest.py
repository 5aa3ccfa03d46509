"""What all tests share: the marks for features, and what a test may need of the machine.

A test marked `linux`, `container` or `browser` is skipped, with the reason, on a machine that cannot
run it. In CI (CI=true) nothing that the README claims may be skipped: there, a test with a `feature`
mark that skips has failed.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import settings
from jupyter_client.connect import LocalPortCache

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that. Some tests
# send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


class OwnPorts(LocalPortCache):
    """The ports of the notebooks' kernels. jupyter_client asks the system for free ones, which the kernel
    takes a second later: by then the system may have given one away, to a kernel of the worker beside this
    one. These are below those that the system gives, and each worker has its own."""

    def __init__(self) -> None:
        super().__init__()
        first = 10_000 + 200 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        self._ports = cycle(range(first, first + 200))

    def find_available_port(self, ip: str) -> int:
        used = self.currently_used_ports
        port = next(port for port in self._ports if port not in used and _is_free(ip, port))
        used.add(port)
        return port


def _is_free(ip: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((ip, port))
        except OSError:
            return False
    return True


OwnPorts.instance()  # from now on every LocalPortCache is this one

# A test that is green today and red tomorrow on the same code teaches nothing: in CI hypothesis draws
# the same examples each time. Elsewhere it goes on looking for new ones.
settings.register_profile("labstack", deadline=None, derandomize=IN_CI)
settings.load_profile("labstack")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--marks-to", metavar="FILE", help="write what the tests are marked to show there")


def pytest_collection_finish(session: pytest.Session) -> None:
    """The marks `feature` and `clause`, for docs/marks.py."""
    target = session.config.getoption("--marks-to")
    if not target:
        return
    features, clauses = set(), Counter[tuple[str, ...]]()
    for item in session.items:
        test = item.nodeid.split("[")[0]
        idle = next((name for name in ("skip", "xfail") if _always(item, name)), "")
        features |= {(*words, test, idle) for words in _words(item, "feature", 2)}
        beside = item.get_closest_marker("beside_linux")
        kernel = "" if beside is None else next(iter(beside.args), "the same")
        if "linux" not in item.nodeid.partition("[")[2].split("-")[0]:
            clauses.update((*words, test, kernel) for words in _words(item, "clause", 3))
    named = (
        ("features", ("area", "text", "test", "idle"), sorted(features)),
        (
            "scenarios",
            ("section", "requirement", "text", "test", "linux", "cases"),
            [(*mark, cases) for mark, cases in sorted(clauses.items())],
        ),
    )
    told = {what: [dict(zip(names, row, strict=True)) for row in rows] for what, names, rows in named}
    Path(target).write_text(json.dumps(told))


def _words(item: pytest.Item, name: str, count: int) -> set[tuple[str, ...]]:
    """The arguments of each mark of that name. Raises UsageError unless they are so many strings."""
    marks = list(item.iter_markers(name))
    if any(len(mark.args) != count or mark.kwargs for mark in marks):
        raise pytest.UsageError(
            f"{item.nodeid}: the mark {name!r} takes {count} strings (see pyproject.toml)"
        )
    return {mark.args for mark in marks}


def _always(item: pytest.Item, name: str) -> bool:
    """Whether `item` carries the mark `name` without a condition: it never runs, or never counts."""
    return any(not mark.args and "condition" not in mark.kwargs for mark in item.iter_markers(name))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, missing in MACHINE.items():
        if item.get_closest_marker(name) and (reason := missing()):
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("feature"):
        report.outcome = "failed"
        report.longrepr = f"README.md claims what this test shows, but it was skipped: {report.longrepr}"
    return report


@cache
def _no_linux() -> str:
    """Why no TAP can be made in a network namespace here, or nothing."""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "needs the commands unshare and ip (util-linux, iproute2)"
    namespace = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    command = [*namespace, "ip", "tuntap", "add", "mode", "tap", "name", "probe0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no TAP in a network namespace: {done.stderr.strip()}" if done.returncode else ""


@cache
def _no_container() -> str:
    return "" if shutil.which("docker") else "needs the command docker"


@cache
def _no_browser() -> str:
    return "" if shutil.which("chromium") else "needs chromium"


MACHINE = {"linux": _no_linux, "container": _no_container, "browser": _no_browser}
