"""No state without an exit: once both programs have closed, both ends of a connection come to their end.

Short conversations lead through all eleven states. Each is told once undisturbed, and then again for each of
its segments, with that one lost, repeated, late, or the last one before the wire is cut: wherever the two
ends stand at that moment, they come from there to CLOSED, with no connection, listener, port or timer left.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from labstack import Network, TcpConfig
from labstack.core.addresses import BROADCAST, MAC, IPv4Address
from labstack.core.events import Event
from labstack.headers.ethernet import ETHERTYPE_IPV4, Ethernet
from labstack.headers.ipv4 import PROTO_TCP, IPv4, pseudo_sum
from labstack.headers.tcp import SYN, TCP
from labstack.physical.faults import Seen
from labstack.transport.tcp.states import State
from tests.scene import MS, SECOND, pattern

PATIENCE = 100
"""Seconds that a program waits in a call before it gives up and closes."""
LAST = 600
"""Seconds from the moment when the second program has closed, up to which all has to be over. The longest
way is a last byte that nobody acknowledges: eight times, with the time-out doubled to a minute each time."""
FOR_EVER = 4 * 3600
DEFAULT = TcpConfig(syn_cookies=True)

CONVERSATIONS = {
    # What the client does, and what the server does.
    "the client closes first": ("write 100, read 3000, close", "read 100, write 3000, read all, close"),
    "the server closes first": ("write 100, read all, close", "read 100, write 3000, close"),
    "nothing is said": ("close", "read all, close"),
    "half-closed, and an answer": ("write 3000, shut, read all, close", "read all, write 3000, close"),
    "both close at once": ("write 10, at 1, close", "read 10, at 1, close"),
    "both shut at once": (
        "at 1, write 1500, shut, read all, close",
        "at 1, write 1500, shut, read all, close",
    ),
    "a late answer": ("write 10, shut, read all, close", "read all, at 80, write 10, close"),
    "never accepted": ("write 10, at 1, close", "unaccepted, at 2"),
    "a window that shuts": ("write 9000, close", "small, at 5, read all, close"),
    "through a cookie": ("write 100, read 3000, close", "crowded, read 100, write 3000, read all, close"),
    "both call": ("call, write 10, read 10, shut, read all, close", "call, write 10, read 10, at 3, close"),
    "both call, and close at once": ("call, at 1, close", "call, at 1, close"),
}
"""Told with one segment lost, repeated or late, these end as if nothing had been."""
RUDE = {
    "the client aborts": ("write 3000, abort", "read all, close"),
    "the server aborts": ("write 100, read all, close", "read 100, write 5000, abort"),
    "the server leaves bytes unread": ("write 100, read all, close", "at 1, close"),
    "the server does not read to the end": (
        "write 5000, at 2, write 5000, close",
        "read 10, shut, at 1, close",
    ),
    "nobody listens": ("write 10, close", ""),
    "the client gives up at once": ("impatient, close", "read all, close"),
    "the client does not listen to the answer": ("write 10, close", "read 10, at 70, write 10, close"),
}
EVERY = CONVERSATIONS | RUDE

FAULTS = {
    "lost": {"drop": 1},
    "twice": {"copy": 0},
    "1 ms late": {"delay": MS},
    "300 ms late": {"delay": 300 * MS},
    "3 s late": {"delay": 3 * SECOND},
    "again 3 s later": {"copy": 3 * SECOND},
    "again 100 s later": {"copy": 100 * SECOND},
    "the last one, the wire is cut": {"cut": 1},
    "followed by a restart of who sent it": {"restart": 1},
}
PASSES = [name for name, what in FAULTS.items() if not what.keys() & {"cut", "restart"}]
"""What an orderly conversation gets over."""

NUMBERS = {
    "ordinary": (1_000_000, 2_000_000),
    "the client's wrap": (2**32 - 1, 2_000_000),
    "the server's wrap": (1_000_000, 2**32 - 2),
    "both wrap in the data": (2**32 - 1200, 2**32 - 2900),
}
"""Initial sequence numbers of client and server."""


@dataclass
class End:
    """How a conversation went. For each of the two: what came, and the error that ended it."""

    frames: int = 0
    came: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    errors: list[str] = field(default_factory=lambda: ["", ""])
    states: set[str] = field(default_factory=set)
    closed_at: float = 0.0
    over_at: float = 0.0
    """When the last connection entered CLOSED."""

    def hear(self, event: Event) -> None:
        if event.rule.name == "tcp.state":
            self.states |= {str(event.fields["before"]), str(event.fields["after"])}
            self.over_at = event.time / SECOND


class Mischief:
    """What happens on the wire: it counts the segments that enter, and does to the n-th what `plan` says."""

    def __init__(self, hosts: dict[str, Any], wire: Any, plan: dict[int, dict[str, int]]) -> None:
        self.count = 0
        self._hosts = hosts
        self.cut = False
        self._wire = wire
        self._plan = plan
        self._now: dict[str, int] = {}
        # The first of them counts; all of them see each frame.
        wire.drop(self._enters)
        for by in sorted({what["delay"] for what in plan.values() if "delay" in what}):
            wire.delay(partial(self._is_late, by), by / SECOND)

    def _enters(self, seen: Seen) -> bool:
        self._now = {}
        if seen.tcp is not None:
            self.count += 1
            self._now = self._plan.get(self.count, {})
        if self.cut or "drop" in self._now:
            return True
        self.cut = "cut" in self._now
        if "restart" in self._now:
            tcp = self._hosts[seen.sender].tcp
            for connection in [*tcp.connections.values()]:
                self._wire.clock.call_at(self._wire.clock.now, connection.abort_silently)
        if "copy" in self._now:
            end = next(end for end in self._wire.ends if end.node.name != seen.sender)
            clock = self._wire.clock
            arrive = partial(end._receive, seen.number + 10**6, memoryview(seen.frame), 0)
            clock.call_at(clock.now + self._wire.propagation + self._now["copy"], arrive)
        return False

    def _is_late(self, by: int, _seen: Seen) -> bool:
        return self._now.get("delay") == by


def arrive(host: Any, frame: bytes) -> None:
    """Hand a frame to a host, as if the wire had brought it."""
    end = host["eth0"].device
    end._receive(10**6, memoryview(frame), 0)


def forged_syn() -> bytes:
    """A SYN for the server, from a machine that does not exist: it fills a backlog of one."""
    src, dst = IPv4Address(b"\x0a\0\0\x63"), IPv4Address(b"\x0a\0\0\2")
    segment = TCP(5000, 80, 7, 0, SYN, 1000).pack(pseudo_sum(src, dst, PROTO_TCP, 20))
    return (
        Ethernet(BROADCAST, MAC(bytes(6)), ETHERTYPE_IPV4).pack()
        + IPv4(src, dst, PROTO_TCP, 40).pack()
        + segment
    )


def act(host: Any, other: str, script: str, told: End, k: int, patience: float | None) -> None:
    """One program: the steps of `script`, until one fails; and then it closes, whatever happened."""
    s, listener = host.socket(), None
    s.settimeout(PATIENCE)
    calls = k == 0 or script.startswith("call")
    try:
        if script.startswith("call"):
            s.bind(("", 1000 + k))
            s.connect((other, 1001 - k))
        elif script.startswith("impatient"):
            s.settimeout(0.001)
            s.connect((other, 80))
        elif calls:
            s.connect((other, 80))
        elif script:
            listener = s
            listener.bind(("", 80))
            if script.startswith("small"):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4000)
            if script.startswith("crowded"):
                listener.listen(1)
                arrive(host, forged_syn())
            else:
                listener.listen()
            if not script.startswith("unaccepted"):
                s, _ = listener.accept()
                listener.close()
        if "impatient" not in script:
            s.settimeout(patience)
        for step in script.split(", "):
            word, _, number = step.partition(" ")
            if word == "write":
                s.sendall(pattern(int(number), k))
            elif word == "read":
                most = len(told.came[k]) + int(number) if number != "all" else 1 << 20
                while len(told.came[k]) < most and (data := s.recv(most - len(told.came[k]))):
                    told.came[k] += data
            elif word == "shut":
                s.shutdown(socket.SHUT_WR)
            elif word == "at":
                host.sleep(max(int(number) - host.now, 0))
            elif word == "abort":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
    except OSError as error:
        told.errors[k] = type(error).__name__
    s.close()
    if listener is not None:
        listener.close()
    told.closed_at = max(told.closed_at, host.now)


def tell(
    scripts: tuple[str, str],
    numbers: tuple[int, int],
    plan: dict[int, dict[str, int]],
    config: TcpConfig = DEFAULT,
    patience: float | None = PATIENCE,
) -> End:
    """Let two programs play `scripts`, with `plan` on the wire, and look at what is left."""
    told = End()
    with Network() as net:
        hosts = [net.host(name, f"10.0.0.{k}/24", tcp=config) for k, name in enumerate("ab", 1)]
        wire = net.wire(*hosts, delay="10 ms", rate="10 Mbit/s")
        hosts[0].ping("b")
        for host, iss in zip(hosts, numbers, strict=True):
            host.tcp._initial_number = lambda name, iss=iss: iss
            host.events.append(told.hear)
        mischief = Mischief(net.hosts, wire, plan)
        programs = [
            hosts[k].spawn(partial(act, hosts[k], "ba"[k], scripts[k], told, k, patience)) for k in (1, 0)
        ]
        net.run(until=FOR_EVER)
        assert all(program.done for program in programs), programs
        for program in programs:
            program.join()
        assert net.simulator.idle, [c.timers for host in hosts for c in host.tcp.connections.values()]
        told.frames = mischief.count
        for host in hosts:
            tcp = host.tcp
            assert not tcp.connections and not tcp.listeners, (tcp.connections, tcp.listeners)
            assert not tcp._time_wait and not tcp._ports._taken
    assert told.over_at - told.closed_at < LAST, told
    for k in (0, 1):
        assert pattern(20_000, 1 - k).startswith(told.came[k]) or scripts[1 - k].count("write") > 1
    return told


@cache
def undisturbed(name: str, numbers: str) -> End:
    return tell(EVERY[name], NUMBERS[numbers], {})


def test_between_them_the_conversations_pass_through_all_states():
    seen = set().union(*(undisturbed(name, "ordinary").states for name in EVERY))
    assert seen == {state.value for state in State}
    for name in CONVERSATIONS:
        assert undisturbed(name, "ordinary").errors == ["", ""], name


def tell_again(name: str, numbers: str, fault: str, **how: Any) -> None:
    """The conversation once for each of its segments, with that fault; an orderly one ends as it should."""
    plain = undisturbed(name, numbers)
    for n in range(1, plain.frames + 1):
        try:
            told = tell(EVERY[name], NUMBERS[numbers], {n: FAULTS[fault]}, **how)
            if name in CONVERSATIONS and fault in PASSES:
                assert (told.errors, told.came) == (plain.errors, plain.came)
        except AssertionError as error:
            error.add_note(f"segment {n} of {plain.frames}: {fault}")
            raise


@pytest.mark.feature(
    "TCP",
    "No state without an exit: any segment of 19 conversations lost, repeated, late, or the last; all "
    "come to CLOSED, and nothing is left",
)
@pytest.mark.parametrize("numbers", [
    "ordinary", "both wrap in the data",
    pytest.param("the client's wrap", marks=pytest.mark.check),
    pytest.param("the server's wrap", marks=pytest.mark.check),
])  # fmt: skip
@pytest.mark.parametrize("name", EVERY)
def test_any_segment_lost_repeated_late_or_the_last(name, numbers):
    for fault in FAULTS:
        tell_again(name, numbers, fault)


@pytest.mark.check
@pytest.mark.parametrize("name", EVERY)
def test_and_with_the_constants_of_linux(name):
    for fault in FAULTS:
        tell_again(name, "both wrap in the data", fault, config=TcpConfig.linux())


@pytest.mark.parametrize("name", EVERY)
def test_who_waits_for_ever_hears_by_keepalive(name):
    """Programs without patience: what they wait for does not come, for the peer is gone."""
    alive = replace(DEFAULT, keepalive=True, keepalive_idle=30 * SECOND, keepalive_interval=10 * SECOND)
    tell_again(name, "ordinary", "the last one, the wire is cut", config=alive, patience=None)


@settings(max_examples=200)
@given(
    name=st.sampled_from(sorted(EVERY)),
    numbers=st.tuples(*[st.integers(2**32 - 6000, 2**32 - 1)] * 2),
    plan=st.dictionaries(st.integers(1, 30), st.sampled_from(list(FAULTS.values())), max_size=4),
    constants=st.fixed_dictionaries({
        "mss": st.sampled_from([None, 100, 536]),
        "sack": st.booleans(),
        "timestamps": st.booleans(),
        "nagle": st.booleans(),
        "min_rto": st.sampled_from([SECOND // 5, SECOND]),
        "delayed_ack": st.sampled_from([0, 40 * MS, 200 * MS]),
        "send_buffer": st.sampled_from([1000, 1 << 20]),
    }),
)  # fmt: skip
def test_several_faults_at_once(name, numbers, plan, constants):
    tell(EVERY[name], numbers, plan, replace(DEFAULT, **constants))
