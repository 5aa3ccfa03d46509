"""The header explorer: click a field in the diagram of a header, and see its bytes and what it means.

The diagram is a drawing, and a drawing in a notebook hears no click. So a button that nobody sees lies over
each box of it: real buttons, which the keyboard reaches too.
"""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from labstack.observe import look
from labstack.observe.explorer import panes
from labstack.observe.fields import FieldValue
from labstack.observe.header_diagram import BIT, HEIGHT, LEFT, ROW_BITS, TOP, HeaderDiagram
from labstack.observe.layers import Layer, layers
from labstack.observe.packet import Packet
from labstack.observe.questions import Question, widgets


class HeaderExplorer(Question):
    """Shows one field of a frame (without check sequence) or of a captured packet. `layer` and `field` are
    what is chosen."""

    def __init__(self, of: bytes | Packet) -> None:
        self.frame = of.frame if isinstance(of, Packet) else bytes(of)
        self.layers: dict[str, Layer] = {
            layer.name: layer for layer in layers(self.frame) if layer.header is not None
        }
        if not self.layers:
            raise ValueError("these bytes hold no header that is known here")
        self.controls: dict[str, Any] = {}
        self.layer = list(self.layers)[-1]
        self.field = self.fields()[0].name

    def fields(self) -> list[FieldValue]:
        """The fields of the chosen header, one for each flag."""
        return [field for field in HeaderDiagram(self.layers[self.layer].header).fields if field.bits]

    def choose(self, layer: str, field: str) -> None:
        """Choose a header by name ("TCP") and a field of it ("seq"). Raises ValueError when there is none."""
        if layer not in self.layers:
            raise ValueError(f"this frame has no {layer} header: it has {', '.join(self.layers)}")
        before, self.layer = self.layer, layer
        names = [one.name for one in self.fields()]
        if field not in names:
            self.layer = before
            raise ValueError(f"{layer} has no field {field!r}: {', '.join(names)}")
        self.field = field
        if self.controls:
            self._fill()

    @property
    def chosen(self) -> FieldValue:
        return next(field for field in self.fields() if field.name == self.field)

    def place(self) -> tuple[int, int]:
        """The first byte of the frame in which the chosen field has bits, and the first behind them."""
        field, start = self.chosen, self.layers[self.layer].start
        return start + field.start // 8, start + -(-(field.start + field.bits) // 8)

    @property
    def text(self) -> str:
        field, (first, end) = self.chosen, self.place()
        raw = self.frame[first:end].hex(" ")
        where = f"byte {first}" if end == first + 1 else f"bytes {first} to {end - 1}"
        of_them = "" if field.bits % 8 == 0 else f", of which {field.bits} bit{'s' if field.bits > 1 else ''}"
        return (
            f"{self.layer}, {field.title}: {field.value}\n"
            f"{where} of the frame{of_them}: {raw}\n"
            f"{field.meaning}"
        )

    # --- as widgets ---------------------------------------------------------------------------------------

    def widget(self) -> Any:
        w = widgets()
        header = w.ToggleButtons(options=list(self.layers), value=self.layer, description="header",
                                 style={"button_width": "90px"})  # fmt: skip
        field = w.Select(description="field", rows=12, layout={"width": "300px"})
        over = w.GridBox(layout={
            "grid_template_columns": f"repeat({ROW_BITS}, {BIT:g}px)", "grid_auto_rows": f"{HEIGHT:g}px",
            "margin": f"{TOP:g}px 0 0 {LEFT:g}px", "grid_area": "1 / 1 / 2 / 2",
        })  # fmt: skip
        shown = panes("diagram", "bytes", "meaning")
        shown["diagram"].layout = {"grid_area": "1 / 1 / 2 / 2", "margin": "0"}
        self.controls = {"header": header, "field": field, "over": over, **shown}
        self._fill()
        header.observe(self._other_header, names="value")
        field.observe(self._other_field, names="value")
        below = w.HBox([field, w.VBox([shown["meaning"], shown["bytes"]])])
        diagram = w.GridBox([shown["diagram"], over], layout={"overflow": "auto"})
        return w.VBox([header, diagram, below])

    def _buttons(self, diagram: HeaderDiagram) -> list[Any]:
        """One over each box of the diagram."""
        buttons = []
        for piece in diagram.pieces:
            row = piece.row + 1
            button = widgets().Button(
                tooltip=piece.field.title, style={"button_color": "transparent"},
                layout={"width": "auto", "height": "auto", "margin": "0", "padding": "0",
                        "grid_area": f"{row} / {piece.start + 1} / {row + 1} / {piece.end + 1}"},
            )  # fmt: skip
            button.on_click(lambda _, name=piece.field.name: self.choose(self.layer, name))
            buttons.append(button)
        return buttons

    def _other_header(self, change: Any) -> None:
        if change["new"] != self.layer:
            self.layer = change["new"]
            self.field = self.fields()[0].name
            self._fill()

    def _other_field(self, change: Any) -> None:
        if change["new"] not in (None, self.field):
            self.field = change["new"]
            self._fill()

    def _fill(self) -> None:
        # Set first: what the widgets report back is then what is chosen already.
        options = [(field.title, field.name) for field in self.fields()]
        chosen = self.field
        if tuple(self.controls["field"].options) != tuple(options):
            self.controls["header"].value = self.layer
            self.controls["field"].options = options
        self.field = chosen
        self.controls["field"].value = chosen
        diagram = HeaderDiagram(self.layers[self.layer].header, {self.field})
        self.controls["diagram"].value = diagram.themed.replace("max-width:100%;", "display:block;")
        if tuple(b.tooltip for b in self.controls["over"].children) != tuple(
            piece.field.title for piece in diagram.pieces
        ):
            self.controls["over"].children = self._buttons(diagram)
        self.controls["meaning"].value = f"<pre>{escape(self.text)}</pre>"
        self.controls["bytes"].value = self._hexdump()

    def _hexdump(self) -> str:
        """All bytes of the headers, sixteen a line, with those of the field on colour."""
        first, end = self.place()
        stop = max(layer.end for layer in self.layers.values())
        mine = self.layers[self.layer]
        lines = []
        for at in range(0, stop, 16):
            cells = []
            for k in range(at, min(at + 16, stop)):
                style = look.CHOSEN if first <= k < end else (
                    f"color:{look.BLUE}" if mine.start <= k < mine.end else f"color:{look.GREY}")  # fmt: skip
                cells.append(f'<span style="{style}">{self.frame[k]:02x}</span>')
            lines.append(f'<span style="color:{look.GREY}">{at:04x}</span>  {" ".join(cells)}')
        return look.themed_html('<pre class="labstack">' + "\n".join(lines) + "</pre>")
