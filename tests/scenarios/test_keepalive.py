"""Is the peer still there? Keepalive (RFC 9293 §3.8.4) and the user time-out (§3.8.3, RFC 5482)."""

import errno
import socket

import pytest

from labstack.headers.tcp import ACK, RST, SYN
from tests.scenarios.reach import reach

HOUR = 3600


def watched(story, idle=1, interval=1, probes=3):
    """A program that asked for keepalive on an open connection."""
    s = reach(story, "ESTABLISHED")
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return s


def error_of(s):
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@pytest.mark.clause("3.8.4", "MUST-25", "unless the program asks, an idle connection is never probed")
def test_off_by_default(story):
    s = reach(story, "ESTABLISHED")
    story.expect_nothing(240 * HOUR)
    assert s.state == "ESTABLISHED"


@pytest.mark.clause("3.8.4", "MUST-28", "the program asks: after two hours of silence, a probe")
@pytest.mark.constants(keepalive=True)
def test_two_hours(story):
    reach(story, "ESTABLISHED")
    story.expect(ACK, seq=0, length=0, after=2 * HOUR)


@pytest.mark.feature("TCP", "Keepalive asks a silent peer whether it lives, and gives it up when it does not")
@pytest.mark.clause("3.8.4", "SHLD-12", "a probe carries no data, and lies one number below what is expected")
@pytest.mark.beside_linux
def test_the_probe(story):
    watched(story)
    story.expect(ACK, seq=0, ack=1, length=0, after=1.0, tolerance=0.2)


@pytest.mark.clause("3.8.4", "MUST-26", "a probe is sent only when nothing has come for the whole interval")
@pytest.mark.beside_linux
def test_what_comes_puts_it_off(story):
    watched(story, idle=1)
    story.wait(0.7)
    story.inject(ACK)
    story.expect_nothing(0.7)
    story.expect(ACK, seq=0, within=0.6)


@pytest.mark.clause("3.8.4", "MUST-27", "the interval is the program's choice")
@pytest.mark.parametrize("idle", [1, 60, 7200, 30_000])
def test_the_interval(story, idle):
    watched(story, idle=idle)
    story.expect(ACK, seq=0, after=float(idle))


@pytest.mark.clause("3.8.4", "MUST-29", "a single probe without an answer does not end the connection")
@pytest.mark.beside_linux
def test_one_lost_answer(story):
    s = watched(story)
    story.expect(ACK, seq=0, within=1.3)
    story.expect(ACK, seq=0, after=1.0, tolerance=0.2)
    story.inject(ACK)
    assert s.state == "ESTABLISHED" and error_of(s) == 0


@pytest.mark.clause(
    "3.8.4",
    "",
    "as many probes as asked for without an answer end the connection: timed out, and the peer is reset",
)
@pytest.mark.beside_linux
def test_all_answers_lost(story):
    s = watched(story, probes=2)
    story.expect(ACK, seq=0, within=1.3)
    story.expect(ACK, seq=0, within=1.3)
    story.expect(RST | ACK, within=1.3)
    assert error_of(s) == errno.ETIMEDOUT


@pytest.mark.clause("3.8.4", "", "a peer that has forgotten the connection answers a probe by a reset")
@pytest.mark.beside_linux
def test_a_reset_answers(story):
    s = watched(story)
    story.expect(ACK, seq=0, within=1.3)
    story.inject(RST)
    assert error_of(s) == errno.ECONNRESET


@pytest.mark.clause("3.8.4", "", "while data is under way, its own timer watches, and no keepalive is sent")
@pytest.mark.constants(min_rto=10**10, initial_rto=10**10)
def test_not_while_data_is_under_way(story):
    s = watched(story, idle=1, probes=1)
    s.send(b"x")
    story.expect(ACK, data=b"x")
    story.expect_nothing(9)


@pytest.mark.clause("3.8.4", "", "switched off again, it is silent")
@pytest.mark.beside_linux
def test_off_again(story):
    s = watched(story)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)
    story.expect_nothing(1.5)


@pytest.mark.clause("3.8.4", "", "an accepted connection takes keepalive over from its listening socket")
def test_from_the_listener(story):
    listener = story.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    listener.listen(story.port, 1)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(ACK)
    story.expect(ACK, seq=0, after=5.0)


@pytest.mark.clause("3.8.3", "MUST-21", "a program may say how long data may stay unacknowledged (RFC 5482)")
@pytest.mark.parametrize("seconds", [3, 10, 100])
def test_user_timeout(story, seconds):
    s = reach(story, "ESTABLISHED")
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * 1000)
    s.send(b"x")
    story.wait(seconds - 0.1)
    assert error_of(s) == 0
    story.wait(seconds + 60)  # it is noticed at the next retransmission
    assert error_of(s) == errno.ETIMEDOUT


@pytest.mark.clause("3.8.3", "MUST-21", "the user time-out ends the wait for probes' answers too")
def test_user_timeout_and_keepalive(story):
    s = watched(story, idle=10, interval=5, probes=100)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)
    story.wait(29)
    assert error_of(s) == 0
    story.wait(7)
    assert error_of(s) == errno.ETIMEDOUT
