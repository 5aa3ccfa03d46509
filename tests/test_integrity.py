"""What goes in comes out, whatever the wire does; and afterwards nothing is left."""

import hashlib
import random
import socket

import pytest
from hypothesis import HealthCheck, given, note, settings, strategies as st

from labstack import Network, TcpConfig
from labstack.core.units import SECOND
from tests.scene import Tape, nothing_left, pattern

SIZE = 10_000_000


class Hasher:
    """A hash over (time, frame) of all that was sent or arrived, without keeping any of it."""

    def __init__(self, net):
        self.whole = hashlib.sha256()
        self.frames = 0
        for source in [*net.hosts.values(), *net.wires]:
            source.events.append(self.hear)

    def hear(self, event):
        if "frame" in event.fields:
            self.frames += 1
            self.whole.update(b"%d %s %s " % (event.time, event.host.encode(), event.rule.name.encode()))
            self.whole.update(event.fields["frame"])


def fetch(seed):
    """10 MB from b to a over a bad wire: hashes of what was sent, what came, the trace; and the faults."""
    with Network(seed=seed) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        wire = net.wire(
            a,
            b,
            rate="100 Mbit/s",
            delay="1 ms",
            queue="1 MiB",
            loss=0.02,
            reorder=0.02,
            duplicate=0.01,
            corrupt=0.005,
        )
        trace = Hasher(net)
        sent, came = hashlib.sha256(), hashlib.sha256()

        def serve():
            s, _ = listener.accept()
            for part in range(SIZE // 100_000):
                piece = pattern(100_000, part)
                sent.update(piece)
                s.sendall(piece)
            s.close()

        listener = b.listen(80)
        b.spawn(serve)
        s = a.connect(("b", 80))
        total = 0
        while piece := s.recv(1 << 16):
            came.update(piece)
            total += len(piece)
        s.close()
        listener.close()
        net.run()
        nothing_left(net, (a, b))
        assert total == SIZE
        return sent.hexdigest(), came.hexdigest(), trace.whole.hexdigest(), trace.frames, dict(wire.counters)


@pytest.mark.feature(
    "Simulation",
    "10 MB over a wire that loses, reorders, repeats and damages: equal, and twice the same trace",
)
def test_ten_megabytes_over_a_bad_wire_twice():
    first, second = fetch(7), fetch(7)
    sent, came, _, frames, counters = first
    assert sent == came
    assert first == second
    assert frames > 14_000
    assert all(counters[f"wire.{what}"] > 50 for what in ("lost", "duplicated", "delayed", "corrupted")), (
        counters
    )


# --- anything, at random --------------------------------------------------------------------------

buffers = st.sampled_from([1, 2, 7, 100, 536, 1460, 1461, 2919, 3000, 20_000, 65_535, 65_536, 1 << 20])


@st.composite
def stories(draw):
    """Two configurations, a wire, and what each program writes, how it reads, and how it ends."""
    wire = {
        "delay": draw(st.sampled_from(["0 ms", "1 ms", "30 ms", "300 ms"])),
        "rate": draw(st.sampled_from([None, "1 Mbit/s", "50 Mbit/s"])),
        "loss": draw(st.sampled_from([0.0, 0.01, 0.05, 0.2])),
        "duplicate": draw(st.sampled_from([0.0, 0.05, 0.3])),
        "reorder": draw(st.sampled_from([0.0, 0.1, 0.5])),
        "hold": draw(st.sampled_from([None, "2 ms", "400 ms"])),
        "corrupt": draw(st.sampled_from([0.0, 0.02])),
        "queue": draw(st.sampled_from(["4 KiB", "256 KiB"])),
    }
    sides = []
    for _ in range(2):
        receive_buffer = draw(buffers)
        sides.append(
            {
                "config": {
                    "receive_buffer": receive_buffer,
                    "send_buffer": draw(buffers),
                    "mss": draw(st.sampled_from([None, 1, 3, 88, 536, 1460])),
                    "window_scaling": draw(st.booleans()),
                    "nagle": draw(st.booleans()),
                    "sack": draw(st.booleans()),
                    "timestamps": draw(st.booleans()),
                    "ecn": draw(st.sampled_from(["off", "accept", "request"])),
                    "congestion": draw(st.sampled_from(["reno", "cubic", "bbr"])),
                    "max_holes": draw(st.sampled_from([1, 4, 256])),
                    "initial_window": draw(st.sampled_from([1, 2, 10])),
                    "delayed_ack": draw(st.sampled_from([0, SECOND // 25, SECOND // 5])),
                    "msl": SECOND,
                    "fin_wait_2": 5 * SECOND,
                },
                "size": draw(st.sampled_from([0, 1, 2, 1000, 1461, 5000, 30_000])),
                "read": draw(st.sampled_from([1, 13, 1000, 65536])),
                "lazy": draw(st.booleans()),
                "leaves": draw(st.sampled_from(["at the end", "at the end", "early", "half-closed"])),
            }
        )
    # A program that moves a byte at a time over a bad wire takes virtual days: less to do for the slow ones.
    for k in range(2):
        slow = min(
            sides[1 - k]["config"]["receive_buffer"],
            sides[k]["config"]["send_buffer"],
            sides[k]["config"]["mss"] or 1460,
        )
        if slow < 80 or (sides[1 - k]["config"]["mss"] or 1460) < 80:
            sides[k]["size"] = min(sides[k]["size"], 200)
    return draw(st.integers(0, 10**6)), wire, sides


def books_balance(event):
    """No more has arrived, or is lost, than was sent."""
    if event.rule.name == "tcp.window":
        assert event.fields["in_flight"] >= 0


def play(seed, wire, sides):
    """Run a story; for each side, what came, and the error that ended it."""
    with Network(seed=seed) as net:
        hosts = [
            net.host(name, f"10.0.0.{k}/24", tcp=TcpConfig(**side["config"]))
            for k, (name, side) in enumerate(zip("ab", sides, strict=True), 1)
        ]
        net.wire(*hosts, **wire)
        tape = Tape(net)
        for host in hosts:
            host.events.append(books_balance)
        came = [bytearray(), bytearray()]
        errors: list[OSError | None] = [None, None]
        ended = [False, False]

        def program(k, s):
            side, host = sides[k], hosts[k]
            draw = random.Random(seed + k)
            # Without keep-alives, a program whose peer was reset, and the reset lost, would wait for ever.
            s.settimeout(2 * 3600)

            def write():
                data, at = pattern(side["size"], k), 0
                try:
                    while at < len(data):
                        piece = data[at : at + draw.choice((1, 10, 1000, 100_000))]
                        s.sendall(piece)
                        at += len(piece)
                    if side["leaves"] == "half-closed":
                        s.shutdown(socket.SHUT_WR)
                except OSError as error:
                    errors[k] = errors[k] or error

            writer = host.spawn(write)
            try:
                limit = side["size"] // 2 if side["leaves"] == "early" else None
                while limit is None or len(came[k]) < limit:
                    if len(came[k]) >= sides[1 - k]["size"] and side["leaves"] == "at the end":
                        break
                    piece = s.recv(side["read"])
                    if not piece:
                        ended[k] = True
                        break
                    came[k] += piece
                    if side["lazy"] and draw.random() < 0.1:
                        host.sleep(draw.random())
            except OSError as error:
                errors[k] = errors[k] or error
            if side["leaves"] == "early":
                s.close()  # what it has still to write is lost, and whoever waits to write hears of it
            writer.join()
            s.close()

        def server():
            listener = hosts[1].listen(80)
            s, _ = listener.accept()
            listener.close()
            program(1, s)

        def client():
            try:
                s = hosts[0].connect(("b", 80))
            except OSError as error:
                errors[0] = error
                return
            program(0, s)

        programs = [hosts[1].spawn(server), hosts[0].spawn(client)]
        net.run(until=48 * 3600.0)
        assert programs[1].done, programs[1]
        assert programs[0].done or errors[0], "the server waits for ever, though the client got through"
        return (
            net.now,
            came,
            errors,
            ended,
            hosts,
            net.simulator.idle,
            tape.digest(),
            [dict(h.tcp.connections) for h in hosts],
        )


@pytest.mark.feature(
    "TCP",
    "500 random transfers, with windows and segments down to a byte, arrive whole or end in a clear error",
)
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(stories())
def test_any_transfer_arrives_whole_or_ends_clearly(story):
    seed, wire, sides = story
    now, came, errors, ended, hosts, idle, digest, connections = play(seed, wire, sides)
    note(f"ended at {now} s; errors {errors}; got {[len(c) for c in came]}")
    for k in range(2):
        whole = pattern(sides[1 - k]["size"], 1 - k)
        assert whole.startswith(bytes(came[k])), "what came is a beginning of what was sent"
    early = any(side["leaves"] == "early" for side in sides)
    if not early and errors == [None, None]:
        for k in range(2):
            assert bytes(came[k]) == pattern(sides[1 - k]["size"], 1 - k)
    if not early and wire["loss"] < 0.2:
        assert errors == [None, None], "nobody gave cause for an error"
    assert idle, "a timer is left"
    assert connections == [{}, {}], "a connection is left"


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(stories())
def test_any_transfer_repeats_to_the_last_bit(story):
    assert play(*story)[6] == play(*story)[6]
