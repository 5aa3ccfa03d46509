"""labs/instructor.md tells the truth: its table of labs, the reports it quotes, and every command in it."""

import csv
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labs.course import LABS, Course
from tests.labs.answers import Lab

TEXT = (LABS / "instructor.md").read_text(encoding="utf-8")
STUDENT = "# as a student"
WRITTEN = sorted(path.stem[:2] for path in (LABS.parent / "book").glob("[0-9][0-9]-*.ipynb"))


def rows(heading, table=0):
    """The cells of a table under a heading, without its first two lines."""
    part = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", part, re.MULTILINE)
    lines = tables[table].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_it_can_be_read_in_one_go():
    assert len(TEXT.splitlines()) < 250


def test_the_table_of_labs():
    table = {
        name: (time, points, chapters, after) for name, time, points, _, chapters, after in rows("The labs")
    }
    assert list(table) == Course().labs
    for name, (time, points, chapters, after) in table.items():
        title = Lab(name).notebook.cells[0].source
        assert f"**Time:** {time}." in title
        most = sum(map(int, points.split(" + ")))
        assert most == sum(Lab(name).points.values()) and f"**Points:** {points.split()[0]}" in title
        for chapter in chapters.split(", "):
            assert list((LABS.parent / "book").glob(f"{chapter}-*.ipynb")), f"{name}: no chapter {chapter}"
        for lab in filter(None, after.split(", ")):
            assert any(other.startswith(lab) for other in table)


def test_the_plan_has_each_lab_and_chapters_that_exist():
    plan = rows("The labs", 1)
    assert set(re.findall(r"\b\d\d\b", " ".join(labs for _, _, labs, _ in plan))) == {
        name[:2] for name in Course().labs
    }
    for _, chapters, _, _ in plan:
        for chapter in chapters.split(", "):
            assert list((LABS.parent / "book").glob(f"{chapter}-*.ipynb")), f"no chapter {chapter}"


def test_fourteen_weeks_have_each_lab_and_each_chapter_that_is_written():
    plan = rows("Fourteen weeks")
    assert [week for week, *_ in plan] == [str(n) for n in range(1, 15)]
    chapters = [number for _, numbers, _, _ in plan for number in numbers.split(", ") if number]
    assert chapters == WRITTEN
    labs = {number for _, _, lab, _ in plan for number in re.findall(r"\b\d\d\b", lab)}
    assert labs == {name[:2] for name in Course().labs}


def test_what_is_not_there():
    said = TEXT.split("**What is not there.**")[1].split("For a course")[0]
    missing = {"chapters": set(), "labs": set()}
    for what, part in zip(missing, said.split("labs"), strict=True):
        for first, last in re.findall(r"(\d\d)(?: to (\d\d))?", part):
            missing[what] |= {f"{n:02}" for n in range(int(first), int(last or first) + 1)}
    assert missing["chapters"] == {f"{n:02}" for n in range(35)} - set(WRITTEN)
    assert missing["labs"] == {f"{n:02}" for n in range(15)} - {name[:2] for name in Course().labs}


def test_each_written_chapter_is_mapped_to_the_textbooks():
    table = rows("Beside a textbook")
    assert [chapter for chapter, *_ in table] == [number for number in WRITTEN if number != "00"]
    for _, *books in table:
        for place in ", ".join(books).split(", "):
            assert re.fullmatch(r"–|\d+(\.\d+)*(–\d+(\.\d+)*)?", place), place


def test_the_reports_it_quotes():
    for lab, _, said in rows("Wrong solutions that come up, and what the report says"):
        numbers = [name[:2] for name in Course().labs] if lab == "all" else [lab]
        wrong = [w for n in numbers for w in importlib.import_module(f"tests.labs.wrong_{n}").WRONG]
        assert said.strip('"') in {w.words for w in wrong}, f"no wrong answer to lab {lab} is told {said}"


@pytest.mark.check
@pytest.mark.feature(
    "Labs", "Every command of labs/instructor.md: release, collect, grade, return, for a class"
)
def test_every_command(tmp_path: Path) -> None:
    """In their order, in a copy of the course, with an exchange and a student's folder of their own."""
    course, student, exchange = tmp_path / "labs", tmp_path / "student", tmp_path / "exchange"
    left = shutil.ignore_patterns("mine", "submitted", "release", "autograded", "feedback", "*.db")
    shutil.copytree(LABS, course, ignore=left)
    for name in ("book", "tests", "labstack", "pyproject.toml"):
        (tmp_path / name).symlink_to(LABS.parent / name)
    student.mkdir()
    exchange.mkdir()
    exchange.chmod(0o777)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.Exchange.root = {str(exchange)!r}\n"
    )
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
    }
    lab = "00-first-mark"
    for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
        if "nbgrader submit" in block:  # a student who knows it all
            shutil.copy(course / "source" / lab / f"{lab}.ipynb", student / lab)
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=student if block.startswith(STUDENT) else course,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    with (course / "grades.csv").open() as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores.pop("ada") == scores.pop("grace") == 0, "one handed in nothing, the other no answer"
    assert list(scores.values()) == [10]
    (returned,) = (student / lab / "feedback").rglob("*.html")
    assert "four_segments_of_any_size" in returned.read_text(), "the feedback shows a hidden check"
