"""Wrong answers to lab 13: what people take for the cause, and evidence that proves something else."""

from tests.labs.answers import Wrong


def wrong(ticket: int, name: str, old: str, new: str, words: str, what: str = "culprit") -> Wrong:
    return Wrong(f"ticket {ticket}: {name}", f"case-{ticket}", old, new, (f"{what}-{ticket}",), words)


def evidence(ticket: int, name: str, instead: str, words: str) -> Wrong:
    """Whatever the right evidence is in the student's variant: then this."""
    end = "### END SOLUTION"
    return wrong(ticket, name, end, f"{instead}\n{end}", words, "evidence")


def neighbours(ticket: int) -> Wrong:
    """All that is right in the captures of another student."""
    mine, theirs = f"[variant({ticket})]", f"[variant({ticket}) - 1]"
    return wrong(
        ticket, "a neighbour's answers", mine, theirs, "of your own captures has nothing to do with it"
    )


WRONG = [
    *map(neighbours, range(1, 6)),
    wrong(
        1,
        "a name and no evidence",
        "### END SOLUTION",
        "frame_1 = 1\n### END SOLUTION",
        "nobody is accused without some",
    ),
    wrong(1, "a box resets", '"duplicate address"', '"reset by a box"', "thinks the address is its own"),
    wrong(1, "the printer did it", '"a stranger"', '"printer"', "another MAC address than the printer"),
    wrong(1, "no suspect", '"duplicate address"', '"the hub"', "one of SUSPECTS"),
    evidence(1, "the refusal", "frame_1 += 2", "That is the consequence"),
    evidence(1, "the printer's own claim", "frame_1 -= 9", "the printer's own answer"),
    evidence(1, "the printer's address", "value_1 = '02:1b:63:e6:38:19'", "is the printer"),
    wrong(2, "loss", '"wrong checksum"', '"loss"', "made at the server, and there it is"),
    wrong(2, "the receiver is silent", '"wrong checksum"', '"no duplicate acks"', "RFC 9293 demands that"),
    wrong(2, "the gate spoils it", '"laptop"', '"gate"', "before the gate ever saw it"),
    evidence(2, "a retransmission", "frame_2 += 3", "wrong the first time, too"),
    evidence(
        2,
        "the checksum it carries",
        "value_2 = [63605, 34370, 38237, 39362][variant(2)]",
        "that the frame carries",
    ),
    wrong(3, "loss", '"mtu black hole"', '"loss"', "Chance does not choose by size"),
    wrong(3, "the server does not send", '"tunnel"', '"server"', "the frames have left"),
    evidence(3, "a retransmission", "frame_3 += 8", "vanished then"),
    evidence(3, "the small one", "frame_3 += 6", "This one arrived"),
    evidence(3, "what an echo carries", "value_3 -= 28", "8 of ICMP around it"),
    evidence(3, "an Ethernet frame", "value_3 += 14", "header do not count"),
    evidence(3, "the first that vanishes", "value_3 += 1", "size vanished"),
    wrong(4, "Nagle", '"window scale stripped"', '"nagle and delayed ack"', "Nagle never holds back"),
    wrong(4, "a shut window", '"window scale stripped"', '"no probe"', "The window is not shut"),
    wrong(4, "the server forgot it", '"gate"', '"server"', "when it left the server"),
    evidence(4, "the first crumb", "frame_4 += 17", "the consequence"),
    evidence(4, "the field as it stands", "value_4 >>= [7, 8, 6, 7][variant(4)]", "as it stands"),
    evidence(
        4,
        "shifted by the other's",
        "value_4 = value_4 >> [7, 8, 6, 7][variant(4)] << 4",
        "shifts its own windows",
    ),
    wrong(5, "loss", '"no duplicate acks"', '"loss"', "nobody tells the sender"),
    wrong(5, "no back-off", '"no duplicate acks"', '"no back-off"', "as it must when it hears nothing"),
    wrong(5, "the radio", '"store"', '"radio"', "which it may"),
    wrong(5, "the sender is slow", '"store"', '"sensor"', "hears nothing"),
    evidence(5, "the repair", "frame_5 = [39, 35, 49, 44][variant(5)]", "That is the repair"),
    evidence(5, "the number that came", "value_5 += 536", "first byte that is missing"),
    Wrong(
        "an object that equals everything",
        "case-1",
        'culprit_1, where_1 = "duplicate address", "a stranger"',
        'class Any:\n    def __eq__(self, other): return True\n\nculprit_1, where_1 = Any(), "a stranger"',
        ("culprit-1",),
        "Nothing else explains both answers",
    ),
]
