"""The house stands as README.md draws it: imports point down, layers know no time, a reader can finish it.

Each rule is a function that reads the package's source and yields one sentence for each place that breaks
it; the last test here breaks each rule on purpose, to show that it can tell.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each folder of labstack/ may import, besides itself.
BELOW = {
    "core": set[str](),
    "headers": {"core"},
    "drivers": {"core"},
    "physical": {"core", "headers"},
    "link": {"core", "headers", "physical"},
    "internet": {"core", "headers", "physical", "link"},
    "transport": {"core", "headers", "physical", "link", "internet"},
    "sockets": {"core", "headers", "physical", "link", "internet", "transport"},
    "applications": {"core", "headers", "physical", "link", "internet", "transport", "sockets"},
}
BELOW["roof"] = {*BELOW}  # the modules that lie directly in labstack/
BELOW["observe"] = {*BELOW}
BELOW["grading"] = {*BELOW}
BESIDE = {"observe", "grading"}  # they look in; the roof fetches them only when asked to

TIMELESS = {"core", "headers", "physical", "link", "internet", "transport"}
CLOCKS = {"threading", "_thread", "asyncio", "time", "concurrent"}
DRAWING = {"matplotlib", "pandas", "scapy", "ipywidgets", "IPython"}  # for observe, and only when it draws

LONGEST_FILE = 600  # lines of any kind
BUDGETS = {"labstack": 18_000, "labstack/transport/tcp": 3_000, "labstack/grading": 1_000}  # lines of code
APART = "labstack/grading/"  # who reads the stack does not read the labs' judge: it has a budget of its own

MUTABLE_CALLS = {"dict", "list", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter"}
MUTATORS = {"append", "add", "update", "setdefault", "pop", "popitem", "clear", "extend", "insert", "remove",
            "discard", "appendleft", "popleft"}  # fmt: skip
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*|__\w+__")
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "handler", "handlers", "misc", "common"}


@dataclass(frozen=True)
class Import:
    """One imported name: `module` in full ("labstack.core.clock"), and when the import happens."""

    module: str
    line: int
    when: str  # "loading", "called" (inside a function) or "typing" (never when running)


@dataclass
class Module:
    """One file of the package and what the rules ask of it."""

    root: Path
    path: Path

    @property
    def where(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @property
    def part(self) -> str:
        """The folder of labstack/ it belongs to, or "roof"."""
        parts = self.path.relative_to(self.root).parts
        return parts[1] if len(parts) > 2 else "roof"

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, filename=self.where)

    @cached_property
    def imports(self) -> list[Import]:
        return list(self._imports(self.tree, "loading"))

    def _imports(self, node: ast.AST, when: str) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, when)
            elif isinstance(child, ast.ImportFrom):
                base = self._absolute(child)
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}" if base else alias.name, child.lineno, when)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                yield from self._imports(child, "called" if when == "loading" else when)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from self._imports(child, "typing")
            else:
                yield from self._imports(child, when)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.path.relative_to(self.root).parts[: -node.level]
        return ".".join([*package, *([node.module] if node.module else [])])

    def part_of(self, module: str) -> str | None:
        """The part of the house that importing `module` reaches; None outside of labstack."""
        name, _, rest = module.partition(".")
        if name != "labstack":
            return None
        first = rest.partition(".")[0]
        return first if (self.root / "labstack" / first).is_dir() and first else "roof"


def package(root: Path) -> list[Module]:
    return [Module(root, path) for path in sorted((root / "labstack").rglob("*.py"))]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def imports_point_down(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for found in module.imports:
            target = module.part_of(found.module)
            if target is None or target == module.part or target in BELOW.get(module.part, ()):
                continue
            if module.part == "roof" and target in BESIDE:
                if found.when == "loading":
                    yield (
                        f"{module.where}:{found.line} imports {found.module} while loading; "
                        "the roof imports what looks in from beside only inside a function."
                    )
                continue
            if module.part in BESIDE:
                continue
            yield (
                f"{module.where}:{found.line} imports {found.module}, but {module.part} stands below or "
                f"beside {target}; let {target} register itself instead."
            )


def every_folder_is_in_the_plan(modules: list[Module]) -> Iterator[str]:
    for part in sorted({module.part for module in modules} - BELOW.keys()):
        yield f"labstack/{part}/ is not a part of the house: find the layer that its files belong to."
    for module in modules:
        if VAGUE & {*module.path.relative_to(module.root).with_suffix("").parts}:
            yield f"{module.where} has a name that says nothing of what it is for."


def layers_know_no_time(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if module.part not in TIMELESS:
            continue
        for found in module.imports:
            told = f"{module.where}:{found.line} imports {found.module}"
            if found.module.partition(".")[0] in CLOCKS:
                yield f"{told}; layers know only the Clock they are given."
            if re.fullmatch(r"random\.(?!Random$).+", found.module):
                yield f"{told}; take a seeded random.Random instead."
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if node.value.id == "random" and node.attr != "Random" and "random" in _names(module):
                    yield f"{module.where}:{node.lineno} uses {name}; take a seeded random.Random instead."


def _names(module: Module) -> set[str]:
    return {found.module for found in module.imports}


def nothing_comes_from_outside(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for found in module.imports:
            top = found.module.partition(".")[0]
            if top in {*sys.stdlib_module_names, "labstack"}:
                continue
            beside_scapy = module.path.name == "bench.py" and top == "scapy"
            if (module.part != "observe" or top not in DRAWING) and not beside_scapy:
                yield f"{module.where}:{found.line} imports {top}; labstack needs the standard library alone."
            elif found.when == "loading":
                yield f"{module.where}:{found.line} imports {top} while loading; import it where it draws."


def a_host_owns_everything(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        kept = set()
        for target, value in _assignments(module.tree):
            if not _is_mutable(value):
                continue
            kept.add(target.id)
            if not CONSTANT.fullmatch(target.id):
                yield (
                    f"{module.where}:{target.lineno} keeps {target.id}, which all hosts share; "
                    "give it to the host, or name it in capitals when nothing ever changes it."
                )
        for function in functions(module.tree):
            for node in ast.walk(function):
                if isinstance(node, ast.Global):
                    yield f"{module.where}:{node.lineno} says global; a Host owns everything."
                elif (changed := _changed(node)) in kept:
                    yield f"{module.where}: {function.name} changes {changed}, which all hosts share."


def _assignments(node: ast.AST) -> Iterator[tuple[ast.Name, ast.expr]]:
    """Names that are given a value when the module is loaded, in classes and conditions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Assign):
            yield from ((target, child.value) for target in child.targets if isinstance(target, ast.Name))
        elif isinstance(child, ast.AnnAssign) and child.value and isinstance(child.target, ast.Name):
            yield child.target, child.value
        elif isinstance(child, ast.If | ast.Try | ast.With | ast.For | ast.ExceptHandler | ast.ClassDef):
            yield from _assignments(child)


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called in MUTABLE_CALLS
    return isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


