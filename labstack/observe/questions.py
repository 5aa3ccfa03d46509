"""What the book asks its reader: to choose, to predict, to play, and to fill in a part, held to cases.

All of it can be read without being run, and used without a mouse: the widget is a convenience, the text
beside it is what a notebook stores and what `print` shows. No answer is known here that was not handed in.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar
from xml.sax.saxutils import escape

from labstack.observe import look

WIDTH = 90
"""Columns of text, so that a line of it stays one line on a page of JupyterLab."""

LETTERS = "ABCDEFGH"

F = TypeVar("F", bound=Callable[..., object])


class Said(str):
    """Words, as the result of a cell: shown without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Question(look.Shown):
    """Something that shows itself as a widget where there are widgets, and as text everywhere."""

    def widget(self) -> Any:
        """The same to click on. Raises ImportError, in a sentence, without ipywidgets."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        words: dict[str, Any] = {"text/plain": self.text}
        try:
            return {**self.widget()._repr_mimebundle_(), **words}
        except ImportError:
            return words


class Choice(Question):
    """A question with several answers, one of them right.

    `answers` maps each answer to what is to be said about it. What is right stays unsaid until `reveal()`, so
    that a reader can commit early in a chapter and find out late.
    """

    def __init__(self, question: str, answers: Mapping[str, str], right: str) -> None:
        if right not in answers:
            raise ValueError(f"{right!r} is not among the answers: {', '.join(answers)}")
        self.question = question
        self.answers = dict(answers)
        self.right = right
        self.chosen: str | None = None

    def choose(self, answer: str) -> None:
        """Commit to an answer, by its letter or its words."""
        letters = dict(zip(LETTERS, self.answers, strict=False))
        answer = letters.get(answer.strip().upper(), answer)
        if answer not in self.answers:
            raise ValueError(f"{answer!r} is not among the answers: write one of {', '.join(letters)}")
        self.chosen = answer

    @property
    def text(self) -> str:
        lines = [*_fold(self.question)]
        lines += [f"  {self._letter(answer)}  {answer}" for answer in self.answers]
        return "\n".join(lines)

    def reveal(self) -> Said:
        """The right answer and why, and a word to whoever chose another."""
        lines = _fold(f"{self._letter(self.right)} is right: {self.right}. {self.answers[self.right]}")
        if self.chosen == self.right:
            lines = ["You chose well.", *lines]
        elif self.chosen is not None:
            chosen = f"You chose {self._letter(self.chosen)}, {self.chosen}. {self.answers[self.chosen]}"
            lines = [*_fold(chosen), *lines]
        return Said("\n".join(lines))

    def _letter(self, answer: str) -> str:
        return LETTERS[list(self.answers).index(answer)]

    def widget(self) -> Any:
        w = widgets()
        options = [(f"{self._letter(answer)} · {answer}", answer) for answer in self.answers]
        buttons = w.RadioButtons(options=options, value=self.chosen, layout={"width": "max-content"})
        note = w.HTML("Choose one. The answer comes later in the chapter.")

        def chosen(change: Any) -> None:
            self.chosen = change["new"]
            note.value = "Noted. You can change your mind until the answer comes."

        buttons.observe(chosen, names="value")
        return w.VBox([w.HTML(f"<b>{self.question}</b>"), buttons, note])


class Prediction(Question):
    """A number to commit to before it is measured: between `low` and `high`, in `unit`."""

    def __init__(self, question: str, low: int, high: int, unit: str) -> None:
        if not low < high:
            raise ValueError(
                f"a prediction from {low} to {high} {unit} leaves no choice: make `low` less than `high`"
            )
        self.question = question
        self.low, self.high, self.unit = low, high, unit
        self.value: int | None = None

    def commit(self, value: int) -> None:
        """Predict this number."""
        if not self.low <= value <= self.high:
            raise ValueError(f"{value:,} is out of range: predict {self.low:,} to {self.high:,} {self.unit}")
        self.value = value

    @property
    def text(self) -> str:
        return "\n".join(_fold(f"{self.question} Between {self.low:,} and {self.high:,} {self.unit}."))

    def against(self, measured: int) -> Compared:
        """What was predicted beside what was measured, as a picture."""
        return Compared(self, measured)

    def widget(self) -> Any:
        w = widgets()
        value = self.value if self.value is not None else self.low
        slider = w.IntSlider(value=value, min=self.low, max=self.high, layout={"width": "32em"})
        button = w.Button(description="That is my prediction", layout={"width": "max-content"})
        note = w.HTML(self.unit)

        def committed(_: Any) -> None:
            self.commit(slider.value)
            note.value = f"Noted: {slider.value:,} {self.unit}."

        button.on_click(committed)
        return w.VBox(
            [w.HTML(f"<b>{self.question}</b>"), w.HBox([slider, note]), button],
        )


class Compared(look.Picture):
    """A prediction and a measurement, one bar each on one axis that begins at zero."""

    def __init__(self, prediction: Prediction, measured: int) -> None:
        self.predicted = prediction.value
        self.measured = measured
        self.unit = prediction.unit

    @property
    def text(self) -> str:
        measured = f"measured: {self.measured:,} {self.unit}"
        if self.predicted is None:
            return f"{measured} (no prediction was made)"
        if self.predicted == self.measured:
            return f"{measured}, as predicted"
        return f"{measured}; predicted: {self.predicted:,} {self.unit}"

    @property
    def svg(self) -> str:
        rows = [("measured", self.measured, look.BLUE)]
        if self.predicted is not None:
            rows.insert(0, ("predicted", self.predicted, look.ORANGE))
        longest = max(1, *(value for _, value, _ in rows))
        drawing = look.Drawing(self.text)
        for at, (name, value, colour) in enumerate(rows):
            y = 14 + at * 34
            width = 380 * value / longest
            drawing.words(84, y + 16, name, size=12, anchor="end")
            drawing.box(92, y, width, 24, fill=colour)
            drawing.words(98 + width, y + 16, f"{value:,}", size=12, bold=True)
        bottom = 14 + len(rows) * 34
        drawing.line(92, 8, 92, bottom, colour=look.INK)
        drawing.line(92, bottom, 472, bottom, colour=look.INK)
        drawing.words(92, bottom + 16, "0", size=11, anchor="middle")
        drawing.words(472, bottom + 16, f"{longest:,}", size=11, anchor="middle")
        drawing.words(282, bottom + 16, self.unit, size=11, anchor="middle")
        return drawing.svg(560, bottom + 28)


class Hints(Question):
    """Hints that open one at a time; the last may be the book's own answer, as its source."""

    def __init__(self, *hints: str, answer: Callable[..., object] | None = None) -> None:
        self.hints = list(hints)
        if answer is not None:
            self.hints.append("The book's answer:\n" + _source(answer))
        self.opened = 0

    def next(self) -> Said:
        """Open one more hint."""
        if self.opened == len(self.hints):
            return Said("There are no more hints.")
        self.opened += 1
        hint = self.hints[self.opened - 1]
        body = hint if "\n" in hint else "\n".join(_fold(hint))
        return Said(f"Hint {self.opened} of {len(self.hints)}. {body}")

    @property
    def text(self) -> str:
        many = f"{len(self.hints)} hints" if len(self.hints) != 1 else "One hint"
        return f"{many}, folded. Run this cell and press the button, or call .next() for one at a time."

    def widget(self) -> Any:
        w = widgets()
        button = w.Button(description="A hint, please", layout={"width": "max-content"})
        box = w.VBox([button])

        def more(_: Any) -> None:
            said = escape(self.next())
            words = w.HTML(f"<pre style='white-space:pre-wrap;margin:0'>{said}</pre>")
            last = self.opened == len(self.hints)
            box.children = (*box.children[:-1], words) if last else (*box.children[:-1], words, button)

        button.on_click(more)
        return box


