"""The chart of a crowd's waits: sorted, told in numbers, and to scale."""

import pytest

from labstack.observe.waits import Waits


def test_the_summary_and_the_table():
    chart = Waits({"one": [0.3, 0.1, 0.2], "two": [0.5]})
    assert str(chart).splitlines() == [
        "one  3 clients: the first has its answer after 0.100 s, half of them after 0.200 s,"
        " the last after 0.300 s",
        "two  1 client: the first has its answer after 0.500 s, half of them after 0.500 s,"
        " the last after 0.500 s",
    ]
    assert list(chart.table()["waited s"]) == [0.1, 0.2, 0.3, 0.5]


@pytest.mark.parametrize(("longest", "scale"), [(0.3, "linear"), (30, "log")])
def test_waits_far_apart_are_both_to_be_seen(longest, scale):
    chart = Waits({"one": [0.1, longest]}, predicted=0.2)
    (axes,) = chart.figure.axes
    assert axes.get_yscale() == scale and "seconds" in axes.get_ylabel()
    assert [line.get_label() for line in axes.get_lines()] == ["one", "your prediction"]
    assert str(chart).endswith("predicted for the last: 0.200 s")


def test_nobody_waited():
    with pytest.raises(ValueError, match="nothing to draw"):
        Waits({"one": []})
