"""Labs as tests see them: the source's cells, what a student would hand in, and checks that run here."""

import contextlib
import io
import linecache
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import nbformat

from labs.course import LABS

NUMBERS = count(1)


@dataclass(frozen=True)
class Wrong:
    """A wrong answer: the right one with `old` replaced by `new` in the cell `cell` (with all of the cell, if
    `old` is ""). The checks that must find it, and words that their reports must hold."""

    name: str
    cell: str
    old: str
    new: str
    found_by: tuple[str, ...]
    words: str

    def __str__(self) -> str:
        return self.name


def cheats(cell: str, name: str, module: str, own: str, check: str) -> list[Wrong]:
    """Ways to hand in the package's class `own` of `module` as one's own class `name`."""
    package, _, file = module.rpartition(".")
    ways = {
        "inherits": (f"from {module} import {own}\nclass {name}({own}): pass", "inherits from"),
        "imports": (
            f"import {module}\nclass {name}:\n    def __new__(cls, *made): return {module}.{own}(*made)",
            "holds the answer",
        ),
        "delegates": (
            f"from {package} import {file} as theirs\n"
            f"class {name}:\n    def __init__(self, *made): self.theirs = theirs.{own}(*made)",
            "holds the answer",
        ),
        "looks for it": (
            f"class {name}:\n    def __init__(self, *made):\n"
            f"        [c for c in object.__subclasses__() if c.__name__ == {own!r}][0](*made)",
            "another object's own affair",
        ),
    }
    return [
        Wrong(f"cheat: {name} {way}", cell, "", code, (check,), words) for way, (code, words) in ways.items()
    ]


class Lab:
    """A lab's source."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = LABS / "source" / name
        self.notebook = nbformat.read(self.folder / f"{name}.ipynb", as_version=4)

    def cells(self, kind: str) -> dict[str, str]:
        """Sources by id, in order: of the answers ("solution"), the checks ("grade"), or both and all else
        that is run for the mark ("")."""
        return {
            cell.metadata.nbgrader.grade_id: cell.source
            for cell in self.notebook.cells
            if "nbgrader" in cell.metadata and (not kind or cell.metadata.nbgrader[kind])
        }

    @property
    def points(self) -> dict[str, int]:
        return {
            cell.metadata.nbgrader.grade_id: cell.metadata.nbgrader.points
            for cell in self.notebook.cells
            if "nbgrader" in cell.metadata and cell.metadata.nbgrader.grade
        }

    def secrets(self) -> set[str]:
        """The lines that students must not see: those between the marks, and nowhere else."""
        lines: tuple[set[str], set[str]] = set(), set()
        inside = False
        for cell in self.notebook.cells:
            for line in cell.source.splitlines():
                if "### BEGIN" in line or "### END" in line:
                    inside = "BEGIN" in line
                else:
                    lines[inside].add(line.strip())
        seen = "\n".join(lines[False])
        return {line for line in lines[True] if len(line) > 12 and line not in seen}

    def wrong(self, wrong: Wrong) -> str:
        """The cell of a wrong answer."""
        right = self.cells("solution")[wrong.cell]
        if not wrong.old:
            return wrong.new
        assert wrong.old in right, f"{wrong.name}: the right answer in {wrong.cell} has changed"
        return right.replace(wrong.old, wrong.new)

    def handed_in(self, released: Path, folder: Path, answers: dict[str, str]) -> Path:
        """The released notebook with these answers, of which the right ones are the default."""
        notebook = nbformat.read(released, as_version=4)
        answers = self.cells("solution") | answers
        for cell in notebook.cells:
            if "nbgrader" in cell.metadata and cell.metadata.nbgrader.solution:
                cell.source = answers[cell.metadata.nbgrader.grade_id]
        path = folder / "handed-in.ipynb"
        nbformat.write(notebook, path)
        return path

    def check(self, answers: dict[str, str], checks: tuple[str, ...]) -> dict[str, str]:
        """Run these checks here, without nbgrader: what each of them says, "" where it is content."""
        space: dict[str, object] = {"__name__": "__main__"}
        said: dict[str, str] = {}
        graded = self.points
        for name, source in self.cells("").items():
            if name in graded and name not in checks:
                continue
            try:
                with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()):
                    _run(answers.get(name, source), space)
            except Exception as error:
                said[name] = str(error)
            else:
                said[name] = ""
        return {name: said[name] for name in checks}


def _run(source: str, space: dict[str, object]) -> None:
    """As a notebook runs a cell: its source is known to Python."""
    name = f"<lab cell {next(NUMBERS)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    exec(compile(source, name, "exec"), space)
