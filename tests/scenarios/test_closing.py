"""How a connection ends: RFC 9293 §3.6, and the calls of §3.10.4 and §3.10.5."""

import errno
import socket
import struct

import pytest

from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN
from tests.scenarios.reach import reach


def close(story, s):
    """The program lets go of its socket."""
    story._step("the program closes")
    s.close()


@pytest.mark.clause("3.6", "", "four segments close: FIN, ACK, FIN, ACK")
@pytest.mark.beside_linux
def test_four_to_close(story):
    s = reach(story, "ESTABLISHED")
    s.shutdown(socket.SHUT_WR)
    story.expect(FIN | ACK, seq=1, ack=1)
    story.inject(ACK)
    story.inject(FIN | ACK)
    story.expect(ACK, seq=2, ack=2)
    assert s.recv(10) == b""


@pytest.mark.clause("3.6", "", "three segments close where the peer's FIN travels with the ACK of ours")
@pytest.mark.beside_linux
def test_three_to_close(story):
    s = reach(story, "ESTABLISHED")
    s.shutdown(socket.SHUT_WR)
    story.expect(FIN | ACK)
    story.inject(FIN | ACK)
    story.expect(ACK, seq=2, ack=2)


@pytest.mark.clause("3.6", "", "both may close at once: CLOSING, then TIME-WAIT")
@pytest.mark.beside_linux
def test_simultaneous_close(story):
    s = reach(story, "ESTABLISHED")
    s.shutdown(socket.SHUT_WR)
    story.expect(FIN | ACK, seq=1, ack=1)
    story.inject(FIN | ACK, ack=1)
    story.expect(ACK, ack=2)
    assert s.state == "CLOSING"
    story.inject(ACK)
    assert s.state in ("TIME-WAIT", "CLOSED")


@pytest.mark.clause("3.6", "", "the peer closes first: CLOSE-WAIT, LAST-ACK, CLOSED, and no TIME-WAIT")
@pytest.mark.beside_linux
def test_the_peer_closes_first(story):
    s = reach(story, "CLOSE-WAIT")
    s.shutdown(socket.SHUT_WR)
    story.expect(FIN | ACK, seq=1, ack=2)
    assert s.state == "LAST-ACK"
    story.inject(ACK)
    assert s.state == "CLOSED"


@pytest.mark.clause("3.6", "", "after its FIN, a side goes on to receive: half-close")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", ["FIN-WAIT-1", "FIN-WAIT-2"])
def test_half_close_receives(story, state):
    s = reach(story, state)
    story.inject(PSH | ACK, b"late")
    assert s.recv(10) == b"late"


@pytest.mark.clause("3.6", "", "after the peer's FIN, a side goes on to send")
@pytest.mark.beside_linux
def test_half_close_sends(story):
    s = reach(story, "CLOSE-WAIT")
    s.send(b"still here")
    story.expect(ACK, data=b"still here", ack=2)


@pytest.mark.clause("3.6", "", "a program that has closed its direction cannot write to it: broken pipe")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", ["FIN-WAIT-1", "FIN-WAIT-2", "CLOSING", "LAST-ACK"])
def test_writing_behind_the_own_fin(story, state):
    s = reach(story, state)
    with pytest.raises(BrokenPipeError):
        s.send(b"x")


@pytest.mark.clause(
    "3.10.4", "", "what was written before the close is delivered, and the FIN stands behind it"
)
@pytest.mark.beside_linux
def test_the_fin_stands_behind_the_data(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"last words")
    close(story, s)
    first = story.sent()
    whole = b"".join(seen.data for seen in first)
    assert whole == b"last words"
    story.inject(ACK, ack=1 + len(whole) + any(seen.flags & FIN for seen in first))
    first += story.sent()
    assert any(seen.flags & FIN and seen.seq + len(seen.data) == 11 for seen in first)


@pytest.mark.clause(
    "3.6.1", "SHLD-3", "a program that closes without having read resets: its peer knows that bytes are lost"
)
@pytest.mark.beside_linux
def test_close_with_unread_bytes(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"unread")
    story.sent()
    close(story, s)
    story.expect(RST | ACK, seq=1)


