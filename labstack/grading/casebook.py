"""Lab 13: which captures are the student's own, and what is said of a diagnosis.

A ticket's captures lie beside the notebook, each made in several variants, of which a student's id chooses
one. The checks know the answers; nothing here does.
"""

from collections.abc import Sequence, Set

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


def proved(
    what: str, said: tuple[object, object], answers: Sequence[tuple[int, object]], n: int, near: Set[int]
) -> str:
    """Raises Wrong unless `said`, a frame and a value, comes of the student's own captures: the frame is that
    of `answers[n]`, or one of those `near` it for which it is taken; and both are not another variant's."""
    others = [answer for answer in answers if answer != answers[n]]
    if type(said[0]) is int and said[0] in near | {answers[n][0]} and said not in others:
        return f"✓ {what}"
    raise Wrong(
        f"✗ {what}: the name is right. Frame {said[0]!r} of your own captures has nothing to do with it.\n"
        "A culprit is the same for all, and evidence is not: nobody is accused without some."
    )
