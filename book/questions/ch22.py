"""What chapter 22 asks. The answers are below: the chapter is more fun if you stop reading here."""

from labstack.observe.questions import Case, Choice, Hints, Prediction, Verdict, judge

smaller = Choice(
    "A segment is lost. What does TCP make smaller?",
    {
        "its segments: each carries half as many bytes": "That would be more headers, and hardly less load.",
        "how much may be under way": "The segments stay as they are; fewer of them are on the way at a time.",
        "the window that the receiver offers": "That is flow control: it tells what the receiver can take.",
    },
    right="how much may be under way",
)

above = Choice(
    "Slow start is over. How does the window grow from now on?",
    {
        "it doubles each round trip, as before": "That was slow start. Now something may break any time.",
        "by a byte for each byte that is acknowledged": "That doubles it each round trip: slow start's rule.",
        "by one segment for each acknowledgment": "That would double it each round trip, too.",
        "by one segment each round trip": "A window acknowledged adds a segment.",
    },
    right="by one segment each round trip",
)

page = Prediction(
    "100 kB take 360 ms at 50 Mbit/s. How long does it take at 5 Gbit/s, a hundred times the rate?",
    0,
    400,
    "ms",
)


def grown(cwnd: int, ssthresh: int, acked: int, mss: int) -> int:
    """Slow start below the threshold, congestion avoidance from there on."""
    if cwnd < ssthresh:
        return cwnd + min(acked, 2 * mss)
    return cwnd + max(1, mss * acked // cwnd)


hints = Hints(
    "Two cases: cwnd < ssthresh, or not. In each, return cwnd plus something.",
    "Slow start: plus the bytes acknowledged, but at most two segments: min(acked, 2 * mss).",
    "Avoidance: a whole window acknowledged, acked = cwnd, adds mss. So a part of it, acked / cwnd, adds "
    "that part of mss. In whole bytes, and at least one: max(1, mss * acked // cwnd).",
    answer=grown,
)

START = 1 << 30
SLOW = "Slow start: each byte acknowledged adds a byte (RFC 3465 §2.2)."
BURST = "One acknowledgment adds two segments at most, or a burst follows (RFC 3465 §2.3)."
CAREFUL = "Avoidance: a whole window acknowledged adds one segment; so acked bytes add mss × acked / cwnd."
BYTE = "Whole bytes, and at least one: with a very wide window the share is less (RFC 5681 §3.1)."
CASES = [
    Case("slow start, a segment acknowledged", (14_600, START, 1460, 1460), 16_060, SLOW),
    Case("slow start, two segments at once", (14_600, START, 2920, 1460), 17_520, SLOW),
    Case("slow start, only 100 bytes", (14_600, START, 100, 1460), 14_700, SLOW),
    Case("slow start, ten segments at once", (14_600, START, 14_600, 1460), 17_520, BURST),
    Case("above the threshold, a segment", (29_200, 14_600, 1460, 1460), 29_273, CAREFUL),
    Case("above the threshold, two segments", (29_200, 14_600, 2920, 1460), 29_346, CAREFUL),
    Case("a window of 4 MB, a segment", (4_000_000, 14_600, 1460, 1460), 4_000_001, BYTE),
]


def check(mine: object, *classes: type) -> Verdict:
    """Hold the reader's `grown` to seven acknowledgments; what is right is kept with the classes that call
    it."""
    return judge(mine, grown, CASES, part="congestion", classes=classes)


exercises = Hints(
    "Exercise 1. Half of 83,000 segments are missing, and each round trip brings one: 41,500 × 0.1 s are 69 "
    "minutes. CUBIC: K = ∛(83,000 × 0.3 / 0.4), about 40 seconds.",
    "Exercise 2. The threshold: without self.ssthresh = self.cwnd it stays infinite, and slow start begins "
    "again after each loss, to overshoot by a whole window each time. The line is as full as before, the "
    "queue never empty, and twenty times as many segments fall.",
    "Exercise 3. Half of the window at the end of slow start, when far too much is under way; later a "
    "gentler cut, and a faster way up:\n"
    "class Bold(Mine):\n"
    "    def on_ack(self, sample):\n"
    "        if sample.cwnd_limited and not sample.in_recovery:\n"
    "            step = 3 * self.mss if self.cwnd >= self.ssthresh else self.mss\n"
    "            self.cwnd = grown(self.cwnd, self.ssthresh, sample.acked, step)\n\n"
    "    def on_loss(self, event):\n"
    "        share = 0.7 if self.ssthresh < 1 << 30 else 0.5\n"
    "        self.cwnd = self.ssthresh = max(int(event.in_flight * share), 2 * self.mss)",
)
