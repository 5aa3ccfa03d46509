"""Every rule says what it is in words, with its clause; every packet of a simulation has a reason; every drop
tells."""

import importlib
import pkgutil
import socket
from collections.abc import Iterator

import pytest

import labstack
from labstack import Network, TcpConfig, data_segment
from labstack.core.events import Event, Rule, only
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


@pytest.mark.feature("Observation", "Every event: time, host, layer, packet, rule, clause, before and after")
def test_the_log_says_all_of_every_event(scene: tuple[Trace, dict[str, int]]) -> None:
    trace, counted = scene
    table = trace.log().table()
    assert len(table) == len(trace.events)
    for name in ("time s", "host", "layer", "rule", "words"):
        assert not table[name].isna().any() and (table[name] != "").all(), name
    clauses = {rule.name: rule.clause for rule in RULES.values()}
    assert all(row.clause == clauses[row.rule] for row in table.itertuples())
    kinds = {"device.sent", "device.received", "wire.lost", "arp.retry_timer", "tcp.state", "tcp.window"}
    assert kinds <= set(table["rule"]), "send, receive, drop, timer, state change, window change"
    # Each drop that was counted is a row.
    for name in ("wire.lost", "wire.queue_full", "ethernet.bad_fcs", "udp.no_port", "tcp.no_listener"):
        assert (table["rule"] == name).sum() == counted.get(name, 0), name
    # States follow each other: what one row leaves is what the next finds.
    for _, way in table[table["rule"] == "tcp.state"].groupby(["host", "more"], sort=False):
        assert list(way["before"])[1:] == list(way["after"])[:-1]
    changes = table[table["rule"] == "tcp.window"]
    told = changes[changes["before"].str.contains("cwnd = ") & changes["after"].str.contains("cwnd = ")]
    assert len(told) >= 5
    learned = table[table["rule"] == "arp.learned"]
    assert learned["after"].str.startswith("mac = ").any()


@pytest.mark.feature("Observation", "Subscribers and filters: of a rule, a layer, a host, a packet, a time")
def test_filters_choose_events(scene: tuple[Trace, dict[str, int]]) -> None:
    trace, _ = scene
    states = trace.log("tcp.state")
    assert {event.rule.name for event in states} == {"tcp.state"} and "CLOSED" in str(states)
    assert {event.rule.layer for event in trace.log("arp", "wire")} == {"arp", "wire"}
    assert {event.host for event in trace.log("tcp", host="b")} == {"b"}
    early = trace.log(between=(0, 0.05))
    assert 0 < len(early) < len(trace.events) and max(e.time for e in early) <= 50_000_000
    [syn, *_] = trace.filter("syn and not ack").packets
    about = trace.log(packet=syn.number).table()
    assert {"device.sent", "device.received"} <= set(about["rule"]) and set(about["packet"]) == {syn.number}
    assert len(str(trace.log(limit=5)).splitlines()) == 1 + 5 + 1 and "more" in str(trace.log(limit=5))
    assert str(trace.why(syn)) == str(trace.why(syn.number))

    heard: list[Event] = []
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b)
        a.events.append(only(heard.append, "arp", "icmp.echoed"))
        b.events.append(only(heard.append, "icmp.echoed"))
        a.ping("b")
    assert [(event.host, event.rule.name) for event in heard] == [
        ("a", "arp.asked"), ("a", "arp.learned"), ("b", "icmp.echoed"),
    ]  # fmt: skip
