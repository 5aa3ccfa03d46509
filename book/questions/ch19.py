"""What chapter 19 asks. The answers are below: the chapter is more fun if you stop reading here."""

from collections.abc import Callable

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

received = Choice(
    "A program sends ten times 6 bytes over TCP. The other end calls recv(100). What does it get?",
    {
        "6 bytes: what was sent first": "recv knows nothing of sends.",
        "60 bytes": "If all of it is there by then. Nobody promises that.",
        "as many bytes as are there, at least one": "Sends and segments are cut as TCP likes; recv takes what"
        " there is.",
    },
    right="as many bytes as are there, at least one",
)

pushed = Choice(
    "How does the receiver of a TCP segment know where your message ends?",
    {
        "by the segment's end": "A segment holds parts of several messages, or a part of one.",
        "by the flag PSH": "It says that nothing more waited to be sent. Ten messages, two flags.",
        "by a length in TCP's header": "There is none.",
        "not at all": "TCP carries bytes. Messages are for the programs to mark.",
    },
    right="not at all",
)

answered = Prediction("When has the program its answer?", 0, 400, "milliseconds after it began to send")


def reassemble(kept: dict[int, bytes], wanted: int, at: int, data: bytes) -> bytes:
    """Keep the piece, the longer one if there are two. Then take from the front what fits without a gap."""
    kept[at] = max(data, kept.get(at, b""), key=len)
    ready = b""
    for begin in sorted(kept):
        old = wanted + len(ready) - begin
        if old < 0:
            break
        ready += kept.pop(begin)[old:]
    return ready


hints = Hints(
    "Put the piece into `kept` first: kept[at] = data. Then look at what is kept, from the lowest number up.",
    "A piece that begins behind the first missing byte has to wait, and so has all that follows.",
    "Of a piece that begins in front of it, the first wanted - begin bytes are old. Cut them off: "
    "piece[old:], which is empty if all is old.",
    answer=reassemble,
)


class Arrivals(Case):
    """Pieces, as (number of the first byte, bytes), in the order in which they come; what is to be handed up
    after each."""

    def call(self, mine: Callable[..., object]) -> object:
        kept: dict[int, bytes] = {}
        handed: list[bytes] = []
        for at, data in self.arguments:  # type: ignore[misc]
            handed.append(mine(kept, sum(map(len, handed)), at, data))  # type: ignore[arg-type]
        return handed


EARLY = "What comes early is wanted later: keep it, and hand it up once the gap in front of it is closed."
OLD = "Bytes that were handed up are old. Each byte is handed up once, whatever piece it comes in."
CASES = [
    Arrivals("two pieces in order", ((0, b"abc"), (3, b"def")), [b"abc", b"def"]),
    Arrivals("the second comes first", ((3, b"def"), (0, b"abc")), [b"", b"abcdef"], EARLY),
    Arrivals("the first twice", ((0, b"abc"), (0, b"abc"), (3, b"def")), [b"abc", b"", b"def"], OLD),
    Arrivals(
        "three, the other way round", ((6, b"ghi"), (3, b"def"), (0, b"abc")), [b"", b"", b"abcdefghi"], EARLY
    ),
    Arrivals(
        "two gaps, closed one by one",
        ((6, b"g"), (2, b"cd"), (0, b"ab"), (4, b"ef")),
        [b"", b"", b"abcd", b"efg"],
        "Hand up only what has no gap in front of it. The rest goes on waiting.",
    ),
    Arrivals(
        "sent again, and cut differently",
        ((0, b"abc"), (0, b"abcdef"), (4, b"efgh")),
        [b"abc", b"def", b"gh"],
        "What is sent again may be cut differently. The old part goes, the new one counts.",
    ),
    Arrivals(
        "early twice, the longer one first",
        ((3, b"def"), (3, b"d"), (0, b"abc")),
        [b"", b"", b"abcdef"],
        "Of two pieces that begin at the same byte, the longer one holds all of the other.",
    ),
]


def check(mine: object) -> Verdict:
    """Hold the reader's `reassemble` to pieces that come in seven ways."""
    return judge(mine, reassemble, CASES)


exercises = Hints(
    "Exercise 1. Nobody can say: PSH was set because nothing more waited at that moment. One message of "
    "1,560 bytes, or 1,560 of one byte. Only the programs know.",
    "Exercise 2. sendall(length + question), or makefile('wb') and one flush() a question. TCP_NODELAY also "
    "helps, but then each question takes two segments, with 40 bytes of headers each.",
    "Exercise 3. Even in one send: 1,460 bytes fill a segment, the last 540 are short, and wait for an ACK "
    "that waits for a second full segment. If only a *short* segment that is unanswered holds a short one "
    "back, the answer comes after 20 ms:\n"
    "class Minshall(Segmentation):\n"
    "    short = False\n\n"
    "    def worth_sending(self, size, waiting, unanswered, largest):\n"
    "        self.short = self.short and unanswered > 0\n"
    "        goes = super().worth_sending(size, waiting, unanswered * self.short, largest)\n"
    "        self.short = self.short or goes\n"
    "        return goes",
)
