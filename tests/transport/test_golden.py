"""docs/congestion.md is what a run gives: every row of it, to the last digit."""

import pytest

from docs.congestion import ALONE, BETWEEN, HEAD, PAGE, TOGETHER, alone, together

ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


def test_the_page_has_these_rows_and_no_others():
    text = PAGE.read_text(encoding="utf-8")
    assert text.startswith(HEAD) and BETWEEN in text
    # Two rows name the columns.
    assert len(ROWS) == len(ALONE) + len(TOGETHER) + 2


@pytest.mark.check
@pytest.mark.feature(
    "Congestion control", "A golden table: goodput and wait over loss × RTT × buffer × control"
)
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_one_flow(case):
    assert alone(*case) in ROWS


@pytest.mark.check
@pytest.mark.feature("Congestion control", "A golden table: how two flows share, with and without CoDel")
@pytest.mark.parametrize("case", TOGETHER, ids=str)
def test_two_flows(case):
    assert together(*case) in ROWS
