"""What the book asks: it reads without being run, commits, reveals, and never gives an answer away early."""

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from labstack.observe.questions import Case, Choice, Explore, Hints, Prediction, Said, has_gap, judge

LAYERS = {
    "five": "That is the teaching model.",
    "six": "One is missing.",
    "seven": "From physical to application.",
}


def layers() -> Choice:
    return Choice("How many layers has OSI?", LAYERS, right="seven")


def test_a_choice_reads_as_text_and_keeps_its_answer() -> None:
    assert str(layers()).splitlines() == ["How many layers has OSI?", "  A  five", "  B  six", "  C  seven"]


def test_a_choice_reveals_the_answer_and_speaks_to_the_one_chosen() -> None:
    choice = layers()
    assert choice.reveal() == "C is right: seven. From physical to application."
    choice.choose("b")
    assert choice.reveal().splitlines()[0] == "You chose B, six. One is missing."
    choice.choose("seven")
    assert choice.reveal().startswith("You chose well.")


def test_a_choice_refuses_what_is_no_answer() -> None:
    with pytest.raises(ValueError, match="write one of A, B, C"):
        layers().choose("D")
    with pytest.raises(ValueError, match="not among the answers"):
        Choice("?", LAYERS, right="eight")


def test_a_choice_is_made_by_clicking() -> None:
    choice = layers()
    _, buttons, note = choice.widget().children
    assert buttons.value is None
    buttons.value = "six"
    assert choice.chosen == "six" and note.value.startswith("Noted")


def test_a_prediction_is_committed_by_slider_and_button() -> None:
    prediction = Prediction("How many bytes?", 6, 3000, "bytes")
    _, row, button = prediction.widget().children
    assert prediction.value is None
    row.children[0].value = 500
    assert prediction.value is None, "only the button commits"
    button.click()
    assert prediction.value == 500 and "500" in row.children[1].value


def test_a_prediction_stands_beside_what_was_measured() -> None:
    prediction = Prediction("How many bytes?", 6, 3000, "bytes")
    alone = prediction.against(1016)
    assert str(alone) == "measured: 1,016 bytes (no prediction was made)"
    assert alone.svg.count("<rect") == 2  # the paper and one bar
    prediction.commit(6)
    both = prediction.against(1016)
    assert str(both) == "measured: 1,016 bytes; predicted: 6 bytes"
    assert both.svg.count("<rect") == 3
    ElementTree.fromstring(both.svg)
    prediction.commit(1016)
    assert str(prediction.against(1016)) == "measured: 1,016 bytes, as predicted"


def test_a_prediction_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="predict 6 to 3,000 bytes"):
        Prediction("How many bytes?", 6, 3000, "bytes").commit(5)


def double(number: int) -> int:
    """The book's answer."""
    return number * 2


def test_hints_open_one_at_a_time_and_end_with_the_answer() -> None:
    hints = Hints("Think of two.", answer=double)
    assert str(hints).startswith("2 hints, folded") and "Think" not in str(hints)
    assert hints.next() == "Hint 1 of 2. Think of two."
    assert "return number * 2" in hints.next()
    assert hints.next() == "There are no more hints."


def test_hints_open_by_the_button_and_the_button_goes_with_the_last() -> None:
    hints = Hints("First <one>.", "Second.")
    box = hints.widget()
    box.children[-1].click()
    assert "First &lt;one&gt;." in box.children[0].value
    box.children[-1].click()
    assert len(box.children) == 2 and "Second." in box.children[1].value


CASES = [Case("two apples", (1,), 2), Case("no apples", (0,), 0, "Nothing stays nothing.")]


def test_a_gap_is_a_gap_until_the_last_dots_are_gone() -> None:
    def dots(number: int) -> int:
        """What to do."""
        ...  # noqa: PIE790

    def returned(number: int) -> int:
        return ...

    def half(number: int) -> int:
        return number + ...

    def inside(number: int) -> int:
        return (lambda: ...)()

    def full(number: int) -> int:
        return number

    assert all(map(has_gap, (dots, returned, half, inside)))
    assert not has_gap(full) and not has_gap(print)


