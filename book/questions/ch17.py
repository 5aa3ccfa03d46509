"""What chapter 17 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

faster = Choice(
    "A file goes one packet at a time, each acknowledged before the next, over 20 ms of wire at 10 Mbit/s. "
    "What makes it much faster?",
    {
        "a wire of 10 Gbit/s": "A packet then takes 1 µs for 1 ms, and the wait for the answer stays.",
        "more packets under way at once": "The wait is the same, and more is done in it.",
        "a shorter wait before sending again": "Without loss nobody waits for that.",
    },
    right="more packets under way at once",
)

checked = Choice(
    "Every packet has a number and a checksum, and every packet is acknowledged. Is what was heard what was "
    "said?",
    {
        "yes, or somebody notices": "Nobody noticed.",
        "only if no number can be taken for another": "A number that comes round again must not be in doubt.",
        "only on a wire that loses nothing": "Loss is what all of this is for.",
    },
    right="only if no number can be taken for another",
)

largest = Prediction("With 3-bit numbers, up to which window is the message right?", 1, 8, "packets")


def place(number: int, base: int, window: int, numbers: int) -> int | None:
    """Count forward from base, around the ring of numbers."""
    ahead = (number - base) % numbers
    return base + ahead if ahead < window else None


hints = Hints(
    "How far is it from base forward to a packet with this number? Numbers go round: after the last comes 0.",
    "ahead = (number - base) % numbers: Python's % is never negative.",
    "Within the window it is packet base + ahead; beyond it, none that may come now.",
    answer=place,
)

ROUND = "Numbers go round: count forward from base, modulo how many there are."
OLD = "It lies behind the window: an old packet, or an old answer. It has no place in it."
CASES = [
    Case("number 2, at the beginning", (2, 0, 4, 8), 2, ROUND),
    Case("number 4, with a window of 4 at 0", (4, 0, 4, 8), None, "The window is 0 to 3: 4 is one too far."),
    Case("number 1, where the window begins at 6", (1, 6, 4, 8), 9, ROUND),
    Case("number 3, where the window begins at 16", (3, 16, 4, 8), 19, ROUND),
    Case("number 5, where 6 is the next", (5, 6, 4, 8), None, OLD),
    Case("number 7, where the window begins at 8", (7, 8, 4, 8), None, OLD),
    Case("one of TCP's, at the turn", (5, 2**32 - 3, 1000, 2**32), 2**32 + 5, ROUND),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `place` to seven numbers."""
    return judge(mine, place, CASES)


exercises = Hints(
    "Exercise 1. 500 ms of round trip and 1 ms a packet: 501 packets. Twice as many numbers, 1,002, take "
    "10 bits.",
    "Exercise 2. When an answer gets lost: the piece is sent again, and the receiver takes it for the next "
    "one. One bit tells the two apart: the receiver takes only the number that it expects, and answers "
    "either.",
    "Exercise 3. Eight packets went, all eight came, and only the answer 7 is heard: is it the one for all "
    "eight, or the old one from before? For go-back-N the window must leave one number over: at most 7.",
)
