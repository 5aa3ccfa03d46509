"""The tower on the front page: nine parts of a machine that fetches a page, and which of them are yours."""

from __future__ import annotations

from pathlib import Path

from contents import notebook
from machine import MYSTACK, PARTS, Part, kept

from labstack.observe import look

YOURS, BROKEN, BOOKS, TO_COME = "yours", "broken", "the book's", "to come"
COLOURS = {YOURS: look.STRONG_GREEN, BROKEN: look.PALE_VERMILION, BOOKS: look.PALE_BLUE, TO_COME: look.PAPER}
STEP = 38.0


class Tower(look.Picture):
    """Which parts are the reader's own: those kept in `folder` that carry a page."""

    def __init__(self, folder: Path = MYSTACK) -> None:
        found = kept(folder)
        self.owners = {
            part.name: YOURS if part.name in found.parts
            else BROKEN if part.name in found.troubles
            else BOOKS if notebook(part.chapter)
            else TO_COME
            for part in PARTS
        }  # fmt: skip

    @property
    def yours(self) -> int:
        """How many parts are the reader's own."""
        return list(self.owners.values()).count(YOURS)

    @property
    def text(self) -> str:
        rows = [("layer", "part", "what it does", "chapter", "")]
        rows += [(p.layer, p.name, p.words, p.chapter, self.owners[p.name]) for p in PARTS]
        return f"{look.align(rows)}\n{self.yours} of {len(PARTS)} parts are yours."

    @property
    def svg(self) -> str:
        drawing = look.Drawing(f"the tower: {self.yours} of {len(PARTS)} parts are yours")
        drawing.words(16, 28, "the tower", size=15, bold=True)
        drawing.words(
            744, 28, f"{self.yours} of {len(PARTS)} parts are yours", size=11, colour=look.GREY, anchor="end"
        )
        y, layer = 44.0, ""
        for part in PARTS:
            if part.layer != layer:
                layer = part.layer
                drawing.words(120, y + 22, layer, size=11, colour=look.GREY, anchor="end")
                drawing.line(16, y, 128, y, colour=look.FAINT)
            self._brick(drawing, part, y)
            y += STEP
        drawing.box(132, y, 612, 10, fill=look.GREY)
        drawing.words(438, y + 26, "the wire", size=11, colour=look.GREY, anchor="middle")
        return drawing.svg(760, y + 40)

    def _brick(self, drawing: look.Drawing, part: Part, y: float) -> None:
        owner = self.owners[part.name]
        ink = look.GREY if owner == TO_COME else look.INK
        drawing.box(132, y, 612, STEP, fill=COLOURS[owner], stroke=look.INK)
        drawing.words(146, y + 23, part.name, size=12, colour=ink, font=look.MONO, bold=True)
        drawing.words(276, y + 23, part.words, size=11.5, colour=ink)
        drawing.words(636, y + 23, f"chapter {part.chapter}", size=11, colour=ink, anchor="end")
        drawing.words(730, y + 23, owner, size=11, colour=ink, anchor="end", bold=owner in (YOURS, BROKEN))


class WhereYouAre(look.Shown):
    """What is done, and where to go on; in a notebook, with a link."""

    def __init__(self, folder: Path = MYSTACK) -> None:
        owners = Tower(folder).owners
        done = [part.name for part in PARTS if owners[part.name] == YOURS]
        open_ = [part for part in PARTS if owners[part.name] in (BROKEN, BOOKS)]
        self.done = f"Yours: {', '.join(done)}." if done else "None of the parts is yours yet."
        self.next = min(open_, key=lambda part: part.chapter, default=None)

    @property
    def text(self) -> str:
        if self.next is None:
            return f"{self.done} You have built all that can be built so far."
        return f"{self.done} Next: {self.next.name}, in {notebook(self.next.chapter)}."

    def _repr_markdown_(self) -> str:
        if self.next is None:
            return self.text
        file = notebook(self.next.chapter)
        return f"{self.done} **Next: `{self.next.name}`, in [{file.removesuffix('.ipynb')}]({file}).**"


def where_you_are(folder: Path = MYSTACK) -> WhereYouAre:
    """What is done, and where to go on."""
    return WhereYouAre(folder)
