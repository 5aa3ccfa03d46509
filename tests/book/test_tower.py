"""The front page's tower shows what is the reader's own, and links only chapters that exist."""

from pathlib import Path
from xml.etree import ElementTree

from book.tower import BOOKS, PARTS, TO_COME, YOURS, Tower, where_you_are


def test_nine_parts_and_at_first_none_is_yours(tmp_path: Path) -> None:
    tower = Tower(tmp_path / "mystack")
    assert len(PARTS) == len({part.name for part in PARTS}) == 9
    assert tower.yours == 0 and str(tower).endswith("0 of 9 parts are yours.")
    assert str(where_you_are(tmp_path)) == (
        "None of the parts is yours yet. Next: header_length, in 00-bytes-and-ladders.ipynb."
    )


def test_a_kept_part_changes_its_brick(tmp_path: Path) -> None:
    (tmp_path / "ack_number.py").write_text("def ack_number(): ...\n")
    (tmp_path / "something_else.py").write_text("")
    tower = Tower(tmp_path)
    assert tower.owners["ack_number"] == YOURS and tower.yours == 1
    assert tower.svg.count("#9AD9C3") == 1
    ElementTree.fromstring(tower.svg)
    assert str(where_you_are(tmp_path)).startswith("Yours: ack_number. Next: header_length")


def test_a_part_without_a_chapter_is_to_come(tmp_path: Path) -> None:
    for part in PARTS:
        owner = Tower(tmp_path).owners[part.name]
        assert owner == (BOOKS if part.notebook else TO_COME), part.name
