"""What the exercises claim is what comes of doing them. The chapters' own cells are run, by their ids."""

import socket
import struct
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations, pairwise
from types import ModuleType
from typing import Any

import pytest

from book.normalise import BOOK, read
from labstack import Network, TcpConfig, data_segment, fin
from labstack.core.addresses import ANY
from labstack.core.seq import seq_add, seq_sub
from labstack.headers.tcp import RST
from labstack.link.arp import ArpCache
from labstack.linux import LinuxPeer
from labstack.observe.trace import Trace
from labstack.transport.tcp.states import TRANSITIONS, Input, Reset, Rfc9293, State

SETUP = ("imports", "ack-check", "segments", "toy-tcp", "fetch")


def cells(chapter: str, *ids: str) -> Iterator[str]:
    (path,) = BOOK.glob(f"{chapter}-*.ipynb")
    found = {cell.id: cell.source for cell in read(path).cells}
    return (found[id] for id in ids)


def played(chapter: str, *ids: str, **names: Any) -> dict[str, Any]:
    """What the cells of these ids have made of these names, one after the other."""
    for source in cells(chapter, *ids):
        exec(source, names)
    return names


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> None:
    """The book's own modules can be imported."""
    monkeypatch.syspath_prepend(str(BOOK))


@pytest.fixture
def toy(book: None) -> dict[str, Any]:
    """Chapter 01 up to the point where the page has been fetched, with the book's answer in the gap."""
    return played("01", *SETUP, ack_number=lambda *_: ...)


def retransmissions(trace: Trace) -> list[float]:
    """When a segment was sent again, in seconds after the first time."""
    times = [p.seconds for p in trace.packets if p.retransmission]
    first = next(p.seconds for p in trace.packets if p.tcp and p.sender in ("server", "linux"))
    return [time - first for time in times]


def test_00_two_forgetful_caches_take_twelve_frames() -> None:
    class Forgetful(ArpCache):
        def look_up(self, address: object, now: int) -> None:
            return None

    with Network(seed=1) as net:
        a = net.host("a", "10.0.0.1/24", arp_cache=Forgetful)
        b = net.host("b", "10.0.0.2/24", arp_cache=Forgetful)
        trace = net.capture(net.wire(a, b, delay="10 ms"))
        a.ping("b", times=2)
        assert len(trace) == 12


def test_01_the_fin_takes_the_number_between_frames_9_and_10(toy: dict[str, Any]) -> None:
    trace = toy["trace"]
    assert [trace[n].relative_ack for n in (9, 10)] == [45, 46]
    assert "FIN" in trace[8].flags and trace[8].payload_length == 0


def test_01_a_syn_that_is_not_acknowledged_is_reset_and_sent_again(toy: dict[str, Any]) -> None:
    toy["ack_number"] = lambda seq, length, syn, fin: seq + length
    _, you, trace = toy["world"]()
    with you.raw(6) as below, pytest.raises(TimeoutError):
        toy["ToyTCP"](below, "10.0.0.2").fetch(toy["REQUEST"])
    assert [bool(trace[n].tcp.flags & RST) for n in (7, 8)] == [True, True]
    assert retransmissions(trace) == pytest.approx([1, 3, 7])


@pytest.mark.linux
def test_01_linux_does_exactly_the_same(toy: dict[str, Any]) -> None:
    toy["ack_number"] = lambda seq, length, syn, fin: seq + length
    with LinuxPeer() as linux:
        toy["live"].serve(linux, {"index.html": b"Hello\n"})
        host = linux.host()
        trace = host.capture("linux")
        with host.raw(6) as below, pytest.raises(TimeoutError):
            toy["ToyTCP"](below, linux.address).fetch(toy["REQUEST"])
    assert sum(bool(p.tcp and p.tcp.flags & RST) for p in trace.packets) == 2
    times = retransmissions(trace)
    # Linux sets its timers to a clock of its own, and a busy machine runs them late.
    assert len(times) == 3 and all(1.5 < later / sooner < 4 for sooner, later in pairwise(times))


def test_01_closing_with_three_segments_takes_eleven_frames(toy: dict[str, Any]) -> None:
    (source,) = cells("01", "toy-tcp")
    assert "            if data or flags & FIN:\n" in source
    exec(source.replace("if data or flags & FIN:", "if data and not flags & FIN:"), toy)
    exec(next(cells("01", "fetch")), toy)
    assert len(toy["trace"]) == 11


def told(ask: ModuleType, mine: Callable[..., object]) -> str:
    """What the chapter's check says to a wrong answer."""
    verdict = ask.check(mine)
    assert not verdict.right and verdict.part is not mine
    return str(verdict)


def failed(ask: ModuleType, mine: Callable[..., object]) -> list[str]:
    """The stories that it fails, and how, a line each."""
    return [line[2:] for line in told(ask, mine).splitlines() if line.startswith("✗")]


