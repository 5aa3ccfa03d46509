"""What chapter 26 asks. The answers are below: the chapter is more fun if you stop reading here."""

from collections.abc import Callable
from typing import Any

from labstack import Network
from labstack.observe import look
from labstack.observe.questions import Choice, Hints, Prediction, Trial, Verdict, judge

faster = Choice(
    "A thousand clients at once; for each answer the server has to wait 10 ms. Which server is done first?",
    {
        "one client after the other": "Ten seconds: each waits for all those in front.",
        "a thread for each client": "A thread that sleeps stops nobody but itself.",
        "asyncio": "Only where every wait is awaited: `time.sleep` stops its one thread.",
        "the three are about as fast": "Two of them are.",
    },
    right="a thread for each client",
)

backlog = Choice(
    "A server calls listen(5). What does the 5 mean?",
    {
        "it serves five clients at a time": "It may serve thousands, once it has accepted them.",
        "five clients may wait until it accepts them": "What comes on top is dropped, and tries again later.",
        "it takes five clients, then closes": "A listening socket listens until it is closed.",
    },
    right="five clients may wait until it accepts them",
)

last = Prediction(
    "The asyncio server, a thousand clients. When has the last of them its answer?",
    10,
    12_000,
    "milliseconds",
)


class WayIn(look.Picture):
    """The way into a server: where connections wait, and what for."""

    ROWS = (
        ("one after the other", "in accept, or in this client's recv, send, sleep", "1"),
        ("a thread for each client", "each thread in its own client's calls", "1,000"),
        ("select", "in select, for whichever of them all is ready", "1"),
        ("asyncio", "in select, inside the event loop", "1"),
    )

    @property
    def text(self) -> str:
        head = ("server", "where it waits", "threads")
        steps = "SYN → half open → ready → accept() → the server. Half open and ready: at most the backlog."
        return f"{steps}\n\n{look.align([head, *self.ROWS])}"

    @property
    def svg(self) -> str:
        drawing = look.Drawing("the way into a server: half open, ready, accepted")
        drawing.box(148, 22, 252, 84, fill=look.BAND, stroke=look.FAINT, corner=6)
        drawing.words(274, 40, "the backlog holds both", size=11, colour=look.GREY, anchor="middle")
        steps = ((16, "SYN", "a client asks"), (164, "half open", "SYN, ACK sent"),
                 (284, "ready", "ACK has come"), (436, "accept()", "a socket of its own"))  # fmt: skip
        for x, name, words in steps:
            drawing.box(x, 52, 104, 42, fill="#DDEFFB", stroke=look.INK, corner=4)
            drawing.words(x + 52, 70, name, size=12, anchor="middle", bold=True)
            drawing.words(x + 52, 86, words, size=10, anchor="middle")
        for start, end in ((120, 164), (268, 284), (388, 436), (540, 580)):
            drawing.line(start, 73, end - 2, 73, width=1.5)
            drawing.shape([(end, 73), (end - 7, 69), (end - 7, 77)], fill=look.INK)
        drawing.words(590, 77, "the server", size=12, bold=True)
        y = 140.0
        drawing.words(16, y, "server", size=11, colour=look.GREY)
        drawing.words(190, y, "where it waits", size=11, colour=look.GREY)
        drawing.words(744, y, "threads", size=11, colour=look.GREY, anchor="end")
        for name, where, threads in self.ROWS:
            drawing.line(16, y + 9, 744, y + 9, colour=look.FAINT)
            y += 26
            drawing.words(16, y, name, size=12, bold=True)
            drawing.words(190, y, where, size=12)
            drawing.words(744, y, threads, size=12, anchor="end")
        return drawing.svg(760, y + 18)


way_in = WayIn()


# --- the gap ------------------------------------------------------------------------------------------------
def write_some(connection: Any, unsent: bytes) -> bytes:
    """Send what the connection takes now; return the bytes that are still unsent."""
    sent = connection.send(unsent)
    return unsent[sent:]


