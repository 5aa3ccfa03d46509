"""What stands behind the fixed header: RFC 9293 §3.2, RFC 7323 §2."""

import pytest

from labstack.headers.tcp import ACK, PSH, SYN, Options
from tests.scenarios.reach import reach

NOP, EOL = b"\x01", b"\x00"
MSS_1000 = b"\x02\x04\x03\xe8"
UNKNOWN = b"\xfd\x06abcd"


def largest(story, options):
    """The largest payload that a peer with these options in its SYN is sent."""
    s = story.established(options=options)
    s.send(bytes(8000))
    story.machine.wait(0.01)
    return max(len(seen.data) for seen in story.sent())


@pytest.mark.clause(
    "3.1", "MUST-4", "end of list, no-operation and MSS are understood, in any order and alignment"
)
@pytest.mark.beside_linux
@pytest.mark.parametrize(
    "options",
    [
        MSS_1000,
        NOP * 4 + MSS_1000,
        NOP + MSS_1000 + NOP * 3,
        MSS_1000 + EOL * 4,
        NOP * 2 + MSS_1000 + EOL * 2,
    ],
    ids=["MSS", "behind four NOPs", "at byte 1", "before EOL", "at byte 2"],
)
def test_the_mandatory_options(story, options):
    assert largest(story, options) == 1000


@pytest.mark.clause("3.1", "MUST-64", "options are read at any alignment")
@pytest.mark.beside_linux
@pytest.mark.parametrize("before", [1, 2, 3])
def test_alignment(story, before):
    assert largest(story, NOP * before + MSS_1000 + NOP * (4 - before)) == 1000


@pytest.mark.clause("3.1", "MUST-6", "an option that is not known is passed over, by its length")
@pytest.mark.beside_linux
@pytest.mark.parametrize("kind", [9, 100, 200, 253, 254])
def test_an_unknown_option(story, kind):
    assert largest(story, bytes([kind, 6]) + b"abcd" + MSS_1000 + NOP * 2) == 1000


@pytest.mark.clause("3.1", "MUST-7", "an illegal option length ends the reading, and does no harm")
@pytest.mark.beside_linux
@pytest.mark.parametrize("length", [0, 1, 41, 255])
def test_an_illegal_length(story, length):
    assert largest(story, MSS_1000 + bytes([200, length]) + NOP * 2) == 1000


@pytest.mark.clause("3.1", "MUST-5", "options are allowed on any segment")
@pytest.mark.beside_linux
@pytest.mark.parametrize("options", [NOP * 4, UNKNOWN + NOP * 2, EOL * 4], ids=["NOP", "unknown", "EOL"])
def test_options_on_data(story, options):
    s = reach(story, "ESTABLISHED")
    story.inject(PSH | ACK, b"hello", options=options)
    assert s.recv(10) == b"hello"


@pytest.mark.clause("3.1", "", "what stands behind the end of the list is not read")
@pytest.mark.beside_linux
def test_behind_the_end(story):
    assert largest(story, EOL * 4 + MSS_1000) == 536


@pytest.mark.clause("3.2", "", "an MSS on a segment that is no SYN changes nothing")
@pytest.mark.beside_linux
def test_an_mss_behind_the_syn(story):
    s = story.established(options=Options(mss=1460))
    story.inject(ACK, options=Options(mss=100))
    s.send(bytes(1460))
    story.expect(ACK, length=1460)


@pytest.mark.clause("3.2", "", "an absurd MSS does not stop the connection")
@pytest.mark.parametrize("mss", [0, 1, 7])
def test_an_absurd_mss(story, mss):
    s = story.established(options=Options(mss=mss))
    s.send(b"hello")
    assert b"".join(seen.data for seen in story.sent())


@pytest.mark.clause(
    "3.2", "", "windows are scaled where both SYNs say so, and not the SYN's own (RFC 7323 §2)"
)
@pytest.mark.beside_linux
def test_window_scale(story):
    s = story.established(options=Options(mss=1460, window_scale=4), window=200)
    s.send(bytes(20_000))
    story.machine.wait(0.01)
    assert (
        sum(len(seen.data) for seen in story.sent()) == 2920
    )  # 3,200 bytes: two full segments, Nagle holds the rest


@pytest.mark.clause("3.2", "", "a peer that does not scale is not told scaled windows (RFC 7323 §2.2)")
@pytest.mark.beside_linux
def test_no_scale_unless_both(story):
    story.listen()
    story.inject(SYN, options=Options(mss=1460))
    assert story.expect(SYN | ACK).options.window_scale is None


@pytest.mark.clause("3.2", "", "a shift above 14 counts as 14 (RFC 7323 §2.3)")
def test_a_large_shift(story):
    s = story.established(options=b"\x03\x03\x1e\x01", window=1)
    s.send(bytes(20_000))
    assert sum(len(seen.data) for seen in story.sent()) in range(5000, 16385)


@pytest.mark.clause("3.2", "", "with a receive buffer of 65,536 bytes the window reads 65,535, unshifted")
@pytest.mark.constants(receive_buffer=65536)
def test_the_window_of_64_kib(story):
    story.listen()
    story.inject(SYN, options=Options(mss=1460, window_scale=7))
    seen = story.expect(SYN | ACK, window=65535)
    assert seen.options.window_scale == 0
    story.inject(ACK)
    story.inject(ACK, bytes(1460))
    story.inject(ACK, bytes(1460))
    for seen in story.sent():
        assert seen.window == 65535 - 2920
