"""The labs on a command line, for someone who works alone. A course uses nbgrader's own commands.

python labs/course.py release             the labs as students get them, into release/, a copy to mine/
python labs/course.py mark LAB [ID]       hand in mine/LAB.ipynb, as student ID, and mark it
python labs/course.py likeness LAB        how much each part handed in is like the package's own
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat

from labstack.grading.submission import likeness

LABS = Path(__file__).resolve().parent
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
OWN = {
    "08": ("labstack.transport.tcp.receiver", "labstack.transport.tcp.states"),
    "09": ("labstack.transport.tcp.rtt", "labstack.transport.tcp.recovery"),
    "10": ("labstack.transport.tcp.congestion.reno",),
}
"""Where the package's own parts stand, by the lab that replaces them."""


@dataclass
class Mark:
    """What a check gave, out of how much, and what it said."""

    check: str
    points: float
    most: float
    report: str


def nbgrader(course: Path, *words: str) -> None:
    """Run one of nbgrader's commands for the course in that folder. Raises RuntimeError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *words], cwd=course, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"nbgrader {' '.join(words)} failed:\n{done.stderr}")


def release(course: Path = LABS) -> list[str]:
    """Make the students' notebooks. The labs' names."""
    labs = sorted(path.name for path in (course / "source").iterdir() if path.is_dir())
    mine = course / "mine"
    mine.mkdir(exist_ok=True)
    for lab in labs:
        nbgrader(course, "generate_assignment", lab, "--force")
        if not (mine / f"{lab}.ipynb").exists():
            shutil.copy(course / "release" / lab / f"{lab}.ipynb", mine)
    return labs


def mark(lab: str, notebook: Path, student: str = "me", course: Path = LABS) -> list[Mark]:
    """Hand in a notebook, and mark it."""
    hand_in(lab, notebook, student, course)
    nbgrader(course, "autograde", lab, "--student", student, "--force")
    return marks(lab, student, course)


def hand_in(lab: str, notebook: Path, student: str, course: Path = LABS) -> None:
    place = course / "submitted" / student / lab
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(notebook, place / f"{lab}.ipynb")


def marks(lab: str, student: str, course: Path = LABS) -> list[Mark]:
    """What the last marking gave."""
    # It is here when the first notebook is marked, and slow to load.
    from nbgrader.api import Gradebook

    reports = dict(_reports(course / "autograded" / student / lab / f"{lab}.ipynb"))
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}", "labstack") as book:
        grades = book.find_submission_notebook(lab, lab, student).grades
        found = {grade.name: (grade.score, grade.max_score) for grade in grades}
    return [Mark(name, *found[name], reports[name]) for name in reports if name in found]


def _reports(notebook: Path) -> Iterator[tuple[str, str]]:
    """Each marked cell's id, and what it said."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        words = []
        for output in cell.get("outputs", []):
            words += [output.get("text", ""), *(line + "\n" for line in output.get("traceback", []))]
        if "nbgrader" in cell.metadata:
            yield cell.metadata.nbgrader.grade_id, COLOURS.sub("", "".join(words)).strip()


def alike(lab: str, course: Path = LABS) -> Iterator[tuple[str, float]]:
    """Each student, and how much of what they handed in is the package's own, from 0 to 1."""
    own = "".join(inspect.getsource(importlib.import_module(name)) for name in OWN.get(lab[:2], ()))
    for path in sorted((course / "submitted").glob(f"*/{lab}/{lab}.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        theirs = [cell.source for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")]
        yield path.parent.parent.name, likeness("\n".join(theirs), own)


def main() -> None:
    match sys.argv[1:]:
        case ["release"]:
            for lab in release():
                print(f"mine/{lab}.ipynb")
        case ["mark", lab, *student]:
            given = mark(lab, LABS / "mine" / f"{lab}.ipynb", *student[:1])
            for each in given:
                print(f"{each.points:4.0f} of {each.most:.0f}  {each.check}")
                if each.points < each.most:
                    print("\n".join(f"            {line}" for line in each.report.splitlines()))
            print(f"{sum(m.points for m in given):4.0f} of {sum(m.most for m in given):.0f}")
        case ["likeness", lab]:
            for name, share in alike(lab):
                print(f"{share:5.0%}  {name}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    os.chdir(LABS)
    main()
