"""What a segment does that arrives in each of the synchronized states: RFC 9293 §3.10.7.4, check by check."""

import errno
import socket

import pytest

from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, URG
from tests.scenarios.reach import SYNCHRONIZED, reach

RECEIVING = ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2"]
DONE_RECEIVING = ["CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT"]
BEFORE_TIME_WAIT = SYNCHRONIZED[:-1]


def next_number(state):
    """The number of the next segment that the machine under test would send in that state."""
    return 1 if state in ("ESTABLISHED", "CLOSE-WAIT") else 2


# --- first, the sequence number


@pytest.mark.clause("3.10.7.4", "", "a segment before the window is answered with an ACK of what is expected")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", RECEIVING)
def test_old_data(story, state):
    reach(story, state)
    story.inject(PSH | ACK, b"old", seq=story.snd_nxt - 3)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)


@pytest.mark.clause("3.10.7.4", "", "behind the peer's FIN, what comes again is answered with an ACK")
@pytest.mark.parametrize("state", ["CLOSE-WAIT", "CLOSING", "LAST-ACK"])
def test_old_data_behind_a_fin(story, state):
    reach(story, state)
    story.inject(FIN | ACK, seq=story.snd_nxt - 1, ack=1)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)


@pytest.mark.clause("3.10.7.4", "", "a segment beyond the window is answered with an ACK of what is expected")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", RECEIVING)
def test_data_beyond_the_window(story, state):
    reach(story, state)
    story.inject(PSH | ACK, b"far", seq=story.snd_nxt + 3_000_000)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)


@pytest.mark.clause("3.10.7.4", "", "a reset outside the window is dropped in silence")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
@pytest.mark.parametrize("ahead", [-1000, 3_000_000], ids=["before", "beyond"])
def test_a_reset_outside_the_window(story, state, ahead):
    s = reach(story, state)
    story.inject(RST, seq=story.snd_nxt + ahead)
    story.expect_nothing()
    assert s.state == state


@pytest.mark.clause("3.10.7.4", "", "data that begins before the window is cut: only the new part is taken")
@pytest.mark.beside_linux
def test_data_across_the_left_edge(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"hello")
    story.inject(PSH | ACK, b"hello, world", seq=1)
    assert s.recv(100) == b"hello, world"


@pytest.mark.clause("3.10.7.4", "", "data that ends beyond the window is cut: only what fits is taken")
@pytest.mark.constants(receive_buffer=8)
def test_data_across_the_right_edge(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"0123456789abcdef", seq=1)
    assert s.recv(100) == b"01234567"


@pytest.mark.clause("3.10.7.4", "SHLD-31", "segments out of order are kept, and delivered in order")
@pytest.mark.beside_linux
def test_out_of_order_is_kept(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"ghi", seq=7)
    story.expect(ACK, ack=1)
    story.inject(PSH | ACK, b"def", seq=4)
    story.expect(ACK, ack=1)
    with pytest.raises(BlockingIOError):
        s.recv(100)
    story.inject(PSH | ACK, b"abc", seq=1)
    story.expect(ACK, ack=10)
    assert s.recv(100) == b"abcdefghi"


@pytest.mark.clause(
    "3.10.7.4", "MAY-13", "each segment out of order is answered at once, with what is expected"
)
@pytest.mark.beside_linux
def test_each_out_of_order_is_answered(story):
    reach(story, "ESTABLISHED")
    for number in (1461, 2921, 4381):
        story.inject(ACK, bytes(1460), seq=number)
        story.expect(ACK, ack=1)


@pytest.mark.clause("3.4", "", "the same bytes twice reach the program once")
@pytest.mark.beside_linux
def test_duplicates(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"once", seq=1)
    story.inject(PSH | ACK, b"once", seq=1)
    assert s.recv(100) == b"once"
    with pytest.raises(BlockingIOError):
        s.recv(100)


@pytest.mark.clause("3.10.7.4", "MUST-66", "with the window at zero, a reset in place is obeyed")
@pytest.mark.constants(receive_buffer=10)
def test_a_reset_into_a_zero_window(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, bytes(10))
    story.expect(ACK, ack=11, window=0, within=0.5)
    story.inject(RST)
    story.expect_nothing()
    with pytest.raises(ConnectionResetError):
        s.recv(100), s.recv(100)


