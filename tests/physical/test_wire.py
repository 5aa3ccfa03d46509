"""The wire: what a frame costs in time, what becomes of it, and that chance repeats itself."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from labstack import Network, TcpConfig, ack, data_segment, fin, frame, syn
from labstack.core.events import Event
from labstack.physical.device import RECEIVED
from tests.scene import SECOND, Tape, connected, pair, pattern, read_all

ROOT = Path(__file__).parents[2]


def arrivals(events: list[Event], host) -> list[Event]:
    return [e for e in events if e.rule is RECEIVED and e.host == host.name]


def raw_pair(net, **options):
    """Two hosts without addresses: nothing but what the test sends crosses the wire."""
    a, b = net.host("a"), net.host("b")
    a.interface("eth0")
    b.interface("eth0")
    return a, b, net.wire(a, b, **options)


def a_frame(wire, size: int, fill: int = 0x55) -> bytes:
    """A frame of `size` bytes without check sequence, from end 0 to end 1."""
    return (wire.ends[1].mac + wire.ends[0].mac + b"\x12\x34").ljust(size, bytes([fill]))


@pytest.mark.feature(
    "Physical layer", "A frame takes its bits, preamble and gap included, and the delay of the wire"
)
@pytest.mark.parametrize("size", [60, 61, 1000, 1514])
def test_time_is_bits_over_rate_and_the_way(size):
    with Network() as net:
        a, b, wire = raw_pair(net, rate="10 Mbit/s", delay="20 ms")
        tape = Tape(net)
        for _ in range(3):
            wire.ends[0].transmit(a_frame(wire, size), b"")
        net.run()
        # 8 bytes of preamble, the frame, 4 of check sequence; 12 bytes of gap before the next one.
        bits, gap = (8 + size + 4) * 8, 12 * 8
        first = bits * 100 + 20_000_000  # 100 ns a bit
        step = (bits + gap) * 100
        assert [e.time for e in arrivals(tape.events, b)] == [first, first + step, first + 2 * step]


def test_a_line_that_was_idle_starts_at_once_and_one_in_its_gap_waits():
    with Network() as net:
        a, b, wire = raw_pair(net, rate="1 Gbit/s")
        tape = Tape(net)
        busy = (8 + 64) * 8  # 1 ns a bit
        for at in (0, busy + 50, 10_000):  # the second comes in the gap of the first
            net.simulator.call_at(at, lambda: wire.ends[0].transmit(a_frame(wire, 60), b""))
        net.run()
        assert [e.time for e in arrivals(tape.events, b)] == [busy, busy + 96 + busy, 10_000 + busy]


def test_both_directions_are_independent():
    with Network() as net:
        a, b, wire = raw_pair(net, rate="10 Mbit/s")
        tape = Tape(net)
        wire.ends[0].transmit(a_frame(wire, 1514), b"")
        wire.ends[1].transmit(wire.ends[0].mac + wire.ends[1].mac + b"\x12\x34".ljust(1502, b"x"), b"")
        net.run()
        times = [e.time for e in tape.events if e.rule is RECEIVED]
        assert times == [(8 + 1518) * 800] * 2


@pytest.mark.parametrize("size", [14, 42, 59, 60])
def test_short_frames_are_padded_to_the_minimum(size):
    with Network() as net:
        a, b, wire = raw_pair(net)
        tape = Tape(net)
        wire.ends[0].transmit(a_frame(wire, size), b"")
        net.run()
        (event,) = arrivals(tape.events, b)
        assert event.fields["frame"] == a_frame(wire, size) + bytes(60 - size)


def test_a_rate_that_is_taken_away_while_frames_wait_leaves_their_order():
    with Network() as net:
        _, b, wire = raw_pair(net, rate="1 Mbit/s")
        tape = Tape(net)
        for size in (61, 62, 63):
            wire.ends[0].transmit(a_frame(wire, size), b"")
        wire.rate = None
        wire.ends[0].transmit(a_frame(wire, 64), b"")
        net.run()
        assert [len(event.fields["frame"]) for event in arrivals(tape.events, b)] == [61, 62, 63, 64]


def test_the_check_sequence_on_the_wire_is_the_real_one():
    with Network() as net:
        a, b, wire = raw_pair(net)
        seen = []
        end = wire.ends[1]
        arrive = end._arrive
        end._arrive = lambda number, data, cause: (seen.append(data), arrive(number, data, cause))
        wire.ends[0].transmit(a_frame(wire, 300), b"")
        net.run()
        (data,) = seen
        assert len(data) == 304
        assert data[-4:] == zlib.crc32(data[:-4]).to_bytes(4, "little")


@pytest.mark.feature(
    "Physical layer", "A flipped bit is found by the check sequence, and the frame dropped by name"
)
def test_a_wrong_bit_anywhere_is_found_and_counted():
    with Network() as net:
        a, b, wire = raw_pair(net)
        bits = (60 + 4) * 8
        for bit in range(bits):
            wire.corrupt(frame(bit + 1), bit=bit)
        for _ in range(bits):
            wire.ends[0].transmit(a_frame(wire, 60), b"")
        net.run()
        assert b.counters["ethernet.bad_fcs"] == bits
        assert wire.counters["wire.corrupted"] == bits
        assert b["eth0"].received_frames == 0


@pytest.mark.feature(
    "Physical layer", "A send queue holds so many bytes; what comes on top is dropped by name"
)
def test_the_queue_drops_its_tail_by_bytes():
    with Network() as net:
        a, b, wire = raw_pair(net, rate="1 Mbit/s", queue=1000)
        tape = Tape(net)
        # One is on the line; two of 396 + 4 bytes fit into 1000, a third does not, but a small one does.
        for size in (396, 396, 396, 396, 146, 100):
            wire.ends[0].transmit(a_frame(wire, size, fill=size & 0xFF), b"")
        assert wire.ends[0].queued == 950
        net.run()
        assert [len(e.fields["frame"]) for e in arrivals(tape.events, b)] == [396, 396, 396, 146]
        assert wire.counters["wire.queue_full"] == 2
        assert [e.fields["number"] for e in tape.named("wire.queue_full")] == [4, 6]
        assert wire.ends[0].queued == 0


def chances(seed: int, count: int = 20_000, **options):
    with Network(seed=seed) as net:
        a, b, wire = raw_pair(net, delay="1 ms", **options)
        tape = Tape(net)
        for at in range(count):
            net.simulator.call_at(
                at * 1000,
                lambda at=at: wire.ends[0].transmit(a_frame(wire, 60)[:14] + at.to_bytes(4, "big"), b""),
            )
        net.run()
        came = [int.from_bytes(e.fields["frame"][14:18], "big") for e in arrivals(tape.events, b)]
        return came, dict(wire.counters), dict(b.counters)


@pytest.mark.feature(
    "Simulation", "Loss, duplication, reordering and corruption by chance, the same for the same seed"
)
def test_chance_keeps_its_shares():
    came, _, _ = chances(1, loss=0.1)
    assert 0.89 < len(came) / 20_000 < 0.91
    came, _, _ = chances(1, duplicate=0.1)
    assert 1.09 < len(came) / 20_000 < 1.11
    came, counters, _ = chances(1, reorder=0.1)
    assert sorted(came) == list(range(20_000)) and came != sorted(came)
    assert 0.09 < counters["wire.delayed"] / 20_000 < 0.11
    _, counters, dropped = chances(1, corrupt=0.1)
    assert dropped["ethernet.bad_fcs"] == counters["wire.corrupted"]
    assert 0.09 < counters["wire.corrupted"] / 20_000 < 0.11


def test_the_same_seed_draws_the_same_and_another_does_not():
    everything = {"loss": 0.1, "duplicate": 0.1, "reorder": 0.1, "corrupt": 0.1}
    assert chances(1, 2000, **everything) == chances(1, 2000, **everything)
    assert chances(1, 2000, **everything) != chances(2, 2000, **everything)


def test_each_purpose_has_its_own_stream():
    lost = set(range(2000)) - set(chances(1, 2000, loss=0.1)[0])
    also = set(range(2000)) - set(chances(1, 2000, loss=0.1, duplicate=0.3, reorder=0.3)[0])
    assert lost == also, "other faults must not change which frames get lost"


@pytest.mark.parametrize("what", ["loss", "corrupt", "duplicate", "reorder"])
@pytest.mark.parametrize("share", [-0.1, 1.1, 2])
def test_a_share_is_between_0_and_1(what, share):
    with Network() as net, pytest.raises(ValueError, match="no share"):
        raw_pair(net, **{what: share})


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from labstack import Network
from tests.scene import Tape, pattern, read_all
with Network(seed=5) as net:
    hosts = [net.host(name, f"10.0.0.{{n}}/24") for n, name in enumerate(["a", "b"], 1)]
    a, b = hosts
    net.wire(a, b, rate="10 Mbit/s", delay="5 ms", loss=0.03, duplicate=0.02, reorder=0.05, corrupt=0.01)
    tape = Tape(net)
    def serve(listener):
        while True:
            s, _ = listener.accept()
            b.spawn(echo, s)
    def echo(s):
        s.sendall(read_all(s))
        s.close()
    b.spawn(serve, b.listen(80))
    def client(n):
        s = a.connect(("b", 80)); s.sendall(pattern(20_000, n)); s.shutdown(1)
        assert read_all(s) == pattern(20_000, n)
        s.close()
    programs = [a.spawn(client, n) for n in range(4)]
    for p in programs: p.join()
    net.run()
    print(tape.digest())
"""


