"""dnspython, unmodified, in virtual time: over UDP, again over TCP when cut off, and a time-out by the host's
clock."""

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rrset
import pytest

pytestmark = pytest.mark.feature("Applications", "dnspython, unmodified")


def answer(question, long):
    message = dns.message.make_response(dns.message.from_wire(question))
    name = message.question[0].name
    message.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "10.0.0.9"))
    if long:
        message.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", *['"' + "t" * 200 + '"'] * 5))
    return message


def over_udp(host, cut_off=False):
    with host.socket(2) as sock:
        sock.bind(("", 53))
        while True:
            data, client = sock.recvfrom(2000)
            message = answer(data, long=False)
            if cut_off:
                message.answer.clear()
                message.flags |= dns.flags.TC
            sock.sendto(message.to_wire(), client)


def over_tcp(host):
    listener = host.listen(53)
    while True:
        sock, _ = listener.accept()
        length = int.from_bytes(sock.recv(2), "big")
        wire = answer(sock.recv(length), long=True).to_wire()
        sock.sendall(len(wire).to_bytes(2, "big") + wire)
        sock.close()


QUERY = dns.message.make_query("www.example", "A")


def test_udp(two):
    a, b = two
    b.spawn(over_udp, b)
    with a:
        assert "10.0.0.9" in dns.query.udp(QUERY, "10.0.0.2").to_text()

    async def ask():
        return await dns.asyncquery.udp(QUERY, "10.0.0.2")

    assert "10.0.0.9" in a.run(ask()).to_text()


def test_tcp_when_it_was_cut_off(two):
    a, b = two
    b.spawn(over_udp, b, True)
    b.spawn(over_tcp, b)
    with a:
        found, by_tcp = dns.query.udp_with_fallback(QUERY, "10.0.0.2")
    assert by_tcp
    assert "tttt" in found.to_text()


def test_a_time_out_by_the_hosts_clock(two, net):
    a, b = two
    silent = b.socket(2)
    silent.bind(("", 53))
    with a, pytest.raises(dns.exception.Timeout):
        dns.query.udp(QUERY, "10.0.0.2", timeout=9)
    assert net.now == pytest.approx(9, abs=0.1)

    async def ask():
        await dns.asyncquery.udp(QUERY, "10.0.0.2", timeout=9)

    with pytest.raises(dns.exception.Timeout):
        a.run(ask())
    assert net.now == pytest.approx(18, abs=0.2)
