"""The captures of lab 13 hold the fault that each ticket is about, and the lab's own answers are what a
program finds in them."""

import pytest

from labs.captures_13 import FOLDER, SCENES, VARIANTS, make
from labstack.grading.casebook import variant as variant_of
from labstack.observe import recording
from tests.labs.answers import Lab
from tests.labs.oracle_13 import FIND, PLACES
from tests.labs.wrong_13 import WRONG

NAMES = {
    "192.168.7.21": "laptop",
    "192.168.9.80": "server",
    "192.168.7.60": "sensor",
    "192.168.7.70": "store",
}


def found(ticket, variant, folder=FOLDER):
    """The frame and the value that a program finds in one variant of a ticket."""
    seen = {
        place: recording.read(folder / f"{ticket}{variant}-{place}.pcap", NAMES) for place in PLACES[ticket]
    }
    return FIND[ticket](seen)


@pytest.mark.feature(
    "Labs", "Diagnosis: captures by which each student proves what is wrong, where and since when"
)
@pytest.mark.parametrize("ticket", FIND)
def test_the_answers_are_in_the_captures(ticket):
    answer = Lab("13-diagnosis").cells("solution")[f"case-{ticket}"]
    for n, variant in enumerate(VARIANTS):
        space = {"variant": lambda asked, n=n: n}
        exec(answer, space)
        assert (space[f"frame_{ticket}"], space[f"value_{ticket}"]) == found(ticket, variant)


@pytest.mark.feature(
    "Labs", "Diagnosis: a culprit earns points only beside evidence of the student's own captures"
)
@pytest.mark.parametrize("ticket", FIND)
def test_a_neighbours_evidence_does_not_fit(ticket):
    assert len({found(ticket, variant) for variant in VARIANTS}) == len(VARIANTS)


def test_the_reports_fit_each_variant(monkeypatch):
    """What a wrong frame is said to be is what it is in that student's capture."""
    lab, met = Lab("13-diagnosis"), set()
    for student in (f"student{n}" for n in (0, 1, 2, 3, 4, 8, 18, 20, 21, 22)):
        monkeypatch.setenv("LABSTACK_STUDENT", student)
        theirs = {(ticket, variant_of(ticket)) for ticket in FIND}
        new, met = {str(ticket) for ticket, _ in theirs - met}, met | theirs
        for wrong in (wrong for wrong in WRONG if wrong.cell[-1] in new):
            (said,) = lab.check({wrong.cell: lab.wrong(wrong)}, wrong.found_by).values()
            assert wrong.words in said, f"{student}, {wrong}"
    assert len(met) == len(FIND) * len(VARIANTS), "another student is needed here"


def test_the_package_still_makes_them(tmp_path):
    """Made anew, each ticket has its fault, and no other machine of the package's has one of its own."""
    made = list(make(tmp_path))
    assert {path.name for path in made} == {path.name for path in FOLDER.iterdir()}
    assert len(SCENES) == 1 + len(FIND)
    for ticket in FIND:
        for variant in VARIANTS:
            assert found(ticket, variant, tmp_path) is not None
