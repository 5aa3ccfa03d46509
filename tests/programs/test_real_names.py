"""dnspython, unmodified, over a TAP: as a client of dnsmasq, and as a server of dig's questions."""

import dns.asyncquery
import dns.flags
import dns.message
import dns.query
import dns.resolver
import pytest

from tests.programs.peers import HERE, THERE, need, wait_for_port
from tests.programs.test_dnspython import over_tcp, over_udp

pytestmark = pytest.mark.linux


@pytest.fixture
def dnsmasq(linux):
    """A name server on Linux: www.example has an address, and long.example more text than 512 bytes hold."""
    need("dnsmasq")
    text = ",".join(["t" * 200] * 5)
    linux.run(
        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv",
         "--no-hosts", "--user=root", "--address=/www.example/10.9.8.7", f"--txt-record=long.example,{text}"]
    )  # fmt: skip
    linux.wait_for_port(53, protocol="udp")


@pytest.mark.feature("Applications", "dnspython asks dnsmasq, by UDP and again by TCP, over a TAP")
def test_dnspython_asks_dnsmasq(host, dnsmasq):
    short, long = dns.message.make_query("www.example", "A"), dns.message.make_query("long.example", "TXT")
    with host:
        assert "10.9.8.7" in dns.query.udp(short, THERE, timeout=5).to_text()
        assert dns.query.udp(long, THERE, timeout=5).flags & dns.flags.TC
        found, by_tcp = dns.query.udp_with_fallback(long, THERE, timeout=5)
        assert by_tcp and found.to_text().count("t" * 200) == 5
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [THERE]
        assert [record.address for record in resolver.resolve("www.example")] == ["10.9.8.7"]

    async def ask():
        found, by_tcp = await dns.asyncquery.udp_with_fallback(long, THERE, timeout=5)
        return by_tcp, found.to_text().count("t" * 200)

    assert host.run(ask()) == (True, 5)


@pytest.mark.feature("Applications", "dig asks a server of dnspython's, by UDP and TCP, over a TAP")
@pytest.mark.parametrize("cut_off", [False, True])
def test_dig_asks_dnspython(linux, host, cut_off):
    need("dig")
    host.spawn(over_udp, host, cut_off)
    host.spawn(over_tcp, host)
    wait_for_port(host, 53)
    ask = ["dig", f"@{HERE}", "+tries=1", "+time=5", "+noedns", "www.example"]
    by_udp = linux.check(ask).stdout
    assert "10.0.0.9" in by_udp and ("t" * 200 in by_udp) == cut_off
    assert ("Truncated, retrying in TCP mode" in by_udp) == cut_off
    assert "t" * 200 in linux.check([*ask, "+tcp"]).stdout