@pytest.mark.clause("3.10.7.4", "", "with the window at zero, an ACK in place still counts")
@pytest.mark.constants(receive_buffer=10)
def test_an_ack_into_a_zero_window(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"mine")
    story.expect(ACK, data=b"mine")
    story.inject(PSH | ACK, bytes(10), ack=1)
    story.expect(ACK, ack=11, window=0, within=0.5)
    story.inject(ACK, seq=11, ack=5)
    story.expect_nothing(5)


@pytest.mark.clause("3.10.7.4", "", "with the window at zero, data is not taken, and is answered")
@pytest.mark.constants(receive_buffer=10)
def test_data_into_a_zero_window(story):
    reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, bytes(10))
    story.expect(ACK, ack=11, window=0, within=0.5)
    story.inject(PSH | ACK, b"x", seq=11)
    story.expect(ACK, ack=11, window=0)


# --- second, the RST bit: §3.5.3, RFC 5961 §3


@pytest.mark.clause("3.10.7.4", "", "a reset with exactly the next number ends the connection")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
def test_a_reset_in_place(story, state):
    s = reach(story, state)
    story.inject(RST)
    story.expect_nothing()
    assert s.state == "CLOSED"


@pytest.mark.clause("3.5.3", "MUST-12", "the program hears that its connection was reset")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", RECEIVING)
def test_the_program_hears_of_a_reset(story, state):
    s = reach(story, state)
    story.inject(RST)
    with pytest.raises(ConnectionResetError):
        s.recv(10)


@pytest.mark.clause("3.5.3", "MUST-12", "a program that writes hears that its connection was reset")
@pytest.mark.beside_linux
def test_a_writer_hears_of_a_reset(story):
    s = reach(story, "ESTABLISHED")
    story.inject(RST)
    with pytest.raises(ConnectionResetError):
        s.send(b"x")


@pytest.mark.clause("3.5.3", "SHLD-2", "a reset may carry data")
@pytest.mark.beside_linux
def test_a_reset_with_data(story):
    s = reach(story, "ESTABLISHED")
    story.inject(RST, b"the reason in words")
    assert s.state == "CLOSED"


@pytest.mark.clause(
    "3.10.7.4", "", "a reset in the window, but not in place, is answered by a challenge ACK (RFC 5961)"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
def test_a_reset_in_the_window(story, state):
    s = reach(story, state)
    story.inject(RST, seq=story.snd_nxt + 100)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)
    assert s.state == state


@pytest.mark.clause("3.10.7.4", "", "a reset in TIME-WAIT ends it")
def test_a_reset_in_time_wait(story):
    reach(story, "TIME-WAIT")
    story.inject(RST)
    story.expect_nothing()
    assert not story.machine.under_test.host.tcp.connections


# --- fourth, the SYN bit: RFC 5961 §4


@pytest.mark.clause(
    "3.10.7.4", "", "a SYN in the window is answered by a challenge ACK, and changes nothing (RFC 5961)"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
def test_a_syn_in_the_window(story, state):
    s = reach(story, state)
    story.inject(SYN, seq=story.snd_nxt + 100)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)
    assert s.state == state


@pytest.mark.clause(
    "3.10.7.4", "", "the SYN that opened the connection, come again, is answered by a challenge ACK"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
def test_the_first_syn_again(story, state):
    s = reach(story, state)
    story.inject(SYN, seq=0)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)
    assert s.state == state


@pytest.mark.clause(
    "3.10.7.4",
    "",
    "a peer that has forgotten us: its SYN is challenged, its reset believed, and it may begin anew",
)
@pytest.mark.beside_linux
def test_a_peer_that_restarts(story):
    s = reach(story, "ESTABLISHED")
    story.inject(SYN, seq=-20_000)
    challenge = story.expect(ACK, ack=1)
    story.inject(RST, seq=challenge.ack)
    assert s.state == "CLOSED"


@pytest.mark.clause("3.10.7.4", "MAY-2", "in TIME-WAIT, a SYN with a higher number opens a new connection")
@pytest.mark.beside_linux
def test_a_new_syn_in_time_wait(story):
    reach(story, "TIME-WAIT")
    story.listen()
    story.iss += 100_000
    story.irs, story.snd_nxt, story.rcv_nxt = None, 0, 0
    story.inject(SYN)
    story.expect(SYN | ACK, seq=0, ack=1)


