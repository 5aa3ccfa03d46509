"""The README states only what a test shows: its table, its commands, its example, its two promises."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import features, scenarios
from docs.marks import Feature, Scenario, collect

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
NOBODY = 65534


@pytest.fixture(scope="module")
def marks() -> tuple[list[Feature], list[Scenario]]:
    return collect()


def test_the_table_says_what_the_marks_say(marks: tuple[list[Feature], list[Scenario]]) -> None:
    _, between, _ = features.split(README.read_text(encoding="utf-8"))
    assert between == features.table(marks[0]), "the table is not what the tests show: run `make features`"


def test_the_page_of_scenarios_says_what_the_marks_say(marks: tuple[list[Feature], list[Scenario]]) -> None:
    told = scenarios.PAGE.read_text(encoding="utf-8")
    assert told == scenarios.page(marks[1]), "the page is not what the tests show: run `make features`"
    assert sum(scenario.cases for scenario in marks[1]) >= 250


def test_every_feature_is_shown_by_a_test_that_runs(marks: tuple[list[Feature], list[Scenario]]) -> None:
    idle = [f"{mark.test} claims {mark.text!r} but is marked {mark.idle}" for mark in marks[0] if mark.idle]
    assert not idle, "\n".join(idle)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n((?:.*\n)*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE)


def commands() -> list[list[str]]:
    lines = [line.partition("#")[0].split() for block in blocks("sh") for line in block.splitlines()]
    return [words for words in lines if words]


def test_the_readme_shows_commands_only_in_sh_blocks() -> None:
    shown = set(re.findall(r"^```(\S*)\n(?:.|\n)*?^```", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert shown <= {"sh", "python", "text"}, "a code block is sh, python or text: no test reads any other"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_in_the_readme_exists(words: list[str]) -> None:
    program, *arguments = words
    if program == "make":
        targets = set(re.findall(r"^([.a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        wanted = [word for word in arguments if "=" not in word]
        assert set(wanted) <= targets, f"`{' '.join(words)}`: the Makefile has no such target"
    elif Path(program).name == "labstack":
        run = [sys.executable, "-c", "from labstack.cli import main; main()", *arguments[:1], "--help"]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"`{' '.join(words)}`: labstack has no such command\n{done.stderr}"
    else:
        assert program in {"git", "cd"}, f"`{' '.join(words)}`: no test knows whether {program} works"


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_every_example_in_the_readme_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")))
def test_every_file_the_readme_points_to_is_there(link: str) -> None:
    assert (ROOT / link).exists(), f"README.md points to {link}, which is not there"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a reader has after `git clone`: the committed files and nothing else."""
    git = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks"]
    subprocess.run([*git, ROOT.as_uri(), tmp_path / "clone"], check=True)
    return tmp_path / "clone"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that others may enter. pytest keeps its own to their owner, and closes them again whenever
    another run of it begins."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


def make(clone: Path, *words: str) -> subprocess.Popen[str]:
    """Start make in `clone` as a reader would: in a process group of its own, no browser, no questions."""
    # Neither this run's make and pytest nor the reader's own Jupyter settings are to reach it.
    ours = ("PYTEST_", "JUPYTER_", "MAKE", "MFLAGS")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    for folder in ("CONFIG", "DATA", "RUNTIME"):
        environment[f"JUPYTER_{folder}_DIR"] = str(clone.parent / f"jupyter-{folder.lower()}")
    return subprocess.Popen(
        ["make", *words],
        cwd=clone,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Stop what `make` started and all its children."""
    if process.poll() is None:
        os.killpg(process.pid, 2)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def read_until(process: subprocess.Popen[str], pattern: str, seconds: float) -> re.Match[str]:
    assert process.stdout is not None
    told, deadline = "", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 1)[0]:
            piece = os.read(process.stdout.fileno(), 65536).decode(errors="replace")
            told += piece
            if found := re.search(pattern, told):
                return found
            if not piece:
                break
    pytest.fail(f"`make` did not say {pattern!r} within {seconds} s; it said:\n{told}")


def get(url: str, token: str) -> bytes:
    """What the Jupyter server says. It tells its address a moment before it listens there: ask again."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return bytes(answer.read())
        except urllib.error.URLError as error:
            refused = isinstance(error.reason, ConnectionRefusedError)
            if not refused or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.check
@pytest.mark.feature("Book", "`make lab` alone, in a bare clone, opens it in JupyterLab within a minute")
def test_make_lab_opens_the_book_within_a_minute(clone: Path, tmp_path: Path) -> None:
    flags = "--no-browser --ip=127.0.0.1 --port=0 --ServerApp.port_retries=0"
    lab = make(clone, "lab", f"LAB_FLAGS={flags}")
    try:
        address = read_until(lab, r"(http://127\.0\.0\.1:\d+)/lab/tree/book/index\.ipynb\?token=(\w+)", 60)
        server, token = address.groups()
        assert b"jupyterlab" in get(f"{server}/lab/tree/book/index.ipynb", token).lower()
        assert json.loads(get(f"{server}/api/contents/book/index.ipynb", token))["type"] == "notebook"
    finally:
        end(lab)


@pytest.mark.check
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_build_the_environment(clone: Path, open_place: Path) -> None:
    home = open_place / "home"
    home.mkdir()
    clone = clone.rename(open_place / "clone")
    for path in [open_place, *open_place.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    # Root's own programs, and what they have cached, are out of an ordinary user's reach.
    environment = {**os.environ, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    run = [*become, "sh", "-c", "make .venv && .venv/bin/labstack --help"]
    done = subprocess.run(run, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
