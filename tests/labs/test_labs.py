"""Labs are released, handed in and marked as in a course: with nbgrader's own commands."""

import copy
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from book.normalise import normal_form, read
from labs.course import LABS, Course, likeness
from labstack.transport.tcp.receiver import Reassembly
from labstack.transport.tcp.rtt import Rfc6298
from tests.labs import wrong_14
from tests.labs.answers import Lab, Wrong

NAMES = Course().labs
WRONG = [
    pytest.param(name, wrong, id=f"{name[:2]}: {wrong}")
    for name in NAMES
    for wrong in importlib.import_module(f"tests.labs.wrong_{name[:2]}").WRONG
]
# All are put to the checks; every third at once, the others, and lab 14's whole transfers, under `check`.
EACH = [
    pytest.param(*p.values, id=p.id, marks=pytest.mark.check if at % 3 or p.id.startswith("14") else ())
    for at, p in enumerate(WRONG)
]
# What nbgrader hands on is the same for all: every twelfth is handed in, and of each lab the plainest cheat.
IN_A_COURSE = [p for at, p in enumerate(WRONG) if at % 12 == 0 or "inherits" in str(p.id)]

# nbgrader changes limits of the process it runs in, and is slow to load: one process for many commands.
CLERK = """
import json, sys
from pathlib import Path
from labs.course import Course
course = Course(Path(sys.argv[1]))
for line in sys.stdin:
    what, lab, *rest = json.loads(line)
    if what == "release":
        answer = str(course.release(lab))
    else:
        student, notebook = rest
        course.hand_in(lab, Path(notebook), student)
        answer = [vars(mark) for mark in course.grade(lab, student)]
    print("\\n" + json.dumps(answer), flush=True)
"""


