"""Half-open: what is said to a segment that does not belong there. Linux, asked the same, says the same."""

import pytest

from labstack import Network
from labstack.headers.tcp import ACK, PSH, RST, SYN
from tests.scene import Peer


@pytest.mark.feature("TCP", "A challenge ACK of a half-open connection carries its own number (RFC 5961 §3)")
@pytest.mark.parametrize(
    ("flags", "ahead"),
    [(RST, 10), (SYN, 500), (ACK, 1_500_000), (PSH | ACK, -70_000)],
    ids=["a reset in the window", "another SYN", "beyond the window", "before the window"],
)
def test_half_open_it_says_what_it_waits_for(flags: int, ahead: int) -> None:
    with Network() as net:
        peer = Peer(net)
        with peer.host.listen(80) as listener:
            peer.snd_nxt = peer.iss
            peer.tcp(SYN)
            answer = peer.take()
            assert answer.tcp is not None and set(answer.flags.split(", ")) == {"SYN", "ACK"}
            iss, expected = answer.tcp.seq, (peer.iss + 1) % 2**32
            data = b"abc" if flags & PSH else b""
            peer.tcp(flags, data, seq=expected + ahead, ack=(iss + 1) % 2**32 if flags & ACK else 0)
            told = peer.take()
            assert told.is_pure_ack and told.tcp is not None
            assert (told.tcp.seq, told.tcp.ack) == ((iss + 1) % 2**32, expected)
            # And nothing is spoiled: the handshake goes on, and what was asked for by it can be believed.
            peer.rcv_nxt = (iss + 1) % 2**32
            peer.tcp(ACK, seq=expected)
            peer.tcp(PSH | ACK, b"hello", seq=expected)
            s, _ = listener.accept()
            assert s.recv(10) == b"hello"
