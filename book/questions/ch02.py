"""What chapter 02 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.headers.udp import UDP
from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

port = Choice(
    "What is a port?",
    {
        "a place on the machine where a cable goes in": "Switches have such ports. TCP's are numbers.",
        "a number by which a machine finds one of its programs": "Two bytes in the header, and a table.",
        "a line that is kept free for two programs": "Nothing is reserved anywhere in between.",
        "the number of a process": "A process may have many ports, or none, and its number stays at home.",
    },
    right="a number by which a machine finds one of its programs",
)

begin = Choice(
    "Why does the client begin the conversation, and not the server?",
    {
        "TCP lets only clients begin": "TCP knows no clients and servers, only two ends.",
        "only servers have addresses that stay the same": "Convenient, but addresses do not decide it.",
        "one must wait and the other know where; either may be either": "Listening is a role, not a law.",
    },
    right="one must wait and the other know where; either may be either",
)

left = Prediction("How many of the seven ways still work, without a network?", 0, 7, "ways")


def deliver(datagram: bytes, programs: dict[int, object]) -> object:
    """The program at the datagram's destination port: the third and the fourth byte, large end first."""
    return programs.get(int.from_bytes(datagram[2:4], "big"))


hints = Hints(
    "The header begins with two numbers of two bytes each: the source port, then the destination port. Which "
    "bytes are the second?",
    'int.from_bytes(two_bytes, "big") makes a number of them, large end first.',
    "programs[port] raises KeyError where nobody has the port. What does programs.get(port) do?",
    answer=deliver,
)

SECOND = "The destination port is the second number in the header (RFC 768); the first is the sender's own."
BIG = "Bytes 2 and 3, large end first: 256 times the one, plus the other."
PROGRAMS: dict[int, object] = {7: "shout", 1792: "a stranger", 50_000: "count"}
CASES = [
    Case("from port 50000 to port 7", (UDP(50_000, 7).pack(), PROGRAMS), "shout", SECOND),
    Case("from port 7 to port 50000", (UDP(7, 50_000).pack() + b"abc", PROGRAMS), "count", BIG),
    Case("to port 9, which nobody has", (UDP(7, 9).pack(), PROGRAMS), None, "Nobody is None, and no error."),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `deliver` to three datagrams."""
    return judge(mine, deliver, CASES)


exercises = Hints(
    "Exercise 1. None. The child did not look anything up: it was born with both ends open. But a child is "
    "born on its parent's machine.",
    "Exercise 2. The other program looks again and again. It may look when the length is there already and "
    "the bytes are not: then it reads five zeros.",
    "Exercise 3. The network. Names that begin with a zero byte are no files: Linux keeps them in a table of "
    "the network namespace, and the error is ECONNREFUSED.",
)