def test_02_wrong_desks_are_told_apart(book: None) -> None:
    from questions import ch02 as ask

    source = told(ask, lambda datagram, programs: programs.get(int.from_bytes(datagram[:2], "big")))
    assert "expected 'shout', yours says 'count'\n    The destination port is the second" in source
    little = told(ask, lambda datagram, programs: programs.get(int.from_bytes(datagram[2:4], "little")))
    assert "expected 'shout', yours says 'a stranger'" in little
    one_byte = told(ask, lambda datagram, programs: programs.get(datagram[3]))
    assert "expected 'count', yours says None\n    Bytes 2 and 3, large end first" in one_byte
    strict = told(ask, lambda datagram, programs: programs[int.from_bytes(datagram[2:4], "big")])
    assert "to port 9, which nobody has: expected None, yours raised KeyError: 9" in strict


# --- 16 -----------------------------------------------------------------------------------------------------
FINISHES: dict[Callable[[int], int], list[str]] = {
    lambda total: total & 0xFFFF ^ 0xFFFF: ["one too many", "which overflows twice", "RFC 1071's own"],
    lambda total: 0xFFFF - (total & 0xFFFF) - (total >> 16): ["which overflows twice"],
    lambda total: ~total: ["a small sum", "nothing but zeros"],
    lambda total: total % 0xFFFF: ["a small sum", "RFC 1071's own example"],
}


@pytest.mark.parametrize("wrong", FINISHES)
def test_16_wrong_checksums_are_told_apart(wrong: Callable[[int], int], book: None) -> None:
    from questions import ch16 as ask

    lines = failed(ask, wrong)
    assert all(any(story in line for line in lines) for story in FINISHES[wrong])


def quiz_with(mend: str, answer_from: str) -> bytes:
    """Exercise 2: the mark that the player gets for a 4 from that socket."""
    (text,) = cells("16", "exercises")
    source = textwrap.dedent(text.partition("```python\n")[2].partition("```")[0])
    question = '    s.sendto(b"2 + 2 = ?", player)'
    assert question in source
    names: dict[str, Any] = {}
    exec(source.replace(question, f"{mend}{question}"), names)
    with Network() as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b)
        s, *both = (host.socket(socket.SOCK_DGRAM) for host in (b, a, a))
        s.bind(("", 7))
        b.spawn(names["quiz"], s)
        sockets = dict(zip(("player", "stranger"), both, strict=True))
        sockets["player"].sendto(b"join", ("b", 7))
        assert sockets["player"].recv(100) == b"2 + 2 = ?"
        sockets[answer_from].sendto(b"4", ("b", 7))
        net.sleep(1)
        return sockets["player"].recv(100) if sockets["player"].readable() else b""


def test_16_anybody_answers_until_the_socket_is_connected() -> None:
    assert quiz_with("", "stranger") == quiz_with("", "player") == b"right"
    mended = "    s.connect(player)\n"
    assert quiz_with(mended, "player") == b"right" and quiz_with(mended, "stranger") == b""


def test_16_a_sum_that_counts_places_notices_every_swap() -> None:
    from labstack.headers.udp import UDP

    datagram = UDP(50_000, 7).pack(0, b"pay 0010") + b"pay 0010"
    words = struct.unpack(">8H", datagram)

    def by_place(words: Any) -> int:
        return sum(place * word for place, word in enumerate(words, 1)) % 65_535

    noticed = 0
    for i, j in combinations(range(8), 2):
        swapped = list(words)
        swapped[i], swapped[j] = words[j], words[i]
        noticed += by_place(swapped) != by_place(words)
    assert noticed == 28


# --- 17 -----------------------------------------------------------------------------------------------------
PLACES: dict[Callable[[int, int, int, int], object], str] = {
    lambda number, base, window, numbers: number if base <= number < base + window else None:
        "number 3, where the window begins at 16",
    lambda number, base, window, numbers: base + (number - base) % numbers: "number 5, where 6 is the next",
    lambda number, base, window, numbers: (
        base + (number - base) % numbers if (number - base) % numbers <= window else None
    ): "number 4, with a window of 4 at 0",
    lambda number, base, window, numbers: base + abs(number - base) if abs(number - base) < window else None:
        "number 1, where the window begins at 6",
}  # fmt: skip


@pytest.mark.parametrize("wrong", PLACES)
def test_17_wrong_places_are_told_apart(wrong: Callable[..., object], book: None) -> None:
    from questions import ch17 as ask

    assert f"✗ {PLACES[wrong]}" in told(ask, wrong)


@pytest.fixture
def reliable(book: None) -> dict[str, Any]:
    """Chapter 17 with its protocols, and the book's answer in the gap."""
    names = played("17", "imports", "stop-and-wait", "in-order", "gbn", "sr-receiver", "sr-sender")
    names["place"] = names["ask"].place
    return names


def test_17_without_a_number_a_lost_answer_doubles_a_piece(reliable: dict[str, Any]) -> None:
    def careless(s: socket.socket, pieces: Any, window: int, numbers: int) -> None:
        for piece in pieces:
            s.send(piece)
            while True:
                try:
                    s.recv(9)
                    break
                except TimeoutError:
                    s.send(piece)

    def trusting(t: socket.socket, heard: Any, window: int, numbers: int) -> None:
        while True:
            piece, sender = t.recvfrom(2000)
            heard.append(piece)
            t.sendto(b"ok", sender)

    words, transfer, lost = (reliable[name] for name in ("WORDS", "Transfer", "answers"))
    assert transfer(careless, trusting, words, drop=lost(1)).heard == [words[0], *words]
    sw, in_order = reliable["stop_and_wait"], reliable["in_order"]
    assert transfer(sw, in_order, words, numbers=2, drop=lost(1)).heard == words


