"""TLS over labstack's sockets: `ssl` without a descriptor, with the manners of `ssl.SSLSocket`."""

import selectors
import socket
import ssl
from collections.abc import Iterator

import pytest

from labstack import Host, Network
from labstack.sockets.tls import TLSSocket
from tests.sockets.tls_scene import contexts, pair


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as net:
        yield net


@pytest.fixture
def hosts(net: Network) -> tuple[Host, Host]:
    return pair(net)


def wrap(context: ssl.SSLContext, sock: object, **options: object) -> TLSSocket:
    context.sslsocket_class = TLSSocket  # type: ignore[assignment]
    made: object = context.wrap_socket(sock, **options)  # type: ignore[arg-type]
    assert isinstance(made, TLSSocket)
    return made


def echo(host: Host, port: int = 443) -> None:
    listener = wrap(contexts()[1], host.listen(port), server_side=True)
    connection, _ = listener.accept()
    while data := connection.recv(5000):
        connection.sendall(data.upper())
    connection.close()


@pytest.mark.feature("Sockets", "TLS over any socket, by Python's `ssl`")
def test_a_conversation(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    b.spawn(echo, b)
    tls = wrap(contexts()[0], a.connect(("b", 443)), server_hostname="b")
    assert tls.version() == "TLSv1.3"
    assert tls.cipher()
    assert ("DNS", "b") in tls.getpeercert()["subjectAltName"]
    tls.sendall(b"hello")
    assert tls.recv(100) == b"HELLO"
    assert tls.getpeername() == ("10.0.0.2", 443)
    big = b"x" * 300_000
    writer = a.spawn(tls.sendall, big)
    got = b""
    while len(got) < len(big):
        got += tls.recv(70_000)
    assert got == big.upper()
    writer.join()


def test_a_time_out_is_one(hosts: tuple[Host, Host], net: Network) -> None:
    a, b = hosts
    b.spawn(echo, b)
    tls = wrap(contexts()[0], a.connect(("b", 443)), server_hostname="b")
    tls.settimeout(3)
    before = net.now
    with pytest.raises(TimeoutError):
        tls.recv(1)
    assert net.now - before == pytest.approx(3, abs=0.05)  # the server's session tickets came in between
    tls.sendall(b"go on")
    assert tls.recv(10) == b"GO ON"


def test_files_over_it(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    b.spawn(echo, b)
    with wrap(contexts()[0], a.connect(("b", 443)), server_hostname="b") as tls:
        file = tls.makefile("rwb")
        file.write(b"one\ntwo\n")
        file.flush()
        assert file.readline() == b"ONE\n"
        assert file.readline() == b"TWO\n"


def test_a_certificate_for_somebody_else(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    def serve() -> None:
        with pytest.raises(ssl.SSLError):
            echo(b)

    server = b.spawn(serve)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate is not valid for 'c'"):
        wrap(contexts()[0], a.connect(("b", 443)), server_hostname="c")
    server.join()  # it was told


def test_no_name_no_trust(hosts: tuple[Host, Host]) -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        wrap(contexts()[0], hosts[0].socket())


def test_unwrap_goes_on_in_the_clear(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    def serve() -> None:
        tls = wrap(contexts()[1], b.listen(443), server_side=True).accept()[0]
        assert tls.recv(10) == b"secret"
        plain = tls.unwrap()
        assert plain.recv(10) == b"public"
        plain.close()

    server = b.spawn(serve)
    tls = wrap(contexts()[0], a.connect(("b", 443)), server_hostname="b")
    tls.sendall(b"secret")
    plain = tls.unwrap()
    assert plain is tls
    plain.sendall(b"public")
    server.join()


def test_it_is_the_sockets_heir(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    b.spawn(echo, b)
    plain = a.connect(("b", 443), timeout=7)
    number = plain.fileno()
    tls = wrap(contexts()[0], plain, server_hostname="b")
    plain.close()
    assert (plain.fileno(), tls.fileno(), tls.gettimeout()) == (-1, number, 7)
    assert isinstance(tls, ssl.SSLSocket)
    assert isinstance(tls, socket.socket)
    tls.sendall(b"hello")
    assert tls.recv(10) == b"HELLO"


@pytest.mark.parametrize("suppress", [True, False])
def test_an_end_without_a_word(hosts: tuple[Host, Host], suppress: bool) -> None:
    a, b = hosts

    def rude() -> None:
        wrap(contexts()[1], b.listen(443), server_side=True).accept()[0].close()

    b.spawn(rude)
    client = contexts()[0]
    tls = wrap(client, a.connect(("b", 443)), server_hostname="b", suppress_ragged_eofs=suppress)
    # With OpenSSL 3, Python before 3.11.4 takes any end for a proper one.
    if suppress or client.options & ssl.OP_IGNORE_UNEXPECTED_EOF:
        assert tls.recv(10) == b""
    else:
        with pytest.raises(ssl.SSLEOFError):
            tls.recv(10)


def test_without_blocking(hosts: tuple[Host, Host]) -> None:
    """Handshake, writing and reading by a selector, as WANT_READ and WANT_WRITE say."""
    a, b = hosts
    b.spawn(echo, b)
    plain = a.connect(("b", 443))
    plain.setblocking(False)
    tls = wrap(contexts()[0], plain, server_hostname="b", do_handshake_on_connect=False)
    selector = a.selector()
    selector.register(tls, selectors.EVENT_READ)
    said = set()

    def until_done(call: object, *args: object) -> object:
        while True:
            try:
                return call(*args)  # type: ignore[operator]
            except ssl.SSLWantReadError:
                said.add("read")
                selector.modify(tls, selectors.EVENT_READ)
            except ssl.SSLWantWriteError:
                said.add("write")
                selector.modify(tls, selectors.EVENT_WRITE)
            selector.select()

    until_done(tls.do_handshake)
    data, at, got = memoryview(b"y" * 200_000), 0, 0

    def reader() -> None:
        nonlocal got
        while got < len(data):
            got += len(until_done(tls.recv, 65536))  # type: ignore[arg-type]

    while at < len(data):
        at += until_done(tls.send, data[at : at + 20_000])  # type: ignore[operator]
        try:
            got += len(tls.recv(65536))
        except ssl.SSLWantReadError:
            pass
    reader()
    assert got == len(data)
    assert "read" in said


def test_a_socket_that_does_not_block_cannot_shake_hands_at_once(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    b.listen(443)
    plain = a.connect(("b", 443))
    plain.setblocking(False)
    with pytest.raises(ValueError, match="do_handshake_on_connect"):
        wrap(contexts()[0], plain, server_hostname="b")
    assert plain.fileno() == -1


def test_over_the_machines_own_sockets_ssl_is_as_ever() -> None:
    server = contexts()[1]
    ours, theirs = socket.socketpair()
    with Network() as net, pair(net)[0]:
        tls = server.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        assert type(tls) is ssl.SSLSocket
        tls.close()
        theirs.close()
