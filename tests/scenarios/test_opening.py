"""How a connection opens, and what is said to a segment that opens none: RFC 9293 §3.4.1, §3.5, §3.9.1.1,
§3.10.7.1 to §3.10.7.3."""

import errno
import socket
from itertools import pairwise

import pytest

from labstack.core.addresses import IPAddress
from labstack.grading.story import Story
from labstack.headers.tcp import ACK, FIN, PSH, RST, SYN, Options

# --- the handshake: §3.5


@pytest.mark.feature(
    "TCP", "RFC 9293 clause by clause, in stories most of which Linux is told too (docs/tcp-scenarios.md)"
)
@pytest.mark.clause("3.5", "", "three segments open a connection: SYN, SYN and ACK, ACK")
@pytest.mark.beside_linux
def test_three_segments_open(story):
    listener = story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK, seq=0, ack=1)
    story.inject(ACK)
    story.expect_nothing()
    assert listener.accept().state == "ESTABLISHED"


@pytest.mark.clause("3.5", "", "a program that connects sends a SYN, and acknowledges the answer")
@pytest.mark.beside_linux
def test_a_program_connects(story):
    s = story.connect()
    syn = story.expect(SYN, seq=0)
    assert syn.data == b"" and s.state == "SYN-SENT"
    story.inject(SYN | ACK)
    story.expect(ACK, seq=1, ack=1)
    assert s.state == "ESTABLISHED"


@pytest.mark.clause(
    "3.5", "MUST-10", "two ends that connect to each other at the same time get one connection"
)
@pytest.mark.beside_linux
def test_simultaneous_open(story):
    s = story.connect()
    story.expect(SYN, seq=0)
    story.inject(SYN)
    story.expect(SYN | ACK, seq=0, ack=1)
    assert s.state == "SYN-RECEIVED"
    story.inject(SYN | ACK, seq=0, ack=1)
    assert s.state == "ESTABLISHED"
    s.send(b"hello")
    story.rcv_nxt = 1
    seen = [segment for segment in story.sent() if segment.data]
    assert [segment.data for segment in seen] == [b"hello"]


@pytest.mark.clause("3.5", "MUST-10", "the bare ACK of our SYN ends a simultaneous open as well")
def test_simultaneous_open_ended_by_an_ack(story):
    s = story.connect()
    story.expect(SYN)
    story.inject(SYN)
    story.expect(SYN | ACK, seq=0, ack=1)
    story.inject(ACK)
    assert s.state == "ESTABLISHED"


@pytest.mark.clause(
    "3.5", "MUST-11", "a reset sends a passive SYN-RECEIVED back to LISTEN, and nobody is told"
)
@pytest.mark.beside_linux
def test_a_reset_in_a_passive_syn_received(story):
    listener = story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(RST, seq=1)
    story.expect_nothing()
    with pytest.raises(BlockingIOError):
        listener.accept()
    # It listens still, and the next one gets in.
    story.irs, story.rcv_nxt, story.snd_nxt = None, 0, 0
    story.peer_port = story.machine.fresh_port()
    story.inject(SYN)
    story.expect(SYN | ACK, ack=1)
    story.inject(ACK)
    assert listener.accept().state == "ESTABLISHED"


@pytest.mark.clause("3.5", "MUST-11", "a reset ends an active SYN-RECEIVED: connection refused")
def test_a_reset_in_an_active_syn_received(story):
    s = story.connect()
    story.expect(SYN)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(RST, seq=1)
    story.expect_nothing()
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


@pytest.mark.clause(
    "3.8.1", "", "a SYN that is not answered is sent again after 1 s, 3 s, 7 s: twice as long each time"
)
@pytest.mark.beside_linux("Linux 6 sends the first five SYNs one second apart (tcp_syn_linear_timeouts)")
def test_the_syn_again(story):
    story.connect()
    story.expect(SYN, seq=0)
    story.expect(SYN, seq=0, after=1.0, tolerance=0.1)
    story.expect(SYN, seq=0, after=2.0, tolerance=0.1)
    if story.machine.name == "labstack":
        story.expect(SYN, seq=0, after=4.0)


@pytest.mark.clause("3.8.3", "MUST-23", "an unanswered SYN is tried for at least three minutes")
@pytest.mark.constants(syn_retries=7)
def test_syns_for_three_minutes(story):
    s = story.connect()
    story.expect(SYN)
    story.wait(179)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    story.wait(120)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT


@pytest.mark.clause(
    "3.8.3", "MUST-22", "SYNs are counted like data: after the last one, the program hears of a time-out"
)
@pytest.mark.constants(syn_retries=2)
def test_the_last_syn(story):
    s = story.connect()
    for after in (None, 1.0, 2.0):
        story.expect(SYN, after=after)
    story.expect_nothing(60)
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT


