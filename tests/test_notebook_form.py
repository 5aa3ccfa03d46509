"""The book's notebooks are stored as `make book` writes them: executed, in normal form, fit to read."""

import re
from pathlib import Path

import nbformat
import pytest

from book.normalise import BOOK, KERNEL, normal_form, notebooks, read

LONGEST_CELL = 25  # lines of code

# A cell's place in its chapter. Every chapter has most of them; the index has its own.
CHAPTER_TAGS = {
    "intro", "belief", "map", "build", "plug", "predict", "run", "live", "refute", "explore",
    "exercise", "summary",
}  # fmt: skip
# What nbval knows. Not nbval-skip, nor the two for exceptions: what nobody runs nobody checks, and an
# exception that a reader should see is caught and printed.
NBVAL_TAGS = {"nbval-ignore-output", "nbval-check-output"}

# Folders that hold people's own files. /etc, /dev and the like are the same everywhere.
MACHINE_PATH = re.compile(r"(?<![\w.:/])(?:/(?:home|root|Users|tmp|work|var/folders)/|[A-Z]:\\)[\w.-]*")


@pytest.fixture(params=notebooks(), ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    """The cells of `path` that hold any code."""
    return [cell for cell in read(path).cells if cell.cell_type == "code" and cell.source.strip()]


def name(path: Path, cell: nbformat.NotebookNode) -> str:
    first = cell.source.strip().partition("\n")[0][:60]
    return f"{path.name}, cell {cell.get('id')} ({first!r})"


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """What a reader sees of a cell, without pictures."""
    shown = [cell.source]
    for output in cell.get("outputs", []):
        shown += [output.get("text", ""), *output.get("traceback", [])]
        shown += [str(data) for kind, data in output.get("data", {}).items() if kind != "image/png"]
    return shown


def test_is_in_normal_form(path: Path) -> None:
    stored = path.read_text(encoding="utf-8")
    assert stored == normal_form(read(path)), f"{path.name} is not in normal form: run `make book`"


def test_is_a_valid_notebook(path: Path) -> None:
    nbformat.validate(read(path))


def test_is_stored_executed(path: Path) -> None:
    missed = [name(path, cell) for cell in code_cells(path) if cell.execution_count is None]
    assert not missed, "stored without having run (`make book` runs it): " + "; ".join(missed)


def test_holds_no_error(path: Path) -> None:
    errors = [
        f"{name(path, cell)}: {output.ename}"
        for cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "error"
    ]
    assert not errors, "stored with an exception: " + "; ".join(errors)


def test_cells_are_short(path: Path) -> None:
    for cell in code_cells(path):
        lines = [line.strip() for line in cell.source.splitlines()]
        code = [line for line in lines if line and not line.startswith("#")]
        assert len(code) <= LONGEST_CELL, f"{name(path, cell)} has {len(code)} lines of code"


def test_names_no_place_on_a_machine(path: Path) -> None:
    for cell in read(path).cells:
        for text in texts(cell):
            found = MACHINE_PATH.search(text)
            assert not found, f"{name(path, cell)} names a machine's path, {found.group()}"
            assert str(BOOK.parent) not in text, f"{name(path, cell)} names the folder it was run in"


def test_tags_are_known(path: Path) -> None:
    for cell in read(path).cells:
        unknown = set(cell.metadata.get("tags", [])) - CHAPTER_TAGS - NBVAL_TAGS
        assert not unknown, f"{name(path, cell)} has a tag that nothing reads: {', '.join(sorted(unknown))}"


def untidy() -> nbformat.NotebookNode:
    """A notebook as an editor and a kernel leave it."""
    v4 = nbformat.v4
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "5f3"},
        "text/plain": "IntSlider(value=3)",
    }
    cells = [
        v4.new_markdown_cell("# Title", id="title", metadata={"editable": True, "tags": []}),
        v4.new_code_cell(
            "print(1)",
            id="first",
            execution_count=41,
            metadata={"execution": {"iopub.execute_input": "2026"}, "tags": ["run"]},
            outputs=[v4.new_output("stream", name="stdout", text=piece) for piece in ("1", "\n")],
        ),
        v4.new_code_cell("", id="empty"),
        v4.new_code_cell(
            "slider",
            id="second",
            execution_count=99,
            outputs=[v4.new_output("execute_result", data=widget, execution_count=99)],
        ),
    ]
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3.12 (mine)"},
        "language_info": {"name": "python", "version": "3.12.1"},
        "widgets": {},
    }
    return v4.new_notebook(cells=cells, metadata=metadata)


def test_normal_form_keeps_what_a_reader_sees_and_no_more() -> None:
    tidy = nbformat.reads(normal_form(untidy()), as_version=4)
    assert tidy.metadata == {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    assert [cell.id for cell in tidy.cells] == ["title", "first", "empty", "second"]
    assert [cell.execution_count for cell in tidy.cells[1:]] == [1, None, 2]
    assert [dict(cell.metadata) for cell in tidy.cells] == [{}, {"tags": ["run"]}, {}, {}]
    assert [output.text for output in tidy.cells[1].outputs] == ["1\n"]
    assert tidy.cells[3].outputs[0].execution_count == 2
    assert dict(tidy.cells[3].outputs[0].data) == {"text/plain": "IntSlider(value=3)"}


def test_normal_form_of_a_normal_form_is_itself(tmp_path: Path) -> None:
    once = normal_form(untidy())
    stored = tmp_path / "once.ipynb"
    stored.write_text(once, encoding="utf-8")
    assert normal_form(read(stored)) == once
