"""The routing table: to which neighbour, over which interface? The longest prefix that matches wins (RFC 1812
§5.2.4.3).

One dictionary for each prefix length, asked from the longest to the shortest: a look-up takes as many steps
as there are different lengths, however many routes there are. Chapter 08 of the book.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from labstack.core.addresses import IPAddress, Prefix, mask


@dataclass(slots=True, frozen=True)
class Route:
    """Datagrams for `prefix` leave over the interface named `interface`, to the router `via`; None: to the
    destination itself, which is on that link. Of several routes for one prefix the lowest `metric` holds."""

    prefix: Prefix
    interface: str
    via: IPAddress | None = None
    metric: int = 0
    origin: str = "static"

    def __str__(self) -> str:
        via = f" via {self.via}" if self.via else ""
        return f"{self.prefix}{via} dev {self.interface} metric {self.metric} {self.origin}"


class RoutingTable(Protocol):
    """Replaceable: `net.host("a", …, routing_table=Mine)`."""

    def add(self, route: Route) -> None: ...

    def remove(self, route: Route) -> None: ...

    def look_up(self, dst: IPAddress) -> Route | None:
        """The route for `dst`, or None."""

    def routes(self) -> list[Route]: ...


class LongestPrefixTable:
    """A `RoutingTable`. Raises ValueError when it holds `limit` routes already."""

    def __init__(self, limit: int = 100_000) -> None:
        self.limit = limit
        self._count = 0
        self._lengths: list[int] = []
        self._by_length: dict[int, dict[IPAddress, list[Route]]] = {}

    def add(self, route: Route) -> None:
        self.remove(route)
        if self._count >= self.limit:
            raise ValueError(f"the routing table is full ({self.limit} routes): remove one first")
        by_network = self._by_length.setdefault(route.prefix.length, {})
        same = by_network.setdefault(route.prefix.network, [])
        same.append(route)
        same.sort(key=lambda r: r.metric)
        self._count += 1
        self._lengths = sorted(self._by_length, reverse=True)

    def remove(self, route: Route) -> None:
        """Remove the route for the same prefix, next hop and interface, if there is one."""
        by_network = self._by_length.get(route.prefix.length, {})
        same = by_network.get(route.prefix.network, [])
        for old in same:
            if (old.via, old.interface) == (route.via, route.interface):
                same.remove(old)
                self._count -= 1
                break
        if not same:
            by_network.pop(route.prefix.network, None)

    def look_up(self, dst: IPAddress) -> Route | None:
        for length in self._lengths:
            same = self._by_length[length].get(mask(dst, length))
            if same:
                return same[0]
        return None

    def routes(self) -> list[Route]:
        """All routes, the longest prefixes first."""
        return [r for n in self._lengths for same in self._by_length[n].values() for r in same]