hints = Hints(
    "What does `send` return?",
    "It is the number of bytes that it took. The rest of `unsent` begins there.",
    answer=write_some,
)

WHOLE = "all of it came, and nothing twice"
AT_ONCE = "the other had all of it within a second"
MISSING, TWICE, LATE, SPINS = (
    "bytes are missing",
    "bytes came more than once",
    "the other had to wait for it",
    "it asks again and again, and never comes back",
)
TOLD = {
    MISSING: "`send` takes what fits into the send buffer, and says how much that was. The rest is yours to"
    " keep until the socket is writable again.",
    TWICE: "What `send` took must not stand in the rest: cut off as many bytes as it says.",
    LATE: "One thread serves them all: while it waits for one client, it waits for all of them.",
    SPINS: "The buffer is full until the client reads, and time stands still while you ask. Return the rest.",
    "it raised BlockingIOError": "The buffer was full, and a second call found no room. One `send` is"
    " enough: the selector calls again when there is room.",
}
FOUR_MEGABYTES = bytes(range(250)) * 16_000
"""No pattern of it fits a power of two: a piece that is missing, or there twice, shows."""
Server = Callable[[Any], object]
MOST_CALLS = 1000


class Watched:
    """A connection that counts how often it is asked in one go."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise RecursionError(SPINS)
        return getattr(self._connection, name)


def _fetch(server: Server, mine: Any, silent: bool) -> tuple[bytes, float, str]:
    """Fetch it all from the server that writes by `mine`: what came, after how many seconds, and what `mine`
    raised; with `silent`, beside a client that reads nothing for ten seconds."""
    raised = ""

    def write(connection: Any, unsent: bytes) -> Any:
        nonlocal raised
        try:
            return mine(Watched(connection), unsent)
        except RecursionError:
            raised = SPINS
        except ConnectionError:
            pass  # the client has seen enough
        except Exception as error:
            raised = f"it raised {type(error).__name__}"
        return b""

    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b, rate="1 Gbit/s", delay="1 ms")
        b.spawn(server, write)
        if silent:
            quiet = a.connect(("b", 7))
            a.spawn(lambda: (a.sleep(10), quiet.close()))
            a.sleep(0.1)
        begun, came = net.now, bytearray()
        with a.connect(("b", 7), timeout=60) as s:
            while len(came) <= len(FOUR_MEGABYTES) and (piece := s.recv(65_536)):
                came += piece
        return bytes(came), net.now - begun, raised


def check(mine: object, server: Server) -> Verdict:
    """Let the reader's `write_some` send to one client, and to another beside one that reads nothing."""

    def alone(part: object) -> str:
        came, _, raised = _fetch(server, part, silent=False)
        if raised or came == FOUR_MEGABYTES:
            return raised or WHOLE
        return MISSING if FOUR_MEGABYTES.startswith(came) else TWICE

    def beside(part: object) -> str:
        _, seconds, raised = _fetch(server, part, silent=True)
        return raised or (AT_ONCE if seconds < 1 else LATE)

    trials = [
        Trial("a client that reads at once", alone, WHOLE, TOLD),
        Trial("two clients, and one reads nothing", beside, AT_ONCE, TOLD),
    ]
    return judge(mine, write_some, trials)


exercises = Hints(
    "Exercise 1. A SYN without an answer is sent again after 1 s, then after 2 more, then after 4: the wait"
    " doubles each time (RFC 6298, section 5.5). 1, 1 + 2, 1 + 2 + 4.",
    "Exercise 2. `await asyncio.to_thread(slow, line)` hands the call, and its wait, to another thread.",
    "Exercise 3. `pool = ThreadPoolExecutor(10)` of concurrent.futures, and `pool.submit(talk, …)` in place"
    " of the thread. Twenty clients, ten at a time, are two rounds of 10 ms.",
)
