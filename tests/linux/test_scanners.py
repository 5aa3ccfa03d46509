"""Scanners on Linux, nmap and hping3, ask labstack what no honest program asks: the answers are those of RFC
9293 §3.10.7, frame by frame, and so is what the scanner concludes.

                 to a listener             to a closed port
    SYN          SYN, ACK                  RST, ACK          "open"             "closed"
    ACK          RST                       RST
    neither      nothing                   RST, ACK          "open|filtered"    "closed"
    RST          nothing                   nothing
"""

import re
import shutil
from contextlib import closing

import pytest

from labstack import Host
from labstack.core.seq import MODULUS
from labstack.headers.tcp import ACK, CWR, ECE, FIN, PSH, RST, SYN, TCP, URG, Options
from labstack.linux import LinuxPeer
from labstack.observe.packet import Packet

from .conftest import wait_until

pytestmark = pytest.mark.linux

OPEN, CLOSED = (22, 80), (23, 81, 443)
ANY = "any number"

Answer = tuple[int, int | str, int]
"""Flags, sequence number, acknowledgment number."""


def needs(name: str) -> None:
    if not shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin"):
        pytest.skip(f"needs the command {name}")


def by_the_rfc(probe: Packet) -> Answer | None:
    """What a first segment is answered with. §3.10.7.1 tells of closed ports, §3.10.7.2 of listeners: there a
    SYN counts, whatever comes with it, and it alone is acknowledged."""
    tcp = probe.tcp
    assert tcp is not None
    flags, length = tcp.flags, probe.payload_length + bool(tcp.flags & SYN) + bool(tcp.flags & FIN)
    if flags & RST:
        return None
    if flags & ACK:
        return RST, tcp.ack, 0
    if tcp.dst_port in CLOSED:
        return RST | ACK, 0, (tcp.seq + length) % MODULUS
    return (SYN | ACK, ANY, (tcp.seq + 1) % MODULUS) if flags & SYN else None


def check_answers(packets: list[Packet], host: Host) -> list[TCP]:
    """Each first segment of a flow is answered as it should be; the first segments, for a closer look."""
    flows: dict[tuple[int, int], list[Packet]] = {}
    for p in packets:
        if p.tcp:
            ports = p.tcp.src_port, p.tcp.dst_port
            flows.setdefault(ports if p.sender == "linux" else ports[::-1], []).append(p)
    probes = []
    for probe, *rest in flows.values():
        assert probe.sender == "linux" and probe.tcp
        probes.append(probe.tcp)
        answers = [p.tcp for p in rest if p.sender == host.name and p.tcp]
        expected = by_the_rfc(probe)
        if expected is None:
            assert not answers, probe.summary
            continue
        assert answers, f"nothing answered {probe.summary}"
        flags, seq, ack = expected
        answer = answers[0]
        assert (answer.flags, answer.ack) == (flags, ack), probe.summary
        assert seq in (ANY, answer.seq), probe.summary
        assert (Options.parse(answer.options).mss is not None) == bool(flags & SYN), "only in a SYN"
        assert (answer.window > 0) == bool(flags & SYN)
    return probes


SCANS = [
    ("-sS", SYN, "open"),
    ("-sT", SYN, "open"),
    ("-sF", FIN, "open|filtered"),
    ("-sX", FIN | PSH | URG, "open|filtered"),
    ("-sN", 0, "open|filtered"),
]


@pytest.mark.feature("Real wires", "nmap's scans, -sS -sT -sF -sX -sN: it finds what is open and what is not")
@pytest.mark.parametrize("scan, flags, verdict", SCANS, ids=[scan for scan, _, _ in SCANS])
def test_nmap(linux: LinuxPeer, scan: str, flags: int, verdict: str) -> None:
    needs("nmap")
    with closing(linux.host()) as host:
        listeners = [host.listen(port) for port in OPEN]
        trace = host.capture("linux")
        ports = ",".join(map(str, (*OPEN, *CLOSED)))
        bounds = ["--max-retries", "1", "--host-timeout", "20s"]
        said = linux.check(["nmap", scan, "-n", "-Pn", "-p", ports, *bounds, linux.host_address]).stdout
        seen = {int(port): state for port, state in re.findall(r"^(\d+)/tcp +(\S+)", said, re.MULTILINE)}
        assert seen == dict.fromkeys(OPEN, verdict) | dict.fromkeys(CLOSED, "closed"), said
        trace.close()
        probes = check_answers(trace.packets, host)
        assert {probe.dst_port for probe in probes} == {*OPEN, *CLOSED}
        # A connection of Linux's own, -sT, may ask for ECN besides.
        assert {probe.flags & ~(ECE | CWR) for probe in probes} == {flags}
        for listener in listeners:
            listener.close()
        wait_until(lambda: not host.tcp.connections, "nothing is left of the scan")


# hping3's words, and the flags that stand for them.
PROBES = {
    "-S": SYN,
    "-S -d 100": SYN,
    "-A": ACK,
    "-F": FIN,
    "": 0,
    "-F -P -U": FIN | PSH | URG,
    "-S -F": SYN | FIN,
    "-S -A": SYN | ACK,
    "-R": RST,
    "-R -A": RST | ACK,
    "-F -A -d 100": FIN | ACK,
    "-S -A -F -R -P -U": SYN | ACK | FIN | RST | PSH | URG,
}


@pytest.mark.feature(
    "Real wires", "hping3's odd segments, to open and closed ports, are answered by RFC 9293"
)
def test_hping3(linux: LinuxPeer) -> None:
    needs("hping3")
    with closing(linux.host()) as host:
        listeners = [host.listen(port) for port in OPEN]
        trace = host.capture("linux")
        cases = [(words, flags, port) for words, flags in PROBES.items() for port in (OPEN[0], CLOSED[0])]
        programs = []
        for source, (words, _, port) in enumerate(cases, 2000):
            where = ["-p", str(port), "-s", str(source), linux.host_address]
            programs.append(linux.run(["hping3", "-n", "-c", "1", *words.split(), *where]))
        for program in programs:
            # 1: no answer. (They run at the same time, and may count one another's.)
            assert program.wait(30) in (0, 1), program.output
        trace.close()
        probes = check_answers(trace.packets, host)
        sent = {probe.src_port: (probe.flags, probe.dst_port) for probe in probes}
        assert sent == {source: case[1:] for source, case in enumerate(cases, 2000)}
        for listener in listeners:
            listener.close()
        wait_until(lambda: not host.tcp.connections, "nothing is left of the probes")
