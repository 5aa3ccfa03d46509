"""One look for every picture: colours, fonts, sizes, and what a picture can do.

The colours are those of Okabe and Ito, which people with any common colour blindness can tell apart;
nothing is said by colour alone. Every picture brings its own paper, so it reads the same on a dark page and
in print. Each colour has a partner for dark paper (`DARK`), and that table is the whole of the dark look:
`trace.ladder().dark` is the ladder with each colour replaced by its partner, and what stands in an explorer
follows the page's theme.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import pandas as pd

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
ORANGE = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#A8487F"  # Okabe and Ito's #CC79A7, darkened so that thin lines and letters stand out on white
YELLOW = "#F0E442"
INK = "#1F2328"
GREY = "#6B7280"
FAINT = "#D5D9DF"
PAPER = "#FFFFFF"
BAND = "#F3F5F8"
GRID = "#E6E9ED"
DIM = "#A0A6B0"
FILLED = "#AEB8C5"
MARKED = "#FCE9B6"
SHORTENED = "#FBF6E9"
# Tints, for what letters stand on.
PALE_BLUE = "#DDEFFB"
PALE_GREEN = "#E3F3ED"
PALE_ORANGE = "#FCF0D4"
PALE_VERMILION = "#F8DED0"
PALE_PURPLE = "#F3DCE8"
PALE_GREY = "#DCE6F0"
STRONG_GREEN = "#9AD9C3"
LAYERS = {
    "Ethernet": PALE_GREY, "ARP": PALE_PURPLE, "IPv4": "#D5ECE4", "ICMP": "#DDF0FB", "UDP": "#FBEBCB",
    "TCP": "#F9DFD0",
}  # fmt: skip
"""What the bytes of each header stand on."""

DARK = {
    BLUE: "#5AA9E6", VERMILION: "#F4743B", GREEN: "#2CC295", ORANGE: "#F0B429", SKY: "#8CD0F5",
    PURPLE: "#DB8CBB", YELLOW: "#E3D84E", INK: "#E4E7EB", GREY: "#9BA3AF", FAINT: "#3A404A",
    PAPER: "#17191E", BAND: "#20242B", GRID: "#2B3038", DIM: "#7C8592", FILLED: "#4B5563",
    MARKED: "#57461C", SHORTENED: "#29261C", PALE_BLUE: "#17344A", PALE_GREEN: "#173A31",
    PALE_ORANGE: "#40341A", PALE_VERMILION: "#472A1C", PALE_PURPLE: "#43283A", PALE_GREY: "#22344A",
    STRONG_GREEN: "#1A4D3E", LAYERS["IPv4"]: "#1C3D34", LAYERS["ICMP"]: "#1B3A4D",
    LAYERS["UDP"]: "#453719", LAYERS["TCP"]: "#4A2B1D",
}  # fmt: skip
"""Each colour's partner on dark paper. No partner is itself a colour of the light look."""

CHOSEN = f"background:{MARKED};color:{INK};font-weight:bold"
"""The style of what is chosen in a table or among bytes."""

# Verdana and DejaVu Sans have the same proportions, as have the monospaced ones: text takes the same room
# everywhere.
SANS = "DejaVu Sans, Verdana, sans-serif"
MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"
MONO_WIDTH = 0.602
"""The width of a monospaced character, in ems."""


def missing(package: str) -> ImportError:
    """The error for a picture that takes a package which is not there."""
    return ImportError(f"this takes {package}, which is not installed: pip install labstack[notebooks]")


