"""What chapter 18 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge
from labstack.transport.tcp.states import Input, State

handshake = Choice(
    "What are the three segments at the beginning for?",
    {
        "to try out whether the path works": "It may fail a moment later, and neither end would know.",
        "to keep a line free between the two": "A connection is two records; nothing in between knows of it.",
        "to agree on a key": "Nothing is encrypted.",
        "to tell each other where the numbers begin": "Both first numbers, and options, told and confirmed.",
    },
    right="to tell each other where the numbers begin",
)

msl = Choice(
    "Whoever closed first waits for two segment lifetimes before it forgets. For whose sake?",
    {
        "its own: it hopes for more data": "Both have said that there is no more.",
        "its own: it is out of patience after that": "It needs nothing any more.",
        "the other's, and the next connection's": "A lost last ACK is sent again; old segments die out.",
    },
    right="the other's, and the next connection's",
)

gone = Prediction("When is machine a's record gone?", 0, 12_500, "hundredths of a second")

S = State
CLOSES = {
    (S.ESTABLISHED, Input.CLOSE): S.FIN_WAIT_1,
    (S.ESTABLISHED, Input.FIN): S.CLOSE_WAIT,
    (S.FIN_WAIT_1, Input.ACK_OF_FIN): S.FIN_WAIT_2,
    (S.FIN_WAIT_1, Input.FIN): S.CLOSING,
    (S.FIN_WAIT_2, Input.FIN): S.TIME_WAIT,
    (S.CLOSING, Input.ACK_OF_FIN): S.TIME_WAIT,
    (S.CLOSE_WAIT, Input.CLOSE): S.LAST_ACK,
    (S.LAST_ACK, Input.ACK_OF_FIN): S.CLOSED,
    (S.TIME_WAIT, Input.TIME_OUT): S.CLOSED,
}


def after(state: State, what: Input) -> State:
    """As the diagram has it."""
    return CLOSES[state, what]


hints = Hints(
    "A dictionary will do: {(State.ESTABLISHED, CLOSE): State.FIN_WAIT_1, …}[state, what]. Nine entries.",
    "Who closes first: FIN_WAIT_1, then FIN_WAIT_2 or CLOSING, then TIME_WAIT. Who answers: CLOSE_WAIT, "
    "then LAST_ACK.",
    "If the peer's FIN comes before the ACK of ours, both closed at once: CLOSING, until that ACK comes.",
    "\n".join(f"(State.{a.name}, {w.name}): State.{b.name}" for (a, w), b in CLOSES.items()),
)

RULES = {
    (S.FIN_WAIT_1, Input.FIN): "Our own FIN is not acknowledged yet: it has to be, before we may forget.",
    (S.FIN_WAIT_2, Input.FIN): "The ACK of the peer's FIN may get lost: somebody must be here to repeat it.",
    (S.CLOSING, Input.ACK_OF_FIN): "The ACK that we sent may get lost, as after FIN-WAIT-2.",
    (
        S.LAST_ACK,
        Input.ACK_OF_FIN,
    ): "Each has all of the other's: there is nothing to wait for.",
}
CASES = [
    Case(
        f"{state.value}, and {what.value}",
        (state, what),
        follows,
        RULES.get((state, what), "Follow the arrow in the diagram (RFC 9293 §3.3.2)."),
    )
    for (state, what), follows in CLOSES.items()
]


def check(mine: object) -> Verdict:
    """Hold the reader's `after` to the nine arrows of closing."""
    return judge(mine, after, CASES)


exercises = Hints(
    "Exercise 1. The server did, each time: it answers and closes. Did the clients close first, the records "
    "would lie with them. That is one reason why HTTP keeps connections open (chapter 28).",
    "Exercise 2. In FIN-WAIT-2: it waits for a FIN that a believes to have been heard, and that nobody sends "
    "again. The way leads through CLOSING, where a FIN of ours is still repeated until it is acknowledged.",
    "Exercise 3. Its SYN comes back to itself, as from a peer that calls at the same moment: b'hello', from "
    "itself. One client, one record, one connection.",
)