@pytest.mark.feature("Book", "Stop-and-wait, go-back-N and selective repeat over a wire that loses packets")
def test_17_go_back_n_needs_one_number_more_than_its_window(reliable: dict[str, Any]) -> None:
    words, transfer, lost = (reliable[name] for name in ("WORDS", "Transfer", "answers"))
    how = reliable["go_back_n"], reliable["in_order"], words
    right = [w for w in range(1, 9) if transfer(*how, w, 8, drop=lost(*range(1, w))).heard == words]
    assert right == [1, 2, 3, 4, 5, 6, 7]
    assert transfer(*how, 8, 8, drop=lost(*range(1, 8))).heard == words[:8] + words


@pytest.mark.parametrize("bits", [8, 3])
@pytest.mark.parametrize("protocol", ["selective repeat", "go-back-N"])
def test_17_whatever_is_played_ends(protocol: str, bits: int, reliable: dict[str, Any]) -> None:
    reliable["pieces"] = [b"%04d" % n for n in range(100)]
    exec(next(cells("17", "explore")), reliable)
    for window in (1, 60):
        said = reliable["play"](protocol, window, 20, bits)
        assert "NOT" not in said or bits == 3


# --- 18 -----------------------------------------------------------------------------------------------------
def hasty(state: State, what: Input) -> State:
    """Exercise 2's: a FIN that comes in FIN-WAIT-1 leads to TIME-WAIT at once."""
    follows = TRANSITIONS[state, what]
    return State.TIME_WAIT if follows is State.CLOSING else follows


def test_18_wrong_goodbyes_are_told_apart(book: None) -> None:
    from questions import ch18 as ask

    assert "✗ FIN-WAIT-1, and a FIN arrives" in told(ask, hasty)
    assert "Our own FIN is not acknowledged yet" in told(ask, hasty)

    def forgetful(state: State, what: Input) -> State:
        follows = TRANSITIONS[state, what]
        return State.CLOSED if follows is State.TIME_WAIT else follows

    lines = failed(ask, forgetful)
    assert len(lines) == 2 and "FIN-WAIT-2" in lines[0] and "CLOSING" in lines[1]


@pytest.mark.feature("Book", "How a connection closes, by the reader's own table of states")
def test_18_who_skips_closing_forgets_a_fin_that_got_lost(book: None) -> None:
    """Both close at the same moment, and a's FIN gets lost: only one that is in CLOSING sends it again."""
    from doors import other, pair, way, world

    class Hasty(Rfc9293):
        def after(self, state: State, what: Input) -> State:
            return hasty(state, what)

    for closing, end in ((Rfc9293, State.TIME_WAIT), (Hasty, State.FIN_WAIT_2)):
        net, a, b, wire = world({"closing": closing})
        trace = net.capture(wire)
        s, t = pair(a, b)
        wire.drop(fin(1, sender="a"))
        s.close()
        t.close()
        net.run("3 s")
        assert way(trace, other(s))[-1] is end


def test_18_one_client_connects_to_itself(book: None) -> None:
    from doors import world

    _, a, _, _ = world()
    s = a.socket()
    s.bind(("", 5001))
    s.connect(("a", 5001))
    s.sendall(b"hello")
    assert s.recv(100) == b"hello" and len(a.ss().rows) == 1


@pytest.mark.parametrize("closes", ["a", "b", "both"])
@pytest.mark.parametrize("lost", ["nothing", "the SYN", "the next ACK"])
def test_18_whatever_is_played_both_ends_forget(closes: str, lost: str, book: None) -> None:
    from doors import play

    assert all(line.endswith("CLOSED") for line in play(closes, lost).splitlines()[:2])


# --- 19 -----------------------------------------------------------------------------------------------------
Pieces = dict[int, bytes]


def test_19_wrong_ways_to_put_a_stream_together_are_told_apart(book: None) -> None:
    from questions import ch19 as ask

    def takes_all(kept: Pieces, wanted: int, at: int, data: bytes) -> bytes:
        return data

    def forgets(kept: Pieces, wanted: int, at: int, data: bytes) -> bytes:
        return data[max(wanted - at, 0) :] if at <= wanted else b""

    def whole_pieces(kept: Pieces, wanted: int, at: int, data: bytes) -> bytes:
        kept[at] = data
        ready = b""
        while wanted + len(ready) in kept:
            ready += kept.pop(wanted + len(ready))
        return ready

    def the_latest_counts(kept: Pieces, wanted: int, at: int, data: bytes) -> bytes:
        if len(kept.get(at, b"")) > len(data):
            del kept[at]
        return ask.reassemble(kept, wanted, at, data)

    early = ["the second comes first", "three, the other way round", "two gaps, closed one by one"]
    longer = "early twice, the longer one first"
    for wrong, stories in {
        takes_all: [early[0], "the first twice", *early[1:], "sent again, and cut differently", longer],
        forgets: [*early, longer],
        whole_pieces: ["sent again, and cut differently", longer],
        the_latest_counts: [longer],
    }.items():
        assert [line.partition(":")[0] for line in failed(ask, wrong)] == stories