def frame(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """These rows as a pandas DataFrame. Raises ImportError, in a sentence, without pandas."""
    try:
        import pandas
    except ImportError as error:
        raise missing("pandas") from error
    return pandas.DataFrame(rows, columns=list(columns))


class Shown:
    """Something to look at that has a text. `print` gives it, and so does `repr`: a notebook stores it
    under the picture, for those who search or listen."""

    @property
    def text(self) -> str:
        """What is to be seen, in plain text."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """What is to be seen, as a pandas DataFrame."""
        return frame(*self._numbers())

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns of its table, and the rows."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


class Picture(Shown):
    """A drawing. In a notebook it shows itself."""

    _dark = False

    @property
    def svg(self) -> str:
        """The picture as an SVG document, on light paper. The same input gives the same bytes."""
        raise NotImplementedError

    @property
    def dark(self) -> Self:
        """The same picture on dark paper."""
        other = copy(self)
        other._dark = True
        return other

    def save(self, path: str | Path) -> Path:
        """Write the picture (`.svg`) or its text (`.txt`) to a file. Raises ValueError for any other
        ending."""
        path = Path(path)
        if path.suffix not in {".svg", ".txt"}:
            raise ValueError(f"{path.name!r} has the ending {path.suffix!r}: write .svg or .txt")
        path.write_text(self._repr_svg_() if path.suffix == ".svg" else self.text + "\n", encoding="utf-8")
        return path

    @property
    def themed(self) -> str:
        """The picture as a part of a page, with the look of that page: dark where it is dark, and light in
        print."""
        return themed_html(self.svg.replace("<svg ", '<svg class="labstack" ', 1))

    def _repr_svg_(self) -> str:
        return _COLOUR.sub(lambda found: DARK.get(found[0], found[0]), self.svg) if self._dark else self.svg


_COLOUR = re.compile("#[0-9A-F]{6}")
_DARK_PAGE = '[data-jp-theme-light="false"]'
"""What JupyterLab, and nbconvert's pages, say of themselves while they are dark."""


def themed_html(html: str) -> str:
    """A part of a page in these colours, with the look of the page. Its outermost element has the class
    "labstack"."""
    rules = [
        f"{_DARK_PAGE} .labstack {chosen}{{{what}:{partner}!important}}"
        for colour, partner in DARK.items()
        for what, chosen in (
            ("fill", f'[fill="{colour}"]'), ("stroke", f'[stroke="{colour}"]'),
            ("color", f'[style="color:{colour}"]'),
        )
        if chosen[1:-1] in html
    ]  # fmt: skip
    return f"<style>@media screen{{{''.join(rules)}}}</style>{html}"


def themed_image(light: bytes, dark: bytes, words: str, width: int) -> str:
    """Two PNG images of one thing as a part of a page, of which the one is seen that has the look of the
    page. `words` are for those who cannot see it; `width` is in pixels, at most."""
    shown = "".join(
        f'<img class="labstack-{name}" style="width:100%" alt="{escape(words)}" '
        f'src="data:image/png;base64,{base64.b64encode(image).decode()}"/>'
        for name, image in (("light", light), ("dark", dark))
    )
    rules = (
        f".labstack-dark{{display:none}}@media screen{{{_DARK_PAGE} .labstack-light{{display:none}}"
        f"{_DARK_PAGE} .labstack-dark{{display:inline}}}}"
    )
    return f'<style>{rules}</style><div style="width:100%;max-width:{width}px">{shown}</div>'


def darken(figure: Any) -> None:
    """Give everything in a matplotlib figure its colour for dark paper."""
    from matplotlib.colors import to_rgba, to_rgba_array

    partners = {to_rgba(light)[:3]: to_rgba(dark)[:3] for light, dark in DARK.items()}

    def turned(colours: Any) -> Any:
        several = to_rgba_array(colours)
        found = [(*partners.get(tuple(one[:3]), tuple(one[:3])), one[3]) for one in several]
        return found if getattr(colours, "ndim", 1) == 2 or not found else found[0]

    for artist in figure.findobj():
        for what in ("facecolor", "edgecolor", "color", "markerfacecolor", "markeredgecolor"):
            take, give = getattr(artist, f"get_{what}", None), getattr(artist, f"set_{what}", None)
            # What has a face and an edge has no colour besides.
            if take is None or give is None or (what == "color" and hasattr(artist, "set_facecolor")):
                continue
            try:
                give(turned(take()))
            except ValueError:
                continue  # "auto", "none" and the like


def width_of(text: str, size: float) -> float:
    """About how wide `text` is in `SANS`, in pixels; rather too much than too little."""
    return size * sum(
        0.32 if c in "iljtf.,:;'|! ()" else 0.96 if c in "mwMW" else 0.72 if c.isupper() else 0.62
        for c in text
    )


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel: 12, 12.5."""
    return f"{value:.1f}".removesuffix(".0").replace("-0", "0") if value > -0.05 else f"{value:.1f}"


class Drawing:
    """Lines, boxes and letters on paper, as SVG. Coordinates are pixels from the upper left corner."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._parts: list[str] = []

    def line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 1, dash: str = ""
    ) -> None:
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<line x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}" '
            f'stroke="{colour}" stroke-width="{number(width)}"{dashed}/>'
        )

    def shape(
        self, points: list[tuple[float, float]], fill: str = "none", stroke: str = "", width: float = 1
    ) -> None:
        """A closed polygon."""
        corners = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        line = f' stroke="{stroke}" stroke-width="{number(width)}"' if stroke else ""
        self._parts.append(f'<polygon points="{corners}" fill="{fill}"{line}/>')

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str = "none",
        stroke: str = "",
        corner: float = 0,
    ) -> None:
        line = f' stroke="{stroke}"' if stroke else ""
        round_off = f' rx="{number(corner)}"' if corner else ""
        self._parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
            f' fill="{fill}"{line}{round_off}/>'
        )

    def words(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 11,
        colour: str = INK,
        anchor: str = "start",
        font: str = SANS,
        bold: bool = False,
        turn: float = 0,
        halo: bool = False,
    ) -> None:
        """Letters whose base line starts (or has its middle, or ends: `anchor`) at x, y, turned by `turn`
        degrees."""
        extra = ' font-weight="bold"' if bold else ""
        extra += f' font-family="{font}"' if font != SANS else ""
        extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
        extra += f' transform="rotate({number(turn)} {number(x)} {number(y)})"' if turn else ""
        if halo:
            extra += f' stroke="{PAPER}" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
        self._parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" fill="{colour}"{extra}'
            f' xml:space="preserve">{escape(text)}</text>'
        )

    def svg(self, width: float, height: float) -> str:
        """The document, `width` by `height` pixels; it shrinks with a narrow page."""
        w, h = number(width), number(height)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
            f'style="max-width:100%;height:auto" font-family="{SANS}" role="img">\n'
            f"<title>{escape(self._title)}</title>\n"
            f'<rect width="{w}" height="{h}" rx="6" fill="{PAPER}"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


