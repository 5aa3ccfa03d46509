"""A header as the RFCs draw it: rows of 32 bits, one box a field. Drawn from the header class's own `FIELDS`.

header_diagram(IPv4)              the names alone
header_diagram(packet.ip)         with the values of one header
print(header_diagram(IPv4))       in plain text, as in an RFC
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from labstack.observe import look
from labstack.observe.fields import FieldValue, fields, options

ROW_BITS = 32
BIT = 25.0
HEIGHT = 46.0
LEFT = 16.0
TOP = 66.0


@dataclass(slots=True, frozen=True)
class Piece:
    """The part of a field that lies in one row: `start` to `end` are bits of that row. `main`: it bears the
    name."""

    field: FieldValue
    row: int
    start: int
    end: int
    main: bool


def header_diagram(header: object, highlight: tuple[str, ...] | set[str] = ()) -> HeaderDiagram:
    """The diagram of a header class (`IPv4`) or of one header (`packet.ip`). `highlight`: names of fields
    to colour."""
    return HeaderDiagram(header, highlight)


class HeaderDiagram(look.Picture):
    """See `header_diagram`. Raises ValueError when `highlight` names a field that the header does not
    have."""

    def __init__(self, header: object, highlight: tuple[str, ...] | set[str] = ()) -> None:
        kind = header if isinstance(header, type) else type(header)
        self.name = kind.__name__
        self.fields = fields(header, split_flags=True)
        self.options = options(header)
        self.highlight = frozenset(highlight)
        unknown = sorted(self.highlight - {field.name for field in self.fields})
        if unknown:
            raise ValueError(
                f"{self.name} has no field {unknown[0]!r}: {', '.join(f.name for f in self.fields)}"
            )
        self.pieces = [piece for field in self.fields for piece in _pieces(field)]

    @property
    def bits(self) -> int:
        """The length of the fixed part."""
        return sum(field.bits for field in self.fields)

    @property
    def rows(self) -> int:
        return -(-self.bits // ROW_BITS)

    # --- picture ------------------------------------------------------------------------------------------

    @property
    def svg(self) -> str:
        drawing = look.Drawing(f"{self.name} header, {self.bits // 8} bytes")
        width = 2 * LEFT + ROW_BITS * BIT
        drawing.words(LEFT, 28, f"{self.name} header", 15, bold=True)
        drawing.words(
            width - LEFT,
            28,
            f"{self.bits // 8} bytes{' + options' if self.options else ''}",
            11,
            look.GREY,
            "end",
        )
        self._ruler(drawing)
        for piece in self.pieces:
            self._fill(drawing, piece)
        for piece in self.pieces:
            self._outline(drawing, piece)
            self._label(drawing, piece)
        bottom = TOP + self.rows * HEIGHT
        if self.options:
            drawing.box(LEFT, bottom, ROW_BITS * BIT, 34, look.BAND, look.INK)
            text = f"options: {self.options}"
            size = min(11.0, (ROW_BITS * BIT - 16) / look.width_of(text, 1))
            drawing.words(width / 2, bottom + 21, text, size, look.INK, "middle")
            bottom += 34
        return drawing.svg(width, bottom + 16)

    def _ruler(self, drawing: look.Drawing) -> None:
        for bit in range(ROW_BITS):
            x = LEFT + (bit + 0.5) * BIT
            whole = bit % 8 == 0
            drawing.words(x, TOP - 8, str(bit), 8.5, look.INK if whole else look.GREY, "middle", bold=whole)
        for bit in range(0, ROW_BITS + 1, 8):
            x = LEFT + bit * BIT
            drawing.line(x, TOP - 20, x, TOP, look.FAINT)
        drawing.words(LEFT, TOP - 22, "bit", 8.5, look.GREY)

    def _fill(self, drawing: look.Drawing, piece: Piece) -> None:
        x, y = LEFT + piece.start * BIT, TOP + piece.row * HEIGHT
        chosen = piece.field.name in self.highlight
        fill = look.MARKED if chosen else look.BAND if piece.field.name == "reserved" else look.PAPER
        drawing.box(x, y, (piece.end - piece.start) * BIT, HEIGHT, fill)

    def _outline(self, drawing: look.Drawing, piece: Piece) -> None:
        """The box's sides, without the line between two rows of one field."""
        x1, x2 = LEFT + piece.start * BIT, LEFT + piece.end * BIT
        y1, y2 = TOP + piece.row * HEIGHT, TOP + (piece.row + 1) * HEIGHT
        drawing.line(x1, y1, x1, y2, look.INK, 1.2)
        drawing.line(x2, y1, x2, y2, look.INK, 1.2)
        others = [p for p in self.pieces if p.field is piece.field and p is not piece]
        for y, row in ((y1, piece.row - 1), (y2, piece.row + 1)):
            start = piece.start
            for other in sorted((p for p in others if p.row == row), key=lambda p: p.start):
                drawing.line(LEFT + start * BIT, y, LEFT + max(start, other.start) * BIT, y, look.INK, 1.2)
                start = max(start, other.end)
            if start < piece.end:
                drawing.line(LEFT + start * BIT, y, x2, y, look.INK, 1.2)

    def _label(self, drawing: look.Drawing, piece: Piece) -> None:
        field = piece.field
        width = (piece.end - piece.start) * BIT
        x = LEFT + (piece.start + piece.end) / 2 * BIT
        y = TOP + (piece.row + 0.5) * HEIGHT
        if not piece.main:
            drawing.words(x, y + 4, self._more(piece), 10, look.GREY, "middle")
            return
        name = field.title if _fits(field.title, 9, width) else field.short
        size = min(11.0, (width - 4) / look.width_of(name, 1))
        colour = look.GREY if field.value else look.INK
        drawing.words(x, y + (-4 if field.value else 4), name, size, colour, "middle")
        if field.value:
            size = min(12.5, (width - 10) / (len(field.value) * look.MONO_WIDTH))
            drawing.words(x, y + 15, field.value, size, look.BLUE, "middle", look.MONO, bold=True)

    def _more(self, piece: Piece) -> str:
        """What stands in a part of a field that does not bear its name: that it belongs to it."""
        bearer = next(p for p in self.pieces if p.field is piece.field and p.main)
        return f"… {piece.field.title}" if bearer.row < piece.row else f"{piece.field.title} …"

    def _numbers(self) -> tuple[list[str], list[tuple[Any, ...]]]:
        rows = [(f.name, f.start, f.bits, f.value, f.meaning) for f in self.fields]
        return ["field", "first bit", "bits", "value", "meaning"], rows

    # --- text ---------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The diagram as RFCs print it, two characters a bit; below it, the values, if there are any."""
        lines = [
            " " + "".join(f"{bit // 10 if bit % 10 == 0 else ' '} " for bit in range(ROW_BITS)).rstrip(),
            " " + " ".join(str(bit % 10) for bit in range(ROW_BITS)),
            self._border(0),
        ]
        for row in range(self.rows):
            lines += [*self._text_row(row), self._border(row + 1)]
        if self.options:
            lines += [f"|{'options'.center(2 * ROW_BITS - 1)}|", "+" + "-" * (2 * ROW_BITS - 1) + "+"]
        if any(field.value for field in self.fields):
            values = [(f"{field.name}:", field.value) for field in self.fields]
            lines += ["", look.align(values + ([("options:", self.options)] if self.options else []))]
        return "\n".join(lines)

    def _text_row(self, row: int) -> list[str]:
        cells = []
        for piece in (p for p in self.pieces if p.row == row):
            width = 2 * (piece.end - piece.start) - 1
            name = piece.field.title if len(piece.field.title) <= width else piece.field.short
            cells.append((width, wrap(name if piece.main else self._more(piece), width)))
        height = max(1, *(len(lines) for _, lines in cells)) if cells else 1
        end = max((2 * piece.end for piece in self.pieces if piece.row == row), default=0)
        return [
            "|"
            + "|".join((lines[at] if at < len(lines) else "").center(width) for width, lines in cells)
            + "|"
            for at in range(height)
            if end
        ]

    def _border(self, row: int) -> str:
        """The line above a row: corners where a box begins above or below, and a gap inside one field."""
        line = [" "] * (2 * ROW_BITS + 1)
        for piece in self.pieces:
            if piece.row in (row, row - 1):
                line[2 * piece.start : 2 * piece.end + 1] = "-" * (2 * (piece.end - piece.start) + 1)
        for piece in self.pieces:
            if piece.row == row:
                for above in (p for p in self.pieces if p.field is piece.field and p.row == row - 1):
                    start, end = max(piece.start, above.start), min(piece.end, above.end)
                    line[2 * start + 1 : 2 * end] = " " * (2 * (end - start) - 1)
        for piece in self.pieces:
            if piece.row in (row, row - 1):
                line[2 * piece.start] = line[2 * piece.end] = "+"
        return "".join(line).rstrip()


def _pieces(field: FieldValue) -> list[Piece]:
    """A field cut at the ends of the rows; its widest piece bears the name."""
    cuts = []
    start, end = field.start, field.start + field.bits
    while start < end:
        stop = min(end, (start // ROW_BITS + 1) * ROW_BITS)
        cuts.append((start // ROW_BITS, start % ROW_BITS, stop - start // ROW_BITS * ROW_BITS))
        start = stop
    widest = max(range(len(cuts)), key=lambda at: (cuts[at][2] - cuts[at][1], -at))
    return [Piece(field, *cut, main=at == widest) for at, cut in enumerate(cuts)]


def _fits(text: str, size: float, width: float) -> bool:
    return look.width_of(text, size) <= width - 4