@pytest.mark.feature("Book", "TCP's stream put together by the reader's function, whatever the wire does")
@pytest.mark.parametrize("seed", range(3))
def test_19_the_readers_stream_is_what_was_sent(seed: int, book: None) -> None:
    from doors import pair, world
    from questions import ch19 as ask
    from stream import receiving

    net, a, b, wire = world(b_has={"receiver": receiving(ask.reassemble)}, seed=seed)
    wire.chance.update(loss=0.05, reorder=0.2, duplicate=0.1)
    message = b"".join(b"%06d" % n for n in range(20_000))
    with net:
        s, t = pair(a, b)

        def send() -> None:
            s.sendall(message)
            s.close()

        a.spawn(send)
        assert t.makefile("rb").read() == message
        assert a.counters["tcp.retransmitted"] > 0


@pytest.fixture
def questions(book: None) -> dict[str, Any]:
    """Chapter 19 up to its ways out of the standoff, with the book's answer in the gap."""
    return played("19", "imports", "messages", "standoff", "ways")


def test_19_two_thousand_bytes_in_one_send_meet_the_standoff_too(questions: dict[str, Any]) -> None:
    hint = questions["ask"].exercises.hints[2]
    exec(hint[hint.index("class Minshall") :], questions)

    def long(s: socket.socket, text: bytes) -> None:
        questions["together"](s, text + bytes(1993))

    question, mended = questions["question"], {"sender": questions["Minshall"]}
    assert question(long)[0] == 240 and question(long, a_has=mended)[0] == 20
    assert question(questions["send"], a_has=mended)[0] == 240


@pytest.mark.parametrize("nagle", ["on", "off"])
def test_19_whatever_is_played_all_of_it_is_read(nagle: str, book: None) -> None:
    from stream import play

    for size, sends, pause in ((1, 20, 0), (3000, 20, 50), (1460, 1, 0), (1461, 2, 7)):
        rows = play(size, sends, pause, nagle).rows
        assert {sum(sizes) for sizes in rows.values()} == {size * sends}
        assert nagle == "on" or size > 1460 or rows["segments"] == [size] * sends


# --- 20 -----------------------------------------------------------------------------------------------------
Estimate = tuple[float, float]


def too_late(srtt: float | None, rttvar: float, rtt: float) -> Estimate:
    """srtt changes before rttvar is worked out."""
    if srtt is None:
        return rtt, rtt / 2
    srtt = 7 / 8 * srtt + rtt / 8
    return srtt, 3 / 4 * rttvar + abs(srtt - rtt) / 4


def without_a_sign(srtt: float | None, rttvar: float, rtt: float) -> Estimate:
    return (rtt, rtt / 2) if srtt is None else (7 / 8 * srtt + rtt / 8, 3 / 4 * rttvar + (rtt - srtt) / 4)


def without_a_beginning(srtt: float | None, rttvar: float, rtt: float) -> Estimate:
    srtt = srtt or 0
    return 7 / 8 * srtt + rtt / 8, 3 / 4 * rttvar + abs(srtt - rtt) / 4


def the_other_way_round(srtt: float | None, rttvar: float, rtt: float) -> Estimate:
    return (rtt, rtt / 2) if srtt is None else (srtt / 8 + 7 / 8 * rtt, rttvar / 4 + 3 / 4 * abs(srtt - rtt))


ESTIMATES = {
    too_late: ("160 ms, after 80", "How far off was the old srtt?"),
    without_a_sign: ("80 ms, after 160", "in either direction"),
    without_a_beginning: ("the first, 80 ms", "There is nothing to compare with"),
    the_other_way_round: ("80 ms once more", "Of srtt an eighth is new"),
}


@pytest.mark.parametrize("wrong", ESTIMATES, ids=lambda wrong: wrong.__name__)
def test_20_wrong_estimates_are_told_apart(wrong: Callable[..., Estimate], book: None) -> None:
    from questions import ch20 as ask

    case, rule = ESTIMATES[wrong]
    said = told(ask, wrong)
    assert f"✗ {case}" in said and rule in said


@pytest.mark.feature("Book", "The reader's own estimate of round trips (RFC 6298) sets TCP's patience")
def test_20_the_books_estimate_is_rfc_6298s_in_a_running_stack(book: None) -> None:
    names: dict[str, Any] = {}
    for source in cells("20", "imports", "guesses", "plug"):
        names.setdefault("estimate", lambda *of: names["ask"].estimate(*of))
        exec(source, names)
    assert names["mine"].estimates and names["hasty"].counters["tcp.retransmission_timeout"]


def test_20_a_duplicate_ack_is_bare(book: None) -> None:
    """Exercise 2: b's data is taken for duplicates, until only bare segments are asked about."""
    from doors import pair
    from gaps import MSS, world

    names: dict[str, Any] = {}
    exec(next(cells("20", "third")).partition("\n\n\nthird = ")[0], names)
    net, a, b, wire = world()
    with net:
        s, t = pair(a, b)
        trace = net.capture(wire)
        b.spawn(t.sendall, bytes(10 * MSS))
        net.sleep("100 ms")
        of_b = [p for p in trace.packets if p.sender == "b"]
        assert names["third_duplicate"](of_b) is not None
        assert names["third_duplicate"]([p for p in of_b if p.payload_length == 0]) is None