@pytest.mark.clause("3.8.1", "", "a lost SYN and ACK is sent again when the SYN comes again")
@pytest.mark.beside_linux
def test_the_answer_again(story):
    story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK, seq=0, ack=1)
    story.inject(SYN, seq=0)
    story.expect(SYN | ACK, seq=0, ack=1)


@pytest.mark.clause("3.8.1", "", "a SYN and ACK that is not answered is sent again by itself")
@pytest.mark.beside_linux
def test_the_answer_again_by_itself(story):
    story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK, seq=0, ack=1)
    story.expect(SYN | ACK, seq=0, ack=1, after=1.0, tolerance=0.3)


@pytest.mark.clause("3.10.7.4", "", "data on the handshake's last ACK is taken")
@pytest.mark.beside_linux
def test_data_with_the_last_ack(story):
    listener = story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(PSH | ACK, b"early")
    assert listener.accept().recv(100) == b"early"


@pytest.mark.clause("3.10.7.4", "", "a FIN on the handshake's last ACK is taken: CLOSE-WAIT")
@pytest.mark.beside_linux
def test_a_fin_with_the_last_ack(story):
    listener = story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(FIN | ACK)
    story.expect(ACK, ack=2)
    accepted = listener.accept()
    assert accepted.state == "CLOSE-WAIT" and accepted.recv(10) == b""


@pytest.mark.clause("3.4.1", "MUST-8", "initial numbers move on with a clock of 4 µs")
def test_initial_numbers_move_with_the_clock(story):
    story.listen()
    story.inject(SYN)
    first = story.expect(SYN | ACK).header.seq
    story.inject(RST, seq=1)
    story.wait(10)
    story.inject(SYN, seq=0)
    second = story.expect(SYN | ACK).header.seq
    assert (second - first) % 2**32 == 10_000_000 // 4


@pytest.mark.clause(
    "3.4.1", "SHLD-1", "initial numbers of two four-tuples have nothing to do with each other"
)
def test_initial_numbers_are_secret(story):
    story.listen()
    numbers = []
    for _ in range(8):
        story.inject(SYN, seq=0)
        numbers.append(story.expect(SYN | ACK).header.seq)
        story.irs, story.peer_port = None, story.machine.fresh_port()
    steps = [(b - a) % 2**32 for a, b in pairwise(numbers)]
    assert len(set(steps)) == len(steps) and all(step > 1000 for step in steps)


# --- addresses: §3.9.2.3


@pytest.mark.clause(
    "3.9.2.3", "MUST-46", "connecting to a broadcast or multicast address is an error at once"
)
@pytest.mark.parametrize("address", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_connect_to_a_group(story, address):
    with pytest.raises(OSError) as raised:
        story.socket().connect(address, 80)
    assert raised.value.errno in (errno.ENETUNREACH, errno.EACCES)
    story.expect_nothing(5)


@pytest.mark.clause("3.9.2.3", "MUST-57", "a SYN to a broadcast or multicast address is dropped in silence")
@pytest.mark.parametrize("address", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_a_syn_to_a_group(story, address):
    story.listen()
    story.inject(SYN, dst=IPAddress.parse(address))
    story.expect_nothing(5)


@pytest.mark.clause("3.9.2.3", "MUST-63", "a SYN from an address that is no host's is dropped in silence")
@pytest.mark.parametrize("address", ["255.255.255.255", "224.0.0.1", "10.0.0.255", "127.0.0.1", "0.0.0.0"])
def test_a_syn_from_no_host(story, address):
    story.listen()
    story.inject(SYN, src=IPAddress.parse(address))
    story.expect_nothing(5)


@pytest.mark.clause(
    "3.9.1.1", "MUST-42", "several programs may listen at the same port of different addresses"
)
def test_two_listen_at_one_port(story):
    host = story.machine.under_test.host
    host.interface("eth1", "10.9.0.1/24")
    first, second = host.socket(), host.socket()
    first.bind(("10.0.0.1", 80)), second.bind(("10.9.0.1", 80))
    first.listen(), second.listen()
    first.setblocking(False), second.setblocking(False)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(ACK)
    assert first.accept()
    with pytest.raises(BlockingIOError):
        second.accept()


@pytest.mark.clause(
    "3.9.1.1", "MUST-41", "a listening port takes a second connection while the first is open"
)
@pytest.mark.beside_linux
def test_one_port_many_connections(story):
    listener = story.listen()
    for _ in range(3):
        story.irs, story.rcv_nxt, story.snd_nxt = None, 0, 0
        story.peer_port = story.machine.fresh_port()
        story.inject(SYN)
        story.expect(SYN | ACK)
        story.inject(ACK)
        assert listener.accept().state == "ESTABLISHED"


@pytest.mark.clause("3.9.1.1", "MUST-43", "a program may choose the address that it connects from")
def test_the_local_address_of_an_open(story):
    host = story.machine.under_test.host
    host.interface("eth1", "10.9.0.1/24")
    s = host.socket()
    s.setblocking(False)
    s.bind(("10.9.0.1", 0))
    with pytest.raises(BlockingIOError):
        s.connect((str(story.machine.peer), story.peer_port))
    assert str(story.expect(SYN).ip.src) == "10.9.0.1"
    s.close()


# --- no connection: §3.10.7.1, §3.5.2 group 1


@pytest.mark.clause(
    "3.10.7.1", "", "to a closed port: a segment without ACK is reset with its own length acknowledged"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize(
    ("flags", "data", "acked"),
    [(SYN, b"", 1), (FIN, b"", 1), (0, b"abc", 3), (SYN, b"abc", 4), (SYN | FIN, b"", 2), (PSH, b"x", 1)],
    ids=["SYN", "FIN", "data", "SYN with data", "SYN and FIN", "one byte"],
)
def test_a_closed_port_without_ack(story, flags, data, acked):
    story.port = 9
    story.inject(flags, data)
    seen = story.expect(RST | ACK, ack=acked)
    assert seen.header.seq == 0


@pytest.mark.clause(
    "3.10.7.1", "", "to a closed port: a segment with ACK is reset at the number that it acknowledges"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, PSH | ACK], ids=["ACK", "SYN", "FIN", "PSH"])
def test_a_closed_port_with_ack(story, flags):
    story.port, story.irs = 9, 0
    story.inject(flags, b"abc" if flags & PSH else b"", ack=4711)
    seen = story.expect(RST)
    assert seen.header.seq == 4711 and seen.header.ack == 0


@pytest.mark.clause("3.10.7.1", "", "a reset to a closed port is never answered")
@pytest.mark.beside_linux
@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN], ids=["RST", "RST and ACK", "RST and SYN"])
def test_a_reset_to_a_closed_port(story, flags):
    story.port = 9
    story.inject(flags)
    story.expect_nothing()


