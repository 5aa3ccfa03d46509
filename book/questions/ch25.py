"""What chapter 25 asks. The answers are below: the chapter is more fun if you stop reading here."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from labstack.core.addresses import ANY
from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge
from labstack.transport.tcp import layer

sent = Choice(
    "send() has returned 5. Where are the five bytes?",
    {
        "in the peer's program": "It may never read them.",
        "in the peer's machine, acknowledged": "No news from there has come yet.",
        "in a queue on your own machine, or on their way": "send means: taken, to be sent when it may be.",
    },
    right="in a queue on your own machine, or on their way",
)

queues = Choice(
    "Which sockets have a queue for what has arrived?",
    {
        "TCP's only: UDP has no connection to keep one for": "UDP keeps nothing about its peers.",
        "neither, if the program reads fast enough": "A program cannot read while it does something else.",
        "TCP's and UDP's": "What differs is what they keep about each peer.",
    },
    right="TCP's and UDP's",
)

sends = Prediction("How many of the five sends succeed?", 0, 5, "of five sends")


def find_socket(
    connections: Mapping[Any, object], listeners: Mapping[Any, object], segment: tuple[Any, int, Any, int]
) -> object:
    """A connection knows all four parts, a listener the first two, or only the port."""
    own, port, _, _ = segment
    return connections.get(segment) or listeners.get((own, port)) or listeners.get((ANY, port))


hints = Hints(
    "Begin with whoever knows most: is the whole segment a key of `connections`?",
    "If not, somebody may listen at that address and port. And if not there, at every address: (ANY, port).",
    "`.get(key)` is None where there is nothing, and `a or b` is b where a is None.",
    answer=find_socket,
)

OWN, PEER, OTHER = "10.0.0.2", "10.0.0.1", "10.0.0.9"
CONNECTIONS = {(OWN, 80, PEER, 50_001): "connection 1", (OWN, 80, PEER, 50_002): "connection 2"}
EVERYWHERE: dict[Any, object] = {(ANY, 80): "the listener"}
EXACT: dict[Any, object] = {(ANY, 80): "the listener", (OWN, 80): "the listener at 10.0.0.2"}
FIRST = "All four parts name a connection, and connections come before listeners."
NEWCOMER = "Nobody has a connection with that peer's address and port: it is for who listens."
CASES = [
    Case("more of connection 2", (CONNECTIONS, EVERYWHERE, (OWN, 80, PEER, 50_002)), "connection 2", FIRST),
    Case(
        "the same peer, another port",
        (CONNECTIONS, EVERYWHERE, (OWN, 80, PEER, 50_003)),
        "the listener",
        NEWCOMER,
    ),
    Case(
        "another peer, the same port",
        (CONNECTIONS, EVERYWHERE, (OWN, 80, OTHER, 50_001)),
        "the listener",
        NEWCOMER,
    ),
    Case(
        "somebody listens at this very address",
        ({}, EXACT, (OWN, 80, OTHER, 50_001)),
        "the listener at 10.0.0.2",
        "Who listens at one address comes before who listens at all.",
    ),
    Case("to port 81", (CONNECTIONS, EVERYWHERE, (OWN, 81, PEER, 50_001)), None, "Nobody has port 81."),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `find_socket` to five segments."""
    return judge(mine, find_socket, CASES)


class Held:
    """The reader's `find_socket`, in a server's hands: each of its answers must be the package's as well."""

    def __init__(self, mine: Callable[..., Any]) -> None:
        self.mine = mine
        self.found: Counter[str] = Counter()

    def __call__(self, connections: Any, listeners: Any, segment: Any) -> Any:
        found = self.mine(connections, listeners, segment)
        assert found is layer.find_socket(connections, listeners, segment)
        self.found[type(found).__name__] += 1
        return found


exercises = Hints(
    "Exercise 1. The peers have closed, and the kernel knows. The web server's program has not called close, "
    "three hundred times. No time-out will do it for it.",
    "Exercise 2. `with client:` around the line that sends closes it, whatever happens. Nothing stays in "
    "CLOSE-WAIT. Now the server is the one who closes first: TIME-WAIT, for a minute.",
    "Exercise 3. A reset in place of the FIN: recv raises ConnectionResetError where it used to return b''. "
    "And no TIME-WAIT is left.",
)