@pytest.mark.feature("Simulation", "The same seed gives the same trace, whatever Python's hash seed")
def test_nothing_depends_on_the_hash_seed():
    digests = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(root=str(ROOT))],
            env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
            check=True, timeout=100,
        )  # fmt: skip
        digests.add(done.stdout.strip())
    assert len(digests) == 1 and len(digests.pop()) == 64


# --- faults that a script chooses -----------------------------------------------------------------


def transfer(net, a, b, size: int, reply: bytes = b"") -> tuple[bytes, bytes]:
    """`a` sends `size` bytes to `b`, which answers with `reply`; what arrived at either."""
    s, t = connected(net, a, b)
    back = a.spawn(read_all, s)
    there = b.spawn(read_all, t)
    s.sendall(pattern(size))
    s.shutdown(1)
    got = there.join()
    t.sendall(reply)
    t.close()
    came = back.join()
    s.close()
    return got, came


@pytest.mark.feature(
    "Simulation", "Scripted faults: drop, delay, corrupt or duplicate the n-th data segment, ACK, SYN or FIN"
)
def test_drop_the_third_data_segment():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        fault = wire.drop(data_segment(3))
        tape = Tape(net)
        got, _ = transfer(net, a, b, 20_000)
        assert got == pattern(20_000)
        assert fault.hits == 1
        numbers = [shot.number for shot in tape.data(a)]
        assert [e.fields["number"] for e in tape.named("wire.lost")] == [numbers[2]]


