"""CPython's own tests of its network modules, on labstack: `python -m tests.programs.cpython [MODULE …]`.

Each module runs twice, in a process of its own: on the machine's sockets, and on a host in real time that has
nothing but its loopback (the tests block on real locks, so virtual time is not for them). What counts is the
share of those that pass on the machine which pass on labstack too.
"""

import importlib
import json
import signal
import subprocess
import sys
import unittest
from contextlib import closing, nullcontext
from random import SystemRandom

MODULES = [
    "test_socket",
    "test_selectors",
    "test_ftplib",
    "test_smtplib",
    "test_poplib",
    "test_imaplib",
    "test_httplib",
    "test_urllib2_localnet",
    "test_xmlrpc",
    "test_socketserver",
    "test_asyncio.test_streams",
    "test_asyncio.test_sslproto",
    "test_asyncio.test_sock_lowlevel",
]
CLASSES = {
    "test_socket": r"TCP|UDP|Timeout|FileObject|NonBlocking|Buffer|CreateServer|ContextManager|Sendfile"
    r"|NetworkConnection|SendAll",
}
"""Of the others in test_socket, each is about a family or a call that the stack does not have."""
SECONDS = 8
"""For one test."""


def main(names):
    """Run the modules and print the shares; returns the results."""
    results = {}
    for name in names or MODULES:
        on_machine, on_host = (run(name, where) for where in ("machine", "host"))
        passed = [test for test, how in on_machine.items() if how == "passed"]
        failed = {test: on_host.get(test, "did not run") for test in passed if on_host.get(test) != "passed"}
        results[name] = (len(passed), failed)
        share = 100 * (1 - len(failed) / len(passed)) if passed else 0
        print(f"{name}: {len(passed) - len(failed)} of {len(passed)} pass, {share:.1f} %", flush=True)
        for test, how in failed.items():
            print(f"    {test}: {how}", flush=True)
    number = sum(passed for passed, _ in results.values())
    bad = sum(len(failed) for _, failed in results.values())
    print(f"all: {number - bad} of {number}, {100 * (1 - bad / max(number, 1)):.1f} %")
    return results


def run(name, where):
    """The outcome of each test of a module: "passed", "skipped", or the last line of what was wrong."""
    command = [sys.executable, "-m", "tests.programs.cpython", "--one", name, where]
    found = {}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        output = done.stdout
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode()
    for line in output.splitlines():
        if line.startswith("RESULT "):
            test, how = json.loads(line[7:])
            found[test] = how
    return found


class Told(unittest.TestResult):
    """Says each outcome as it comes, so that a module that hangs has still told of what came before."""

    def startTest(self, test):
        super().startTest(test)
        self.how = "passed"
        signal.setitimer(signal.ITIMER_REAL, SECONDS)

    def stopTest(self, test):
        signal.setitimer(signal.ITIMER_REAL, 0)
        super().stopTest(test)
        name = ".".join(test.id().split(".")[-2:])
        print(f"\nRESULT {json.dumps([name, self.how])}", file=sys.__stdout__, flush=True)

    def _failed(self, test, error):
        if self.how == "passed":
            self.how = f"{error[0].__name__}: {str(error[1]).strip().splitlines()[:1]}"[:160]

    addError = addFailure = _failed

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._failed(test, error)

    def addSkip(self, test, reason):
        self.how = "skipped"


def one(name, where):
    import re

    from labstack import Host
    from labstack.drivers.realtime import RealTime

    def too_long(number, frame):
        raise TimeoutError(f"not done after {SECONDS} s")

    signal.signal(signal.SIGALRM, too_long)
    secrets = SystemRandom()
    here = nullcontext()
    if where == "host":
        driver = RealTime()
        here = Host("localhost", driver, random=lambda purpose: secrets.random)
        here.on_close(driver.close)
    with closing(here) if where == "host" else here, here:
        module = importlib.import_module(f"test.{name}")
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        wanted = re.compile(CLASSES.get(name, ""))
        result = Told()
        for group in suite:
            tests = [test for test in group if wanted.search(type(test).__name__)]
            unittest.TestSuite(tests).run(result)
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
        import os

        os._exit(0)  # whatever threads a failed test has left
    main(sys.argv[1:])
