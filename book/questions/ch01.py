"""What chapter 01 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

osi = Choice(
    "How many layers has the OSI model?",
    {
        "four": "That is TCP/IP (RFC 1122).",
        "five": "That is the model of most textbooks.",
        "six": "One is missing: session, or presentation?",
        "seven": "TCP/IP has four (RFC 1122), and the model of most textbooks five.",
    },
    right="seven",
)

headers = Choice(
    "A program calls connect(). When are the headers of TCP, IP and Ethernet made?",
    {
        "once, in connect(); later segments reuse them": "Then all segments would carry the same numbers.",
        "for each segment, when it is sent": "connect() notes who talks to whom, sends one SYN, and waits.",
        "by the network card": "The card sends the bytes that it is given.",
    },
    right="for each segment, when it is sent",
)


def ack_number(seq: int, length: int, syn: bool, fin: bool) -> int:
    """The number expected next: every byte takes one, and so do SYN and FIN; after 2**32 - 1 comes 0."""
    return (seq + length + syn + fin) % 2**32


hints = Hints(
    "The data has the numbers seq, seq + 1, and so on. Which is the first that has not come yet?",
    "A SYN and a FIN take one number each.",
    "Remainders go round: (2**32 - 1 + 1) % 2**32 is 0.",
    answer=ack_number,
)

ONE_EACH = "SYN and FIN take a number each (RFC 9293, section 3.4)."
CASES = [
    Case("a SYN with number 1000", (1000, 0, True, False), 1001, ONE_EACH),
    Case("six bytes from 1001 on", (1001, 6, False, False), 1007, "The last of them is number 1006."),
    Case("one byte, number 1007, and a FIN", (1007, 1, False, True), 1009, ONE_EACH),
    Case("an ACK without data", (1009, 0, False, False), 1009, "Nothing came, so nothing new is expected."),
    Case("a byte with the highest number", (2**32 - 1, 1, False, False), 0, "After 2**32 - 1 comes 0."),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `ack_number` to five segments."""
    return judge(mine, ack_number, CASES)


cost = Prediction("How many bytes did the wire carry for six bytes of page?", 6, 3000, "bytes")

exercises = Hints(
    "Exercise 1. The server's FIN, frame 8. It takes a number, as a byte would.",
    "Exercise 2. It resets them: they acknowledge a number it never sent (RFC 9293, section 3.10.7.4). "
    "Then it sends its SYN again and again, because nobody has acknowledged that.",
    "Exercise 3. When flags has FIN, do not send(ACK) in the loop: the FIN | ACK behind it says the same.",
)
