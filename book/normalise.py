"""The one form in which the book's notebooks are stored, and `make book`, which writes it.

A notebook file holds much that changes with every run or every machine: execution times, the
kernel's version, the random names of widgets, how often a cell was run. Without those, a
difference between two versions of a chapter is a difference a reader would see.

    python book/normalise.py [--execute] [NOTEBOOK ...]

With --execute each notebook is first run from top to bottom in a kernel of its own; without
names, all of the book is taken, in order. tests/test_notebook_form.py holds the stored files to
`normal_form`.
"""

import argparse
import copy
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat.reader
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parent
CELL_SECONDS = 120  # as long as the tests give a cell (--nbval-cell-timeout)

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
NOTEBOOK_METADATA = {"title", "labstack"}
CELL_METADATA = {"tags", "jupyter", "nbgrader"}

# A live widget's view names a model in the memory of a kernel that is gone: stored, it only makes
# JupyterLab complain. The plain text beside it stays.
LIVE_ONLY = {"application/vnd.jupyter.widget-view+json"}


def normal_form(notebook: NotebookNode) -> str:
    """The text to store for `notebook`, which may have come from any editor.

    Kept: sources, cell ids, tags, and outputs as a reader sees them. Replaced: the kernel's name
    and the execution counts, which become 1..n. Left out: everything else.
    """
    notebook = copy.deepcopy(notebook)
    kept = {key: value for key, value in notebook.metadata.items() if key in NOTEBOOK_METADATA}
    notebook.metadata = NotebookNode({**kept, "kernelspec": KERNEL, "language_info": LANGUAGE})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for position, cell in enumerate(notebook.cells, start=1):
        cell.setdefault("id", f"cell-{position}")
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in CELL_METADATA and v})
        if cell.cell_type != "code":
            continue
        if cell.get("execution_count") is not None:
            count += 1
            cell.execution_count = count
        cell.outputs = _outputs(cell.outputs, cell.execution_count)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def _outputs(outputs: list[NotebookNode], count: int | None) -> list[NotebookNode]:
    kept: list[NotebookNode] = []
    for output in outputs:
        # How a text was cut into pieces on its way from the kernel is chance: join them.
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
            continue
        if output.output_type == "execute_result":
            output.execution_count = count
        if "data" in output:
            output.metadata = NotebookNode({k: v for k, v in output.metadata.items() if k in output.data})
            for live in LIVE_ONLY & output.data.keys():
                del output.data[live]
        kept.append(output)
    return kept


def notebooks() -> list[Path]:
    """All notebooks of the book, in reading order; the index, which looks at them all, last."""
    found = [path for path in BOOK.glob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    return sorted(found, key=lambda path: (path.stem == "index", path.name))


def read(path: Path) -> NotebookNode:
    """The notebook at `path`, without nbformat's own repairs, which would make up cell ids at random."""
    notebook: NotebookNode = nbformat.reader.reads(path.read_text(encoding="utf-8"))
    return notebook


def execute(notebook: NotebookNode) -> None:
    """Run all cells in a new kernel that starts in the book's folder; the outputs go into `notebook`.

    Raises nbclient's CellExecutionError with the first cell that fails.
    """
    from nbclient import NotebookClient

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(BOOK)}},
        record_timing=False,
        store_widget_state=False,
    )
    with tempfile.TemporaryDirectory() as none:  # what is stored comes of the book's own parts
        client.execute(env={**os.environ, "LABSTACK_MYSTACK": none})


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the book's notebooks in their normal form.")
    parser.add_argument("--execute", action="store_true", help="run each notebook first, in a new kernel")
    parser.add_argument("notebook", nargs="*", type=Path, help="default: the whole book, in order")
    arguments = parser.parse_args()
    failed = []
    for path in arguments.notebook or notebooks():
        started = time.perf_counter()
        notebook = read(path)
        if arguments.execute:
            try:
                execute(notebook)
            except Exception as error:
                failed.append(path.name)
                print(f"{path.name}: not stored, a cell failed\n{_plain(str(error))}", file=sys.stderr)
                continue
        path.write_text(normal_form(notebook), encoding="utf-8")
        print(f"{path.name}: {time.perf_counter() - started:.1f} s")
    if failed:
        print(f"left as they were: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _plain(text: str) -> str:
    """`text` without the colours that a kernel puts into its tracebacks."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


if __name__ == "__main__":
    sys.exit(main())
