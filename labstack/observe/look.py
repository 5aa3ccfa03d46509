"""One look for every picture: colours, fonts, sizes, and what a picture can do.

The colours are those of Okabe and Ito, which people with any common colour blindness can tell apart;
nothing is said by colour alone. Every picture brings its own paper, so it reads the same on a dark page and
in print.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

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

# Verdana and DejaVu Sans have the same proportions, as have the monospaced ones: text takes the same room
# everywhere.
SANS = "DejaVu Sans, Verdana, sans-serif"
MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"
MONO_WIDTH = 0.602
"""The width of a monospaced character, in ems."""


def missing(package: str) -> ImportError:
    """The error for a picture that takes a package which is not there."""
    return ImportError(f"this takes {package}, which is not installed: pip install labstack[notebooks]")


class Shown:
    """Something to look at that has a text. `print` gives it, and so does `repr`: a notebook stores it
    under the picture, for those who search or listen."""

    @property
    def text(self) -> str:
        """What is to be seen, in plain text."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


class Picture(Shown):
    """A drawing. In a notebook it shows itself."""

    @property
    def svg(self) -> str:
        """The picture as an SVG document. The same input gives the same bytes."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write the picture (`.svg`) or its text (`.txt`) to a file. Raises ValueError for any other
        ending."""
        path = Path(path)
        if path.suffix not in {".svg", ".txt"}:
            raise ValueError(f"{path.name!r} has the ending {path.suffix!r}: write .svg or .txt")
        path.write_text(self.svg if path.suffix == ".svg" else self.text + "\n", encoding="utf-8")
        return path

    def _repr_svg_(self) -> str:
        return self.svg


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

    def __init__(self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        self.columns = columns
        self.rows = rows

    @property
    def text(self) -> str:
        return align([self.columns, *self.rows])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


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
    "grid.color": "#E6E9ED",
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
