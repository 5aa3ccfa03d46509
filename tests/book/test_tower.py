"""The front page: the tower shows what is the reader's own, a page comes through it, whatever is kept there,
and the contents link only chapters that exist."""

import re
from pathlib import Path
from xml.etree import ElementTree

import contents
import machine
import pytest
from machine import PAGE, PARTS, fetch
from tower import BOOKS, BROKEN, TO_COME, YOURS, Tower, where_you_are

from book.normalise import BOOK, execute, read

RIGHT = {
    "ack_number": "def ack_number(seq, length, syn, fin):\n    return (seq + length + syn + fin) % 2**32\n",
    "header_length": "def header_length(first):\n    return (first & 0x0F) * 4\n",
}
OTHERS = {
    "estimate": "def estimate(srtt, rttvar, rtt):\n"
    "    if srtt is None:\n        return rtt, rtt / 2\n"
    "    return 7 / 8 * srtt + rtt / 8, 3 / 4 * rttvar + abs(srtt - rtt) / 4\n",
    "reassemble": "def reassemble(kept, wanted, at, data):\n"
    "    kept[at] = data\n    ready = b''\n"
    "    while (piece := kept.pop(wanted + len(ready), None)):\n        ready += piece\n    return ready\n",
    "congestion": "from labstack.transport.tcp.congestion.reno import Reno as congestion",
    "routing_table": "from labstack.internet.routing import LongestPrefixTable as routing_table",
    "arp_cache": "from labstack.link.arp import ArpCache as arp_cache",
}
BROKEN_PARTS = [
    ("def ack_number(seq, length, syn, fin):\n    return seq + length", "the page did not come"),
    ("def ack_number(seq, length, syn, fin):\n    return None", "TypeError"),
    ("def ack_number(seq, length, syn, fin):\n    return 1 // 0", "ZeroDivisionError: "),
    ("def ack_number(seq):\n    return seq", "TypeError: ack_number() takes 1 positional argument"),
    ("def ack_number(:", "SyntaxError: invalid syntax (ack_number.py, line 1)"),
    ("ack = 1", "nothing in it has the name ack_number"),
]


def keep(folder: Path, **parts: str) -> Path:
    for name, source in parts.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


def test_nine_parts_and_at_first_none_is_yours(tmp_path: Path) -> None:
    tower = Tower(tmp_path / "mystack")
    assert len(PARTS) == len({part.name for part in PARTS}) == 9
    assert tower.yours == 0 and str(tower).endswith("0 of 9 parts are yours.")
    assert str(where_you_are(tmp_path)) == (
        "None of the parts is yours yet. Next: header_length, in 00-bytes-and-ladders.ipynb."
    )
    assert set(machine.PLUGS) < {part.name for part in PARTS}


def test_a_kept_part_changes_its_brick(tmp_path: Path) -> None:
    tower = Tower(keep(tmp_path, ack_number=RIGHT["ack_number"], something_else=""))
    assert tower.owners["ack_number"] == YOURS and tower.yours == 1
    assert tower.svg.count("#9AD9C3") == 1
    ElementTree.fromstring(tower.svg)
    assert str(where_you_are(tmp_path)).startswith("Yours: ack_number. Next: header_length")


def test_a_part_without_a_chapter_is_to_come(tmp_path: Path) -> None:
    for part in PARTS:
        owner = Tower(tmp_path).owners[part.name]
        assert owner == (BOOKS if contents.notebook(part.chapter) else TO_COME), part.name


def test_the_page_comes_through_the_books_parts(tmp_path: Path) -> None:
    page = fetch(tmp_path / "mystack")
    assert page.page == PAGE and page.troubles == []
    assert page.whose == "The page loads with 0 of 9 parts yours."