def test_data_segment_counts_retransmissions():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"}, a={"tcp": TcpConfig(sack=False)})
        faults = [wire.drop(data_segment(1)), wire.drop(data_segment(2))]
        tape = Tape(net)
        got, _ = transfer(net, a, b, 100)
        assert got == pattern(100)
        assert [fault.hits for fault in faults] == [1, 1]
        # 1 s, then 2 s: the first retransmission is the second data segment, and got lost too.
        times = [shot.time for shot in tape.data(a)]
        assert [round(t - times[0], 6) for t in times] == [0, 1, 3]


def test_delay_an_ack():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        wire.delay(ack(1), by="300 ms")
        tape = Tape(net)
        transfer(net, a, b, 10_000)
        net.run()
        first = tape.acks(b)[0]
        (event,) = [e for e in arrivals(tape.events, a) if e.fields["number"] == first.number]
        assert event.time - first.at == 310 * 1_000_000
        assert len(tape.named("wire.delayed")) == 1


def test_corrupt_and_duplicate_a_syn():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        a.ping("b")  # so that no SYN waits for ARP
        wire.corrupt(syn(), bit=300)
        wire.duplicate(syn(2))
        tape = Tape(net)
        got, _ = transfer(net, a, b, 100)
        assert got == pattern(100)
        assert b.counters["ethernet.bad_fcs"] == 1
        assert len(tape.named("wire.duplicated")) == 1
        syns = [shot.time for shot in tape.tcp(a) if shot.flags == "SYN"]
        assert [round(t - syns[0], 9) for t in syns] == [0, 1]


def test_faults_by_sender_meet_the_other_direction():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        wire.drop(data_segment(1, sender="b"))
        wire.drop(fin(sender="10.0.0.2"))
        tape = Tape(net)
        got, came = transfer(net, a, b, 5000, reply=pattern(5000, 1))
        assert (got, came) == (pattern(5000), pattern(5000, 1))
        lost = {e.fields["number"] for e in tape.named("wire.lost")}
        senders = {shot.sender for shot in tape.tcp() if shot.number in lost}
        assert len(lost) == 2 and senders == {"b"}


def test_a_range_of_data_segments():
    with Network() as net:
        a, b, wire = pair(net, wire={"delay": "10 ms"})
        fault = wire.drop(data_segment(2, last=4))
        got, _ = transfer(net, a, b, 30_000)
        assert got == pattern(30_000) and fault.hits == 3


def test_a_fault_that_never_meets_a_frame_says_so():
    with Network() as net:
        a, b, wire = pair(net)
        fault = wire.drop(data_segment(1000))
        transfer(net, a, b, 100)
        assert fault.hits == 0
        with pytest.raises(ValueError, match="counted from 1"):
            data_segment(0)


def test_a_wire_without_a_rate_takes_only_its_delay():
    with Network() as net:
        a, b, wire = raw_pair(net, delay="7 ms")
        tape = Tape(net)
        for _ in range(100):
            wire.ends[0].transmit(a_frame(wire, 1514), b"")
        net.run()
        assert {e.time for e in arrivals(tape.events, b)} == {7 * SECOND // 1000}
