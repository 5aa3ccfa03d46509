"""The judge: right parts pass, wrong ones are told what happened, and those that cheat are refused."""

import linecache
import textwrap
from itertools import count

import pytest

from labstack.grading import submission
from labstack.grading.judge import Wrong, judge, seed_of
from labstack.grading.submission import Refused
from labstack.transport.tcp.rtt import Rfc6298

CELLS = count(1)


def cell(source):
    """What a notebook's cell defines, its source known to Python as a cell's is."""
    source = textwrap.dedent(source)
    name = f"<cell {next(CELLS)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space = {}
    exec(compile(source, name, "exec"), space)
    return space


RIGHT = """
class Mine:
    def __init__(self, config):
        self.srtt, self.rttvar, self.rto = None, 0, config.initial_rto
        self.config = config

    def sample(self, rtt):
        if self.srtt is None:
            self.srtt, self.rttvar = rtt, rtt // 2
        else:
            self.rttvar = (3 * self.rttvar + abs(self.srtt - rtt)) // 4
            self.srtt = (7 * self.srtt + rtt) // 8
        wait = self.srtt + max(self.config.clock_granularity, 4 * self.rttvar)
        self.rto = min(max(wait, self.config.min_rto), self.config.max_rto)

    def back_off(self):
        self.rto = min(2 * self.rto, self.config.max_rto)
"""

CHECKS = cell(
    '''
    from labstack.headers.tcp import ACK, SYN, Options


    def the_timer_follows_the_round_trip(story, random):
        """After one round trip of R, that of the SYN, the time-out is 3 R (RFC 6298 §2.2)."""
        trip = random.choice([0.2, 0.3, 0.5, 0.7, 0.8])
        s = story.connect()
        story.expect(SYN)
        story.wait(trip)
        story.inject(SYN | ACK, options=Options(mss=1460))
        story.expect(ACK)
        s.send(b"question")
        story.expect(ACK, data=b"question")
        story.expect(ACK, data=b"question", after=3 * trip, tolerance=0.01)


    def each_wait_is_twice_as_long(story, random):
        s = story.established(options=Options(mss=1460))
        s.send(b"x")
        story.expect(ACK, data=b"x")
        for wait in (1.0, 2.0, 4.0, 8.0):
            story.expect(ACK, data=b"x", after=wait)
    '''
)
FOLLOWS, DOUBLES = CHECKS["the_timer_follows_the_round_trip"], CHECKS["each_wait_is_twice_as_long"]
WORDS = {
    "rule": "RFC 6298 §2.2: RTO = SRTT + max(G, 4 RTTVAR)",
    "mistake": "the time-out is taken for the round-trip time itself",
    "constants": {"min_rto": 1_000_000},
}


def part(source, name="Mine"):
    return cell(source)[name]


@pytest.mark.feature("Labs", "A judge runs a student's part in a whole stack, in a process of its own")
@pytest.mark.parametrize("student", ["", "ada", "grace"])
def test_a_right_part_passes(student):
    verdict = judge("rtt", part(RIGHT), FOLLOWS, student=student, **WORDS)
    assert verdict.passed and repr(verdict) == "✓ the timer follows the round trip"
    assert any("question" in step or "len=8" in step for step in verdict.steps)


def test_scenarios_follow_the_student():
    steps = [
        judge("rtt", part(RIGHT), FOLLOWS, student=who, **WORDS).steps for who in ("ada", "ada", "eve", "bob")
    ]
    assert steps[0] == steps[1]
    assert len({tuple(s) for s in steps}) > 1
    assert seed_of("ada") != seed_of("eve")


@pytest.mark.feature(
    "Labs", "A failed check tells the steps, the first packet that differs, the rule, the misconception"
)
def test_a_wrong_part_is_told_its_story():
    wrong = RIGHT.replace("rtt, rtt // 2", "rtt, 0")
    with pytest.raises(Wrong) as raised:
        judge("rtt", part(wrong), FOLLOWS, student="ada", **WORDS)
    report = str(raised.value)
    assert "✗ the timer follows the round trip" in report
    assert "the peer sends SYN, ACK" in report and "the machine sends" in report
    assert "The first difference:" in report and "the package's:" in report
    assert "RFC 6298 §2.2" in report and "taken for the round-trip time" in report


