"""The words that all layers share: addresses, quantities, numbers that wrap, streams of chance, alarms."""

import ipaddress
import random

import pytest
from hypothesis import given, strategies as st

from labstack.core.addresses import MAC, InterfaceAddress, IPAddress, IPv4Address, Prefix, mask
from labstack.core.clock import Alarm
from labstack.core.events import Counters, Events, Rule
from labstack.core.randomness import below, stream
from labstack.core.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub
from labstack.core.units import duration, rate, show_time, size
from labstack.drivers.simulator import Simulator

uint32 = st.integers(0, 2**32 - 1)


@given(uint32)
def test_an_address_is_its_bytes(number):
    theirs = ipaddress.IPv4Address(number)
    ours = IPAddress.parse(str(theirs))
    assert (bytes(ours), str(ours), ours.version, ours.bits) == (theirs.packed, str(theirs), 4, 32)
    assert (ours.is_multicast, ours.is_loopback, ours.is_unspecified) == (
        theirs.is_multicast, theirs.is_loopback, theirs.is_unspecified,
    )  # fmt: skip


@given(uint32, st.integers(0, 32), uint32)
def test_prefixes_agree_with_the_standard_library(number, length, other):
    text = f"{ipaddress.IPv4Address(number)}/{length}"
    theirs, ours = ipaddress.IPv4Interface(text), InterfaceAddress.parse(text)
    assert str(ours.prefix) == str(theirs.network)
    packed = IPv4Address(ipaddress.IPv4Address(other).packed)
    assert (packed in ours.prefix) == (ipaddress.IPv4Address(other) in theirs.network)
    if length < 31:
        assert str(ours.broadcast) == str(theirs.network.broadcast_address)
    else:
        assert ours.broadcast is None
    assert mask(ours.address, length) == theirs.network.network_address.packed


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "a.b.c.d", "1.2.3.4 ", "01.2.3.4"])
def test_what_is_no_address_is_said_in_one_sentence(text):
    with pytest.raises(ValueError, match="is not an IPv4 address: write"):
        IPAddress.parse(text)


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/a"])
def test_what_is_no_prefix_is_said_in_one_sentence(text):
    with pytest.raises(ValueError, match="needs a prefix length from 0 to 32"):
        InterfaceAddress.parse(text)
    with pytest.raises(ValueError, match=r"has bits set behind its prefix length: write 10\.0\.0\.0/24"):
        Prefix.parse("10.0.0.1/24")


def test_mac_addresses():
    assert str(MAC.parse("02-00-00-00-00-AB")) == "02:00:00:00:00:ab"
    assert MAC.parse("01:00:5e:00:00:01").is_group and not MAC.parse("02:00:00:00:00:01").is_group
    for text in ("", "1:2:3:4:5", "1:2:3:4:5:6:7", "00:00:00:00:00:1ff", "g0:00:00:00:00:00"):
        with pytest.raises(ValueError, match="is not a MAC address"):
            MAC.parse(text)


@given(uint32, st.integers(-(2**31) + 1, 2**31 - 1))
def test_sequence_numbers_compare_by_the_shorter_way(a, n):
    b = seq_add(a, n)
    assert seq_sub(b, a) == n
    assert seq_lt(a, b) == (n > 0) and seq_le(a, b) == (n >= 0)
    assert seq_max(a, b) == (b if n > 0 else a)


@pytest.mark.parametrize(
    "text, nanoseconds",
    [
        ("20 ms", 20_000_000),
        ("1.5 s", 1_500_000_000),
        ("3us", 3000),
        ("3 µs", 3000),
        ("2 min", 120 * 10**9),
        (0.25, 250_000_000),
        ("0.1 ns", 0),
    ],
)
def test_times(text, nanoseconds):
    assert duration(text) == nanoseconds


def test_rates_and_sizes():
    assert (rate("10 Mbit/s"), rate("1.5 Gbit/s"), rate(9600)) == (10**7, 1_500_000_000, 9600)
    assert (size("64 KiB"), size("1 MB"), size(1500)) == (65536, 10**6, 1500)


@pytest.mark.parametrize(
    "parse, value, words",
    [
        (duration, "20", "is not a time"), (duration, "20 kg", "is not a time"),
        (duration, "-1 s", "is not a time"), (duration, -1, "negative"),
        (rate, "10 MB", "is not a rate"), (rate, 0, "no rate"), (rate, "0 bit/s", "no rate"),
        (size, "10 Mbit/s", "is not a size"), (size, -1, "negative"),
    ],
)  # fmt: skip
def test_what_is_no_quantity_is_said_in_one_sentence(parse, value, words):
    with pytest.raises(ValueError, match=words):
        parse(value)


def test_times_for_people():
    assert [show_time(n) for n in (0, 999, 1000, 20_000_000, 1_234_000_000)] == [
        "0 ns",
        "999 ns",
        "1 µs",
        "20 ms",
        "1.234 s",
    ]


def test_streams_are_named_and_repeat():
    def draws(*name):
        draw = stream(*name)
        return [draw() for _ in range(5)]

    names = [(1, "a", "loss"), (2, "a", "loss"), (1, "b", "loss"), (1, "a", "hold")]
    assert len({tuple(draws(*name)) for name in names}) == 4
    assert draws(1, "a", "loss") == draws(1, "a", "loss")
    # The first number, by the standard library: what moves it moves every trace in the book.
    assert draws(7, "a-b", "loss")[0] == random.Random("7/a-b/loss").random()
    assert [below(lambda x=x: x, 10) for x in (0.0, 0.0999, 0.5, 0.99999)] == [0, 0, 5, 9]


def test_events_cost_nothing_but_a_look_when_nobody_listens():
    events = Events("a", lambda: 5)
    assert not events
    heard = []
    events.append(heard.append)
    rule = Rule("layer.what", "in words", "RFC 1")
    events.cause = 77
    number = events.emit(rule, x=1)
    (event,) = heard
    assert (event.number, event.time, event.host, event.cause, event.fields, event.rule.layer) == (
        number,
        5,
        "a",
        77,
        {"x": 1},
        "layer",
    )


def test_counters_read_zero_for_what_never_happened():
    counters = Counters()
    assert counters["never"] == 0 and not counters
    counters.add("once")
    counters.add("often", 5)
    assert counters == {"once": 1, "often": 5}


RULE = Rule("test.alarm", "it rings")


def test_an_alarm_rings_once_at_its_last_deadline():
    clock, rang = Simulator(), []
    alarm = Alarm(clock, Events("a", lambda: clock.now), RULE, lambda: rang.append(clock.now))
    alarm.set(100)
    alarm.set(300)  # later: one assignment
    alarm.set(200)  # earlier: moved at once
    clock.run()
    assert rang == [200] and alarm.deadline is None
    alarm.set(clock.now + 50)
    alarm.stop()
    alarm.stop()
    assert clock.idle
    clock.run()
    assert rang == [200]


def test_moving_an_alarm_a_thousand_times_asks_the_clock_once():
    clock, rang = Simulator(), []
    alarm = Alarm(clock, Events("a", lambda: clock.now), RULE, lambda: rang.append(clock.now))
    for when in range(1000, 2000):
        alarm.set(when)
    assert len(clock._heap) == 1
    clock.run()
    assert rang == [1999]
