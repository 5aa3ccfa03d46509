"""What chapter 21 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

window = Choice(
    "A receiver runs out of room, and its window shrinks. What becomes smaller?",
    {
        "the segments": "They stay as long as the MSS allows.",
        "the number of bytes that may be under way": "As many segments as fit, and then none.",
        "the rate at which the sender's card sends": "Each segment leaves as fast as ever; there are fewer.",
    },
    right="the number of bytes that may be under way",
)

who = Choice(
    "Who sees to it that a fast sender does not drown a slow receiver?",
    {
        "IP, from router to router": "A router forwards, or drops. It asks nobody how full they are.",
        "the sender, which sees its segments get lost": "Here none gets lost: they are not sent.",
        "the receiver, by a number in each of its segments": "TCP's window, end to end.",
    },
    right="the receiver, by a number in each of its segments",
)

update = Choice(
    "The segment that says 'there is room again' gets lost. What happens then?",
    {
        "b sends it again, for it was not acknowledged": "A segment without data is never acknowledged.",
        "a sends again when its retransmission timer ends": "It has nothing under way: no such timer runs.",
        "nothing, unless a asks": "Each waits for the other.",
    },
    right="nothing, unless a asks",
)

faster = Prediction("How many Mbit/s on the wire of 1 Gbit/s?", 0, 1000, "Mbit/s")


def offer(free: int, offered: int, limit: int, mss: int) -> int:
    """What was offered stays; more is offered once it is worth a segment, or half of a small buffer."""
    if free - offered < min(limit // 2, mss):
        return offered
    return free


hints = Hints(
    "What would change, if you offered all that is free? free - offered bytes more than the peer knows of.",
    "Fewer than a full segment (mss) are not worth telling. Of a buffer that is smaller than two segments, "
    "half is: min(limit // 2, mss).",
    "If it is not worth telling, what you offered before stays as it is, even if nothing is free any more.",
    answer=offer,
)

SILLY = "So little more invites a short segment. Wait until it is a full one, or half of the buffer."
CASES = [
    Case("the connection opens", (5840, 0, 5840, 1460), 5840, "All of it is free: offer all."),
    Case("1,460 bytes came, nobody read", (4380, 4380, 5840, 1460), 4380, "Nothing has changed its end."),
    Case("the program has read 50 of them", (4430, 4380, 5840, 1460), 4380, SILLY),
    Case("the buffer was full, 50 bytes are read", (50, 0, 5840, 1460), 0, SILLY),
    Case("one byte less than a segment is free", (1459, 0, 5840, 1460), 0, SILLY),
    Case("a full segment is free", (1460, 0, 5840, 1460), 1460, "A full segment fits: worth telling."),
    Case("the same, with some of it still offered", (4000, 2540, 5840, 1460), 4000, "It is 1,460 more."),
    Case("a buffer of 1,000 bytes, half of it free", (500, 0, 1000, 1460), 500,
        "A full segment will never fit: half of the buffer has to do."),
    Case("the program took half of the buffer away", (1000, 3000, 4000, 1460), 3000,
        "What was offered may be on its way already: the right edge never moves back (RFC 9293 §3.8.6)."),
]  # fmt: skip


def check(mine: object) -> Verdict:
    """Hold the reader's `offer` to nine moments."""
    return judge(mine, offer, CASES)


exercises = Hints(
    "Exercise 1. The program on b: its Recv-Q is full, so its machine has taken all and the program does not "
    "read. What a has not been able to send stands in a's Send-Q. The network is not the reason.",
    "Exercise 2. 200 Mbit/s times 0.1 s are 20,000,000 bits, 2,500,000 bytes. The field ends at 65,535, so "
    "the shift is 6: 65,535 << 5 is 2,097,120, too few, and 65,535 << 6 is 4,194,240.",
    "Exercise 3. b's program reads nothing, and a's has closed. An answer to a probe no longer counts: after "
    "8 of them (orphan_retries) a gives up, some five minutes after it closed.",
)
