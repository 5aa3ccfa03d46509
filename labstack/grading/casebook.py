"""Lab 13: which captures are the student's own, and what is said of a diagnosis.

A ticket's captures lie beside the notebook, each made in several variants, of which a student's id chooses
one. The checks know the answers; nothing here does.
"""

from labstack.grading.judge import Wrong, _seed


def variant(ticket: int) -> int:
    """Which of a ticket's four variants is the student's, from 0 on."""
    return _seed(None) >> 2 * ticket & 3


def solved(what: str, said: object, right: str | int, mistakes: dict[object, str], otherwise: str) -> str:
    """Raises Wrong unless `said` is `right`, with what speaks against it: as `mistakes` says of that answer,
    or else `otherwise`."""
    plain = said.strip().lower() if isinstance(said, str) else said
    if type(plain) is type(right) and plain == right:
        return f"✓ {what}"
    against = mistakes.get(plain, otherwise) if isinstance(plain, str | int) else otherwise
    raise Wrong(f"✗ {what}: you say {plain!r}.\n{against}")