def test_20_without_a_delayed_ack_to_wait_for_the_tenth_is_cheap_and_lone_segments_are_dear(
    book: None,
) -> None:
    """Exercise 3."""
    from gaps import Transfer, pair, world

    hasty = TcpConfig(max_ack_delay=0)
    assert Transfer(10, tcp=hasty).took == 70
    for config, again in ((TcpConfig(), 0), (hasty, 5)):
        net, a, b, _ = world(tcp=config)
        with net:
            s, _t = pair(a, b)
            for _ in range(5):
                s.sendall(b"one")
                net.sleep(1)
            assert a.counters["tcp.retransmitted"] == again


@pytest.mark.parametrize("way", ["duplicate ACKs alone", "SACK, without a probe", "SACK and a probe"])
def test_20_whatever_is_played_ends(way: str, book: None) -> None:
    from gaps import play

    for first, last, segments, delayed in ((1, 20, 20, 50), (20, 0, 1, 50), (1, 1, 1, 0), (20, 20, 20, 0)):
        assert "segments in" in str(play(first, last, segments, delayed, way))


# --- 21 -----------------------------------------------------------------------------------------------------
Offer = Callable[[int, int, int, int], int]

OFFERS: dict[Offer, list[str]] = {
    lambda free, offered, limit, mss: free: ["the program has read 50 of them",
        "the buffer was full, 50 bytes are read", "one byte less than a segment is free",
        "the program took half of the buffer away"],
    lambda free, offered, limit, mss: free if free >= mss else offered:
        ["the program has read 50 of them", "a buffer of 1,000 bytes, half of it free"],
    lambda free, offered, limit, mss: free if free - offered >= mss else offered:
        ["a buffer of 1,000 bytes, half of it free"],
    lambda free, offered, limit, mss: free if free - offered > mss else offered:
        ["a full segment is free", "the same, with some of it still offered",
        "a buffer of 1,000 bytes, half of it free"],
}  # fmt: skip


@pytest.mark.parametrize("wrong", OFFERS)
def test_21_wrong_offers_are_told_apart(wrong: Offer, book: None) -> None:
    from questions import ch21 as ask

    assert [line.rpartition(": expected")[0] for line in failed(ask, wrong)] == OFFERS[wrong]


@pytest.mark.feature("Book", "A lost window update: the probe asks for it, and without the probe nobody does")
@pytest.mark.parametrize("probe", [True, False])
def test_21_a_lost_update_is_asked_for(probe: bool, book: None) -> None:
    from doors import pair, world

    from labstack import Deadlock, TcpConfig, ack

    room = {"tcp": TcpConfig(receive_buffer=5840)}
    net, a, b, wire = world({"tcp": TcpConfig(window_probe=probe)}, room)
    with net:
        s, t = pair(a, b)
        s.sendall(bytes(10_000))
        net.sleep("100 ms")
        wire.drop(ack(1, sender="b"))
        stream = t.makefile("rb")
        if probe:
            assert len(stream.read(10_000)) == 10_000
        else:
            with pytest.raises(Deadlock, match="the caller waits for bytes"):
                stream.read(10_000)


def test_21_which_buffer_the_telescope_needs() -> None:
    from labstack.transport.tcp.receiver import scale_for

    assert 200_000_000 // 10 // 8 == 2_500_000 and scale_for(2_500_000) == 6
    assert 65_535 << 5 == 2_097_120 < 2_500_000 < 65_535 << 6 == 4_194_240


def test_21_who_has_closed_does_not_ask_for_ever(book: None) -> None:
    from doors import pair, world

    from labstack import TcpConfig

    net, a, b, _ = world(b_has={"tcp": TcpConfig(receive_buffer=5840)})
    with net:
        s, _t = pair(a, b)
        s.sendall(bytes(8760))
        s.close()
        net.sleep("290 s")
        assert a.ss().rows
        net.sleep("20 s")
        assert not a.ss().rows


@pytest.mark.parametrize("wire", ["100 Mbit/s", "1 Mbit/s"])
def test_21_whatever_is_played_ends(wire: str, book: None) -> None:
    from sluice import play

    for buffer, rtt in ((6, 2), (6, 200), (600, 2), (600, 200)):
        assert play(buffer, rtt, wire).holds == (
            "the window" if buffer * 8 < rtt * int(wire.split()[0]) else "the wire"
        )