class Grid(Shown):
    """A small table: column names and rows of text. In a notebook it is HTML; `print` gives plain text."""

    def __init__(
        self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: frozenset[int] = frozenset()
    ) -> None:
        self.columns = columns
        self.rows = rows
        self.right = right
        """Columns that are set to the right."""
        self.chosen = -1
        """The row that stands out in HTML."""

    @property
    def text(self) -> str:
        return align([self.columns, *self.rows], self.right)

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        return list(self.columns), list(self.rows)

    def _repr_html_(self) -> str:
        rows = [f"<tr>{self._cells('th', self.columns)}</tr>"]
        for at, row in enumerate(self.rows):
            style = f' style="{CHOSEN}"' if at == self.chosen else ""
            rows.append(f"<tr{style}>{self._cells('td', row)}</tr>")
        return f"<table><thead>{rows[0]}</thead><tbody>{''.join(rows[1:])}</tbody></table>"

    def _cells(self, tag: str, row: Sequence[str]) -> str:
        # JupyterLab sets all to the right, words too.
        styles = ("" if at in self.right else ' style="text-align:left"' for at in range(len(row)))
        return "".join(
            f"<{tag}{style}>{escape(cell)}</{tag}>" for cell, style in zip(row, styles, strict=True)
        )


def align(rows: Sequence[tuple[str, ...]], right: frozenset[int] = frozenset()) -> str:
    """Rows of cells as lines, each column as wide as its widest cell; columns in `right` are set to the
    right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


CHART = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "labstack",
    "svg.fonttype": "none",
}
"""The same look for matplotlib, as its own parameters; a fixed salt makes the same chart the same bytes."""
