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
    pytest.mark.xdist_group("CPython's own tests"),  # they run once, for all that is asked of them
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the table is of Python 3.11's tests"),
    pytest.mark.skipif(
        importlib.util.find_spec("test.test_socket") is None,
        reason="this Python comes without its tests: on Debian they are in libpython3-testsuite",
    ),
]


@pytest.fixture(scope="module")
def outcomes():
    """What each module did, on the machine and on the host."""
    return cpython.main([])


@pytest.mark.parametrize("name", cpython.CLASSES)
def test_each_failure_is_explained_and_no_more(outcomes, name):
    outcome = outcomes[name]
    assert not outcome.unexpected, outcome.unexpected
    assert outcome.passed, f"{name} runs nowhere"
    explained = EXPLAINED.get(name, {})
    unexplained = {
        test: how
        for test, how in outcome.failed.items()
        if not any(fnmatch.fnmatchcase(test, pattern) for pattern in explained)
    }
    assert not unexplained
    for pattern in explained:
        assert fnmatch.filter(outcome.failed, pattern), f"{pattern} passes: it needs no explanation"
        passes = set(fnmatch.filter(outcome.passed, pattern)) - outcome.failed.keys()
        assert not passes, f"{passes} pass: they need no explanation"


@pytest.mark.feature(
    "Sockets", "CPython's own tests of 13 network modules pass on a host, over 90 % of 1,000"
)
def test_the_share(outcomes, capsys):
    with capsys.disabled():
        print()
        for name, outcome in outcomes.items():
            print(f"{name}: {cpython.share(len(outcome.passed), len(outcome.failed))}")
        print(cpython.total(outcomes))
    passed = sum(len(outcome.passed) for outcome in outcomes.values())
    failed = sum(len(outcome.failed) for outcome in outcomes.values())
    assert passed > 1000
    assert failed < (1 - LEAST) * passed