def test_the_page_comes_through_the_readers_parts(tmp_path: Path) -> None:
    noted = "ASKED = []\n" + RIGHT["header_length"].replace("return", "ASKED.append(first)\n    return")
    keep(tmp_path, ack_number=RIGHT["ack_number"], header_length=noted)
    page = fetch(tmp_path)
    assert page.page == PAGE and page.troubles == []
    assert page.whose == "The page loads with 2 of 9 parts yours: ack_number, header_length."
    asked = machine.kept(tmp_path).parts["header_length"].__globals__["ASKED"]
    assert asked and set(asked) == {0x45}, "the machine reads by it"


def test_all_that_can_be_plugged_in_carries_the_page_together(tmp_path: Path) -> None:
    page = fetch(keep(tmp_path, **RIGHT, **OTHERS))
    assert page.troubles == [] and set(page.yours) == {*RIGHT, *OTHERS} == set(machine.PLUGS)


@pytest.mark.parametrize(("source", "reason"), BROKEN_PARTS)
def test_a_broken_part_is_named_in_a_sentence_and_the_books_stands_in(
    source: str, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page = fetch(keep(tmp_path, ack_number=source, header_length=RIGHT["header_length"]))
    assert page.page == PAGE and page.yours == ["header_length"]
    (trouble,) = page.troubles
    place = f"ack_number, in {tmp_path.name}/ack_number.py, does not carry a page: "
    assert trouble.startswith(place + reason)
    assert trouble.endswith("Until it does, the book's stands in.") and "\n" not in trouble
    assert Tower(tmp_path).owners["ack_number"] == BROKEN
    assert str(where_you_are(tmp_path)).endswith("Next: ack_number, in 01-the-journey-of-one-page.ipynb.")
    assert capfd.readouterr() == ("", ""), "no traceback of a program that met the broken part"


def test_parts_that_work_alone_but_not_together_are_told(tmp_path: Path) -> None:
    picky = "def reassemble(kept, wanted, at, data):\n    assert not TOLD\n    return data\n"
    shared = f"import machine\nTOLD = machine.__dict__.setdefault('_told_{tmp_path.name}', [])\n"
    numbers = RIGHT["ack_number"].replace("return", "TOLD.append(1)\n    return")
    page = fetch(keep(tmp_path, reassemble=shared + picky, ack_number=shared + numbers))
    assert page.page == PAGE and page.yours == []
    assert page.troubles[0].startswith("Each alone carries a page, but reassemble and ack_number together do")


def test_the_page_shows_whose_it_is_and_escapes_what_is_said(tmp_path: Path) -> None:
    shown = fetch(keep(tmp_path, header_length="raise ValueError('<b>')"))._repr_html_()
    assert PAGE.decode() in shown and "ValueError: &lt;b&gt;" in shown
    assert "0 of 9 parts yours" in shown


def test_the_contents_name_every_chapter_by_its_title() -> None:
    chapters = [chapter for part in contents.CONTENTS.values() for chapter in part]
    assert [chapter.number for chapter in chapters] == [f"{n:02}" for n in range(35)]
    found = {path.name for path in BOOK.glob("[0-9][0-9]-*.ipynb")}
    assert {chapter.notebook for chapter in chapters if chapter.notebook} == found
    for chapter in chapters:
        if chapter.notebook:
            first = read(BOOK / chapter.notebook).cells[0].source
            assert first.startswith(f"# {chapter.number} · {chapter.title}\n")
            minutes = re.findall(r"\d+", first.partition("**Time:**")[2].partition("**Needs:**")[0])
            assert sum(map(int, minutes)) == chapter.minutes and chapter.happens


def test_the_stored_index_is_of_this_book_and_of_no_readers_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the reader who runs `make book` has parts of their own."""
    keep(tmp_path, **RIGHT)
    monkeypatch.setenv("LABSTACK_MYSTACK", str(tmp_path))
    monkeypatch.setenv("LABSTACK_NO_TAP", "1")
    index = read(BOOK / "index.ipynb")
    stored = {cell.id: cell.get("outputs") for cell in index.cells}
    execute(index)
    for cell in index.cells:
        if cell.id in ("tower", "where-code", "page", "contents"):
            (now,), (before,) = cell.outputs, stored[cell.id]
            assert now.data["text/plain"] == before.data["text/plain"], "run `make book`"
