"""What chapter 20 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

duplicate = Choice(
    "The receiver says three times in a row that it still waits for the same segment. What do you know?",
    {
        "that segment is lost": "It may have been overtaken, and come a moment later.",
        "three others have arrived": "That is all. Whether the one is lost or late, only time can tell.",
        "the receiver is too slow": "It has answered three times, at once.",
    },
    right="three others have arrived",
)

wait = Choice(
    "How long should a sender wait for an answer before it sends again?",
    {
        "as long as the longest answer took so far": "One bad moment, and it waits so long for ever.",
        "twice as long as an answer takes on average": "Too short where answers vary, and no time is saved.",
        "the average, and the longer the more answers vary": "A mean says nothing of how far off it is.",
    },
    right="the average, and the longer the more answers vary",
)

tenth = Prediction("The tenth of ten segments gets lost. How long do all ten take?", 0, 1500, "ms")


def estimate(srtt: float | None, rttvar: float, rtt: float) -> tuple[float, float]:
    """RFC 6298, sections 2.2 and 2.3."""
    if srtt is None:
        return rtt, rtt / 2
    return srtt + (rtt - srtt) / 8, rttvar + (abs(srtt - rtt) - rttvar) / 4


hints = Hints(
    "Two cases: the first round trip, when srtt is None, and every other.",
    "First: return rtt, rtt / 2.",
    "Others: 7 / 8 * srtt + rtt / 8 comes first in the pair, 3 / 4 * rttvar + abs(srtt - rtt) / 4 second. "
    "Both from the srtt that came in.",
    answer=estimate,
)

FIRST = "There is nothing to compare with: srtt is the round trip itself, rttvar half of it (RFC 6298 §2.2)."
WEIGHTS = "Of srtt an eighth is new, of rttvar a quarter (RFC 6298 §2.3)."
ORDER = "How far off was the old srtt? rttvar is worked out before srtt changes (RFC 6298 §2.3)."
SIGN = "How far off, in either direction: abs()."
CASES = [
    Case("the first, 80 ms", (None, 0, 80), (80, 40), FIRST),
    Case("80 ms once more", (80, 40, 80), (80, 30), WEIGHTS),
    Case("160 ms, after 80", (80, 0, 160), (90, 20), ORDER),
    Case("80 ms, after 160", (160, 0, 80), (150, 20), SIGN),
    Case("64 ms, where 64 is usual", (64, 0, 64), (64, 0), WEIGHTS),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `estimate` to five round trips."""
    return judge(mine, estimate, CASES)


exercises = Hints(
    "Exercise 1. 1.02 s or 0.02 s. Who takes the long one when the short one is true waits too long for a "
    "while. Who takes the short one when the long one is true sends everything twice from then on, and each "
    "time measures it wrongly again.",
    "Exercise 2. Each of b's segments carries an acknowledgment, and as a has nothing new to say it is the "
    "same number each time. A duplicate ACK is bare, and leaves the window as it was (RFC 5681 §2): count "
    "only packets with p.payload_length == 0.",
    "Exercise 3. 70 ms: two round trips after the answer at 20 ms, and 10 ms of way. But if b delays the ACK "
    "of a lone segment, each of those is now sent twice.",
)
