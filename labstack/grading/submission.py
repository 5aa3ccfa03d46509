"""What a student wrote: where it stands, and whether it may be judged.

The package holds the answer to every lab. So a part that is handed in may use Python's own library and the
vocabulary of the field (headers, sequence numbers), and nothing that knows the answer: not by importing it,
inheriting from it, or reaching it through the back doors of Python. That is decided on the source, before a
line of it runs, and said in one sentence.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import linecache
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

ALLOWED = (
    "labstack.core.seq", "labstack.core.units", "labstack.core.checksum", "labstack.core.addresses",
    "labstack.headers", "labstack.transport.tcp.receiver.Acknowledge",
    "labstack.transport.tcp.sender.Segment", "labstack.transport.tcp.states.Input",
    "labstack.transport.tcp.states.Reset", "labstack.transport.tcp.states.State",
    "labstack.transport.tcp.congestion.AckSample", "labstack.transport.tcp.congestion.LossEvent",
)  # fmt: skip
"""What of labstack a part may import: words of the field that hold no answer."""
LIBRARY = {
    "__future__", "abc", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "itertools",
    "math", "operator", "random", "struct", "typing",
}  # fmt: skip
"""What of Python's own library a part may import."""
BACK_DOORS = {
    "__import__", "eval", "exec", "compile", "open", "globals", "locals", "vars", "breakpoint", "input",
    "getattr", "setattr", "delattr", "mro", "f_globals", "f_back", "f_locals", "gi_frame", "tb_frame",
    "cr_frame", "get_ipython", "exit", "quit", "sys", "os", "builtins", "bltns", "importlib", "inspect",
    "modules", "types", "attrgetter", "methodcaller", "get_type_hints", "ForwardRef", "stdlib_re",
    "warnings", "contextlib",
}  # fmt: skip
"""Names by which Python leads from any object to everything else."""
FRONT_DOORS = {"__init__", "__class__", "__name__", "__eq__", "__lt__", "__len__", "__post_init__"}
"""What has two underscores on each side, and is harmless."""

PLAIN_BASES = {"object", "Enum", "IntEnum", "IntFlag", "NamedTuple", "Protocol", "Generic"}


class Refused(Exception):
    """The part may not be judged. The message says why, in one sentence, and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence alone."""
        return [f"Refused: {self}"]


@dataclass(frozen=True)
class Submission:
    """A class `name`, and the `source` of the cell it stands in."""

    name: str
    source: str


def read(part: type) -> Submission:
    """The submission that the class `part`, made in a notebook's cell or in a file, belongs to.

    Raises Refused when it inherits from the package, or its source cannot be found.
    """
    for base in part.__mro__[1:]:
        if base.__module__.partition(".")[0] == "labstack":
            raise Refused(_inherits(part.__name__, base.__name__))
    for member in vars(part).values():
        function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        code = getattr(function, "__code__", None)
        if code is not None:
            lines = linecache.getlines(code.co_filename)
            if lines:
                return Submission(part.__name__, "".join(lines))
    try:
        return Submission(part.__name__, inspect.getsource(part))
    except (OSError, TypeError):
        raise Refused(
            f"the source of {part.__name__} cannot be found: write it in a cell, with methods, and run that"
        ) from None


def read_function(function: Callable[..., object]) -> str:
    """What is defined in the cell, or file, that a function stands in, without what is done there. Raises
    Refused when it cannot be found."""
    lines = linecache.getlines(function.__code__.co_filename)
    if not lines:
        raise Refused(f"the source of {function.__name__} cannot be found: write it in a cell, and run that")
    tree = ast.parse("".join(lines))
    tree.body = [node for node in tree.body if not isinstance(node, ast.Expr)]
    return ast.unparse(tree)


def check(submission: Submission) -> None:
    """Raises Refused when the part may not be judged."""
    check_cell(submission.source)
    made = [n.name for n in ast.walk(ast.parse(submission.source)) if isinstance(n, ast.ClassDef)]
    if submission.name not in made:
        raise Refused(f"your cell defines no class {submission.name}: keep the name that the lab gives it")


def check_cell(source: str) -> None:
    """Raises Refused when a cell that a student wrote reaches for what it may not."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line, message = getattr(error, "lineno", 1), getattr(error, "msg", error)
        raise Refused(f"line {line} of your cell is not Python: {message}") from None
    for reason in _reasons(tree):
        raise Refused(reason)


def _reasons(tree: ast.Module) -> Iterator[str]:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    own = {made.name for made in classes}
    for made in classes:
        for base in made.bases:
            word = ast.unparse(base).partition("[")[0]
            if word not in own | PLAIN_BASES:
                yield _inherits(made.name, word)
    for module in sorted(set(_imports(tree))):
        root = module.partition(".")[0]
        if root == "labstack" and not is_allowed(module):
            yield f"your part imports {module}, and labstack holds the answer: write it from the RFC"
        elif not is_allowed(module):
            words = ", ".join(sorted(LIBRARY - {"__future__"}))
            yield f"your part imports {module}, which no lab needs: there are {words}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and (node.id in BACK_DOORS or node.id.startswith("__")):
            yield f"your part uses {node.id}, a way round the back: no lab needs it"
        if isinstance(node, ast.Attribute) and (
            node.attr in BACK_DOORS or (node.attr.startswith("_") and not _is_own(node))
        ):
            yield f"your part uses .{node.attr}, which is another object's own affair: no lab needs it"


def _inherits(name: str, base: str) -> str:
    return f"{name} inherits from {base}: write a class that stands on its own"


def is_allowed(module: str) -> bool:
    """Whether a part may import that name, told in full ("struct.Struct")."""
    root, _, name = module.partition(".")
    if root in LIBRARY:
        # The library's modules hold others, such as `sys`.
        found = getattr(importlib.import_module(root), name, None)
        return module == "collections.abc" or not (
            name.startswith("_") or name in BACK_DOORS or isinstance(found, ModuleType)
        )
    return any(module == allowed or module.startswith(allowed + ".") for allowed in ALLOWED)


def _is_own(node: ast.Attribute) -> bool:
    """A name that begins with an underscore, of an object of the part's own class, by the names that methods
    give it."""
    if node.attr.startswith("__") and node.attr.endswith("__"):
        return node.attr in FRONT_DOORS
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "other")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Every name imported, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


__all__ = ["ALLOWED", "LIBRARY", "Refused", "Submission", "check", "check_cell", "read"]
