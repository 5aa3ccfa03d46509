"""Wrong answers to lab 14: a mistake that shows only when parts, or connections, are together, and mistakes
that were left in a part."""

from tests.labs.answers import Wrong, cheats

WRONG = [
    Wrong(
        "what waits is kept by the class",
        "receiver",
        "    def free(self):\n",
        "    everyones = {}\n"
        "    waiting = property(lambda self: self.everyones, lambda self, value: None)\n\n"
        "    def free(self):\n",
        ("many",),
        "something is kept by the class, and so by all connections",
    ),
    Wrong(
        "what is under way is kept by the class",
        "losses",
        "    def __init__(self, mss, config):\n        self.sent = deque()",
        "    sent = deque()\n\n    def __init__(self, mss, config):\n        pass",
        ("many",),
        "something is kept by the class, and so by all connections",
    ),
    Wrong(
        "losses are left to the timer",
        "losses",
        "        return self.sent[0].seq\n\n",
        "        return None\n\n",
        ("the-sender", "in-time"),
        "a loss was left to the timer",
    ),
    Wrong(
        "recovery ends with the first repair",
        "losses",
        "if self.recover is not None and seq_le(self.recover, ack):",
        "if self.recover is not None:",
        ("the-sender",),
        "two of one window in two",
    ),
    Wrong(
        "what comes early is thrown away",
        "receiver",
        "            return self.keep(seq, data)",
        "            return Acknowledge.NOW",
        ("in-time",),
        "what came early was thrown away",
    ),
    Wrong(
        "a plain < in the receiver",
        "receiver",
        "if seq_le(begin, self.rcv_nxt)",
        "if begin <= self.rcv_nxt",
        ("very-bad",),
        "a rare case was left out",
    ),
    Wrong(
        "an early FIN is obeyed",
        "receiver",
        "        if fin:\n",
        "        if fin:\n            self.finished = True\n",
        ("very-bad",),
        "a rare case was left out",
    ),
    Wrong(
        "a FIN closes both directions",
        "closing",
        "(State.ESTABLISHED, Input.FIN): State.CLOSE_WAIT",
        "(State.ESTABLISHED, Input.FIN): State.CLOSED",
        ("both-ends",),
        "one FIN ends both directions",
    ),
    Wrong(
        "the own FIN ends the peer's direction",
        "closing",
        "(State.FIN_WAIT_1, Input.ACK_OF_FIN): State.FIN_WAIT_2",
        "(State.FIN_WAIT_1, Input.ACK_OF_FIN): State.TIME_WAIT",
        ("the-stream", "both-ends"),
        "one FIN ends both directions",
    ),
    Wrong(
        "the window does not grow",
        "reno",
        "self.cwnd += min(sample.acked, 2 * self.mss)",
        "pass",
        ("the-window",),
        "the window does not grow",
    ),
    Wrong(
        "a loss is taken for a time-out",
        "reno",
        "self.cwnd, self.count = self.ssthresh, 0",
        "self.cwnd, self.count = self.mss, 0",
        ("the-window",),
        "a loss is taken for a time-out",
    ),
    *cheats("receiver", "MyReceiver", "labstack.transport.tcp.receiver", "Reassembly", "the-stream"),
    cheats("losses", "MyLosses", "labstack.transport.tcp.recovery", "NewReno", "the-sender")[0],
    cheats("reno", "MyReno", "labstack.transport.tcp.congestion.reno", "Reno", "the-window")[0],
]
