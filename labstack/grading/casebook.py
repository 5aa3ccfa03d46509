"""Lab 13: the captures of a student's own tickets, and what is said of a diagnosis.

A ticket's captures lie beside the notebook, each made in several variants, of which a student's id chooses
one. The checks know the answers; nothing here does.
"""

from collections.abc import Mapping

from labstack.grading.judge import Wrong, _seed
from labstack.observe import recording
from labstack.observe.trace import Trace

VARIANTS = "abcd"


def variant(ticket: int) -> int:
    """Which of a ticket's variants is the student's. Of ticket 0, the one that is solved together, there is
    one."""
    return (_seed(None) >> 2 * ticket) % len(VARIANTS) if ticket else 0


def capture(ticket: int, place: str, names: Mapping[str, str]) -> Trace:
    """What was seen at the machine `place`; `names` are for IP addresses."""
    return recording.read(f"captures/{ticket}{VARIANTS[variant(ticket)]}-{place}.pcap", names)


def solved(what: str, said: object, right: str | int, mistakes: Mapping[object, str], otherwise: str) -> str:
    """Raises Wrong unless `said` is `right`, with what speaks against it: as `mistakes` says of that answer,
    or else `otherwise`."""
    plain = said.strip().lower() if isinstance(said, str) else said
    if type(plain) is type(right) and plain == right:
        return f"✓ {what}"
    against = mistakes.get(plain, otherwise) if isinstance(plain, str | int) else otherwise
    raise Wrong(f"✗ {what}: you say {plain!r}.\n{against}")
