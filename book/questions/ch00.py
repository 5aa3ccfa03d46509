"""What chapter 00 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

fifty = Choice(
    "What does the byte 0x50 mean?",
    {
        "the letter P": "It is, where both ends expect text.",
        "the number 80": "It is, where both ends expect a number of one byte.",
        "half of a larger number": "It is, where both ends expect a number of two bytes.",
        "the byte alone does not say": "Its place in the message says it, by agreement.",
    },
    right="the byte alone does not say",
)


def header_length(first: int) -> int:
    """The length in bytes of an IPv4 header that begins with the byte `first`."""
    return (first & 0x0F) * 4


hints = Hints(
    "You need the lower four bits only. Which mask keeps them?",
    "Then turn units of four bytes into bytes.",
    answer=header_length,
)

UNITS = "The lower four bits hold the length, in units of four bytes (RFC 791, section 3.1)."
CASES = [
    Case("0x45, a header without options", (0x45,), 20, UNITS),
    Case("0x4f, the longest there can be", (0x4F,), 60, UNITS),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `header_length` to what an IPv4 header says."""
    return judge(mine, header_length, CASES)


frames = Prediction("How many frames cross the wire, if machine a forgets?", 4, 16, "frames")

exercises = Hints(
    "Exercise 1. To everyone would be ff ff ff ff ff ff. This frame was for one machine: it was the answer.",
    "Exercise 2. Without a sign in front, struct takes the order of the computer it runs on. Write '>HH'.",
    "Exercise 3. Echo replies must find their way, too: b asks for a's hardware address before each of them.",
)
