"""Sequence numbers: 32-bit counters that wrap (RFC 9293 §3.4).

A number is *before* another if the way forward from it is shorter than 2³¹. Plain `<` is right until the day
a connection passes 2³² − 1, so tests start there. These are functions on plain integers: TCP asks them on
every packet, and where a call is too much writes `& MASK` itself.
"""

from __future__ import annotations

MODULUS = 1 << 32
HALF = 1 << 31
MASK = MODULUS - 1


def seq_add(a: int, n: int) -> int:
    """The number `n` bytes after `a` (before it, for a negative `n`)."""
    return (a + n) & MASK


def seq_sub(a: int, b: int) -> int:
    """How many bytes `a` is ahead of `b`: from −2³¹ to 2³¹ − 1."""
    return ((a - b + HALF) & MASK) - HALF


def seq_lt(a: int, b: int) -> bool:
    """a < b, modulo 2³²."""
    return (a - b) & MASK >= HALF


def seq_le(a: int, b: int) -> bool:
    """a ≤ b, modulo 2³²."""
    return (b - a) & MASK < HALF


def seq_max(a: int, b: int) -> int:
    """The later of two numbers."""
    return b if seq_lt(a, b) else a