class Clerk:
    """Who runs nbgrader for a course of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(LABS / "source", folder / "source")
        shutil.copy(LABS / "nbgrader_config.py", folder)
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLERK, str(folder)],
            cwd=LABS.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._released: dict[str, Path] = {}

    def ask(self, *words):
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(("[", '"')):
                return json.loads(line)
        raise AssertionError(f"nbgrader gave up on {words}")

    def release(self, lab):
        if lab not in self._released:
            self._released[lab] = Path(self.ask("release", lab))
        return self._released[lab]

    def grade(self, lab, student, answers, folder):
        """Points by check, and all that was said."""
        notebook = Lab(lab).handed_in(self.release(lab), folder, answers)
        marks = self.ask("grade", lab, student, str(notebook))
        return {m["check"]: m["points"] for m in marks}, "\n".join(m["report"] for m in marks)

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)


@pytest.fixture(scope="module")
def clerk(tmp_path_factory):
    clerk = Clerk(tmp_path_factory.mktemp("course"))
    yield clerk
    clerk.close()


@pytest.mark.parametrize("name", NAMES)
def test_source_is_in_normal_form(name):
    path = LABS / "source" / name / f"{name}.ipynb"
    notebook = read(path)
    assert path.read_text() == normal_form(notebook), f"{name}: not in normal form (book/normalise.py FILE)"
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), f"{name}: stored with outputs"


@pytest.mark.feature("Labs", "Released notebooks hold no solution and no hidden check")
@pytest.mark.parametrize("name", NAMES)
def test_released_notebooks_keep_the_secrets(name, clerk):
    lab = Lab(name)
    text = "\n".join(cell.source for cell in nbformat.read(clerk.release(name), as_version=4).cells)
    secrets = lab.secrets()
    assert len(secrets) > 3
    assert not {line for line in secrets if line in text}
    assert "### " + "BEGIN" not in text and "YOUR CODE HERE" in text


@pytest.mark.feature("Labs", "Reference solutions score full marks through nbgrader's own commands")
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name[:2] in ("00", "09", "14") else pytest.mark.check) for name in NAMES
])  # fmt: skip
def test_the_right_answer_gets_full_marks(name, clerk, tmp_path):
    points, said = clerk.grade(name, "right", {}, tmp_path)
    assert points == Lab(name).points, said


@pytest.mark.check
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_answer_gets_nothing(name, clerk, tmp_path):
    released = nbformat.read(clerk.release(name), as_version=4).cells
    empty = {c.metadata.nbgrader.grade_id: c.source for c in released if "nbgrader" in c.metadata}
    points, _ = clerk.grade(name, "empty", empty, tmp_path)
    assert set(points) == set(Lab(name).points) and not any(points.values())


@pytest.mark.feature("Labs", "Each wrong solution loses marks, with a report that names its mistake")
@pytest.mark.parametrize(("name", "wrong"), EACH)
def test_a_wrong_answer_is_found(name: str, wrong: Wrong) -> None:
    lab = Lab(name)
    said = lab.check({wrong.cell: lab.wrong(wrong)}, wrong.found_by)
    assert all(said.values()), f"not found by {[check for check in said if not said[check]]}"
    assert wrong.words in "\n".join(said.values())


@pytest.mark.check
@pytest.mark.parametrize(("name", "wrong"), IN_A_COURSE)
def test_a_wrong_answer_loses_marks_in_a_course(name, wrong, clerk, tmp_path):
    lab = Lab(name)
    points, said = clerk.grade(name, "wrong", {wrong.cell: lab.wrong(wrong)}, tmp_path)
    assert not any(points[check] for check in wrong.found_by) and wrong.words in said
    assert sum(points.values()) < sum(lab.points.values())


BROKEN = {
    "no Python": "class FixedWindow(:",
    "no end": "while True:\n    pass",
    "all memory": "class FixedWindow:\n    everything = bytearray(1 << 40)",
    "no end in the part": "class FixedWindow:\n    def __init__(self, *_):\n        while True: pass",
    "another judge": "import labstack.grading.judge as j\nj.judge = lambda *a, **k: '✓'",
    "another name for it": "def judge(*args, **options):\n    return '✓'",
    "the package's": "from labstack.transport.tcp.congestion.reno import Reno\nclass FixedWindow(Reno): pass",
    "a shell": "!touch /etc/passwd",
}


@pytest.mark.feature("Labs", "A broken submission (endless loop, all memory, no Python) gets nothing")
@pytest.mark.parametrize("broken", ["no Python", "all memory", "another judge", "another name for it"])
def test_what_is_broken_gets_nothing(broken, clerk, tmp_path):
    points, said = clerk.grade("00-first-mark", "broken", {"fixed-window": BROKEN[broken]}, tmp_path)
    points.pop("how-many-round-trips")  # the other answer is right
    assert not any(points.values()), said


@pytest.mark.check
@pytest.mark.parametrize("broken", ["no end", "no end in the part", "the package's", "a shell"])
def test_what_is_broken_gets_nothing_in_the_end(broken, clerk, tmp_path):
    test_what_is_broken_gets_nothing(broken, clerk, tmp_path)


def test_who_works_alone_is_marked_by_what_the_notebook_showed(clerk, tmp_path):
    """Nobody's captures, the first of each ticket: `course.py` hands in as "me"."""
    lab = Lab("13-diagnosis")
    seen = {name: re.sub(r"variant\(\d\)", "0", cell) for name, cell in lab.cells("solution").items()}
    points, said = clerk.grade(lab.name, "me", seen, tmp_path)
    assert points == lab.points, said


def test_a_module_beside_the_notebook_is_not_the_judge(clerk, tmp_path):
    """A kernel looks for modules in its folder first: what is handed in there does not come along."""
    beside = clerk.folder / "submitted" / "forger" / "00-first-mark" / "labstack"
    for package in (beside, beside / "grading", beside / "headers"):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    (beside / "grading" / "judge.py").write_text("def judge(*args, **options):\n    return '✓'\n")
    (beside / "headers" / "tcp.py").write_text("ACK, Options = 16, dict\n")
    points, _ = clerk.grade("00-first-mark", "forger", {"fixed-window": "class FixedWindow: pass"}, tmp_path)
    points.pop("how-many-round-trips")
    assert not any(points.values())


