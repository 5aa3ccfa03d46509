"""What chapter 16 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

udp = Choice(
    "Which of these is true of UDP?",
    {
        "its datagrams all have the same length": "The sender chooses: 0 to 65,507 bytes.",
        "it knows nothing of the path": "ICMP's errors come back, and reach a connected socket.",
        "it needs no queue, for it has no connections": "What has come must wait until the program reads.",
        "none of these": "You have seen each of the three fail.",
    },
    right="none of these",
)

swaps = Prediction("Of the 28 ways to swap two words, how many does the checksum notice?", 0, 28, "of 28")


def finish(total: int) -> int:
    """Fold until nothing overflows, and turn over all bits."""
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return 0xFFFF - total


hints = Hints(
    "total >> 16 is what overflows; total & 0xFFFF is what fits.",
    "Adding the one to the other may overflow once more: `while`, not `if`.",
    "All bits turned over: 0xFFFF - total. (~total would be negative: Python's numbers have no end.)",
    answer=finish,
)

FOLD = "What overflows the 16 bits is added at the right end; it is not thrown away (RFC 1071 §1)."
TURN = "At the end every bit is turned over: a receiver that adds the checksum too finds all ones."
TWICE = "After what overflows is added there may be more of it: go on until there is none."
CASES = [
    Case("a small sum, 3", (3,), 0xFFFC, TURN),
    Case("0x1_0000, one too many", (0x1_0000,), 0xFFFE, FOLD),
    Case("0x1_FFFF, which overflows twice", (0x1_FFFF,), 0xFFFE, TWICE),
    Case("0x2_DDF0, RFC 1071's own example", (0x2_DDF0,), 0x220D, FOLD),
    Case("nothing but zeros", (0,), 0xFFFF, "The sum is 0, and turned over it is all ones."),
    Case("words and their own checksum, 0x2_FFFD", (0x2_FFFD,), 0, "The sum is all ones; turned over, 0."),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `finish` to six sums."""
    return judge(mine, finish, CASES)


exercises = Hints(
    "Exercise 1. To port 53 (0x35), where DNS answers, from port 50,000. The length is 8, the header's own: "
    "no bytes at all. And the checksum is 0: none was computed.",
    "Exercise 2. The second recvfrom takes any datagram, and throws away who sent it. "
    "`s.connect(player)` before the question: from then on the socket hears nobody else.",
    "Exercise 3. sum(place * word for place, word in enumerate(words, 1)). A swap changes the sum, unless "
    "the two words are equal: all 28. And if only your machine does so, every other drops all you send: both "
    "ends must agree, and there are billions of them.",
)