class Explore(Question):
    """What comes of a function as its arguments are moved: a slider for each `(low, high, start)`, a menu for
    each list, whose first entry is where it starts.

    The function returns a picture, or anything whose `str` is the answer; an exception is shown in words. The
    text is what comes of it at the start, so a page shows one case before anybody moves anything.
    """

    def __init__(
        self, function: Callable[..., object], **arguments: tuple[int, int, int] | Sequence[object]
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.start = {
            name: range_[2] if isinstance(range_, tuple) else range_[0] for name, range_ in arguments.items()
        }

    @property
    def text(self) -> str:
        at = ", ".join(f"{name} = {value}" for name, value in self.start.items())
        return f"{at}:\n{self.function(**self.start)}"

    def widget(self) -> Any:
        w = widgets()
        names = max(look.width_of(name, 14) for name in self.arguments)
        style = {"description_width": f"{names + 12:.0f}px"}
        movers = {
            name: w.IntSlider(
                value=range_[2],
                min=range_[0],
                max=range_[1],
                description=name,
                style=style,
                continuous_update=False,
                layout={"width": "32em"},
            )
            if isinstance(range_, tuple)
            else w.Dropdown(options=list(range_), description=name, style=style, layout={"width": "28em"})
            for name, range_ in self.arguments.items()
        }
        shown = w.HTML()

        def moved(_: Any) -> None:
            try:
                result = self.function(**{name: mover.value for name, mover in movers.items()})
            except Exception as error:
                result = f"{type(error).__name__}: {error}"
            pre = "<pre style='margin:0;line-height:1.35'>"
            words = f"{pre}{escape(str(result))}</pre>"
            shown.value = getattr(result, "themed", words)

        for mover in movers.values():
            mover.observe(moved, names="value")
        moved(None)
        return w.VBox([*movers.values(), shown])


@dataclass(frozen=True)
class Case:
    """One call that a reader's function is held to: the story, the arguments, what must come out, and, for
    the one who got something else, the rule that was broken."""

    story: str
    arguments: tuple[object, ...]
    expected: object
    rule: str = ""

    def call(self, mine: Callable[..., object]) -> object:
        return mine(*self.arguments)

    def says(self, got: object) -> str:
        return f"expected {self.expected!r}, yours says {got!r}"

    def why(self, got: object) -> str:
        return self.rule


@dataclass(frozen=True)
class Trial:
    """One run of a small world that goes through a reader's function: the story, what is run, what should
    come of it, in words; and what is to be said of each thing that came of it instead."""

    story: str
    call: Callable[[Callable[..., object]], object]
    expected: str
    told: Mapping[object, str]

    def says(self, got: object) -> str:
        return f"{got}; it should be: {self.expected}"

    def why(self, got: object) -> str:
        return self.told.get(got, "")


class Verdict(look.Shown):
    """How a reader's function did. `part` is what to go on with: the reader's own if right, or the book's."""

    def __init__(self, mine: Any, book: F, cases: Sequence[Case | Trial]) -> None:
        self.name = mine.__name__
        self.filled = not has_gap(mine)
        self.lines: list[str] = []
        held = [self._holds(mine, case) for case in cases if self.filled]
        self.right = self.filled and all(held)
        self.part: Callable[..., Any] = mine if self.right else book
        self.kept: Path | None = None

    def _holds(self, mine: Callable[..., object], case: Case | Trial) -> bool:
        got: object = None
        try:
            got = case.call(mine)
        except Exception as error:
            self.lines.append(
                f"✗ {case.story}: expected {case.expected!r}, yours raised {type(error).__name__}: {error}"
            )
        else:
            if got == case.expected and type(got) is type(case.expected):
                self.lines.append(f"✓ {case.story}: {got if isinstance(case, Trial) else repr(got)}")
                return True
            self.lines.append(f"✗ {case.story}: {case.says(got)}")
        self.lines += textwrap.wrap(case.why(got), WIDTH, initial_indent="    ", subsequent_indent="    ")
        return False

    @property
    def text(self) -> str:
        if not self.filled:
            return (
                f"{self.name} still has its gap (`...`). Until you fill it, the book's own answer stands in."
            )
        if not self.right:
            return "\n".join(
                [*self.lines, f"Not yet. Until {self.name} is right, the book's own answer stands in."]
            )
        kept = f" It is kept in {self.kept.parent.name}/{self.kept.name}." if self.kept else ""
        return "\n".join([*self.lines, f"{self.name} is yours.{kept}"])


def judge(
    mine: Any,
    book: F,
    cases: Sequence[Case | Trial],
    keep: str | Path | None = "mystack",
    part: str = "",
    classes: Sequence[type] = (),
) -> Verdict:
    """Hold the reader's function to `cases`, and beside it to nothing else.

    While `mine` has its gap, or is wrong, the book's answer stands in, so that a chapter runs from top to
    bottom either way. What is right is kept: its source goes into the folder `keep`, in a file of its name.
    Where the stack takes a class, `classes` are those of the chapter that call the function: they are kept
    with it, and the last one under the name `part`, which is the file's.
    """
    verdict = Verdict(mine, book, cases)
    if verdict.right and keep is not None:
        path = Path(keep) / f"{part or mine.__name__}.py"
        try:
            source = "\n\n".join(map(_source, (mine, *classes)))
            if part:
                source += f"\n\n{part} = {classes[-1].__name__}\n"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
            verdict.kept = path
        except OSError:
            pass  # in a folder that may not be written to, a right answer is right all the same
    return verdict


def has_gap(part: Callable[..., object]) -> bool:
    """Whether there is still a `...` in a function, or nothing but a docstring."""
    code = getattr(part, "__code__", None)
    if code is None:
        return False
    return _mentions_ellipsis(code) or code.co_code in (_EMPTY, _EMPTY_WITH_DOCSTRING)


def _mentions_ellipsis(code: CodeType) -> bool:
    return any(
        constant is ... or (isinstance(constant, CodeType) and _mentions_ellipsis(constant))
        for constant in code.co_consts
    )


def _empty() -> None: ...


def _empty_with_docstring() -> None:
    """A bare `...` leaves no trace in the code, whatever stands above it."""


_EMPTY = _empty.__code__.co_code
_EMPTY_WITH_DOCSTRING = _empty_with_docstring.__code__.co_code


def _fold(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH)


def _source(part: Callable[..., object]) -> str:
    if not isinstance(part, type):
        return textwrap.dedent(inspect.getsource(part))
    # Of a class in a notebook, Python finds the source by its methods only.
    method = next(member for member in vars(part).values() if inspect.isfunction(member))
    cell = "".join(inspect.findsource(method)[0])
    whole = (node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.ClassDef))
    found = next(node for node in whole if node.name == part.__name__)
    return textwrap.dedent(ast.get_source_segment(cell, found, padded=True) or "") + "\n"


def widgets() -> Any:
    """ipywidgets. Raises ImportError in a sentence without it."""
    try:
        import ipywidgets
    except ImportError as error:
        raise look.missing("ipywidgets") from error
    return ipywidgets
