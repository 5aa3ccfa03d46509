"""How a story leads a connection into each state, in the shortest way."""

import socket

from labstack.grading.story import Program, Story
from labstack.headers.tcp import ACK, FIN, SYN

SYNCHRONIZED = ["ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT"]


def reach(story: Story, state: str) -> Program:
    """The program's end of a connection in that state. All that was sent has been looked at; what the
    machine under test has to send next has the number 1, or 2 behind its FIN."""
    if state == "SYN-SENT":
        s = story.connect()
        story.expect(SYN)
        return s
    if state == "SYN-RECEIVED":
        s = story.connect()
        story.expect(SYN)
        story.inject(SYN)
        story.expect(SYN | ACK)
        return s
    s = story.established()
    if state in ("CLOSE-WAIT", "LAST-ACK"):
        story.inject(FIN | ACK)
        story.expect(ACK, ack=2)
    if state not in ("ESTABLISHED", "CLOSE-WAIT"):
        s.shutdown(socket.SHUT_WR)
        story.expect(FIN | ACK, seq=1)
    if state == "CLOSING":
        story.inject(FIN | ACK, ack=1)
        story.expect(ACK, ack=2)
    if state in ("FIN-WAIT-2", "TIME-WAIT"):
        story.inject(ACK)
    if state == "TIME-WAIT":
        story.inject(FIN | ACK)
        story.expect(ACK, seq=2, ack=2)
    story.expect_nothing()
    return s