def _changed(node: ast.AST) -> str:
    """The bare name whose content `node` changes, or nothing."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return getattr(node.value, "id", "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        return getattr(node.func.value, "id", "")
    return ""


def every_module_opens_with_its_story(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not ast.get_docstring(module.tree):
            yield f"{module.where} does not open with a docstring that says what it is for."


def every_file_can_be_finished(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        lines = len(module.source.splitlines())
        if lines > LONGEST_FILE:
            yield f"{module.where} has {lines} lines, over {LONGEST_FILE}: some role in it does two things."


def the_whole_fits_its_budget(modules: list[Module]) -> Iterator[str]:
    for folder, most in BUDGETS.items():
        inside = [m for m in modules if m.where.startswith(f"{folder}/")]
        lines = sum(lines_of_code(m) for m in inside if m.where.startswith(APART) == (f"{folder}/" == APART))
        if lines > most:
            yield f"{folder}/ has {lines:,} lines of code, over {most:,}: the design is wrong somewhere."


def lines_of_code(module: Module) -> int:
    """Lines that hold code: blank lines, comments and docstrings, an attribute's too, are free."""
    blank = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
             tokenize.ENCODING, tokenize.ENDMARKER}  # fmt: skip
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
        if token.type not in blank:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


Rule = Callable[[list[Module]], Iterator[str]]
RULES: list[Rule] = [
    imports_point_down,
    every_folder_is_in_the_plan,
    layers_know_no_time,
    nothing_comes_from_outside,
    a_host_owns_everything,
    every_module_opens_with_its_story,
    every_file_can_be_finished,
    the_whole_fits_its_budget,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_house(rule: Rule) -> None:
    try:
        broken = list(rule(package(ROOT)))
    except SyntaxError as error:
        pytest.fail(f"{error.filename}:{error.lineno} is not Python as this version reads it: {error.msg}")
    assert not broken, "\n" + "\n".join(broken)


def test_every_module_loads_on_the_standard_library_alone() -> None:
    names = [".".join(m.path.relative_to(ROOT).with_suffix("").parts) for m in package(ROOT)]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    code = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "import labstack\n"
        "early = [m for m in sys.modules if m.startswith(('labstack.observe', 'labstack.grading'))]\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "sys.exit(f'importing labstack loads {early}' if early else 0)"
    )
    run = [sys.executable, "-I", "-S", "-c", code, str(ROOT), *names]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Each: the rule, the file, what stands in it after its docstring, and words of the sentence that must come.
