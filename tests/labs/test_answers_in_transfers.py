"""The labs' own answers carry whole transfers, as the package's parts do."""

import pytest

from labstack import Network, TcpConfig, data_segment
from labstack.grading.losses import recovery_with
from labstack.transport.tcp.recovery import NewReno
from tests.labs.answers import Lab
from tests.scene import Tape, nothing_left, pair, pattern, read_all

PLAIN = TcpConfig(sack=False, receive_buffer=65_536)


def answer(lab, cell, name):
    """A class of the answer in the source of a lab."""
    space = {"__name__": "answer"}
    exec(compile(Lab(lab).cells("solution")[cell], cell, "exec"), space)
    return space[name]


def transfer(seed=1, lost=(), b=None, a=None, **wire):
    """a sends 200,000 bytes to b: every TCP segment of both, with the time it was sent."""
    with Network(seed=seed) as net:
        sender, receiver, line = pair(
            net,
            wire={"rate": "20 Mbit/s", "delay": "15 ms", **wire},
            a={"tcp": PLAIN, **(a or {})},
            b={"tcp": PLAIN, **(b or {})},
        )
        for number in lost:
            line.drop(data_segment(number))
        tape = Tape(net)

        def serve(listener):
            connection, _ = listener.accept()
            assert read_all(connection) == pattern(200_000)
            connection.close()

        program = receiver.spawn(serve, receiver.listen(80))
        s = sender.connect(("b", 80))
        s.sendall(pattern(200_000))
        s.shutdown(1)
        assert s.recv(1) == b"", "b has read it all"
        s.close()
        program.join()
        net.run()
        nothing_left(net, (sender, receiver))
        return [(shot.sender, shot.tcp.seq, shot.tcp.ack, shot.tcp.flags) for shot in tape.tcp()]


@pytest.mark.parametrize("seed", range(6))
def test_lab_08_puts_a_stream_together(seed):
    parts = {
        "receiver": answer("08-tcp-receiver-and-closing", "receiver", "MyReceiver"),
        "closing": answer("08-tcp-receiver-and-closing", "closing", "MyClosing"),
    }
    transfer(seed, loss=0.03, reorder=0.05, duplicate=0.03, a=parts, b=parts)


@pytest.mark.parametrize("lost", [(), (12,), (60, 62), (20, 21, 22, 40), (3, 90, 91)])
def test_lab_09_finds_losses_when_the_package_does(lost):
    mine = {
        "rtt": answer("09-tcp-sender", "timer", "MyTimer"),
        "recovery": recovery_with(answer("09-tcp-sender", "losses", "MyLosses")),
    }
    assert transfer(lost=lost, a=mine) == transfer(lost=lost, a={"recovery": NewReno})


def test_a_loss_that_cannot_be_is_told():
    class Guess:
        def __init__(self, mss, config):
            pass

        def on_sent(self, seq, size, now):
            pass

        def on_ack(self, ack, duplicate, now):
            return None, ack + 7

        def on_timeout(self):
            pass

    with pytest.raises(ValueError, match="no segment that is under way begins there"):
        transfer(a={"recovery": recovery_with(Guess)})
