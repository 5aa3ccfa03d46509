"""What all headers share: the description of a field, and the error for bytes that are no such header."""

from __future__ import annotations

from dataclasses import dataclass

from labstack.core.events import Rule


@dataclass(slots=True, frozen=True)
class Field:
    """One field of a header: its name (as the dataclass has it), its width in bits, and what it means."""

    name: str
    bits: int
    meaning: str


class HeaderError(ValueError):
    """These bytes are not such a header. `rule` names the drop that follows."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.words)
        self.rule = rule
