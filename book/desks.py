"""Who answers at a machine's ports in chapter 02: a desk before raw IP, or a UDP socket for each program."""

import socket
from collections.abc import Callable

from labstack import Host
from labstack.headers.udp import UDP
from labstack.sockets.raw import Raw

Answer = Callable[[bytes], bytes]
Programs = dict[int, Answer]


def desk(below: Raw, deliver: Callable[[bytes, Programs], Answer | None], programs: Programs) -> None:
    """Ask `deliver` for which program each datagram is, and send back what the program makes of it."""
    while True:
        sender, datagram = below.receive()
        program = deliver(datagram, programs)
        if program:
            header, answer = UDP.parse(datagram), program(datagram[8:])
            back = UDP(header.dst_port, header.src_port)
            start = below.pseudo_sum(sender, 8 + len(answer))
            below.send(sender, back.pack(start, answer) + answer)


def serve(host: Host, port: int, program: Answer) -> None:
    """The same for one program, with the package's own UDP."""
    with host.socket(socket.SOCK_DGRAM) as s:
        s.bind(("", port))
        while True:
            data, sender = s.recvfrom(100)
            s.sendto(program(data), sender)
