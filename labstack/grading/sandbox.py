"""The process in which a student's part runs: nothing else lives here, and it ends.

It reads one request from standard input (JSON), tells the story to a host made of the parts asked for, and
writes what happened. Memory, processor time and files are limited by the kernel before the part is loaded,
and imports by a list. See `judge`, which starts it and sets a limit to the time on the wall.

    {"kind": "receiver", "parts": {"receiver": [source, "Mine"]}, "check": source, "story": "name",
     "seed": 7, "constants": {…}}
                                      →   {"steps": […], "broken": sentence or null}
"""

from __future__ import annotations

import builtins
import importlib
import io
import json
import resource
import sys
import traceback
from collections.abc import Callable
from random import Random
from types import ModuleType
from typing import Any

from labstack.grading.losses import recovery_with
from labstack.grading.machines import Labstack
from labstack.grading.stack import Stack
from labstack.grading.story import ISS, Story
from labstack.grading.submission import is_allowed
from labstack.grading.transfer import Transfer
from labstack.transport.tcp.config import TcpConfig

PROCESSOR_SECONDS = 10
MEMORY = 2 << 30
PART_FILE = "<your part>"
PLUGS = {"losses": ("recovery", recovery_with)}
"""Parts that are smaller than one of a host's, the one they go into, and how."""
OTHERS: dict[str, Callable[[dict[str, Any]], Any]] = {"transfer": Transfer, "stack": Stack}
"""Stories that are not about one host on a clock turned by hand."""


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, PROCESSOR_SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> ModuleType:
    """`import`, for the part: what `submission.check` allows, asked once more while it runs."""
    for word in [f"{name}.{word}" for word in fromlist or ()] or [name]:
        if level or not is_allowed(word):
            raise ImportError(f"a part may not import {word}")
    return importlib.import_module(name) if fromlist else __import__(name)


def load(source: str, name: str) -> Any:
    """The class `name` of a part's source, in a namespace that holds no more than Python's harmless words."""
    words = {k: v for k, v in vars(builtins).items() if k not in ("open", "eval", "exec", "compile", "input")}
    module = sys.modules["part"] = ModuleType("part")  # there, because dataclasses look for it
    module.__dict__["__builtins__"] = words | {"__import__": _import}
    exec(compile(source, PART_FILE, "exec"), module.__dict__)
    return getattr(module, name)


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Tell one story to one host."""
    parts: dict[str, Any] = {}
    try:
        for kind, (source, name) in request["parts"].items():
            into, plug = PLUGS.get(kind, (kind, lambda part: part))
            parts[into] = plug(load(source, name))
        checks: dict[str, Any] = {}
        exec(compile(request["check"], "<the check>", "exec"), checks)
    except (Exception, SystemExit) as error:
        return {"steps": [], "broken": _told(error)}
    tale, random = checks[request["story"]], Random(request["seed"])
    if request["kind"] in OTHERS:
        return _tell(OTHERS[request["kind"]](parts), tale, random)
    machine = Labstack(tcp=TcpConfig(**request["constants"]), **parts)
    # Its numbers begin where the story's own do: just before they start again at 0.
    machine.under_test.host.tcp._initial_number = lambda name: ISS  # type: ignore[method-assign]
    story = Story(machine)
    answer = _tell(story, tale, random)
    try:
        story.close()
        machine.close()
    except Exception as error:
        # What broke first is what there is to tell: a part in pieces may not come to an end either.
        if answer["broken"] is None:
            return {"steps": story.steps, "broken": _told(error)}
    return answer


def _tell(story: Any, tale: Callable[[Any, Random], None], random: Random) -> dict[str, Any]:
    broken = None
    try:
        tale(story, random)
    except AssertionError as error:
        broken = getattr(error, "sentence", "") or str(error) or _told(error)
    except (Exception, SystemExit) as error:
        broken = _told(error)
    return {"steps": story.steps, "broken": broken}


def _told(error: BaseException) -> str:
    """An exception in a sentence: what, and in which line of the part, if it was there."""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == PART_FILE]
    where = f" in line {lines[-1]} of your cell" if lines else ""
    if isinstance(error, NotImplementedError) and lines:
        return f"line {lines[-1]} of your cell is still to be written"
    return f"{type(error).__name__}: {error}{where}"


def main() -> None:
    request = json.loads(sys.stdin.read())
    _limit()
    answers, sys.stdout = sys.stdout, io.StringIO()  # what a part prints is no answer
    print(json.dumps(run(request)), file=answers)


if __name__ == "__main__":
    main()