@pytest.mark.clause("3.6.1", "SHLD-3", "what arrives for a program that has closed is answered by a reset")
@pytest.mark.beside_linux
def test_data_for_nobody(story):
    s = reach(story, "ESTABLISHED")
    close(story, s)
    story.expect(FIN | ACK, seq=1)
    story.inject(PSH | ACK, b"anybody?", ack=2)
    seen = story.sent()
    assert seen[-1].flags & RST


@pytest.mark.clause("3.10.5", "", "ABORT resets: linger on, with no time, and close")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT"])
def test_abort(story, state):
    s = reach(story, state)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    close(story, s)
    story.expect(RST | ACK)


@pytest.mark.clause("3.10.4", "", "CLOSE in SYN-SENT forgets the attempt, and says nothing")
@pytest.mark.beside_linux
def test_close_in_syn_sent(story):
    s = reach(story, "SYN-SENT")
    close(story, s)
    story.expect_nothing()
    story.inject(SYN | ACK)
    story.expect(RST, seq=1)


@pytest.mark.clause("3.10.4", "", "CLOSE in SYN-RECEIVED waits for the handshake, and then sends the FIN")
def test_close_in_syn_received(story):
    s = reach(story, "SYN-RECEIVED")
    s.shutdown(socket.SHUT_WR)
    story.expect_nothing()
    story.inject(ACK)
    story.expect(FIN | ACK, seq=1)


@pytest.mark.clause("3.10.4", "", "closing a listening port resets connections that nobody accepted")
@pytest.mark.beside_linux
def test_close_a_listener(story):
    listener = story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(ACK)
    listener.close()
    story.expect(RST | ACK)


@pytest.mark.clause("3.6", "", "a FIN that is not acknowledged is sent again")
@pytest.mark.beside_linux
def test_a_lost_fin(story):
    s = reach(story, "ESTABLISHED")
    s.shutdown(socket.SHUT_WR)
    story.expect(FIN | ACK, seq=1)
    story.expect(FIN | ACK, seq=1, after=1.0, tolerance=0.3)
    story.expect(FIN | ACK, seq=1, after=2.0, tolerance=0.3)


@pytest.mark.clause("3.6.1", "MUST-13", "TIME-WAIT lasts twice the maximum segment lifetime")
@pytest.mark.parametrize("msl", [5, 30, 120])
def test_time_wait_lasts_2_msl(judge_with, msl):
    story = judge_with(msl=msl * 10**9)
    reach(story, "TIME-WAIT")
    connections = story.machine.under_test.host.tcp.connections
    story.wait(2 * msl - 0.1)
    assert connections
    story.wait(0.2)
    assert not connections


@pytest.mark.clause("3.6.1", "", "a connection that nobody owns does not wait in FIN-WAIT-2 for ever")
def test_an_orphan_in_fin_wait_2(story):
    s = reach(story, "ESTABLISHED")
    close(story, s)
    story.expect(FIN | ACK)
    story.inject(ACK)
    connections = story.machine.under_test.host.tcp.connections
    story.wait(59)
    assert connections
    story.wait(2)
    assert not connections


@pytest.mark.clause(
    "3.6", "", "a connection whose program holds on waits in FIN-WAIT-2 as long as the peer likes"
)
def test_half_closed_for_ever(story):
    s = reach(story, "FIN-WAIT-2")
    story.wait(86_400)
    assert s.state == "FIN-WAIT-2"
    story.inject(PSH | ACK, b"after a day")
    assert s.recv(100) == b"after a day"


@pytest.mark.clause("3.10.7.4", "", "after a reset nothing is left: the next segment meets no connection")
@pytest.mark.beside_linux
def test_nothing_is_left_after_a_reset(story):
    s = reach(story, "ESTABLISHED")
    story.inject(RST)
    s.close()
    story.inject(ACK, ack=1)
    story.expect(RST, seq=1)


@pytest.mark.clause(
    "3.8.3", "MUST-20", "data that is never acknowledged ends the connection, and the program hears of it"
)
@pytest.mark.constants(retries=3)
def test_r2(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"x")
    story.expect(ACK, data=b"x")
    for after in (1.0, 2.0, 4.0):
        story.expect(ACK, data=b"x", after=after)
    story.expect_nothing(60)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT


@pytest.mark.clause("3.8.3", "SHLD-11", "by default, R2 is at least 100 seconds")
def test_r2_by_default(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"x")
    story.wait(100)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and s.state == "ESTABLISHED"
    story.wait(1500)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