def test_a_part_that_never_backs_off():
    wrong = RIGHT.replace("self.rto = min(2 * self.rto, self.config.max_rto)", "pass")
    with pytest.raises(Wrong, match="after"):
        judge("rtt", part(wrong), DOUBLES, **{**WORDS, "constants": {}})
    judge("rtt", part(RIGHT), DOUBLES, rule="", mistake="")


@pytest.mark.feature(
    "Labs", "A part that inherits from, imports or delegates to the answer is refused, with the reason"
)
@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "from labstack.transport.tcp.rtt import Rfc6298\nclass Mine(Rfc6298): pass",
            "inherits from",
        ),
        (
            "from labstack.transport.tcp.rtt import Rfc6298 as R\nclass Mine:\n def __init__(s, c): s.r = R(c)",
            "holds the",
        ),
        ("import labstack\nclass Mine:\n def sample(self, rtt): pass", "labstack holds the answer"),
        ("import importlib\nclass Mine:\n def sample(self, rtt): pass", "which no lab needs"),
        ("import os\nclass Mine:\n def sample(self, rtt): pass", "which no lab needs"),
        ("import collections\nclass Mine:\n def sample(self, rtt): collections._sys.modules", "own affair"),
        ("class Mine:\n def sample(self, rtt): __import__('labstack')", "way round the back"),
        ("class Mine:\n def sample(self, rtt): eval('1')", "way round the back"),
        ("class Mine:\n def sample(self, rtt): ().__class__.__base__.__subclasses__()", "own affair"),
        ("class Mine:\n def sample(self, rtt): getattr(rtt, 'real')", "way round the back"),
        ("class Mine:\n def sample(self, rtt): __builtins__['open']", "way round the back"),
        ("class Mine:\n def sample(self, other): other.__globals__", "own affair"),
        ("from random import _os\nclass Mine:\n def sample(self, rtt): pass", "which no lab needs"),
        ("from dataclasses import sys\nclass Mine:\n def sample(self, rtt): pass", "which no lab needs"),
        ("from operator import attrgetter\nclass Mine:\n def sample(self, rtt): pass", "which no lab needs"),
        ("import dataclasses as d\nclass Mine:\n def sample(self, rtt): d.types", "own affair"),
    ],
)
def test_cheats_are_refused(source, why):
    with pytest.raises(Refused, match=why):
        judge("rtt", part(source), FOLLOWS, **WORDS)


def test_what_every_part_needs_is_no_cheat():
    submission.check_cell(
        "from __future__ import annotations\nfrom collections import deque\nfrom collections.abc import Callable\n"
        "from labstack.core.seq import seq_lt\nfrom labstack.transport.tcp.states import Input, State\n"
        "class Mine:\n    def __init__(self):\n        self._x = self.__class__.__name__.real\n".replace(
            ".real", ""
        )
    )


def test_what_a_check_says_is_no_part_of_its_story():
    told = cell(
        "import math\n\ndef a(story, random): math.pi\n\njudge = print\njudge('not in the sandbox')\n"
    )["a"]
    assert "sandbox" not in submission.read_function(told) and "math.pi" in submission.read_function(told)


def test_inheriting_without_importing_is_refused():
    space = cell("class Mine(Theirs):\n def sample(self, rtt): pass".replace("Theirs", "object"))
    submission.check(submission.read(space["Mine"]))
    with pytest.raises(Refused, match="inherits from Theirs"):
        submission.check(submission.Submission("Mine", "class Mine(Theirs): pass"))


def test_a_subclass_made_elsewhere_is_refused():
    class Mine(Rfc6298):
        pass

    with pytest.raises(Refused):
        judge("rtt", Mine, FOLLOWS, **WORDS)


