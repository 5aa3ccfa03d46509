"""The tower on the front page: nine parts of a machine that fetches a page, and which of them are yours.

A part that passes its check in a chapter is kept in `mystack/`, in a file of its name. Nothing else is
looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labstack.observe import look
from labstack.observe.questions import Said

BOOK = Path(__file__).resolve().parent
MYSTACK = Path("mystack")


@dataclass(frozen=True)
class Part:
    """A brick: its name, as its file in `mystack/` has it; what it does; its layer; its chapter."""

    name: str
    words: str
    layer: str
    chapter: str

    @property
    def notebook(self) -> str:
        """The chapter's file, or nothing while it is to come."""
        return next((path.name for path in sorted(BOOK.glob(f"{self.chapter}-*.ipynb"))), "")


PARTS = (
    Part("http_client", "asks for a page", "application", "28"),
    Part("congestion", "how much may be on its way", "transport", "22"),
    Part("recovery", "what got lost, and when to say it again", "transport", "20"),
    Part("receiver", "bytes in order, whatever came", "transport", "19"),
    Part("ack_number", "which byte comes next", "transport", "01"),
    Part("routing_table", "which way to send it", "internet", "08"),
    Part("header_length", "where a header ends", "internet", "00"),
    Part("arp_cache", "who has this address", "link", "06"),
    Part("frame_check", "is this frame as it was sent", "link", "04"),
)
"""From the top of the tower down."""

YOURS, BOOKS, TO_COME = "yours", "the book's", "to come"
COLOURS = {YOURS: "#9AD9C3", BOOKS: "#DDEFFB", TO_COME: look.PAPER}
STEP = 38.0


class Tower(look.Picture):
    """Which parts are the reader's own: those with a file in `folder`."""

    def __init__(self, folder: Path = MYSTACK) -> None:
        kept = {path.stem for path in folder.glob("*.py")}
        self.owners = {
            part.name: YOURS if part.name in kept else BOOKS if part.notebook else TO_COME for part in PARTS
        }

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
        drawing.words(730, y + 23, owner, size=11, colour=ink, anchor="end", bold=owner == YOURS)


def where_you_are(folder: Path = MYSTACK) -> Said:
    """What is done, and where to go on."""
    owners = Tower(folder).owners
    ready = sorted((p for p in PARTS if owners[p.name] == BOOKS), key=lambda p: p.chapter)
    done = [p.name for p in PARTS if owners[p.name] == YOURS]
    begun = f"Yours: {', '.join(done)}. " if done else "None of the parts is yours yet. "
    if not ready:
        return Said(f"{begun}You have built all that can be built so far.")
    return Said(f"{begun}Next: {ready[0].name}, in {ready[0].notebook}.")
