"""The congestion controls by name, as `net.host("a", congestion="cubic")` and TCP_CONGESTION take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from labstack.transport.tcp.congestion import CongestionControl
from labstack.transport.tcp.congestion.bbr import BBR
from labstack.transport.tcp.congestion.cubic import Cubic
from labstack.transport.tcp.congestion.reno import Reno

Make = Callable[[int, int], CongestionControl]
"""Makes one for each connection, from its MSS and its initial window in bytes: a class."""

CONTROLS: Mapping[str, Make] = MappingProxyType({"reno": Reno, "cubic": Cubic, "bbr": BBR})


def by_name(choice: str | Make) -> Make:
    """The class of that name; a class stands for itself. Raises ValueError for an unknown name."""
    if not isinstance(choice, str):
        return choice
    try:
        return CONTROLS[choice]
    except KeyError:
        names = ", ".join(CONTROLS)
        raise ValueError(f"there is no congestion control {choice!r} here: write one of {names}") from None