# --- 22 -----------------------------------------------------------------------------------------------------
GROWTHS: dict[Callable[[int, int, int, int], object], list[str]] = {
    lambda cwnd, ssthresh, acked, mss: cwnd + mss: [
        "slow start, two segments at once", "slow start, only 100 bytes", "above the threshold, a segment",
    ],
    lambda cwnd, ssthresh, acked, mss: (
        cwnd + acked if cwnd < ssthresh else cwnd + max(1, mss * acked // cwnd)
    ): ["slow start, ten segments at once"],
    lambda cwnd, ssthresh, acked, mss: (
        cwnd + min(acked, 2 * mss) if cwnd < ssthresh else cwnd + mss * acked // cwnd
    ): ["a window of 4 MB, a segment"],
    lambda cwnd, ssthresh, acked, mss: (
        cwnd + min(acked, 2 * mss) if cwnd < ssthresh else cwnd + max(1, mss * acked / cwnd)
    ): ["above the threshold, a segment", "above the threshold, two segments"],
    lambda cwnd, ssthresh, acked, mss: (
        cwnd + min(acked, 2 * mss) if cwnd < ssthresh else cwnd + max(1, mss * mss // cwnd)
    ): ["above the threshold, two segments"],
}  # fmt: skip


@pytest.mark.parametrize("wrong", GROWTHS)
def test_22_wrong_growths_are_told_apart(wrong: Callable[..., object], book: None) -> None:
    from questions import ch22 as ask

    lines = failed(ask, wrong)
    assert all(any(story in line for line in lines) for story in GROWTHS[wrong])


@pytest.fixture
def windows(book: None) -> dict[str, Any]:
    """Chapter 22 with its classes, and the book's answer in the gap."""
    names = played("22", "imports", "fixed", "mine")
    names["grown"] = names["ask"].grown
    return names


def test_22_how_long_the_way_back_is_on_a_long_fast_path() -> None:
    segments = 10e9 * 0.1 / 8 / 1500
    assert round(segments, -3) == 83_000
    assert round(83_000 / 2 * 0.1 / 60) == 69
    assert 39 < (83_000 * 0.3 / 0.4) ** (1 / 3) < 40
    assert round(1000**2 / 1.5, -4) == 670_000, "what Reno may lose for a window of 1,000"


def test_22_without_a_threshold_slow_start_begins_again_and_again(windows: dict[str, Any]) -> None:
    (text,) = cells("22", "exercises")
    exec(textwrap.dedent(text.partition("```python\n")[2].partition("```")[0]), windows)
    forgetful, mine = windows["Run"](windows["Forgetful"]), windows["Run"](windows["Mine"])
    assert forgetful.dropped > 20 * mine.dropped
    assert abs(forgetful.used - mine.used) < 0.05 and forgetful.wait > 1.4 * mine.wait


@pytest.mark.feature("Book", "The reader's own congestion control grows a window, and beats Reno")
def test_22_a_bolder_class_beats_reno(windows: dict[str, Any]) -> None:
    _, _, source = windows["ask"].exercises.hints[2].partition("\n")
    exec(source, windows)
    results = windows["race"](windows["Bold"], windows["Mine"])
    assert results.used["Bold"] > 1.3 * results.used["Mine"]
    assert int(results.rows[0][3]) <= int(results.rows[1][3]), "and no more is dropped"


@pytest.mark.parametrize("control", ["yours", "cubic", "bbr"])
def test_22_whatever_is_played_is_drawn(control: str, windows: dict[str, Any]) -> None:
    exec(next(cells("22", "explore")).partition("\n\n\n")[0], windows)
    for case in ((1, 10, 5), (1, 300, 200)):
        assert "peak cwnd" in windows["watch"](control, *case).text


# --- 23 -----------------------------------------------------------------------------------------------------
TURNS: dict[Callable[[list[str], Any], object], list[str]] = {
    lambda names, last: names[(names.index(last) + 1) % len(names)]: [
        "the first turn of all: expected 'anna', yours raised ValueError",
        "bert had it, and waits no more: expected 'carl', yours raised ValueError",
    ],
    lambda names, last: next((name for name in names if name != last), names[0]): [
        "three wait, bert had it: expected 'carl', yours says 'anna'",
    ],
    lambda names, last: next((name for name in names if last and name > last), None): [
        "the first turn of all", "bert had it", "only anna waits", "carl had it, and waits no more",
    ],
}  # fmt: skip


@pytest.mark.parametrize("wrong", TURNS)
def test_23_wrong_turns_are_told_apart(wrong: Callable[..., object], book: None) -> None:
    from questions import ch23 as ask

    lines = failed(ask, wrong)
    assert all(any(story in line for line in lines) for story in TURNS[wrong])


@pytest.fixture
def shared(book: None) -> dict[str, Any]:
    """Chapter 23 with its queue, and the book's answer in the gap."""
    names = played("23", "imports", "map", "fair")
    names["turn"] = names["ask"].turn
    return names


def test_23_who_is_served_by_a_fixed_order_starves(shared: dict[str, Any]) -> None:
    shared["turn"] = lambda names, last: names[0]
    run = shared["Run"](shared["people"], discipline=shared["Fair"], **shared["line"], seconds=10)
    assert run.got["bert"] == 0 and run.used > 0.9
    assert round(100 / 47) == 2, "and one connection of 47 gets so many per cent"


@pytest.mark.feature(
    "Book", "Nine connections against one, and a fair queue of the reader's own in the router"
)
def test_23_a_codel_for_each_is_fair_and_short(shared: dict[str, Any]) -> None:
    run, line, people = (shared[name] for name in ("Run", "line", "people"))
    plain = run(people, connections={"anna": 9}, discipline=shared["Fair"], **line)
    shared["DropTail"] = shared["CoDel"]
    short = run(people, connections={"anna": 9}, discipline=shared["Fair"], **line)
    for each in (plain, short):
        assert 0.45 < each.got["bert"] / sum(each.got.values()) < 0.55 and each.used > 0.95
    assert short.wait < 50 < plain.wait


@pytest.mark.parametrize("queue", ["first come", "CoDel", "yours"])
def test_23_whatever_is_played_is_shared_out(queue: str, shared: dict[str, Any]) -> None:
    exec(next(cells("23", "explore")).partition("\n\n\n")[0], shared)
    for connections, anna, bert in ((1, "cubic", "bbr"), (12, "bbr", "reno")):
        ((who, shares),) = shared["share"](connections, queue, anna, bert).shares.items()
        assert who == queue and sum(shares.values()) == pytest.approx(100)


# --- 24 -----------------------------------------------------------------------------------------------------
def test_24_wrong_ways_to_weigh_a_reset_are_told_apart(book: None) -> None:
    from questions import ch24 as ask

    def old_rule(seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
        return Reset.BELIEVED if 0 <= (seq - rcv_nxt) % 2**32 < rcv_wnd else Reset.IGNORED

    def does_not_come_round(seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
        if seq == rcv_nxt:
            return Reset.BELIEVED
        return Reset.CHALLENGED if rcv_nxt < seq < rcv_nxt + rcv_wnd else Reset.IGNORED

    def window_first(seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
        ahead = (seq - rcv_nxt) % 2**32
        if ahead >= rcv_wnd:
            return Reset.IGNORED
        return Reset.CHALLENGED if ahead else Reset.BELIEVED

    def one_too_many(seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
        ahead = (seq - rcv_nxt) % 2**32
        return Reset.CHALLENGED if 0 < ahead <= rcv_wnd else ask.weigh(seq, rcv_nxt, rcv_wnd)

    for wrong, stories in {
        old_rule: [
            "one ahead",
            "the last in the window",
            "ahead, across the wrap",
            "in place, and the window is shut",
        ],
        does_not_come_round: ["ahead, across the wrap"],
        window_first: ["in place, and the window is shut"],
        one_too_many: ["the first beyond the window"],
    }.items():
        assert [line.partition(":")[0] for line in failed(ask, wrong)] == stories


def test_24_how_many_resets_a_small_window_takes() -> None:
    resets = -(-(2**32) // 65_535)
    assert resets == 65_538 and round(resets / 4 / 1000, 1) == 16.4
    assert round(2**32 / 4 / 1000 / 86_400) == 12


@pytest.mark.parametrize(("checked", "half_open"), [(False, 8), (True, 0)])
def test_24_a_line_that_checks_the_source_ends_the_flood(checked: bool, half_open: int, book: None) -> None:
    from heist import flood, world
    from questions import ch24 as ask

    net, _, server, thief = world()
    if checked:
        eval(ask.exercises.hints[1].splitlines()[1], {"line": net.wires[2]})
    server.listen(80, backlog=8)
    thief.spawn(flood, thief, 200).join()
    net.sleep("50 ms")
    assert sum("SYN-RECV" in row for row in server.ss().rows) == half_open


@pytest.mark.parametrize(("program", "confirmed"), [("watch", False), ("lie", True)])
def test_24_the_trap_tells_a_liar_from_an_honest_downloader(
    program: str, confirmed: bool, book: None
) -> None:
    """Exercise 3: segment 5 never leaves the server's line. Who confirms it before it is sent again, lies."""
    import heist

    names: dict[str, Any] = {}
    for source in cells("24", "imports", "liar"):
        exec(source.partition("\nruns = {}")[0], names)
    net, _, server, thief = heist.world()
    trace = net.capture()
    net.wires[1].drop(data_segment(5, sender="server"))
    server.spawn(heist.film, server, 20_000_000)
    thief.spawn(names[program], thief)
    net.sleep("150 ms")
    trap = next(p for p in trace.packets if p.fate == "lost")
    end = seq_add(trap.tcp.seq, trap.payload_length)
    again = next((p.number for p in trace.packets if p.retransmission and p.tcp.seq == trap.tcp.seq), None)
    answers = [p for p in trace.packets if p.sender == "thief" and p.number > trap.number]
    said = [p.number for p in answers if seq_sub(p.tcp.ack, end) >= 0]
    assert bool(said and (again is None or said[0] < again)) is confirmed
    assert (again is None) is confirmed


# --- 25 -----------------------------------------------------------------------------------------------------
def test_25_wrong_tables_are_told_apart(book: None) -> None:
    from questions import ch25 as ask

    def exact(listeners: Any, segment: Any) -> Any:
        return listeners.get(segment[:2]) or listeners.get((ANY, segment[1]))

    first = told(
        ask, lambda connections, listeners, segment: exact(listeners, segment) or connections[segment]
    )
    assert "more of connection 2: expected 'connection 2', yours says 'the listener'\n    All four" in first

    def by_ports(connections: Any, listeners: Any, segment: Any) -> Any:
        ports = {(name[1], name[3]): found for name, found in connections.items()}
        return ports.get((segment[1], segment[3])) or exact(listeners, segment)

    assert "another peer, the same port: expected 'the listener', yours says 'connection 1'" in told(
        ask, by_ports
    )
    everywhere = told(ask, lambda c, listeners, segment: c.get(segment) or listeners.get((ANY, segment[1])))
    assert "✗ somebody listens at this very address" in everywhere and everywhere.count("✗") == 1
    strict = told(
        ask, lambda c, listeners, segment: c.get(segment) or exact(listeners, segment) or c[segment]
    )
    assert "✗ to port 81: expected None, yours raised KeyError" in strict


@pytest.fixture
def greeted() -> Iterator[Callable[[str], list[str]]]:
    """Three clients greeted by exercise 2's server, with a line of it replaced; the states that are left."""
    (text,) = cells("25", "exercises")
    source = textwrap.dedent(text.partition("```python\n")[2].partition("```")[0])

    def greet(line: str) -> list[str]:
        names: dict[str, Any] = {}
        exec(source.replace('        client.sendall(b"hello")', line), names)
        with Network() as net:
            client, server = net.host("client", "10.0.0.1/24"), net.host("server", "10.0.0.2/24")
            net.wire(client, server)
            server.spawn(names["greet"], server.listen(80))
            for _ in range(3):
                with client.connect(("server", 80)) as s:
                    assert s.recv(9) == b"hello"
            net.sleep(1)
            return [row[1] for row in server.ss().rows]

    yield greet


def test_25_a_server_that_never_closes_leaves_close_wait(greeted: Callable[[str], list[str]]) -> None:
    assert greeted('        client.sendall(b"hello")') == ["LISTEN", *["CLOSE-WAIT"] * 3]


def test_25_with_a_with_the_server_closes_first(greeted: Callable[[str], list[str]]) -> None:
    mended = '        with client:\n            client.sendall(b"hello")'
    assert greeted(mended) == ["LISTEN", *["TIME-WAIT"] * 3]


def test_25_with_linger_zero_close_is_a_reset_and_nobody_waits() -> None:
    with Network() as net:
        client, server = net.host("client", "10.0.0.1/24"), net.host("server", "10.0.0.2/24")
        net.wire(client, server)
        listener, s = server.listen(80), client.connect(("server", 80))
        t, _ = listener.accept()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
        with pytest.raises(ConnectionResetError):
            t.recv(100)
        assert not client.ss().rows


# --- 26 -----------------------------------------------------------------------------------------------------
@pytest.fixture
def many(book: None) -> dict[str, Any]:
    """Chapter 26 with its servers."""
    return played("26", "imports", "slow", "iterative", "select", "asyncio", "big", "library")


WRITERS = {
    "return connection.send(unsent) and b''": "bytes are missing",
    "connection.sendall(unsent)\n    return b''": "it raised BlockingIOError",
    "connection.send(unsent)\n    return unsent": "bytes came more than once",
    "connection.setblocking(True)\n    connection.sendall(unsent)\n    return b''": "the other had to wait",
    "while unsent:\n        try:\n            unsent = unsent[connection.send(unsent):]\n"
    "        except BlockingIOError:\n            pass\n    return b''": "it asks again and again",
    "return 1 // 0": "it raised ZeroDivisionError",
}


@pytest.mark.parametrize("wrong", WRITERS)
def test_26_wrong_ways_to_write_are_told_apart(
    wrong: str, many: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    exec(f"def write_some(connection, unsent):\n    {wrong}", names)
    verdict = many["ask"].check(names["write_some"], many["big"])
    told = [line for line in verdict.lines if line.startswith("✗")]
    assert not verdict.right and any(WRITERS[wrong] in line for line in told), verdict
    assert all(WRITERS[wrong] in line or line == told[0] for line in told), "one fault, one name"
    assert capfd.readouterr() == ("", "")


def test_26_the_books_answer_writes_it_all(many: dict[str, Any]) -> None:
    lines = many["ask"].check(many["ask"].write_some, many["big"]).lines
    assert lines == [
        "✓ a client that reads at once: all of it came, and nothing twice",
        "✓ two clients, and one reads nothing: the other had all of it within a second",
    ]


def test_26_syns_are_sent_again_after_one_three_and_seven_seconds(many: dict[str, Any]) -> None:
    waits, _ = many["crowd"](many["library"], many["slow"], 20, backlog=5)
    assert Counter(round(wait, 1) for wait in waits) == {0.0: 5, 1.0: 5, 3.0: 5, 7.0: 5}


def test_26_one_line_mends_the_server_that_sleeps(many: dict[str, Any]) -> None:
    (source,) = cells("26", "asyncio")
    line = "writer.write(answer(await reader.read(100)))"
    assert line in source
    exec(
        source.replace(line, "writer.write(await asyncio.to_thread(answer, await reader.read(100)))"),
        many,
    )
    assert max(many["crowd"](many["asynchronous"], many["slow"])[0]) < 0.020


def test_26_ten_threads_serve_twenty_clients_in_two_rounds(many: dict[str, Any]) -> None:
    def pool(answer: Any, port: int, backlog: int) -> None:
        with socket.create_server(("", port), backlog=backlog) as listener, ThreadPoolExecutor(10) as pool:
            while True:
                pool.submit(many["talk"], listener.accept()[0], answer)

    waits = many["crowd"](pool, many["slow"], 20)[0]
    assert Counter(round(wait, 3) for wait in waits) == {0.014: 10, 0.024: 10}