def test_a_part_that_raises_is_told_where():
    wrong = RIGHT.replace("self.srtt, self.rttvar = rtt, rtt // 2", "self.srtt = rtt / 0")
    with pytest.raises(Wrong, match="ZeroDivisionError: division by zero in line"):
        judge("rtt", part(wrong), FOLLOWS, **WORDS)


def test_a_part_that_is_not_written_yet_is_told_so():
    empty = RIGHT.replace("if self.srtt is None:", "raise NotImplementedError\n        if self.srtt is None:")
    with pytest.raises(Wrong, match="line 8 of your cell is still to be written"):
        judge("rtt", part(empty), FOLLOWS, **WORDS)


def test_a_part_that_breaks_tells_the_first_that_broke():
    wrong = RIGHT.replace("self.srtt, self.rttvar = rtt, rtt // 2", "del self.rto; self.srtt[0]")
    with pytest.raises(Wrong, match="TypeError: 'NoneType'") as raised:
        judge("rtt", part(wrong), FOLLOWS, **WORDS)
    assert "the program connects" in str(raised.value), "the steps up to there"


def test_a_part_cannot_answer_for_the_judge():
    forged = """
        class Mine:
            def __init__(self, config):
                print('{"steps": [], "broken": null, "fault": null}')
                raise SystemExit(0)
    """
    with pytest.raises(Wrong, match="SystemExit: 0 in line 5"):
        judge("rtt", part(forged), FOLLOWS, **WORDS)


def test_the_report_is_all_that_a_notebook_shows():
    assert Wrong("a\nb")._render_traceback_() == ["a", "b"]
    assert Refused("no")._render_traceback_() == ["Refused: no"]


def test_a_rule_that_the_package_does_not_keep_is_judged_alone():
    story = cell("""
        def the_wait_is_seven_seconds(story, random):
            story.connect()
            story.sent()
            story.wait(6.9)
            assert not story.sent(), "the SYN was sent again too early"
    """)["the_wait_is_seven_seconds"]
    slow = RIGHT.replace("None, 0, config.initial_rto", "None, 0, 7_000_000_000")
    assert judge("rtt", part(slow), story, rule="", mistake="", alone=True)
    with pytest.raises(Wrong, match="too early"):
        judge("rtt", part(RIGHT), story, rule="the lab's", mistake="", alone=True)


def test_a_part_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr("labstack.grading.judge.SECONDS", 3.0)
    wrong = RIGHT.replace("if self.srtt is None:", "while True: pass\n        if self.srtt is None:")
    with pytest.raises(Wrong, match="did not come to an end"):
        judge("rtt", part(wrong), FOLLOWS, **WORDS)


def test_a_part_that_takes_all_memory_is_ended():
    wrong = RIGHT.replace("if self.srtt is None:", "x = [0] * 10**9\n        if self.srtt is None:")
    with pytest.raises(Wrong, match="MemoryError"):
        judge("rtt", part(wrong), FOLLOWS, **WORDS)


def test_a_part_that_does_not_parse_is_refused():
    with pytest.raises(Refused, match="line 1 of your cell is not Python"):
        submission.check(submission.Submission("Mine", "class Mine(:"))


def test_a_part_by_another_name_is_refused():
    with pytest.raises(Refused, match="defines no class Mine"):
        submission.check(submission.Submission("Mine", "class Yours: pass"))


def test_a_part_may_be_made_of_several_classes():
    with_dataclass = (
        "from dataclasses import dataclass\n@dataclass\nclass Pair:\n    x: int = 0\n\n"
        + RIGHT.replace("self.config = config", "self.config, self.pair = config, Pair(1)")
    )
    assert judge("rtt", part(with_dataclass), FOLLOWS, **WORDS)


def test_what_cannot_be_judged_is_said():
    with pytest.raises(ValueError, match="take one of"):
        judge("browser", part(RIGHT), FOLLOWS, **WORDS)


def test_a_check_that_is_itself_broken_is_no_mark():
    broken = cell("def never(story, random):\n    raise AssertionError('always')")["never"]
    with pytest.raises(RuntimeError, match="itself broken"):
        judge("rtt", part(RIGHT), broken, **WORDS)
