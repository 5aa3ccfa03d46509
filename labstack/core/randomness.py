"""Randomness with names: one stream for each (seed, owner, purpose).

Because every purpose draws from its own stream, adding a host or a fault changes nothing for the others, and
a run repeats to the last bit. Only `Random.random()` is used: its output is the same in every version of
Python.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol


class Stream(Protocol):
    """Numbers in [0, 1), as from `random.Random.random`."""

    def __call__(self) -> float: ...


def stream(seed: int, owner: str, purpose: str) -> Stream:
    """The stream of that name: always the same numbers for the same three."""
    return Random(f"{seed}/{owner}/{purpose}").random


def below(random: Callable[[], float], limit: int) -> int:
    """A whole number from 0 to `limit` − 1, drawn with one call; `limit` up to 2⁵³."""
    return int(random() * limit)
