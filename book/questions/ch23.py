"""What chapter 23 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

who = Choice(
    "Many connections share a line. Who sees to it that none floods it, and that each gets its part?",
    {
        "the router before the line": "It holds a queue, and drops what finds it full. It looks at nobody.",
        "IP, the network layer": "It forwards datagrams. It has no word for a share.",
        "the TCPs at the ends": "From losses, marks and delays, and as far as they want to.",
        "the provider, by contract": "It may limit a line; within the line it shares nothing out.",
    },
    right="the TCPs at the ends",
)

buffer = Choice(
    "A download fills a line. The router gets a queue eight times as long. What changes?",
    {
        "the download is faster": "The line was full before, and carries no more than all.",
        "the download is as fast, and everybody waits longer": "A queue that is there will be filled.",
        "fewer segments are lost, and nobody notices otherwise": "Whoever plays or talks beside it does.",
    },
    right="the download is as fast, and everybody waits longer",
)

bert = Prediction(
    "Anna sends over nine connections, Bert over one. Which share of the line does Bert get?", 0, 100, "%"
)


def turn(names: list[str], last: str | None) -> str:
    """The next in the ring."""
    return next((name for name in names if last is not None and name > last), names[0])


hints = Hints(
    "Think of all names in a ring, in their order. Who has frames waiting is marked. From the last one go on "
    "to the next that is marked.",
    "names is sorted, and strings compare as they sort: the first name that is > last. If there is none, the "
    "ring begins again: names[0].",
    answer=turn,
)

RING = "After the last name of the ring comes the first again."
GONE = "Who had the last turn may have nothing more waiting; its place in the ring is still where it was."
CASES = [
    Case("the first turn of all", (["anna", "bert"], None), "anna", "Somebody has to begin: the first."),
    Case("anna had the last turn", (["anna", "bert"], "anna"), "bert", "One frame each, in turn."),
    Case("bert had it", (["anna", "bert"], "bert"), "anna", RING),
    Case("three wait, bert had it", (["anna", "bert", "carl"], "bert"), "carl", "Carl waits, too."),
    Case("only anna waits", (["anna"], "anna"), "anna", "A line does not stand idle while somebody waits."),
    Case("bert had it, and waits no more", (["anna", "carl"], "bert"), "carl", GONE),
    Case("carl had it, and waits no more", (["anna", "bert"], "carl"), "anna", RING),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `turn` to seven queues."""
    return judge(mine, turn, CASES)


exercises = Hints(
    "Exercise 1. One of 47 connections: 2 %. And nothing changes, for all of them come from one address: a "
    "queue for each address shares between machines, not between programs.",
    "Exercise 2. Nothing at all: while Anna has a frame waiting, she has the turn, and she always has one. "
    "Whoever serves by a fixed order starves the last (and so does whoever serves the longest queue). Serve "
    "in turn.",
    "Exercise 3. In put: CoDel(self.limit) in place of DropTail(self.limit). Half for each, and the wait "
    "falls to a few dozen milliseconds. With some refinements this is FQ-CoDel, RFC 8290, and runs in many "
    "a home router.",
)
