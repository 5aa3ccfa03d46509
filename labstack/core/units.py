"""Quantities as people write them: `"10 Mbit/s"`, `"20 ms"`, `"64 KiB"`.

Inside, time is an integer number of nanoseconds, a rate an integer number of bits a second and a size an
integer number of bytes: integers add without rounding, so the same run gives the same times for ever.
"""

from __future__ import annotations

import re
from fractions import Fraction

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000

_TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_RATES = {"bit/s": 1, "kbit/s": 10**3, "Mbit/s": 10**6, "Gbit/s": 10**9, "Tbit/s": 10**12}
_SIZES = {
    "B": 1, "byte": 1, "bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB":
    2**30,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ/]+)\s*")


def _parse(text: str, units: dict[str, int], what: str, example: str) -> int:
    match = _QUANTITY.fullmatch(text)
    if not match or match[2] not in units:
        raise ValueError(
            f"{text!r} is not a {what}: write a number and one of {', '.join(units)}, such as {example!r}"
        )
    return round(Fraction(match[1]) * units[match[2]])


def duration(value: str | float) -> int:
    """Nanoseconds from `"20 ms"`, or from a number of seconds. Raises ValueError if it is negative or no
    time."""
    if isinstance(value, str):
        return _parse(value, _TIMES, "time", "20 ms")
    if value < 0:
        raise ValueError(f"{value!r} s is a negative time: write 0 or more seconds")
    return round(value * SECOND)


def rate(value: str | float) -> int:
    """Bits a second from `"10 Mbit/s"`, or from a number of bits a second; must be above zero."""
    bits = _parse(value, _RATES, "rate", "10 Mbit/s") if isinstance(value, str) else round(value)
    if bits <= 0:
        raise ValueError(f"{value!r} is no rate: write more than 0 bit/s")
    return bits


def size(value: str | int) -> int:
    """Bytes from `"64 KiB"`, or from a number of bytes. Raises ValueError if it is negative or no size."""
    number = _parse(value, _SIZES, "size", "64 KiB") if isinstance(value, str) else int(value)
    if number < 0:
        raise ValueError(f"{value!r} is a negative size: write 0 or more bytes")
    return number


def show_time(nanoseconds: int) -> str:
    """A time for people: `"20 ms"`, `"1.234 s"`; never more than six digits behind the point."""
    for unit, scale in (("s", SECOND), ("ms", MILLISECOND), ("µs", MICROSECOND)):
        if abs(nanoseconds) >= scale:
            return f"{nanoseconds / scale:.6f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{nanoseconds} ns"
