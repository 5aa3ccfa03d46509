"""A flood of SYNs, and cookies against it: RFC 4987."""

import pytest

from labstack.core.addresses import IPAddress
from labstack.headers.tcp import ACK, PSH, RST, SYN, Options

COOKIES = {"syn_cookies": True}


def flood(story, count, first=0):
    """So many SYNs from as many machines that will never answer."""
    for k in range(first, first + count):
        story.inject(SYN, seq=0, src=IPAddress.parse(f"10.{1 + k // 65536}.{k // 256 % 256}.{k % 256}"))
    story.machine.under_test.sent()


def counters(story):
    return story.machine.under_test.host.counters


@pytest.mark.clause("3.10.7.2", "", "without cookies, a full backlog drops a SYN in silence")
def test_without_cookies(story):
    story.listen(backlog=4)
    flood(story, 4)
    story.inject(SYN)
    story.expect_nothing()
    assert counters(story)["tcp.backlog_full"] == 1


@pytest.mark.feature(
    "TCP", "SYN cookies: a flood of 100,000 SYNs leaves memory bounded, and honest connections are served"
)
@pytest.mark.constants(**COOKIES)
@pytest.mark.parametrize("syns", [2_000, pytest.param(100_000, marks=pytest.mark.check)])
def test_a_flood(story, syns):
    listener = story.listen(backlog=16)
    flood(story, syns)
    connections = story.machine.under_test.host.tcp.connections
    assert len(connections) == 16
    served = 0
    for _ in range(20):
        story.irs, story.rcv_nxt, story.snd_nxt = None, 0, 0
        story.peer_port = story.machine.fresh_port()
        story.inject(SYN, options=Options(mss=1400))
        story.expect(SYN | ACK, seq=0, ack=1)
        story.inject(ACK)
        accepted = listener.accept()
        story.inject(PSH | ACK, b"hello")
        served += accepted.recv(10) == b"hello"
        accepted.close()
        story.sent()
    assert served == 20
    # The flood's own connections time out, and nothing is left of it.
    story.wait(300)
    assert all(c.state.value != "SYN-RECEIVED" for c in connections.values())
    assert counters(story)["tcp.syn_cookie"] == syns - 16 + 20


@pytest.mark.constants(**COOKIES)
@pytest.mark.parametrize(
    ("mss", "kept"), [(None, 536), (100, 216), (536, 536), (1000, 768), (1460, 1460), (9000, 1460)]
)
def test_the_mss_survives_roughly(story, mss, kept):
    listener = story.listen(backlog=1)
    flood(story, 1)
    story.inject(SYN, options=Options(mss=mss) if mss else b"")
    assert story.expect(SYN | ACK).options.mss == 1460
    story.inject(ACK)
    s = listener.accept()
    s.send(bytes(5000))
    assert max(len(seen.data) for seen in story.sent()) == kept


@pytest.mark.constants(**COOKIES)
def test_data_with_the_cookie_is_taken(story):
    listener = story.listen(backlog=1)
    flood(story, 1)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(PSH | ACK, b"at once")
    assert listener.accept().recv(10) == b"at once"


@pytest.mark.constants(**COOKIES)
def test_a_lost_ack_is_made_good_by_the_data(story):
    listener = story.listen(backlog=1)
    flood(story, 1)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.snd_nxt = 1  # the ACK gets lost
    story.inject(PSH | ACK, b"data")
    assert listener.accept().recv(10) == b"data"


@pytest.mark.constants(**COOKIES)
@pytest.mark.parametrize("change", [1, 1 << 24, 1 << 31, 0xABCDEF])
def test_a_forged_cookie_is_reset(story, change):
    listener = story.listen(backlog=1)
    flood(story, 1)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(ACK, ack=1 + change)
    story.expect(RST)
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert counters(story)["tcp.bad_cookie"] == 1


@pytest.mark.constants(**COOKIES)
def test_another_number_of_the_peers_does_not_fit(story):
    story.listen(backlog=1)
    flood(story, 1)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.inject(ACK, seq=7)
    story.expect(RST)


@pytest.mark.constants(**COOKIES)
@pytest.mark.parametrize(("seconds", "good"), [(0, True), (59, True), (121, False), (3600, False)])
def test_a_cookie_is_good_for_a_minute_or_two(story, seconds, good):
    listener = story.listen(backlog=1)
    flood(story, 1)
    story.inject(SYN)
    story.expect(SYN | ACK)
    story.wait(seconds)
    flood(story, 1, first=10)
    story.inject(ACK)
    story.sent()
    if good:
        assert listener.accept()
    else:
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.constants(**COOKIES)
def test_cookies_do_not_fill_the_queue_of_the_program(story):
    """The program does not accept: then cookies would be a promise that nobody keeps, and SYNs are dropped."""
    story.listen(backlog=2)
    for _ in range(2):
        story.irs, story.rcv_nxt, story.snd_nxt = None, 0, 0
        story.peer_port = story.machine.fresh_port()
        story.inject(SYN)
        story.expect(SYN | ACK)
        story.inject(ACK)
    story.irs, story.snd_nxt = None, 0
    story.peer_port = story.machine.fresh_port()
    story.inject(SYN)
    story.expect_nothing()
    assert counters(story)["tcp.backlog_full"] == 1


@pytest.mark.constants(**COOKIES)
def test_a_port_that_gave_out_no_cookies_resets_an_ack(story):
    story.listen(backlog=5)
    story.irs = 0
    story.inject(ACK, ack=4711)
    assert story.expect(RST).header.seq == 4711
