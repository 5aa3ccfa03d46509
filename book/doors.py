"""The two machines of chapter 18: how a connection opens and closes between them, and by which states."""

import socket
from typing import Any

from labstack import Host, Network, ack, syn
from labstack.observe import look
from labstack.observe.questions import Said
from labstack.observe.trace import Trace
from labstack.physical.wire import Wire
from labstack.sockets.socket import Socket
from labstack.transport.tcp.states import State

World = tuple[Network, Host, Host, Wire]


def world(a_has: dict[str, Any] | None = None, b_has: dict[str, Any] | None = None, seed: int = 18) -> World:
    """Two machines, 10 ms apart, that know the way to each other, with these of `Network.host`'s options."""
    net = Network(seed)
    a = net.host("a", "10.0.0.1/24", **(a_has or {}))
    b = net.host("b", "10.0.0.2/24", **(b_has or {}))
    wire = net.wire(a, b, delay="10 ms")
    a.ping("b")
    return net, a, b, wire


def pair(a: Host, b: Host) -> tuple[Socket, Socket]:
    """The two ends of a connection that a opened."""
    with b.listen(80) as listener:
        s = a.connect(("b", 80))
        return s, listener.accept()[0]


def other(s: Socket) -> tuple[Any, ...]:
    """The flow of a socket, from its other end."""
    assert s.flow is not None
    return s.flow[2:] + s.flow[:2]


def way(trace: Trace, flow: object) -> list[State]:
    """The states of the connection at the flow's source, in order."""
    moves = trace.states(flow).moves
    return [moves[0].before, *(move.after for move in moves)]


class Reached(look.Grid):
    """Which states were reached, and in which of these runs."""

    def __init__(self, runs: dict[str, list[State]]) -> None:
        rows = [(state.value, *("●" if state in way else "" for way in runs.values())) for state in State]
        super().__init__(("state", *runs), rows)
        self.states = {state for way in runs.values() for state in way}


def play(closes: str, lost: str) -> Said:
    """The states of a connection that a opens, where `closes` says who closes, and one segment gets lost."""
    net, a, b, wire = world()
    with net:
        trace = net.capture(wire)
        if lost == "the SYN":
            wire.drop(syn(1))
        s, t = pair(a, b)
        if lost == "the next ACK":
            wire.drop(ack(1, sender="b" if closes == "a" else "a"))
        first, second = (t, s) if closes == "b" else (s, t)
        first.shutdown(socket.SHUT_WR)
        if closes != "both":
            second.recv(1)
        second.shutdown(socket.SHUT_WR)
        net.run()
        lines = [
            f"{name}: {' → '.join(state.value for state in way(trace, flow))}"
            for name, flow in (("a", s.flow), ("b", other(s)))
        ]
        return Said("\n".join([*lines, f"all over after {net.now:.2f} s"]))
