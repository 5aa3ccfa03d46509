"""Where chapter 02 gets its two programs, on one machine or on what is as good as two.

    two, notice = walls.two()
    two.talk({"pipe": (pipe_hear, write)}, "network")     → {"pipe": "hello"}

The programs are the reader's own functions, sent to real processes as source. The walls between these are
Linux's namespaces: as root, or as an ordinary user in a user namespace. Where this machine has none, a
recording stands in; LABSTACK_NO_TAP=1 in the environment chooses it. See `apart.py` for what happens there.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from apart import HERE, WALLS

from labstack.linux_namespace import CAP_SYS_ADMIN, has_capability
from labstack.observe import look
from labstack.observe.questions import Said

__all__ = ["HERE", "STEPS", "Table", "program", "two"]

APART = Path(__file__).resolve().with_name("apart.py")
RECORDED = Path(__file__).resolve().parent / "captures" / "02-ways.json"
MESSAGE = "hello"
NOT_RECORDED = "✗ not recorded"

Way = tuple[Callable[..., object], Callable[..., object]]
"""A way to talk: the function of the program that hears, and of the one that says."""

STEPS: dict[str, tuple[str, ...]] = {
    "one machine": (),
    "own network": ("network",),
    "+ own files": ("network", "files"),
    "+ own queues": ("network", "files", "queues"),
    "+ own processes": ("network", "files", "queues", "processes"),
    "+ a cable": ("network", "files", "queues", "processes", "cable"),
}
"""From one machine to two, step by step."""

_OWN = ["unshare", "--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
_AS_USER = [*_OWN, "--user", "--map-root-user"]


class Two:
    """Two programs. `before` are the words that put the first into namespaces of its own; None: a recording
    stands in."""

    def __init__(self, before: Sequence[str] | None) -> None:
        self.before = before

    def talk(self, ways: Mapping[str, Way], *apart: str) -> dict[str, str]:
        """What the first program heard from the second in each way; "✗" and the error's name where nothing.

        `apart`: what the two do not share, of "network", "files", "queues" and "processes", and "cable".
        Raises RuntimeError with the words of a program that failed in another way.
        """
        if unknown := set(apart) - set(WALLS) - {"cable"}:
            raise ValueError(
                f"there is no wall {', '.join(unknown)}: there are {', '.join(WALLS)}, and cable"
            )
        if self.before is None and (apart or not sys.platform.startswith("linux")):
            recorded = json.loads(RECORDED.read_text(encoding="utf-8")).get(", ".join(apart), {})
            return {name: recorded.get(name, NOT_RECORDED) for name in ways}
        functions = {function.__name__: function for way in ways.values() for function in way}
        task = {
            "source": "\n".join(map(source, functions.values())),
            "ways": {name: [hear.__name__, say.__name__] for name, (hear, say) in ways.items()},
            "apart": apart,
            "message": MESSAGE,
            "own": self.before is not None,
        }
        return _run(self.before or [], task)


def _run(before: Sequence[str], task: dict[str, Any]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*before, sys.executable, "-I", "-S", str(APART)],
            input=json.dumps({**task, "folder": folder}),
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=60,
            check=False,
        )
    if done.returncode or done.stderr:
        raise RuntimeError(done.stderr.strip() or f"the programs ended with status {done.returncode}")
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


def source(function: Callable[..., object]) -> str:
    """A function's source, to be run by another process."""
    return textwrap.dedent(inspect.getsource(function))


def program(function: Callable[..., object], *arguments: object) -> list[str]:
    """A command that calls a function in a Python of its own."""
    call = f"{function.__name__}({', '.join(map(repr, arguments))})"
    return [sys.executable, "-I", "-S", "-c", f"import socket\n{source(function)}\n{call}"]


def two() -> tuple[Two, Said]:
    """Two programs, as far apart as this machine lets them be; and a notice that says how that is."""
    if os.environ.get("LABSTACK_NO_TAP"):
        return Two(None), _recorded("LABSTACK_NO_TAP is set")
    said = "this is not Linux"
    root = [_OWN] if has_capability(CAP_SYS_ADMIN) else []
    for before in [*root, _AS_USER] if sys.platform.startswith("linux") else []:
        found = Two(before)
        try:
            found.talk({}, *STEPS["+ a cable"])
        except (RuntimeError, OSError) as error:
            said = str(error).rpartition("\n")[2]
        else:
            return found, Said("Two programs run here, and Linux puts the walls between them.")
    return Two(None), _recorded(said)


def _recorded(reason: str) -> Said:
    return Said(
        "No walls between programs can be put up here, so a recording shows what they would do.\n"
        f"The reason: {reason}.\nWhat to do: run `labstack doctor` in a terminal."
    )


class Table(look.Picture):
    """What was heard in each way, at each step from one machine to two."""

    def __init__(self, columns: Mapping[str, Mapping[str, str]]) -> None:
        self.columns = columns
        self.ways = list(next(iter(columns.values())))

    def works(self, step: str) -> list[str]:
        """The ways that are left at a step."""
        return [way for way, heard in self.columns[step].items() if "✗" not in heard]

    @property
    def text(self) -> str:
        rows = [("", *self.columns)]
        rows += [(way, *(heard[way] for heard in self.columns.values())) for way in self.ways]
        return look.align(rows)

    @property
    def svg(self) -> str:
        drawing = look.Drawing("which ways of talking are left, step by step from one machine to two")
        left, width, height, top = 134.0, 108.0, 34.0, 42.0
        for at, (step, heard) in enumerate(self.columns.items()):
            x = left + at * width
            drawing.words(x + width / 2 - 2, 28, step, 11, look.INK, "middle", bold=True)
            for row, way in enumerate(self.ways):
                y = top + row * height
                if not at:
                    drawing.words(left - 10, y + 20, way, 12, look.INK, "end", bold=True)
                lost = "✗" in heard[way]
                fill = look.PALE_VERMILION if lost else look.PALE_GREEN
                drawing.box(x, y, width - 4, height - 4, fill, corner=4)
                words = heard[way] if lost else f"✓ {heard[way]}"
                drawing.words(x + width / 2 - 2, y + 19, words, 10.5, look.INK, "middle", font=look.MONO)
        bottom = top + len(self.ways) * height
        for at, step in enumerate(self.columns):
            many = f"{len(self.works(step))} of {len(self.ways)}"
            drawing.words(left + at * width + width / 2 - 2, bottom + 18, many, 11, look.GREY, "middle")
        drawing.words(left - 10, bottom + 18, "still talking", 11, look.GREY, "end")
        return drawing.svg(left + len(self.columns) * width + 12, bottom + 32)
