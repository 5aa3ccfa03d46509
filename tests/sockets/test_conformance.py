"""One suite of socket behaviour, on the machine's own sockets and on labstack's: the same results.

The machine is the judge: each case (`conformance/`) runs there first, and what it returns is what labstack
has to return, in virtual time between two hosts, on one host with itself, and in real time. Where labstack
differs on purpose, or does not reach yet, the case stands in `DIFFERENCES` with the reason, and a test sees
that it still does.
"""

import functools
import sys
from selectors import EVENT_WRITE

import pytest

from tests.sockets.conformance import datagrams, files, options, places, states, streams
from tests.sockets.conformance.cases import CASES
from tests.sockets.conformance.worlds import WORLDS

assert datagrams and files and options and places and states and streams  # each adds its cases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the judge is Linux")

BOUND_ANEW = "Linux lets a socket be bound again that is at its end; labstack lets it keep its name"
SIZES = "Linux doubles a size for its own bookkeeping; labstack does not"

# Case: what labstack says, and why.
DIFFERENCES = {
    "a backlog of one": (
        [[EVENT_WRITE], [], [], []],
        "Linux lets one more wait than the program asked for; labstack takes it at its word",
    ),
    "a server starts again: reusing": (
        None,
        "Linux asks that the first server had set SO_REUSEADDR too; here the new one's wish is enough",
    ),
    "buffer size: SO RCVBUF": (40_000, SIZES),
    "buffer size: SO SNDBUF": (40_000, SIZES),
    "listener shut: bind": ("EINVAL", BOUND_ANEW),
    "peer gone: bind": ("EINVAL", BOUND_ANEW),
    "refused: bind": ("EINVAL", BOUND_ANEW),
    "reset with data: bind": ("EINVAL", BOUND_ANEW),
    "was reset: bind": ("EINVAL", BOUND_ANEW),
}
ELSEWHERE = [world for world in WORLDS if world != "machine"]


def run(case, world):
    place = WORLDS[world]()
    try:
        return CASES[case](place)
    finally:
        place.close()


@functools.cache
def on_the_machine(case):
    return run(case, "machine")


@pytest.mark.feature("Sockets", "One suite of over 900 cases, with the results of Linux's own sockets")
@pytest.mark.parametrize("world", ELSEWHERE)
@pytest.mark.parametrize("name", [case for case in CASES if case not in DIFFERENCES])
def test_as_on_the_machine(name, world):
    assert run(name, world) == on_the_machine(name)


@pytest.mark.parametrize("world", ELSEWHERE)
@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_is_still_one(name, world):
    expected, reason = DIFFERENCES[name]
    assert reason and on_the_machine(name) != expected == run(name, world)


def test_there_are_enough():
    assert len(CASES) - len(DIFFERENCES) >= 900
