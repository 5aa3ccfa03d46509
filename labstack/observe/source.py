"""The package's own source, shown where a chapter speaks of it: what runs is what is shown."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any

from labstack.observe.questions import Said

HOUSE = Path(__file__).resolve().parents[2]


class Source(Said):
    """Python's text: a notebook shows it in colours."""

    __slots__ = ()

    def _repr_markdown_(self) -> str:
        return f"```python\n{self}\n```"


def show(part: object, *members: str) -> Source:
    """The source of a class or function, below the name of its file; with `members`, only these of a class.

    Raises AttributeError for a member that is no longer there, so a chapter that shows it fails its test.
    """
    shown: list[Any] = [getattr(part, name) for name in members] or [part]
    source = "\n".join(textwrap.dedent(inspect.getsource(each)) for each in shown)
    path = Path(inspect.getsourcefile(shown[0]) or "").resolve()
    name = path.relative_to(HOUSE).as_posix() if path.is_relative_to(HOUSE) else path.name
    return Source(f"# {name}\n{source.rstrip()}")