# --- LISTEN: §3.10.7.2


@pytest.mark.clause("3.10.7.2", "", "a listening port ignores a reset")
@pytest.mark.beside_linux
@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN, RST | SYN | ACK])
def test_a_reset_to_a_listening_port(story, flags):
    story.listen()
    story.inject(flags)
    story.expect_nothing()


@pytest.mark.clause("3.10.7.2", "", "a listening port resets what acknowledges, for it has sent nothing")
@pytest.mark.beside_linux
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK, PSH | ACK], ids=["ACK", "SYN", "FIN", "PSH"])
def test_an_ack_to_a_listening_port(story, flags):
    story.listen()
    story.irs = 0
    story.inject(flags, b"abc" if flags & PSH else b"", ack=4711)
    assert story.expect(RST).header.seq == 4711


@pytest.mark.clause("3.10.7.2", "", "a listening port drops a segment with neither RST, ACK nor SYN")
@pytest.mark.beside_linux
@pytest.mark.parametrize(
    ("flags", "data"), [(0, b""), (PSH, b"abc"), (FIN, b"")], ids=["none", "data", "FIN"]
)
def test_nothing_that_opens(story, flags, data):
    story.listen()
    story.inject(flags, data)
    story.expect_nothing()


@pytest.mark.clause(
    "3.10.7.2", "", "data on a SYN does not hurt: the handshake goes on, and the peer sends it again"
)
@pytest.mark.beside_linux
def test_data_on_a_syn(story):
    listener = story.listen()
    story.inject(SYN, b"early", seq=0)
    story.expect(SYN | ACK, ack=1)
    story.snd_nxt = 1
    story.inject(PSH | ACK, b"early")
    assert listener.accept().recv(100) == b"early"


# --- SYN-SENT: §3.10.7.3


@pytest.mark.clause("3.10.7.3", "", "in SYN-SENT, an ACK of something else is reset at its number")
@pytest.mark.beside_linux
@pytest.mark.parametrize("flags", [ACK, SYN | ACK, FIN | ACK], ids=["ACK", "SYN", "FIN"])
@pytest.mark.parametrize("ack", [0, 2, 1000])
def test_a_wrong_ack_in_syn_sent(story, flags, ack):
    s = story.connect()
    story.expect(SYN)
    story.inject(flags, seq=0, ack=ack)
    story.expect(RST, seq=ack)
    assert s.state == "SYN-SENT"


@pytest.mark.clause("3.10.7.3", "", "in SYN-SENT, a reset that acknowledges our SYN refuses the connection")
@pytest.mark.beside_linux
def test_refused(story):
    s = story.connect()
    story.expect(SYN)
    story.inject(RST | ACK, seq=0)
    story.expect_nothing()
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


