"""The package's own source, shown where a chapter speaks of it: what runs is what is shown."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any

from labstack.observe.questions import Said

HOUSE = Path(__file__).resolve().parents[2]


def show(part: object, *members: str) -> Said:
    """The source of a class or function, below the name of its file; with `members`, only these of a class.

    Raises AttributeError for a member that is no longer there, so a chapter that shows it fails its test.
    """
    shown: list[Any] = [getattr(part, name) for name in members] or [part]
    source = "\n".join(textwrap.dedent(inspect.getsource(each)) for each in shown)
    path = Path(inspect.getsourcefile(shown[0]) or "").resolve()
    name = path.relative_to(HOUSE).as_posix() if path.is_relative_to(HOUSE) else path.name
    return Said(f"# {name}\n{source.rstrip()}")