# --- fifth, the ACK field


@pytest.mark.clause("3.10.7.4", "", "a segment without ACK is dropped in silence")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
@pytest.mark.parametrize("flags", [0, FIN, PSH], ids=["none", "FIN", "PSH"])
def test_no_ack(story, state, flags):
    s = reach(story, state)
    story.inject(flags, b"abc" if flags & PSH else b"", seq=story.snd_nxt)
    story.expect_nothing()
    assert s.state == state


@pytest.mark.clause("3.10.7.4", "", "an ACK of what was never sent is answered with an ACK, and dropped")
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", BEFORE_TIME_WAIT)
def test_an_ack_of_the_future(story, state):
    s = reach(story, state)
    story.inject(ACK, ack=next_number(state) + 1)
    story.expect(ACK, seq=next_number(state), ack=story.snd_nxt)
    assert s.state == state


@pytest.mark.clause("3.10.7.4", "", "data on a segment that acknowledges the future is not taken")
@pytest.mark.beside_linux
def test_data_with_an_ack_of_the_future(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"abc", seq=1, ack=5000)
    story.expect(ACK, ack=1)
    with pytest.raises(BlockingIOError):
        s.recv(10)


@pytest.mark.clause(
    "3.10.7.4",
    "MAY-12",
    "an ACK far below what is acknowledged is answered with an ACK, and dropped (RFC 5961 §5)",
)
@pytest.mark.beside_linux
def test_an_ack_of_long_ago(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"injected", seq=1, ack=-200_000)
    story.expect(ACK, ack=1)
    with pytest.raises(BlockingIOError):
        s.recv(10)


@pytest.mark.clause("3.10.7.4", "", "an old ACK is ignored, the data with it is taken")
@pytest.mark.beside_linux
def test_an_old_ack(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"mine")
    story.expect(ACK, data=b"mine")
    story.inject(ACK, ack=5)
    story.inject(PSH | ACK, b"yours", ack=1)
    assert s.recv(10) == b"yours"


@pytest.mark.clause("3.10.7.4", "", "the window is taken from a newer segment, not from an older one")
def test_an_older_window_does_not_count(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"x")
    story.expect(ACK, data=b"x")
    story.inject(PSH | ACK, b"new", ack=2, window=65535)
    story.inject(ACK, seq=1, ack=1, window=0)  # sent earlier, overtaken on the way
    story.sent()
    s.send(bytes(2000))
    assert sum(len(seen.data) for seen in story.sent()) > 500


@pytest.mark.clause("3.10.7.4", "", "an ACK of part of what is under way moves the left edge to there")
def test_a_partial_ack(story):
    s = reach(story, "ESTABLISHED")
    s.send(bytes(500))
    story.expect(ACK, seq=1, length=500)
    story.inject(ACK, ack=401)
    story.expect(ACK, seq=401, length=100, within=3)


# --- sixth, the URG bit


@pytest.mark.clause(
    "3.10.7.4", "", "an urgent segment of a stream that nobody reads urgently is delivered all the same"
)
@pytest.mark.beside_linux
def test_urgent_data_inline(story):
    s = reach(story, "ESTABLISHED")
    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    story.inject(PSH | ACK | URG, b"abc", urgent=3)
    assert s.recv(10) + _rest(s) == b"abc"


@pytest.mark.clause("3.8.5", "MUST-62", "the urgent pointer points behind the last urgent byte")
@pytest.mark.beside_linux
def test_urgent_data_sent(story):
    s = reach(story, "ESTABLISHED")
    s.send(b"abc", socket.MSG_OOB)
    seen = story.expect(ACK | URG, seq=1, data=b"abc")
    assert seen.header.urgent == 3


@pytest.mark.clause("3.8.5", "MUST-31", "urgent data may be of any length: each segment of it tells its end")
@pytest.mark.beside_linux
def test_much_urgent_data(story):
    s = reach(story, "ESTABLISHED")
    s.send(bytes(3000), socket.MSG_OOB)
    sent = story.sent()
    assert sum(seen.length for seen in sent) == 3000
    assert all(seen.flags & URG and seen.header.urgent == 3001 - seen.seq for seen in sent)


