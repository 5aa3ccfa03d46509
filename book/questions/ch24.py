"""What chapter 24 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge
from labstack.transport.tcp.states import Reset

numbers = Choice(
    "Each connection begins to count at an odd number that nobody can foresee. What for?",
    {
        "it encrypts the data": "The data lie in the segment as the program wrote them.",
        "a stranger who sees nothing cannot guess a number that fits": (
            "That is all of it: who can read the segments can read the numbers, too."
        ),
        "two connections never have the same number": "They may; ports and addresses keep them apart.",
    },
    right="a stranger who sees nothing cannot guess a number that fits",
)

lies = Choice(
    "A downloader acknowledges bytes that it has not received. What comes of it?",
    {
        "the server notices: it counts what it sent": "It does count, and each of these bytes was sent.",
        "the film has holes, and that is all": "It has. But what did the server make of so many ACKs?",
        "the server sends faster than the line can carry": "ACKs say that there is room. It believes them.",
    },
    right="the server sends faster than the line can carry",
)

flooded = Prediction(
    "How much does the server send in a second, if the thief confirms all of it unseen?", 0, 12_500, "kB"
)


def weigh(seq: int, rcv_nxt: int, rcv_wnd: int) -> Reset:
    """RFC 5961 §3.2: exactly in place, in the window, or neither."""
    ahead = (seq - rcv_nxt) % 2**32
    if ahead == 0:
        return Reset.BELIEVED
    return Reset.CHALLENGED if ahead < rcv_wnd else Reset.IGNORED


hints = Hints(
    "How far ahead is it? (seq - rcv_nxt) % 2**32, because the numbers come round.",
    "Nothing ahead: exactly in place. Less than rcv_wnd ahead: in the window. Old numbers come out as a huge "
    "distance, which is neither.",
    "The three answers: Reset.BELIEVED, Reset.CHALLENGED, Reset.IGNORED.",
    answer=weigh,
)

IN_PLACE = "Who knows the exact number is the peer, or reads along. Believe it."
NEAR = "In the window is what a blind guess hits. Ask: only the peer can answer with the exact number."
FAR = "The peer knows the numbers, and would not send this one. Say nothing: an answer would help a flood."
CASES = [
    Case("exactly the next number", (5000, 5000, 1000), Reset.BELIEVED, IN_PLACE),
    Case("one ahead", (5001, 5000, 1000), Reset.CHALLENGED, NEAR),
    Case("the last in the window", (5999, 5000, 1000), Reset.CHALLENGED, NEAR),
    Case("the first beyond the window", (6000, 5000, 1000), Reset.IGNORED, FAR),
    Case("one that is old", (4999, 5000, 1000), Reset.IGNORED, FAR),
    Case("ahead, across the wrap", (4, 2**32 - 6, 1000), Reset.CHALLENGED, f"The numbers come round. {NEAR}"),
    Case("in place, and the window is shut", (5000, 5000, 0), Reset.BELIEVED, IN_PLACE),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `weigh` to resets in, near and far from the place."""
    return judge(mine, weigh, CASES)


exercises = Hints(
    "Exercise 1. 2³² / 65,535 makes 65,538 resets, 16.4 seconds at four a millisecond. With RFC 5961 it "
    "takes up to 2³² of them, 12 days, and each must also hit one four-tuple.",
    "Exercise 2. Only what says the truth may pass:\n"
    'line.drop(lambda frame: frame.sender == "thief" and frame.ip and str(frame.ip.src) != "10.0.2.1")\n'
    "The flood ends on the thief's own line, and none is half open. Every network at the edge could do that.",
    "Exercise 3. The server cannot see what arrived, but it can leave out a segment and wait. An honest "
    "receiver asks for it again and again; who confirms it has lied (Savage and others, 1999). It costs an "
    "honest downloader a round trip.",
)
