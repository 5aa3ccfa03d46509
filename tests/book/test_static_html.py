"""The book as HTML, without a kernel: what `jupyter nbconvert --to html` makes of each notebook is complete.

Screenshots go to the directory in LABSTACK_SCREENSHOTS, if it is set, to be looked at.
"""

import ast
import base64
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from nbconvert import HTMLExporter

from book.normalise import BOOK, notebooks, read

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


@pytest.fixture(scope="module", params=notebooks(), ids=lambda path: path.name)
def page(request: pytest.FixtureRequest) -> tuple[Path, Any, str]:
    """A notebook: its path, itself, and its HTML."""
    notebook = read(request.param)
    html, _ = HTMLExporter(template_name="lab").from_notebook_node(notebook)
    return request.param, notebook, html


class Words(HTMLParser):
    """The text of a page, as a reader gets it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return squeezed("".join(self.words))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def shows_something(source: str) -> bool:
    """Whether the last line of a cell is a value that a notebook shows."""
    last = ast.parse(source).body[-1:]
    return bool(last) and isinstance(last[0], ast.Expr) and not isinstance(last[0].value, ast.Call)


@pytest.mark.feature("Book", "As HTML, without a kernel, each notebook is complete: pictures and texts")
def test_nothing_is_missing_without_a_kernel(page: tuple[Path, Any, str]) -> None:
    path, notebook, html = page
    text = Words(html).text
    drawings = images = 0
    for cell in notebook.cells:
        where = f"{path.name}, cell {cell.id}"
        if cell.cell_type == "markdown":
            for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", cell.source):
                assert "://" in link or (BOOK / link).is_file(), f"{where}: no picture {link}"
            continue
        if shows_something(cell.source):
            assert cell.outputs, f"{where} shows a value, and nothing is stored"
        for output in cell.outputs:
            data = output.get("data", {"text/plain": output.get("text", "")})
            assert any(str(value).strip() for value in data.values()), f"{where} has an empty output"
            if drawing := data.get("image/svg+xml"):
                coded = base64.b64encode(drawing.encode()).decode()
                assert f"data:image/svg+xml;base64,{coded}" in html, f"{where}: no drawing in the page"
                drawings += 1
            elif image := data.get("image/png"):
                assert image.strip() in html, f"{where}: its image is not in the page"
                images += 1
            elif markdown := data.get("text/markdown"):
                if markdown.startswith("```"):
                    plain = "".join(markdown.splitlines()[1:-1])
                else:
                    plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[*`]", r"\1", markdown)
                assert squeezed(plain) in text, f"{where}: its text is not in the page"
            elif "text/html" not in data:
                # A question that is a widget in JupyterLab is its own text here.
                assert squeezed(data["text/plain"]) in text, f"{where}: its text is not in the page"
    assert "application/vnd.jupyter.widget" not in html and "Loading widget" not in html
    assert drawings + images > 0


@pytest.mark.check
@pytest.mark.browser
def test_a_browser_shows_it(page: tuple[Path, Any, str], tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    path, notebook, html = page
    file = tmp_path / f"{path.stem}.html"
    file.write_text(html, encoding="utf-8")
    with sync_api.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        tab = chromium.new_page(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
        # Not a byte comes from anywhere else.
        tab.route("http*://**", lambda route: route.abort())
        tab.goto(file.as_uri())
        for picture in tab.locator(".jp-OutputArea img, .jp-OutputArea svg").all():
            box = picture.bounding_box()
            assert box is not None and box["width"] > 100 and box["height"] > 40
            assert box["x"] >= 0 and box["x"] + box["width"] <= 1280, "wider than the page"
        first = next(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert tab.get_by_text(first.lstrip("# ").splitlines()[0], exact=False).first.is_visible()
        if directory := os.environ.get("LABSTACK_SCREENSHOTS"):
            tab.screenshot(path=Path(directory) / f"html-{path.stem}.png", full_page=True)
        chromium.close()