@pytest.mark.clause(
    "3.8.5", "MUST-30", "the program reads the urgent byte at once, whatever lies unread in front of it"
)
@pytest.mark.beside_linux
def test_urgent_data_received(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"unread")
    story.inject(PSH | ACK | URG, b"ab!", urgent=3)
    assert s.recv(1, socket.MSG_OOB) == b"!"
    assert s.recv(20) + _rest(s) == b"unreadab"


@pytest.mark.clause("3.8.5", "MUST-32", "the program hears of urgent data before it has come")
@pytest.mark.beside_linux
def test_urgent_data_announced(story):
    s = reach(story, "ESTABLISHED")
    story.inject(ACK | URG, urgent=5)  # four bytes are to come, the last of them urgent
    with pytest.raises(BlockingIOError):
        s.recv(1, socket.MSG_OOB)
    story.inject(PSH | ACK, b"abc!z")
    assert s.recv(1, socket.MSG_OOB) == b"z"


@pytest.mark.clause("3.8.5", "MUST-33", "the program can tell where the urgent data ends: no read crosses it")
@pytest.mark.beside_linux
def test_no_read_crosses_the_mark(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK | URG, b"ab!cd", urgent=3)
    assert [s.recv(20), _rest(s)] == [b"ab", b"cd"]


@pytest.mark.clause("3.8.5", "", "urgent data behind a shut window is announced without a byte of it")
def test_urgent_data_behind_a_shut_window(story):
    s = reach(story, "ESTABLISHED")
    story.inject(ACK, ack=1, window=0)
    s.send(b"abc", socket.MSG_OOB)
    seen = story.expect(ACK | URG, length=0)
    assert seen.header.urgent == 3


def _rest(s):
    try:
        return s.recv(10)
    except BlockingIOError:
        return b""


# --- seventh, the text


@pytest.mark.clause(
    "3.10.7.4", "", "text is taken while the peer may send: in ESTABLISHED, FIN-WAIT-1 and FIN-WAIT-2"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize("state", RECEIVING)
def test_text(story, state):
    s = reach(story, state)
    story.inject(PSH | ACK, b"hello")
    story.expect(ACK, ack=story.snd_nxt, within=0.5)
    assert s.recv(10) == b"hello"


@pytest.mark.clause("3.10.7.4", "", "text behind the peer's FIN is ignored")
@pytest.mark.parametrize("state", DONE_RECEIVING)
def test_text_behind_a_fin(story, state):
    s = reach(story, state)
    story.inject(PSH | ACK, b"ghost")
    story.sent()
    if state == "CLOSE-WAIT":
        assert s.recv(10) == b""


@pytest.mark.clause("3.8.6.3", "SHLD-18", "an acknowledgement of a small segment waits a little")
@pytest.mark.beside_linux("Linux begins in quick-ACK mode: the first segments are acknowledged at once")
def test_a_delayed_ack(story):
    reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"hello")
    story.expect_nothing()
    story.expect(ACK, ack=6, within=0.5)


@pytest.mark.clause("3.8.6.3", "MUST-40", "no acknowledgement waits for half a second")
@pytest.mark.beside_linux
@pytest.mark.parametrize("length", [1, 100, 1000])
def test_no_ack_waits_long(story, length):
    reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, bytes(length))
    story.expect(ACK, ack=1 + length, within=0.499)


@pytest.mark.clause("3.8.6.3", "SHLD-19", "every second full segment is acknowledged at once")
@pytest.mark.beside_linux
@pytest.mark.parametrize("segments", [2, 4, 6])
def test_every_second_segment(story, segments):
    reach(story, "ESTABLISHED")
    for k in range(segments):
        story.inject(ACK, bytes(1460), seq=1 + 1460 * k)
    seen = story.sent()
    assert seen and seen[-1].ack == 1 + 1460 * segments


@pytest.mark.clause("3.10.7.4", "MUST-58", "an acknowledgement travels with data that is sent anyway")
def test_a_piggybacked_ack(story):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"question")
    s.recv(100)
    s.send(b"answer")
    story.expect(ACK, data=b"answer", ack=9)
    story.expect_nothing(0.4)


# --- eighth, the FIN bit


@pytest.mark.clause("3.10.7.4", "", "a FIN is acknowledged, and the program reads the end")
@pytest.mark.beside_linux
def test_a_fin(story):
    s = reach(story, "ESTABLISHED")
    story.inject(FIN | ACK)
    story.expect(ACK, ack=2)
    assert s.recv(10) == b"" and s.state == "CLOSE-WAIT"


