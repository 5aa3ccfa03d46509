"""Lab 07's wire: what it loses, doubles and keeps in order, and what a story about it tells."""

from random import Random

import pytest

from labstack.grading.judge import Wrong, judge
from labstack.grading.transfer import Transfer
from tests.grading.test_judge import cell

PARROT = """
class Mine:
    def __init__(self, wire, window, numbers):
        self.wire, self.numbers, self.sent = wire, numbers, 0

    def send(self, piece):
        self.wire.send(self.sent % self.numbers, piece)
        self.sent += 1

    def on_packet(self, number, piece):
        self.wire.hand_up(piece)
        self.wire.answer(number)

    def on_answer(self, number):
        self.wire.start_timer(number)

    def on_timer(self, name):
        pass
"""
Mine = cell(PARROT)["Mine"]
TALES = cell(
    """
    def two_packets_leave(story, random):
        story.begin(window=2, numbers=4)
        story.send(b"one", b"two")
        story.expect("packet 0", "packet 1")
        story.expect("packet 0", after=0.1)
    """
)


def test_the_wire_keeps_order_and_loses_and_doubles_what_it_is_told():
    story = Transfer({"transfer": Mine})
    fates = iter([1, 0, 2])
    pieces = [b"a", b"b", b"c"]
    assert story.carry(pieces, 3, 8, lambda end: next(fates) if end == "a" else 1) == [b"a", b"c", b"c"]
    told = "\n".join(story.steps)
    assert "a ▶ packet 1 b'b', which is lost" in told and "a ▶ packet 2 b'c', which comes twice" in told
    assert "0.020 s  b ◀ packet 2 b'c'" in told and "0.140 s  a ◀ timer 2" in told


def test_the_same_seed_tells_the_same_story():
    def told(seed):
        story, random = Transfer({"transfer": Mine}), Random(seed)
        story.carry([b"%d" % n for n in range(20)], 3, 8, lambda end: random.choice([0, 1, 2]))
        return story.steps

    assert told(1) == told(1) != told(2)


def test_what_does_not_leave_in_time_is_told():
    with pytest.raises(Wrong) as caught:
        judge("transfer", Mine, TALES["two_packets_leave"], rule="Say it again", mistake="never", alone=True)
    report = str(caught.value)
    assert "your end ▶ packet 1 b'two'" in report
    assert "Then: expected packet 0 at 0.100 s; what left: nothing." in report
    assert "The rule: Say it again." in report and "A likely mistake: never." in report
