"""CPython's own tests of its network modules, on labstack: `python -m tests.programs.cpython [MODULE …]`.

Each module runs twice, in a process of its own: on the machine's sockets, and on a host in real time that has
nothing but its loopback (the tests block on real locks, so virtual time is not for them). What counts is the
share of those that pass on the machine which pass on labstack too.
"""

import faulthandler
import importlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

CLASSES = {
    "test_socket": r"^(?!.*(UDPLITE|6)).*(TCP|UDP|Timeout|FileObject|NonBlocking|Buffer|CreateServer"
    r"|ContextManager|Sendfile|NetworkConnection|Inheritance|Exceptions)",
    "test_selectors": "",
    "test_ftplib": "",
    "test_smtplib": "",
    "test_poplib": "",
    "test_imaplib": "",
    "test_httplib": "",
    "test_urllib2_localnet": "",
    "test_xmlrpc": "",
    "test_socketserver": "",
    "test_asyncio.test_streams": "",
    "test_asyncio.test_sslproto": "",
    "test_asyncio.test_sock_lowlevel": "",
}
"""The modules, and which of their classes. Of the others in test_socket, each is about a family, a protocol
or a call of the machine's that the stack does not have."""

RESOURCES = {
    "test_socketserver": ["network"]
}  # so it calls the loopback; in other modules it is the Internet
DESCRIPTORS = 2048
"""There are tests that use as many as there may be."""
SECONDS = 20
"""For one test."""
MODULE_SECONDS = 150
"""For one module."""


@dataclass
class Outcome:
    """What a module did: on the machine, and on the host."""

    passed: list[str]
    """The tests that pass on the machine."""
    failed: dict[str, str]
    """Those of them that do not pass on the host, and how."""
    unexpected: str = ""
    """What went wrong with the module as a whole."""


def main(names):
    """Run the modules, four side by side since they mostly wait, and print the shares; what each did."""
    names = list(names) or list(CLASSES)
    with ThreadPoolExecutor(4) as pool:
        both = [[pool.submit(run, name, where) for where in ("machine", "host")] for name in names]
        outcomes = {}
        for name, (machine, host) in zip(names, both, strict=True):
            outcomes[name] = compare(*machine.result(), *host.result())
            print(report(name, outcomes[name]), flush=True)
    print(total(outcomes))
    return outcomes


def compare(on_machine, trouble_there, on_host, trouble_here):
    passed = [test for test, how in on_machine.items() if how == "passed"]
    failed = {test: on_host.get(test, "did not run") for test in passed if on_host.get(test) != "passed"}
    return Outcome(passed, failed, "\n".join(filter(None, (trouble_there, trouble_here))))


def report(name, outcome):
    lines = [f"{name}: {share(len(outcome.passed), len(outcome.failed))}"]
    lines += [f"    {test}: {how}" for test, how in outcome.failed.items()]
    if outcome.unexpected:
        lines.append(outcome.unexpected)
    return "\n".join(lines)


def total(outcomes):
    passed = sum(len(outcome.passed) for outcome in outcomes.values())
    failed = sum(len(outcome.failed) for outcome in outcomes.values())
    return f"all: {share(passed, failed)}"


def share(passed, failed):
    return f"{passed - failed} of {passed} pass, {100 * (1 - failed / max(passed, 1)):.1f} %"


def run(name, where):
    """The outcome of each test of a module: "passed", "skipped", or what was wrong; and what was wrong with
    the module as a whole."""
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-m", "tests.programs.cpython", "--one", name, where]
    with tempfile.TemporaryDirectory() as place:  # the tests leave files where they run
        child = subprocess.Popen(
            command,
            cwd=place,
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = child.communicate(timeout=MODULE_SECONDS)
            ended = f"ended with {child.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"was not done after {MODULE_SECONDS} s"
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)  # and what it has started
            except ProcessLookupError:
                pass
        if child.returncode is None:
            output, errors = child.communicate()
    found = {}
    running = "none"
    for line in output.splitlines():
        if line.startswith("RESULT "):
            test, how = json.loads(line[7:])
            found[test] = how
            running = "none"
        elif line.startswith("BEGINS "):
            running = line[7:]
        elif line == "DONE":
            return found, ""
    return found, f"{name} on the {where} {ended}; running: {running}\n{errors[-3000:]}"


class Told(unittest.TestResult):
    """Says each outcome as it comes, so that a module that hangs has still told of what came before."""

    def startTest(self, test):
        super().startTest(test)
        self.how = "passed"
        self.name = ".".join(test.id().split(".")[-2:])
        print(f"\nBEGINS {self.name}", file=sys.__stdout__, flush=True)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        faulthandler.dump_traceback_later(SECONDS + 5, exit=True, file=sys.__stderr__)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        super().stopTest(test)
        print(f"\nRESULT {json.dumps([self.name, self.how])}", file=sys.__stdout__, flush=True)

    def _failed(self, test, error):
        if os.environ.get("TRACE"):
            import traceback

            traceback.print_exception(*error, file=sys.__stderr__)
        if self.how == "passed":
            self.how = f"{error[0].__name__}: {str(error[1]).strip().splitlines()[:1]}"[:160]

    addError = addFailure = _failed

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._failed(test, error)

    def addSkip(self, test, reason):
        self.how = "skipped"


def one(name, where, pattern=""):
    from test import support

    from labstack import Host
    from labstack.drivers.realtime import RealTime

    def too_long(number, frame):
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise TimeoutError(f"not done after {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    support.use_resources = ["cpu", "walltime", *RESOURCES.get(name, ())]
    secrets = SystemRandom()
    here = nullcontext()
    if where == "host":
        driver = RealTime()
        here = Host("localhost", driver, random=lambda purpose: secrets.random)
        here.on_close(driver.close)
    with closing(here) if where == "host" else here, here:
        module = importlib.import_module(f"test.{name}")
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        wanted, test_wanted = re.compile(CLASSES.get(name, "")), re.compile(pattern)
        result = Told()
        for group in suite:
            tests = [
                test for test in group if wanted.search(type(test).__name__) and test_wanted.search(test.id())
            ]
            unittest.TestSuite(tests).run(result)
    print("\nDONE", file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
        os._exit(0)  # whatever threads a failed test has left
    main(sys.argv[1:])
