"""Two hosts, and certificates that hold between them."""

import ssl
from functools import cache
from pathlib import Path

import trustme

from labstack import Host, Network


@cache
def _authority() -> tuple[trustme.CA, trustme.LeafCert]:
    # RSA: an ECDSA signature varies in length, and the trace with it.
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    return authority, authority.issue_cert("b", "localhost", "10.0.0.2", key_type=trustme.KeyType.RSA)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a client that trusts the authority, and of a server whose certificate is for "b"."""
    authority, certificate = _authority()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    return client, server


def pair(net: Network, delay: str = "10 ms", **options: object) -> tuple[Host, Host]:
    """a, the client, and b, the server, on a wire."""
    a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
    net.wire(a, b, rate="100 Mbit/s", delay=delay, **options)
    return a, b


def real_certificates(address: str, folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for this address, in `folder` as cert.pem and key.pem; the authority's own certificate,
    and a server's context."""
    authority = _authority()[0]
    certificate = authority.issue_cert(address, key_type=trustme.KeyType.RSA)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    return folder / "ca.pem", server
