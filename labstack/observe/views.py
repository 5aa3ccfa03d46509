"""What a host knows, as its administrator sees it: sockets, counters, addresses, routes and neighbours.

    host.ss()          sockets and their queues; host.ss(info=True) with what TCP knows
    host.netstat()     how often each thing happened, drops above all
    host.addresses()   as `ip address`
    host.routes()      as `ip route`
    host.arp()         as `ip neighbour`

Each is a table: `print` gives text, a notebook shows it, and `.table()` is a pandas DataFrame.
"""

from __future__ import annotations

import socket as posix
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labstack.core.units import SECOND, show_time
from labstack.observe import look
from labstack.observe.rates import show_rate
from labstack.sockets.datagram import RawSocket
from labstack.sockets.info import TcpInfo, tcp_info
from labstack.sockets.packet import ETH_P_ALL, PacketSocket
from labstack.transport.tcp.states import State

if TYPE_CHECKING:
    import pandas as pd

    from labstack.core.addresses import IPAddress
    from labstack.host import Host

SHORT = {State.ESTABLISHED: "ESTAB", State.SYN_RECEIVED: "SYN-RECV", State.CLOSED: "UNCONN"}
"""As `ss` has them; the others are called as in the RFC."""
NUMBERS = {"Recv-Q", "Send-Q", "cwnd", "ssthresh", "in flight", "again", "times", "mtu", "metric", "rx", "tx"}


class View(look.Grid):
    """A table of a host's state at the moment when it was asked for."""

    def __init__(self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        super().__init__(columns, rows, frozenset(columns.index(name) for name in NUMBERS & set(columns)))

    def table(self) -> pd.DataFrame:
        """The same as a pandas DataFrame, numbers as numbers."""
        frame = super().table()
        import pandas as pd

        for name in NUMBERS & set(self.columns):
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
        return frame


def _place(place: tuple[IPAddress, int] | None) -> str:
    return f"{place[0]}:{place[1] or '*'}" if place is not None else "0.0.0.0:*"


def ss(host: Host, info: bool = False) -> View:
    """The sockets of a host. Of a listener, Recv-Q is how many connections wait to be accepted, and Send-Q
    how many may; of others, bytes that are not read, and bytes that are not acknowledged.

    With `info`, what TCP knows: windows in bytes, `again` the segments sent again; the pacing rate is empty
    where segments leave as acknowledgements allow."""
    columns = ["Netid", "State", "Recv-Q", "Send-Q", "Local", "Peer"]
    if info:
        columns += ["congestion", "cwnd", "ssthresh", "in flight", "pacing rate"]
        columns += ["srtt", "rto", "again", "timers"]
    with host.driver:
        rows = [*_listeners(host), *_connections(host, info), *_datagrams(host)]
    return View(tuple(columns), [(*row, *[""] * (len(columns) - len(row))) for row in rows])


def _listeners(host: Host) -> list[tuple[str, ...]]:
    return [
        ("tcp", "LISTEN", str(len(each.ready)), str(each.backlog), _place(each.local), "0.0.0.0:*")
        for first in sorted(host.tcp.listeners.values(), key=lambda each: each.local[1])
        for each in first.group
    ]


def _connections(host: Host, info: bool) -> list[tuple[str, ...]]:
    rows = []
    for connection in host.tcp.connections.values():
        known = tcp_info(connection)
        queued = known.unacknowledged + known.unsent
        row = (
            "tcp",
            SHORT.get(connection.state, connection.state.value),
            str(known.unread),
            str(queued),
            _place(connection.local),
            _place(connection.peer),
        )
        rows.append((*row, *_details(known)) if info else row)
    return rows


def _details(known: TcpInfo) -> tuple[str, ...]:
    opened = known.cwnd > 0
    return (
        known.congestion,
        str(known.cwnd) if opened else "",
        "" if known.ssthresh is None else str(known.ssthresh),
        str(known.in_flight) if opened else "",
        show_rate(8 * known.pacing_rate) if known.pacing_rate else "",
        "" if known.srtt is None else _time(known.srtt),
        _time(known.rto),
        str(known.retransmitted),
        _timers(known),
    )


def _time(seconds: float) -> str:
    return show_time(round(seconds * SECOND / 1000) * 1000)


def _timers(known: TcpInfo) -> str:
    return ", ".join(f"{name} in {_time(left)}" for name, left in known.timers)


def _datagrams(host: Host) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            "udp",
            "ESTAB" if each.peer else "UNCONN",
            str(each.queued),
            "0",
            _place(each.local),
            _place(each.peer),
        )
        for port in sorted(host.udp.endpoints)
        for each in host.udp.endpoints[port]
    ]
    for number in sorted(host.sockets):
        each = host.sockets[number]
        if isinstance(each, RawSocket):
            protocol = each.getsockopt(posix.SOL_SOCKET, 38)
            waiting = str(each.waiting)
            rows.append(("raw", "UNCONN", waiting, "0", f"{each.getsockname()[0]}:{protocol}", "0.0.0.0:*"))
        elif isinstance(each, PacketSocket):
            name, ethertype, *_ = each.getsockname()
            kind = "p_raw" if each.type == posix.SOCK_RAW else "p_dgr"
            heard = "*" if ethertype == ETH_P_ALL else f"{ethertype:#06x}"
            rows.append((kind, "UNCONN", str(each.waiting), "0", f"{heard}:{name or '*'}", "*"))
    return rows


def netstat(host: Host) -> View:
    """What has happened, and how often: the host's counters by name."""
    counted = sorted((name, times) for name, times in host.counters.items() if times)
    return View(("what", "times"), [(name, str(times)) for name, times in counted])


def addresses(host: Host) -> View:
    """The interfaces, their addresses, and how many frames went through them."""
    rows = [("lo", "UP", "", "127.0.0.1/8", "65535", "", "")]
    for interface in host.interfaces.values():
        rows.append(
            (
                interface.name,
                "UP" if interface.device is not None else "DOWN",
                str(interface.mac),
                ", ".join(str(own) for own in interface.addresses),
                str(interface.mtu),
                str(interface.received_frames),
                str(interface.sent_frames),
            )
        )
    return View(("interface", "state", "MAC", "addresses", "mtu", "rx", "tx"), rows)


def routes(host: Host) -> View:
    """The routing table: the longest prefixes first, as they are tried."""
    rows: list[tuple[str, ...]] = [
        (
            str(route.prefix),
            str(route.via) if route.via else "",
            route.interface,
            str(route.metric),
            route.origin,
        )
        for route in host.ip.routes
    ]
    return View(("prefix", "via", "interface", "metric", "origin"), rows)


def arp(host: Host) -> View:
    """Which MAC address each neighbour has, and how long ago it said so; INCOMPLETE are those that are being
    asked."""
    now = host.driver.now
    rows: list[tuple[str, ...]] = [
        (str(address), str(mac), name, "REACHABLE", _time(age / SECOND))
        for name, each in host.arps.items()
        for address, mac, age in each.cache.entries(now)
    ]
    for name, each in host.arps.items():
        rows += [(str(address), "", name, "INCOMPLETE", "") for address in each.asked]
    return View(("address", "MAC", "interface", "state", "age"), rows)
