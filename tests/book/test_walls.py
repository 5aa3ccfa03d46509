"""Chapter 02's two programs: what the walls leave of seven ways to talk, for real, and as it was recorded.

The functions are the chapter's own: its cells are run, and sent to real processes.
"""

import json
import linecache
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from book.normalise import BOOK, read

pytestmark = pytest.mark.linux
CELLS = ("imports", "pipe", "memory", "tcp")


@pytest.fixture
def chapter(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the chapter's cells define, with their source, as a notebook has it."""
    monkeypatch.syspath_prepend(str(BOOK))
    (path,) = BOOK.glob("02-*.ipynb")
    sources = {cell.id: cell.source for cell in read(path).cells}
    text = "\n".join(sources[id] for id in CELLS) + "\n" + sources["all-seven"].partition("heard =")[0]
    linecache.cache["<02>"] = len(text), None, text.splitlines(keepends=True), "<02>"
    names: dict[str, Any] = {}
    exec(compile(text, "<02>", "exec"), names)
    return names


@pytest.fixture
def walls(chapter: dict[str, Any]) -> ModuleType:
    found: ModuleType = chapter["walls"]
    return found


@pytest.fixture(params=["root", "user"] if os.geteuid() == 0 else ["user"])
def two(request: pytest.FixtureRequest, walls: ModuleType) -> Iterator[Any]:
    """Two real programs: behind walls that root may put up, or anybody in a user namespace."""
    pair = walls.Two(walls._OWN if request.param == "root" else walls._AS_USER)
    try:
        pair.talk({})
    except RuntimeError as error:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"CI is to run these tests, but {error}")
        pytest.skip(str(error))
    yield pair


@pytest.mark.feature("Book", "Seven ways to talk, between real processes, and which are left on two machines")
def test_the_recording_is_what_happens(chapter: dict[str, Any], walls: ModuleType, two: Any) -> None:
    recorded = json.loads(walls.RECORDED.read_text(encoding="utf-8"))
    seen = {", ".join(apart): two.talk(chapter["WAYS"], *apart) for apart in walls.STEPS.values()}
    seen |= {wall: two.talk(chapter["WAYS"], wall) for wall in walls.WALLS}
    assert seen == recorded
    alone = walls.Two(None)
    assert alone.talk(chapter["WAYS"], "files") == recorded["files"]
    assert alone.talk(chapter["WAYS"]) == recorded[""]


def test_only_tcp_is_left_and_the_picture_says_so(chapter: dict[str, Any], walls: ModuleType) -> None:
    alone = walls.Two(None)
    table = walls.Table({s: alone.talk(chapter["WAYS"], *apart) for s, apart in walls.STEPS.items()})
    assert [len(table.works(step)) for step in table.columns] == [7, 6, 3, 2, 0, 1]
    assert table.works("+ a cable") == ["TCP"] and "1 of 7" in table.svg and "ESRCH" in str(table)


def test_a_function_that_fails_says_so(walls: ModuleType, two: Any) -> None:
    def hear(tell):
        raise ZeroDivisionError("of the reader's own making")

    def say(name: str, message: bytes) -> None: ...

    with pytest.raises(RuntimeError, match="of the reader's own making"):
        two.talk({"mine": (hear, say)})
    with pytest.raises(ValueError, match="there is no wall moat"):
        two.talk({}, "moat")
    assert walls.Two(None).talk({"mine": (hear, say)}, "files") == {"mine": "✗ not recorded"}


def test_02_a_pipe_that_was_inherited_goes_through_all_walls(two: Any) -> None:
    reading, writing = os.pipe()
    inside = [*two.before, sys.executable, "-c", f"import os; os.write({writing}, b'hello')"]
    subprocess.run(inside, pass_fds=[writing], check=True)
    assert os.read(reading, 100) == b"hello"
    os.close(reading)
    os.close(writing)


def test_02_the_length_before_the_bytes_is_too_early(chapter: dict[str, Any], two: Any) -> None:
    def memory_say(name: str, message: bytes) -> None:
        with open(name, "r+b") as file:
            memory = mmap.mmap(file.fileno(), 100)  # noqa: F821
        memory[0] = len(message)
        time.sleep(0.1)  # noqa: F821  # the mistake under test: the reader looks in between
        memory[1 : 1 + len(message)] = message

    heard = two.talk({"memory": (chapter["memory_hear"], memory_say)})
    assert heard == {"memory": "\0" * 5}


def test_02_a_socket_that_is_no_file_is_stopped_by_the_network_wall(walls: ModuleType, two: Any) -> None:
    def ghost_hear(tell):
        with socket.socket(socket.AF_UNIX) as listener:  # noqa: F821
            listener.bind("\0talk")
            listener.listen()
            tell("talk")
            return listener.accept()[0].recv(100)

    def ghost_say(name, message):
        with socket.socket(socket.AF_UNIX) as s:  # noqa: F821
            s.connect("\0" + name)
            s.sendall(message)

    ways = {"ghost": (ghost_hear, ghost_say)}
    heard = {wall: two.talk(ways, wall)["ghost"] for wall in walls.WALLS}
    assert heard == {
        "network": "✗ ECONNREFUSED", "files": "hello", "queues": "hello", "processes": "hello",
    }  # fmt: skip
