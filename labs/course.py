"""The labs on a command line, for someone who works alone. A course uses nbgrader's own commands.

python labs/course.py release             the labs as students get them, into release/, a copy to mine/
python labs/course.py mark LAB [ID]       hand in mine/LAB.ipynb, as student ID, and mark it
python labs/course.py likeness LAB        how much each part handed in is like the package's own
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import io
import keyword
import re
import shutil
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

LABS = Path(__file__).resolve().parent
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
KEYWORDS = frozenset(keyword.kwlist) | {"self"}
OWN = {
    "08": ("labstack.transport.tcp.receiver", "labstack.transport.tcp.states"),
    "09": ("labstack.transport.tcp.rtt", "labstack.transport.tcp.recovery"),
    "10": ("labstack.transport.tcp.congestion.reno",),
}
OWN["14"] = OWN["08"] + OWN["09"] + OWN["10"]
"""Where the package's own parts stand, by the lab that replaces them. Of labs 00 and 07 it has none."""


@dataclass
class Mark:
    """What a check gave, out of how much, and what it said."""

    check: str
    points: float
    most: float
    report: str


class Course:
    """The course in a folder, which holds `source/` and `nbgrader_config.py`."""

    def __init__(self, folder: Path = LABS) -> None:
        self.folder = folder

    @property
    def labs(self) -> list[str]:
        """The labs' names, in order."""
        return sorted(path.name for path in (self.folder / "source").iterdir() if path.is_dir())

    @cached_property
    def _nbgrader(self) -> Any:
        from nbgrader.apps import NbGraderAPI
        from nbgrader.coursedir import CourseDirectory
        from traitlets.config import PyFileConfigLoader

        config = PyFileConfigLoader("nbgrader_config.py", path=str(self.folder)).load_config()
        return NbGraderAPI(CourseDirectory(config=config), config=config)

    def release(self, lab: str) -> Path:
        """Make the students' notebook. Raises RuntimeError if nbgrader finds something wrong."""
        self._asked(self._nbgrader.generate_assignment(lab, force=True))
        return self.folder / "release" / lab / f"{lab}.ipynb"

    def hand_in(self, lab: str, notebook: Path, student: str) -> None:
        place = self.folder / "submitted" / student / lab
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(notebook, place / f"{lab}.ipynb")

    def grade(self, lab: str, student: str) -> list[Mark]:
        """Run the checks on what the student has handed in."""
        self._asked(self._nbgrader.autograde(lab, student, force=True))
        reports = dict(_reports(self.folder / "autograded" / student / lab / f"{lab}.ipynb"))
        with self._nbgrader.gradebook as book:
            grades = book.find_submission_notebook(lab, lab, student).grades
            found = {grade.name: (grade.score, grade.max_score) for grade in grades}
        return [Mark(name, *found[name], reports[name]) for name in reports if name in found]

    def alike(self, lab: str) -> Iterator[tuple[str, float]]:
        """Each student, and how much of what they handed in is the package's own, from 0 to 1."""
        own = "".join(inspect.getsource(importlib.import_module(name)) for name in OWN.get(lab[:2], ()))
        for path in sorted((self.folder / "submitted").glob(f"*/{lab}/{lab}.ipynb")):
            cells = nbformat.read(path, as_version=4).cells
            theirs = [cell.source for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")]
            yield path.parent.parent.name, likeness("\n".join(theirs), own)

    def _asked(self, answer: dict[str, Any]) -> None:
        if not answer["success"]:
            raise RuntimeError(f"nbgrader says:\n{answer['log']}{answer.get('error', '')}")


def _reports(notebook: Path) -> Iterator[tuple[str, str]]:
    """Each marked cell's id, and what it said; before that, what was wrong with an answer further up."""
    wrong = ""
    for cell in nbformat.read(notebook, as_version=4).cells:
        words = []
        for output in cell.get("outputs", []):
            words += [output.get("text", ""), *(line + "\n" for line in output.get("traceback", []))]
        said = COLOURS.sub("", "".join(words)).strip()
        if cell.get("metadata", {}).get("nbgrader", {}).get("grade"):
            yield cell.metadata.nbgrader.grade_id, f"{wrong}\n{said}".strip()
        elif any(output.output_type == "error" for output in cell.get("outputs", [])):
            wrong = said


def likeness(source: str, other: str) -> float:
    """From 0 to 1: how much of the shorter one's tokens stand in the same order in the other. Names and
    comments do not count, so renaming hides nothing. It is a number for an instructor to look at, no
    verdict: short parts are alike."""
    mine, theirs = _shape(source), _shape(other)
    if not mine or not theirs:
        return 0.0
    blocks = difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= 12) / min(len(mine), len(theirs))


def _shape(source: str) -> list[str]:
    """The tokens, with every name the same, and without comments and strings."""
    words: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                words.append(token.string if token.string in KEYWORDS else "name")
            elif token.type in (tokenize.OP, tokenize.NUMBER):
                words.append(token.string)
    except (tokenize.TokenError, IndentationError):
        pass
    return words


def main() -> None:
    course = Course()
    mine = course.folder / "mine"
    match sys.argv[1:]:
        case ["release"]:
            mine.mkdir(exist_ok=True)
            for lab in course.labs:
                notebook = course.release(lab)
                for beside in notebook.parent.iterdir():
                    if beside.is_dir():  # what the lab needs to look at
                        shutil.copytree(beside, mine / beside.name, dirs_exist_ok=True)
                if not (mine / notebook.name).exists():
                    shutil.copy(notebook, mine)
                print(f"labs/mine/{notebook.name}")
        case ["mark", lab, *student]:
            who = student[0] if student else "me"
            course.hand_in(lab, mine / f"{lab}.ipynb", who)
            marks = course.grade(lab, who)
            for mark in marks:
                print(f"{mark.points:4.0f} of {mark.most:.0f}  {mark.check}")
                if mark.points < mark.most:
                    print("\n".join(f"            {line}" for line in mark.report.splitlines()))
            print(f"{sum(m.points for m in marks):4.0f} of {sum(m.most for m in marks):.0f}")
        case ["likeness", lab]:
            for name, share in course.alike(lab):
                print(f"{share:5.0%}  {name}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