@pytest.mark.feature("Labs", "An instructor sees how much of a part is the package's own, whatever its names")
def test_copies_are_seen_by_the_instructor(tmp_path):
    copied = inspect.getsource(Reassembly).replace("Reassembly", "MyReceiver").replace("pieces", "parts")
    right = Lab("08-tcp-receiver-and-closing")
    for student, source in (("copier", copied), ("honest", right.cells("solution")["receiver"])):
        notebook = copy.deepcopy(right.notebook)
        for cell in notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = source if cell.metadata.nbgrader.grade_id == "receiver" else ""
        path = tmp_path / f"{student}.ipynb"
        nbformat.write(notebook, path)
        Course(tmp_path).hand_in(right.name, path, student)
    shares = dict(Course(tmp_path).alike(right.name))
    assert shares["copier"] > 0.95 and shares["honest"] < 0.5, shares


def test_the_capstone_is_made_of_the_other_labs_answers():
    answers = {}
    for name in ("08-tcp-receiver-and-closing", "09-tcp-sender", "10-congestion-control"):
        answers |= Lab(name).cells("solution")
    for cell, source in Lab("14-capstone").cells("solution").items():
        theirs = [line for line in answers[cell].splitlines() if "### " not in line]
        assert source.splitlines()[2:-3] == theirs, f"{cell} has changed"


@pytest.mark.check
@pytest.mark.feature("Labs", "The capstone finds what no lab with one connection can: state kept by a class")
def test_only_the_capstone_finds_what_connections_share():
    shared = [wrong for wrong in wrong_14.WRONG if "kept by the class" in wrong.name]
    for name, wrong in zip(("08-tcp-receiver-and-closing", "09-tcp-sender"), shared, strict=True):
        lab = Lab(name)
        said = lab.check({wrong.cell: lab.wrong(wrong)}, tuple(lab.points))
        assert not any(said.values()), f"{name} finds it too: {said}"


def test_likeness_sees_through_new_names():
    own = inspect.getsource(Rfc6298)
    renamed = own.replace("srtt", "smooth").replace("rttvar", "spread").replace("Rfc6298", "Mine")
    assert likeness(renamed, own) > 0.95
    assert likeness(Lab("09-tcp-sender").cells("solution")["timer"], own) < 0.9
    assert likeness("", own) == 0


@pytest.mark.check
def test_from_the_command_line(tmp_path):
    """The way of a class, and that of one who works alone."""
    shutil.copytree(LABS, tmp_path / "labs", ignore=shutil.ignore_patterns("mine", "submitted", "*.db"))
    labs, lab = tmp_path / "labs", "00-first-mark"

    def run(*words):
        return subprocess.run([sys.executable, *words], cwd=labs, capture_output=True, text=True, check=True)

    assert f"labs/mine/{lab}.ipynb" in run("course.py", "release").stdout
    assert "   0 of 10" in run("course.py", "mark", lab).stdout
    shutil.copy(labs / "source" / lab / f"{lab}.ipynb", labs / "mine")
    assert "  10 of 10" in run("course.py", "mark", lab, "ada").stdout
    assert "ada" in run("course.py", "likeness", lab).stdout
    run("-m", "nbgrader", "generate_assignment", lab, "--force")
    run("-m", "nbgrader", "autograde", lab, "--force")
    run("-m", "nbgrader", "generate_feedback", lab)
    feedback = (labs / "feedback" / "me" / lab / f"{lab}.html").read_text()
    assert "this is your part" in feedback and "A likely mistake" in feedback


@pytest.mark.check
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_lab_runs(name, tmp_path):
    """Also the cells that give no marks: the transfers, the charts and, where there is a TAP, Linux."""
    lab = Lab(name)
    shutil.copytree(lab.folder, tmp_path, dirs_exist_ok=True)
    client = NotebookClient(lab.notebook, timeout=120, kernel_name="python3")
    client.execute(cwd=str(tmp_path))


@pytest.mark.check
@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_is_right_for_every_student(name, monkeypatch):
    """Scenarios are drawn for each: none is so unlucky that a check asks for what cannot be."""
    lab = Lab(name)
    for number in range(3):
        monkeypatch.setenv("LABSTACK_STUDENT", f"student{number}")
        said = lab.check({}, tuple(lab.points))
        assert not any(said.values()), f"student{number}: {said}"
