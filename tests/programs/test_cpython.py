"""CPython's own tests of its network modules pass on labstack where they pass on the machine.

Those that do not stand in `EXPLAINED` with the reason, and a test sees that they still do not.
"""

import fnmatch
import importlib.util
import sys

import pytest

from tests.programs import cpython

LEAST = 0.9

IPV6 = "IPv6 is not there yet"
DESCRIPTOR = "asks the system about the socket's descriptor, which is none of the system's"
SENDFILE = "calls the private method that lets sendfile(2) write into a descriptor; `sendfile` works"
INSIDE = "replaces a part inside of Python's own selector"
FORKED = "a forked process has no part in its parent's stack; servers with threads do"
SIGNALS = "asks the loop to hear of signals, which are the process's and no host's"

# Test, or pattern of tests, of a module: why it fails.
EXPLAINED = {
    "test_socket": {
        "CreateServerFunctionalTest.test_dual_stack_client_v?": IPV6,
        "CreateServerFunctionalTest.test_tcp6": IPV6,
        "CreateServerTest.test_dualstack_ipv6_family": IPV6,
        "CreateServerTest.test_ipv6_only_default": IPV6,
        "InheritanceTest.test_?et_inheritable_cloexec": DESCRIPTOR,
        "NonBlockingTCPTests.testInitNonBlocking": DESCRIPTOR,
        "NonBlockingTCPTests.testSetBlocking": DESCRIPTOR,
        "NonBlockingTCPTests.testSetBlocking_overflow": DESCRIPTOR,
        "SendfileUsingSendTest.testNonRegularFile": SENDFILE,
        "SendfileUsingSendfileTest.*": SENDFILE,
    },
    "test_selectors": {
        "*SelectorTestCase.test_unregister_after_fd_close_and_reuse": DESCRIPTOR,
        "[DEP]*SelectorTestCase.test_modify_unregister": INSIDE,
    },
    "test_ftplib": {
        "TestIPv6Environment.*": IPV6,
    },
    "test_socketserver": {
        "SocketServerTest.test_ForkingTCPServer": FORKED,
        "SocketServerTest.test_ForkingUDPServer": FORKED,
    },
    "test_asyncio.test_streams": {"StreamTests.test_read_all_from_pipe_reader": SIGNALS},
}

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the table is of Python 3.11's tests"),
    pytest.mark.skipif(
        importlib.util.find_spec("test.test_socket") is None,
        reason="this Python comes without its tests: on Debian they are in libpython3-testsuite",
    ),
]


@pytest.mark.feature(
    "Sockets", "CPython's own tests of 13 network modules pass on a host, over 90 % of 1,000"
)
def test_each_failure_is_explained_and_no_more() -> None:
    """One test for all modules: they run side by side, and mostly wait."""
    outcomes = cpython.main([])
    wrong = {name: found for name, outcome in outcomes.items() if (found := wrongs(name, outcome))}
    assert not wrong, wrong
    passed = sum(len(outcome.passed) for outcome in outcomes.values())
    failed = sum(len(outcome.failed) for outcome in outcomes.values())
    assert passed > 1000
    assert failed < (1 - LEAST) * passed


def wrongs(name: str, outcome: cpython.Outcome) -> list[str]:
    """What is not as the table says, in words."""
    explained = EXPLAINED.get(name, {})
    found = [outcome.unexpected] if outcome.unexpected else []
    if not outcome.passed:
        found.append("runs nowhere")
    for test, how in outcome.failed.items():
        if not any(fnmatch.fnmatchcase(test, pattern) for pattern in explained):
            found.append(f"{test} is not explained: {how}")
    for pattern in explained:
        if not fnmatch.filter(outcome.failed, pattern):
            found.append(f"{pattern} passes: it needs no explanation")
        for test in set(fnmatch.filter(outcome.passed, pattern)) - outcome.failed.keys():
            found.append(f"{test} passes: it needs no explanation")
    return found
