"""Lab 14's story: files go over a bad wire and come back, through whole machines made of several parts."""

from random import Random

import pytest

from labstack.grading.judge import Wrong, judge
from labstack.grading.stack import Stack
from tests.grading.test_judge import RIGHT, cell, part

FILE = Random(14).randbytes(60_000)
TALES = cell(
    """
    from labstack import data_segment


    def a_file_comes_back(stack, random):
        took = stack.there_and_back(random.randbytes(60_000), lost=[data_segment(20)])
        assert took < 0.5, f"it took {took:.2f} s"
    """
)
DEAF = """
class Deaf:
    def __init__(self, mss, config):
        pass

    def on_sent(self, seq, size, now):
        pass

    def on_ack(self, ack, duplicate, now):
        return None, None

    def on_timeout(self):
        pass
"""


@pytest.mark.parametrize("yours", ["", "you", "you and server"])
def test_files_come_back(yours):
    stack = Stack({"rtt": part(RIGHT)})
    took = stack.there_and_back(FILE, FILE[::-1], yours=yours, loss=0.03, reorder=0.03, duplicate=0.03)
    assert 0.2 < took < 20 and any(", lost" in step for step in stack.steps)
    assert stack.trace is not None and len(stack.steps) == len(stack.trace)


def test_what_differs_from_the_packages_parts_is_told():
    words = {"rule": "RFC 5681 §3.2", "mistake": "the loss was left to the timer"}
    assert judge("stack", {"rtt": part(RIGHT)}, TALES["a_file_comes_back"], **words)
    with pytest.raises(Wrong) as caught:
        judge(
            "stack", {"rtt": part(RIGHT), "losses": part(DEAF, "Deaf")}, TALES["a_file_comes_back"], **words
        )
    report = str(caught.value)
    assert "Then: it took 1." in report and "The first difference:" in report
    assert report.index("yours:") < report.index("the package's:") < report.index("retransmission")


def test_a_wire_that_carries_nothing_is_told():
    stack = Stack({})
    with pytest.raises(TimeoutError):
        stack.there_and_back(FILE, loss=1.0)
    assert "you ▶ SYN" in stack.steps[0] and "lost" in stack.steps[0]
