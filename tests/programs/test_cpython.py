"""CPython's own tests of its network modules pass on labstack where they pass on the machine."""

import pytest

from tests.programs import cpython

# What differs, and why.
EXPLAINED = {
    "BasicTest.test_response_fileno": "opens the socket's number as the system's descriptor",
    "TestPOP3_SSLClass.test_context": "asks for an ssl.SSLSocket by name; ours is a TLSSocket",
}


@pytest.mark.check
@pytest.mark.feature("Sockets", "CPython's own tests of its mail, HTTP and XML-RPC modules pass on a host")
@pytest.mark.parametrize(
    "name",
    ["test_smtplib", "test_poplib", "test_imaplib", "test_httplib", "test_urllib2_localnet", "test_xmlrpc"],
)
def test_share(name):
    passed, failed = cpython.main([name])[name]
    assert passed, f"{name} runs nowhere"
    assert not failed.keys() - EXPLAINED.keys(), failed