@pytest.mark.clause("3.10.7.4", "", "a FIN with data behind which it stands is obeyed after the data")
@pytest.mark.beside_linux
def test_a_fin_with_data(story):
    s = reach(story, "ESTABLISHED")
    story.inject(FIN | ACK, b"bye")
    story.expect(ACK, ack=5, within=0.5)
    assert s.recv(10) == b"bye"
    assert s.recv(10) == b""


@pytest.mark.clause("3.10.7.4", "", "a FIN that comes before the data in front of it waits for that")
@pytest.mark.beside_linux
def test_an_early_fin(story):
    s = reach(story, "ESTABLISHED")
    story.inject(FIN | ACK, b"def", seq=4)
    story.expect(ACK, ack=1)
    assert s.state == "ESTABLISHED"
    story.inject(PSH | ACK, b"abc", seq=1)
    story.expect(ACK, ack=8)
    assert s.state == "CLOSE-WAIT"
    assert s.recv(10) == b"abcdef"
    assert s.recv(10) == b""


@pytest.mark.clause("3.10.7.4", "", "FIN-WAIT-1: a FIN that does not acknowledge ours leads to CLOSING")
@pytest.mark.beside_linux
def test_fin_wait_1_to_closing(story):
    s = reach(story, "FIN-WAIT-1")
    story.inject(FIN | ACK, ack=1)
    story.expect(ACK, ack=2)
    assert s.state == "CLOSING"


@pytest.mark.clause(
    "3.10.7.4", "", "FIN-WAIT-1: a FIN that acknowledges ours leads to TIME-WAIT: three segments close"
)
@pytest.mark.beside_linux
def test_fin_wait_1_to_time_wait(story):
    s = reach(story, "FIN-WAIT-1")
    story.inject(FIN | ACK)
    story.expect(ACK, seq=2, ack=2)
    assert s.state in ("TIME-WAIT", "CLOSED")  # Linux keeps TIME-WAIT beside the socket


@pytest.mark.clause("3.10.7.4", "", "FIN-WAIT-1: an ACK of our FIN leads to FIN-WAIT-2")
@pytest.mark.beside_linux
def test_fin_wait_1_to_fin_wait_2(story):
    s = reach(story, "FIN-WAIT-1")
    story.inject(ACK)
    story.expect_nothing()
    assert s.state == "FIN-WAIT-2"


@pytest.mark.clause("3.10.7.4", "", "FIN-WAIT-2: a FIN leads to TIME-WAIT")
@pytest.mark.beside_linux
def test_fin_wait_2_to_time_wait(story):
    s = reach(story, "FIN-WAIT-2")
    story.inject(FIN | ACK)
    story.expect(ACK, seq=2, ack=2)
    assert s.state in ("TIME-WAIT", "CLOSED")


@pytest.mark.clause("3.10.7.4", "", "CLOSING: the ACK of our FIN leads to TIME-WAIT")
def test_closing_to_time_wait(story):
    s = reach(story, "CLOSING")
    story.inject(ACK)
    assert s.state == "TIME-WAIT"


@pytest.mark.clause("3.10.7.4", "", "LAST-ACK: the ACK of our FIN ends the connection")
@pytest.mark.beside_linux
def test_last_ack_to_closed(story):
    s = reach(story, "LAST-ACK")
    story.inject(ACK)
    assert s.state == "CLOSED"


@pytest.mark.clause(
    "3.10.7.4", "MUST-13", "TIME-WAIT: the FIN come again is answered, and the wait of 2 MSL begins anew"
)
def test_a_fin_in_time_wait(story):
    reach(story, "TIME-WAIT")
    story.wait(50)
    story.inject(FIN | ACK, seq=1)
    story.expect(ACK, seq=2, ack=2)
    connections = story.machine.under_test.host.tcp.connections
    story.wait(59)
    assert len(connections) == 1
    story.wait(2)
    assert not connections


@pytest.mark.clause("3.10.7.4", "", "a connection that was reset knows its error once")
@pytest.mark.beside_linux
def test_the_error_is_told_once(story):
    s = reach(story, "ESTABLISHED")
    story.inject(RST)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
