"""What ICMP errors do to a connection: RFC 9293 §3.9.2.2, RFC 5927."""

import errno
import socket

import pytest

from labstack.headers.tcp import ACK, SYN
from tests.scenarios.reach import reach

UNREACHABLE, QUENCH, TIME_EXCEEDED, PARAMETER = 3, 4, 11, 12


@pytest.mark.clause("3.9.2.2", "SHLD-25", "while it opens, an unreachable destination is told to the program")
@pytest.mark.beside_linux
@pytest.mark.parametrize(
    ("code", "error"),
    [(0, errno.ENETUNREACH), (1, errno.EHOSTUNREACH), (3, errno.ECONNREFUSED)],
    ids=["network", "host", "port"],
)
def test_unreachable_while_opening(story, code, error):
    s = story.connect()
    syn = story.expect(SYN)
    story.inject_icmp(UNREACHABLE, code, syn)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == error


@pytest.mark.clause(
    "3.9.2.2", "MUST-56", "an open connection survives unreachable, time exceeded and bad header"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize(
    ("type", "code"),
    [
        (UNREACHABLE, 0),
        (UNREACHABLE, 1),
        (UNREACHABLE, 5),
        (TIME_EXCEEDED, 0),
        (TIME_EXCEEDED, 1),
        (PARAMETER, 0),
    ],
)
def test_soft_errors(story, type, code):
    s = reach(story, "ESTABLISHED")
    s.send(b"x")
    seen = story.expect(ACK, data=b"x")
    story.inject_icmp(type, code, seen)
    story.inject(ACK)
    assert s.state == "ESTABLISHED"
    s.send(b"y")
    story.expect(ACK, data=b"y")


@pytest.mark.clause("3.9.2.2", "MUST-55", "a source quench is dropped in silence")
@pytest.mark.beside_linux
def test_source_quench(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"x")
    seen = story.expect(ACK, data=b"x")
    story.inject_icmp(QUENCH, 0, seen)
    story.expect_nothing()
    assert s.state == "ESTABLISHED"


@pytest.mark.clause(
    "3.9.2.2", "", "an error that quotes a number that is not under way is not believed (RFC 5927 §4.1)"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize("ahead", [2, 100_000, 2**31])
def test_a_forged_error(story, ahead):
    s = story.connect()
    syn = story.expect(SYN)
    syn.header.seq = (syn.header.seq + ahead) % 2**32
    story.inject_icmp(UNREACHABLE, 3, syn)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert s.state == "SYN-SENT"


@pytest.mark.clause("3.9.2.2", "MUST-54", "an error about a connection that is not there changes nothing")
@pytest.mark.beside_linux
def test_an_error_about_nothing(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"x")
    seen = story.expect(ACK, data=b"x")
    seen.header.dst_port += 1000
    story.inject_icmp(UNREACHABLE, 3, seen)
    assert s.state == "ESTABLISHED"
