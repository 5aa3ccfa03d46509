"""CPython's own tests of its network modules pass on labstack where they pass on the machine."""

import pytest

from tests.programs import cpython

# What differs, and why.
EXPLAINED: dict[str, str] = {}


@pytest.mark.check
@pytest.mark.feature("Sockets", "CPython's own tests of its mail, HTTP and XML-RPC modules pass on a host")
@pytest.mark.parametrize(
    "name",
    ["test_smtplib", "test_poplib", "test_imaplib", "test_httplib", "test_urllib2_localnet", "test_xmlrpc"],
)
def test_share(name):
    outcome = cpython.main([name])[name]
    assert outcome.passed, f"{name} runs nowhere"
    assert not outcome.failed.keys() - EXPLAINED.keys(), outcome.failed
    assert not outcome.unexpected, outcome.unexpected
