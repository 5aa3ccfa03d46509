"""Every rule says what it is in words, with its clause; every packet of a simulation has a reason; every drop
tells."""

import importlib
import pkgutil
import socket
from collections.abc import Iterator

import pytest

import labstack
from labstack import Network, TcpConfig, data_segment
from labstack.core.events import Event, Rule
from labstack.core.node import Node
from labstack.observe.trace import Trace
from labstack.observe.why import SENT


def rules() -> Iterator[tuple[str, Rule]]:
    for module in pkgutil.walk_packages(labstack.__path__, "labstack."):
        if module.name.endswith("__main__"):
            continue
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:  # what needs a package of the notebooks' is no layer
            continue
        for name, value in vars(loaded).items():
            if isinstance(value, Rule):
                yield f"{module.name}.{name}", value


RULES = dict(rules())
OUR_OWN = {
    "device", "tap", "packet", "wire", "host", "udp", "arp", "tcp", "ipv4", "ethernet", "icmp", "offload",
    "raw",
}  # fmt: skip
"""Layers in which labstack has rules of its own: its bounds, its devices, a program's wish."""


@pytest.mark.feature("Observation", "Every rule has plain words and, where one exists, its clause")
def test_every_rule_has_words_and_a_clause() -> None:
    assert len({id(rule) for rule in RULES.values()}) > 80
    for place, rule in RULES.items():
        assert rule.name.count(".") == 1 and rule.name == rule.name.lower(), place
        assert len(rule.words.split()) >= 3, f"{place}: {rule.words!r} is not plain words"
        assert not rule.words.endswith("."), place
        if rule.clause:
            assert rule.clause.startswith(("RFC ", "IEEE ", "ISO", "ITU", "POSIX")), (
                f"{place}: {rule.clause!r}"
            )
        else:
            assert rule.layer in OUR_OWN, f"{place} names no clause"
    by_name: dict[str, Rule] = {}
    for place, rule in RULES.items():
        assert by_name.setdefault(rule.name, rule) == rule, f"{place}: two rules are called {rule.name}"
    # Limits and devices are our own affair; most of what the stack does is somebody's standard.
    assert sum(bool(rule.clause) for rule in by_name.values()) / len(by_name) > 0.6


def busy() -> tuple[Trace, dict[str, int]]:
    """A routed network in which nearly everything goes wrong; what it counted as dropped comes back."""
    with Network(seed=11) as net:
        a = net.host("a", "10.0.0.1/24", gateway="10.0.0.254", tcp=TcpConfig())
        b = net.host("b", "10.0.1.1/24", gateway="10.0.1.254")
        r = net.router("r")
        net.wire(
            a, r.interface("eth0", "10.0.0.254/24"), rate="5 Mbit/s", delay="5 ms", queue="8 KiB",
            loss=0.02, duplicate=0.02, reorder=0.05, corrupt=0.01,
        )  # fmt: skip
        net.wire(b, r.interface("eth1", "10.0.1.254/24"), rate="50 Mbit/s").drop(data_segment(4, sender="b"))
        trace = net.capture()

        def serve(listener) -> None:
            s, _ = listener.accept()
            s.sendall(bytes(60_000))
            s.close()

        b.spawn(serve, b.listen(80))
        with a.connect(("b", 80)) as s:
            while s.recv(65536):
                pass
        with pytest.raises(OSError), a.connect(("b", 81)):
            pass
        u = a.socket(socket.SOCK_DGRAM)
        u.sendto(bytes(1000), ("b", 53))
        a.ping("b", times=2)
        a.ping("10.0.1.77", timeout=5)
        a.ping("10.9.9.9", timeout=5)
        net.run()
        counted: dict[str, int] = {}
        for owner in (*net.hosts.values(), *net.wires):
            for name, n in owner.counters.items():
                counted[name] = counted.get(name, 0) + n
    return trace, counted


@pytest.fixture(scope="module")
def scene() -> tuple[Trace, dict[str, int]]:
    return busy()


@pytest.mark.feature("Observation", "No simulated packet without a reason, and no drop without an event")
def test_every_packet_has_a_reason(scene: tuple[Trace, dict[str, int]]) -> None:
    trace, _ = scene
    assert len(trace) > 150 and len({packet.protocol for packet in trace.packets}) >= 4
    for packet in trace.packets:
        why = trace.why(packet.number, steps=60)
        assert why.steps and "not heard" not in why.ending, packet
        reasons = [step for step in why.steps if step.rule not in (SENT, "device.received")]
        echo = packet.icmp is not None and packet.icmp.type == 8
        fragment = packet.ip is not None and (packet.ip.more_fragments or packet.ip.fragment_offset)
        assert reasons or echo or fragment, f"{packet.summary} was sent for no rule\n{why}"
        times = [step.event.time for step in why.steps]
        assert times == sorted(times, reverse=True), "causes come before what they cause"


def test_every_drop_emits_an_event(scene: tuple[Trace, dict[str, int]]) -> None:
    trace, counted = scene
    told: dict[str, int] = {}
    for event in trace.events:
        told[event.rule.name] = told.get(event.rule.name, 0) + 1
    names = {rule.name for rule in RULES.values()}
    dropped = {name: n for name, n in counted.items() if name in names}
    # No drop: it counts all that was sent again, and each tells the rule for which it was.
    del dropped["tcp.retransmitted"]
    assert {"wire.lost", "wire.queue_full", "ethernet.bad_fcs", "arp.unanswered"} <= set(dropped)
    assert {name: told.get(name, 0) for name in dropped} == dropped


def test_an_event_says_when_where_and_what(scene: tuple[Trace, dict[str, int]]) -> None:
    trace, _ = scene
    for event in trace.events:
        assert event.time >= 0 and event.host and event.rule.layer and event.number > event.cause
        for value in event.fields.values():
            assert isinstance(value, int | float | str | bytes | bool | tuple | None), event
    states = [event for event in trace.events if event.rule.name == "tcp.state"]
    assert all({"before", "after", "why"} <= set(event.fields) for event in states)
    effects = trace.effects
    windows = [event for event in trace.events if event.rule.name == "tcp.window"]
    assert sum(event.number in effects.before for event in windows) > len(windows) - 5


def test_a_drop_counts_whether_or_not_anybody_listens() -> None:
    class Still:
        now = 0

    node = Node("n", Still())  # type: ignore[arg-type]
    rule = Rule("test.drop", "for the sake of the test")
    node.drop(rule)
    heard: list[Event] = []
    node.events.append(heard.append)
    node.drop(rule, size=3)
    assert node.counters["test.drop"] == 2 and [event.fields for event in heard] == [{"size": 3}]