BROKEN: list[tuple[Rule, str, str, str]] = [
    (imports_point_down, "link/arp.py", "from labstack.internet import ipv4", "internet register itself"),
    (imports_point_down, "link/arp.py", "from ..internet.ipv4 import send", "link stands below"),
    (imports_point_down, "link/arp.py", "def f():\n    from labstack import Network", "beside roof"),
    (imports_point_down, "core/seq.py", "from labstack.headers import tcp", "core stands below"),
    (imports_point_down, "headers/tcp.py", "import labstack.internet.ipv4", "headers stands below"),
    (imports_point_down, "drivers/realtime.py", "from labstack.headers import tcp", "drivers stands below"),
    (imports_point_down, "sockets/tls.py", "def f():\n    import labstack.observe", "sockets stands below"),
    (imports_point_down, "network.py", "from .observe import trace", "only inside a function"),
    (every_folder_is_in_the_plan, "extras/a.py", "", "labstack/extras/ is not a part"),
    (every_folder_is_in_the_plan, "link/utils.py", "", "says nothing"),
    (layers_know_no_time, "link/arp.py", "import time", "know only the Clock"),
    (layers_know_no_time, "core/clock.py", "from threading import Lock", "know only the Clock"),
    (layers_know_no_time, "physical/wire.py", "from random import random", "seeded random.Random"),
    (layers_know_no_time, "physical/wire.py", "import random\nx = random.random()", "uses random.random"),
    (nothing_comes_from_outside, "link/arp.py", "def f():\n    import scapy.all", "standard library alone"),
    (nothing_comes_from_outside, "observe/chart.py", "import matplotlib", "import it where it draws"),
    (a_host_owns_everything, "link/arp.py", "table = {}", "keeps table"),
    (a_host_owns_everything, "link/arp.py", "class A:\n    seen: set[int] = set()", "keeps seen"),
    (a_host_owns_everything, "link/arp.py", "N = 0\ndef f():\n    global N\n    N = 1", "says global"),
    (a_host_owns_everything, "link/arp.py", "T = {}\ndef f():\n    T[1] = 2", "changes T"),
    (a_host_owns_everything, "link/arp.py", "T = []\ndef f():\n    T.append(2)", "changes T"),
    (every_file_can_be_finished, "link/arp.py", "\n" * LONGEST_FILE, "two things"),
    (the_whole_fits_its_budget, "transport/tcp/a.py", "x = 1\n" * 3_001, "over 3,000"),
]
SOUND: list[tuple[Rule, str, str]] = [
    (imports_point_down, "link/arp.py", "from labstack.headers import tcp\nfrom ..core import clock"),
    (imports_point_down, "network.py", "def f():\n    from labstack.observe import trace"),
    (imports_point_down, "network.py", "if TYPE_CHECKING:\n    from labstack.observe import trace"),
    (imports_point_down, "observe/trace.py", "from labstack.network import Network"),
    (layers_know_no_time, "physical/wire.py", "from random import Random\nx = Random(1).random()"),
    (layers_know_no_time, "sockets/aio.py", "import asyncio"),
    (nothing_comes_from_outside, "observe/chart.py", "def draw():\n    import matplotlib"),
    (a_host_owns_everything, "link/arp.py", "__all__ = ['a']\nNAMES = {1: 'a'}\nlimit = 3"),
    (a_host_owns_everything, "link/arp.py", "def f():\n    seen = []\n    seen.append(1)"),
    (the_whole_fits_its_budget, "transport/tcp/a.py", "# x\n\n" * 3_001),
]


def house(root: Path, file: str, text: str) -> list[Module]:
    """A package that has one file more than empty folders."""
    for part in BELOW.keys() - {"roof"}:
        (root / "labstack" / part).mkdir(parents=True)
    path = root / "labstack" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""A story."""\n{text}\n', encoding="utf-8")
    return package(root)


@pytest.mark.parametrize("rule, file, text, words", BROKEN)
def test_a_rule_tells_when_it_is_broken(rule: Rule, file: str, text: str, words: str, tmp_path: Path) -> None:
    told = list(rule(house(tmp_path, file, text)))
    assert len(told) == 1
    assert words in told[0]


@pytest.mark.parametrize("rule, file, text", SOUND)
def test_a_rule_is_silent_when_it_holds(rule: Rule, file: str, text: str, tmp_path: Path) -> None:
    assert not list(rule(house(tmp_path, file, text)))


def test_a_module_without_a_story_is_told(tmp_path: Path) -> None:
    modules = house(tmp_path, "link/arp.py", "")
    (tmp_path / "labstack/link/arp.py").write_text("x = 1\n", encoding="utf-8")
    assert list(every_module_opens_with_its_story(modules))
