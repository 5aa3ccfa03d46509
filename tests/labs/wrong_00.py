"""Wrong answers to lab 00."""

from tests.labs.answers import Wrong, cheats

WRONG = [
    Wrong(
        "the window counts segments",
        "fixed-window",
        "4 * mss",
        "4",
        ("four-and-then-silence", "every-size-of-segment"),
        "cwnd counts bytes",
    ),
    Wrong(
        "segments of 1,460 bytes, whatever was agreed",
        "fixed-window",
        "4 * mss",
        "4 * 1460",
        ("every-size-of-segment", "after-silence"),
        "this peer takes smaller segments",
    ),
    Wrong(
        "the window of a real congestion control",
        "fixed-window",
        "4 * mss",
        "initial_window",
        ("after-silence", "one-out-one-in"),
        "now and for ever",
    ),
    *cheats(
        "fixed-window",
        "FixedWindow",
        "labstack.transport.tcp.congestion.reno",
        "Reno",
        "four-and-then-silence",
    ),
]