def test_the_books_answer_stands_in_for_a_gap(tmp_path: Path) -> None:
    def mine(number: int) -> int:
        return ...

    verdict = judge(mine, double, CASES, keep=tmp_path)
    assert verdict.part is double and not verdict.right and not list(tmp_path.iterdir())
    assert (
        str(verdict) == "mine still has its gap (`...`). Until you fill it, the book's own answer stands in."
    )


def test_a_wrong_part_is_told_where_and_why(tmp_path: Path) -> None:
    def mine(number: int) -> int:
        return number + 1

    verdict = judge(mine, double, CASES, keep=tmp_path)
    assert verdict.part is double and not list(tmp_path.iterdir())
    assert str(verdict).splitlines() == [
        "✓ two apples: 2",
        "✗ no apples: expected 0, yours says 1",
        "    Nothing stays nothing.",
        "Not yet. Until mine is right, the book's own answer stands in.",
    ]


def test_a_part_that_raises_is_told_so() -> None:
    def mine(number: int) -> int:
        return 2 // number

    assert "yours raised ZeroDivisionError" in str(judge(mine, double, CASES, keep=None))


def test_a_truth_is_no_number() -> None:
    def mine(number: int) -> int:
        return number == 1

    assert "expected 0, yours says False" in str(judge(mine, double, CASES, keep=None))


def test_a_right_part_is_used_and_kept(tmp_path: Path) -> None:
    def mine(number: int) -> int:
        return number + number

    verdict = judge(mine, double, CASES, keep=tmp_path / "mystack")
    assert verdict.part is mine and verdict.right
    assert str(verdict).splitlines()[-1] == "mine is yours. It is kept in mystack/mine.py."
    assert (
        tmp_path / "mystack" / "mine.py"
    ).read_text() == "def mine(number: int) -> int:\n    return number + number\n"


def test_a_right_part_is_kept_with_the_classes_that_call_it(tmp_path: Path) -> None:
    def mine(number: int) -> int:
        return number + number

    class Base:
        add = 1

        def of(self, number: int) -> int:
            return 0

    class Part(Base):
        def of(self, number: int) -> int:
            return mine(number) + self.add

    verdict = judge(mine, double, CASES, keep=tmp_path, part="part", classes=(Base, Part))
    assert verdict.kept == tmp_path / "part.py"
    names: dict[str, Any] = {}
    exec((tmp_path / "part.py").read_text(), names)
    assert names["part"]().of(3) == 7


def test_a_right_part_that_cannot_be_kept_is_right_all_the_same(tmp_path: Path) -> None:
    def mine(number: int) -> int:
        return number + number

    (tmp_path / "mystack").write_text("a file where a folder should be")
    verdict = judge(mine, double, CASES, keep=tmp_path / "mystack")
    assert verdict.right and str(verdict).splitlines()[-1] == "mine is yours."


def test_without_widgets_there_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert layers()._repr_mimebundle_() == {"text/plain": str(layers())}
    with pytest.raises(ImportError, match="notebooks"):
        layers().widget()


def test_with_widgets_the_text_stays_the_same() -> None:
    bundle = layers()._repr_mimebundle_()
    assert bundle["text/plain"] == str(layers())
    assert "application/vnd.jupyter.widget-view+json" in bundle


def divide(number: int, by: object) -> object:
    return Said(f"{number} / {by} < {number / int(str(by)):g}")


def test_play_is_text_at_its_start() -> None:
    assert str(Explore(divide, number=(0, 9, 6), by=["2", "3"])) == "number = 6, by = 2:\n6 / 2 < 3"


def test_play_follows_slider_and_menu_and_survives_an_error() -> None:
    slider, menu, shown = Explore(divide, number=(0, 9, 6), by=["2", "3", "0"]).widget().children
    assert "6 / 2 &lt; 3" in shown.value
    slider.value = 9
    menu.value = "3"
    assert "9 / 3 &lt; 3" in shown.value
    menu.value = "0"
    assert "ZeroDivisionError" in shown.value
    menu.value = "3"
    assert "9 / 3 &lt; 3" in shown.value


def test_play_shows_a_picture_as_a_picture() -> None:
    prediction = Prediction("How many bytes?", 6, 3000, "bytes")
    _, shown = Explore(prediction.against, measured=(1, 9, 5)).widget().children
    assert "<svg" in shown.value and shown.value.endswith("</svg>\n")