@pytest.mark.clause("3.10.7.3", "", "in SYN-SENT, a reset that acknowledges nothing is dropped")
@pytest.mark.beside_linux
def test_a_reset_without_ack_in_syn_sent(story):
    s = story.connect()
    story.expect(SYN)
    story.inject(RST, seq=0)
    story.expect_nothing()
    assert s.state == "SYN-SENT"


@pytest.mark.clause("3.10.7.3", "", "in SYN-SENT, a reset that acknowledges something else is dropped")
@pytest.mark.beside_linux("Linux drops it too, and then sends its SYN again at once")
@pytest.mark.parametrize("ack", [0, 2])
def test_a_reset_with_a_wrong_ack_in_syn_sent(story, ack):
    s = story.connect()
    story.expect(SYN)
    story.inject(RST | ACK, seq=0, ack=ack)
    story.expect_nothing()
    assert s.state == "SYN-SENT"


@pytest.mark.clause("3.10.7.3", "", "in SYN-SENT, a segment with neither SYN nor RST is dropped")
@pytest.mark.beside_linux
@pytest.mark.parametrize(("flags", "data"), [(ACK, b""), (PSH | ACK, b"abc"), (FIN | ACK, b""), (PSH, b"x")])
def test_no_syn_in_syn_sent(story, flags, data):
    s = story.connect()
    story.expect(SYN)
    story.inject(flags, data, seq=0)
    story.expect_nothing()
    assert s.state == "SYN-SENT"


@pytest.mark.clause("3.10.7.3", "", "what a peer sends with its SYN and ACK is taken")
def test_data_with_the_syn_ack(story):
    s = story.connect()
    story.expect(SYN)
    story.inject(SYN | ACK, b"welcome")
    story.expect(ACK)
    assert s.recv(100) == b"welcome"
    story.expect(ACK, ack=8, within=0.5)


@pytest.mark.clause("3.10.7.4", "", "in SYN-RECEIVED, an ACK of something else is reset at its number")
@pytest.mark.beside_linux
@pytest.mark.parametrize("ack", [0, 2, 1000])
def test_a_wrong_ack_in_syn_received(story, ack):
    story.listen()
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(ACK, ack=ack)
    story.expect(RST, seq=ack)


@pytest.mark.clause("3.5.2", "", "an old SYN that is answered is undone by the peer's reset")
def test_an_old_duplicate_syn(story: Story):
    listener = story.listen()
    story.inject(SYN, seq=-5000)
    answer = story.expect(SYN | ACK, ack=-4999)
    story.inject(RST, seq=-4999)
    story.inject(SYN)
    story.irs = None
    story.expect(SYN | ACK, seq=0, ack=1)
    assert answer.header.seq is not None
    story.inject(ACK)
    assert listener.accept().state == "ESTABLISHED"


@pytest.mark.clause(
    "3.5.1", "", "half-open: who has forgotten a connection resets it, and its peer may begin anew"
)
def test_half_open(story):
    # The machine under test knows nothing of this connection; the peer believes in it.
    story.port, story.irs, story.rcv_nxt, story.snd_nxt = 80, 0, 5000, 300
    story.inject(PSH | ACK, b"hello?")
    seen = story.expect(RST)
    assert seen.header.seq == 5000


@pytest.mark.clause("3.1", "MUST-3", "a segment with a wrong checksum is dropped in silence")
@pytest.mark.beside_linux
@pytest.mark.parametrize("flags", [SYN, ACK, RST], ids=["SYN", "ACK", "RST"])
def test_a_wrong_checksum(story, flags):
    story.listen()
    story.inject(flags, damage=True)
    story.expect_nothing()


@pytest.mark.clause("3.1", "", "reserved bits are ignored")
@pytest.mark.beside_linux
@pytest.mark.parametrize("bit", [0x200, 0x400, 0x800], ids=["bit 6", "bit 5", "bit 4"])
def test_reserved_bits(story, bit):
    listener = story.listen()
    story.inject(SYN | bit)
    story.expect(SYN | ACK, ack=1)
    story.inject(ACK | bit)
    assert listener.accept().state == "ESTABLISHED"


@pytest.mark.clause("3.2", "MUST-4", "the SYN of a program that connects announces an MSS")
@pytest.mark.beside_linux
def test_the_syn_announces_an_mss(story):
    story.connect()
    assert story.expect(SYN).options.mss == 1460


@pytest.mark.clause("3.2", "MUST-14", "the answer to a SYN announces an MSS, also to one that announced none")
@pytest.mark.beside_linux
@pytest.mark.parametrize("options", [Options(), Options(mss=1000)], ids=["none", "1000"])
def test_the_answer_announces_an_mss(story, options):
    story.listen()
    story.inject(SYN, options=options)
    assert story.expect(SYN | ACK).options.mss == 1460
