"""HTTP over the simulated stack: what is served, what is refused, and what the server survives."""

import hashlib
import os
import socket as posix
from collections.abc import Iterator
from pathlib import Path

import pytest

from labstack import Host, Network, data_segment
from labstack.applications import http
from labstack.sockets.socket import Socket

PAGE = b"<h1>It works.</h1>\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("not for you")
    site = tmp_path / "site"
    (site / "folder").mkdir(parents=True)
    (site / "index.html").write_bytes(PAGE)
    (site / "folder" / "index.html").write_bytes(b"inside")
    (site / "two words.txt").write_bytes(b"words")
    (site / "big.bin").write_bytes(bytes(range(256)) * 8000)
    (site / "empty.txt").write_bytes(b"")
    (site / "way-out").symlink_to(tmp_path / "secret.txt")
    (site / "circle").symlink_to(site / "circle")
    return site


@pytest.fixture
def net() -> Iterator[Network]:
    with Network(seed=1) as net:
        a, b = net.host("a", "10.0.0.1/24"), net.host("b", "10.0.0.2/24")
        net.wire(a, b, rate="100 Mbit/s", delay="1 ms")
        yield net


@pytest.fixture
def a(net: Network) -> Host:
    return net.hosts["a"]


@pytest.fixture
def b(net: Network, site: Path) -> Host:
    net.hosts["b"].spawn(http.serve, net.hosts["b"], site)
    return net.hosts["b"]


def ask(a: Host, request: str) -> bytes:
    """All that comes on a connection on which `request` is sent, and nothing more."""
    with a.connect(("b", 80), timeout=300) as s:
        s.sendall(request.encode("latin-1"))
        s.shutdown(posix.SHUT_WR)
        file = s.makefile("rb")
        return file.read()  # type: ignore[attr-defined, no-any-return]


def read_answer(s: Socket) -> tuple[str, dict[str, str], bytes]:
    file = s.makefile("rb", 0)
    first = file.readline().decode().strip()
    fields = {}
    while line := file.readline().decode().strip():
        name, _, value = line.partition(": ")
        fields[name] = value
    left, body = int(fields["Content-Length"]), b""
    while len(body) < left:
        body += s.recv(left - len(body))
    return first, fields, body


@pytest.mark.feature("Applications", "A Web server and a client: HTTP/1.0 and 1.1, keep-alive, GET and HEAD")
def test_a_page_is_fetched(a: Host, b: Host) -> None:
    page = http.get(a, "http://b/")
    assert (page.status, page.reason, page.body) == (200, "OK", PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-length"] == str(len(PAGE))
    assert http.get(a, ("b", 80), "/two%20words.txt?once=1").body == b"words"
    assert http.get(a, "http://10.0.0.2:80/empty.txt").body == b""


def test_a_big_file_arrives_to_the_last_bit_over_a_bad_wire(
    net: Network, a: Host, b: Host, site: Path
) -> None:
    wire = net.wires[0]
    wire.drop(data_segment(7))
    wire.chance["loss"] = 0.01
    there = hashlib.sha256((site / "big.bin").read_bytes()).hexdigest()
    assert hashlib.sha256(http.get(a, "http://b/big.bin").body).hexdigest() == there


def test_requests_follow_one_another_on_one_connection(a: Host, b: Host) -> None:
    with a.connect(("b", 80)) as s:
        for _ in range(3):
            s.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n")
            first, fields, body = read_answer(s)
            assert (first, fields["Connection"], body) == ("HTTP/1.1 200 OK", "keep-alive", PAGE)
        s.sendall(b"GET /nothing HTTP/1.1\r\nHost: b\r\n\r\n")
        assert read_answer(s)[0] == "HTTP/1.1 404 Not Found"
        s.sendall(b"GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")
        assert read_answer(s)[1]["Connection"] == "close"
        assert s.recv(1) == b""


def test_requests_sent_at_once_are_answered_in_order(a: Host, b: Host) -> None:
    both = "GET /folder/ HTTP/1.1\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n"
    answer = ask(a, both)
    assert answer.count(b"200 OK") == 2
    assert answer.index(b"inside") < answer.index(PAGE)


def test_http_1_0_closes_unless_it_is_asked_to_stay(a: Host, b: Host) -> None:
    assert b"Connection: close" in ask(a, "GET / HTTP/1.0\r\n\r\n")
    assert b"Connection: keep-alive" in ask(a, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")


def test_head_gives_the_head_alone(a: Host, b: Host) -> None:
    got, head = ask(a, "GET / HTTP/1.0\r\n\r\n"), ask(a, "HEAD / HTTP/1.0\r\n\r\n")
    assert got == head + PAGE
    missing = ask(a, "HEAD /nothing HTTP/1.0\r\n\r\n")
    assert b"404" in missing and missing.endswith(b"\r\n\r\n")


def test_a_request_may_be_typed_by_hand(a: Host, b: Host) -> None:
    assert ask(a, "\nGET / HTTP/1.0\n\n").endswith(PAGE)


def test_a_folder_sends_on_to_its_page(a: Host, b: Host) -> None:
    page = http.get(a, "http://b//folder")
    assert (page.status, page.headers["location"]) == (301, "/folder/")
    assert http.get(a, "http://b/folder/").body == b"inside"
    assert http.get(a, "http://b/folder/nothing/").status == 404


@pytest.mark.feature("Applications", "The Web server serves nothing outside of its folder")
@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/%2e%2e/secret.txt", "/folder/../../secret.txt", "/way-out", "//../secret.txt", "/..",
     "/..%2fsecret.txt", "http://b/../secret.txt"],
)  # fmt: skip
def test_there_is_no_way_out_of_the_folder(a: Host, b: Host, path: str) -> None:
    answer = ask(a, f"GET {path} HTTP/1.1\r\nHost: b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"not for you" not in answer


@pytest.mark.parametrize(
    "request_, status",
    [
        ("GET /nothing HTTP/1.0\r\n\r\n", 404),
        ("GET /index.html/ HTTP/1.0\r\n\r\n", 404),
        (f"GET /{'x' * 5000} HTTP/1.0\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello", 405),
        ("DELETE / HTTP/1.0\r\n\r\n", 405),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: b\r\nHost: c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : b\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\nnonsense\r\n\r\n", 400),
        ("GET /%00 HTTP/1.0\r\n\r\n", 400),
        ("GET /%ff HTTP/1.0\r\n\r\n", 400),
        ("GET /circle HTTP/1.0\r\n\r\n", 404),
        ("GET http://[ HTTP/1.0\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505),
        (f"GET / HTTP/1.0\r\nX: {'x' * 20000}\r\n\r\n", 431),
    ],
)
def test_what_cannot_be_served_is_told(a: Host, b: Host, request_: str, status: int) -> None:
    answer = ask(a, request_)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert (b"Allow: GET, HEAD" in answer) == (status == 405)
    assert http.get(a, "http://b/").body == PAGE


def test_a_refused_upload_ends_with_its_answer_not_with_a_reset(a: Host, b: Host) -> None:
    with a.connect(("b", 80)) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000))
        assert read_answer(s)[0] == "HTTP/1.1 405 Method Not Allowed"
        assert s.recv(1) == b""


@pytest.mark.feature("Applications", "Servers outlive clients that abort, vanish, stall or read slowly")
def test_the_server_outlives_its_clients(
    net: Network, a: Host, b: Host, capfd: pytest.CaptureFixture[str]
) -> None:
    aborted = a.connect(("b", 80))
    aborted.sendall(b"GET /big.bin HTTP/1.1\r\nHost: b\r\n\r\n")
    aborted.recv(1000)
    aborted.close()  # with bytes unread: a reset
    silent = a.connect(("b", 80))
    half = a.connect(("b", 80))
    half.sendall(b"GET / HT")
    gone = a.connect(("b", 80))
    gone.sendall(b"GET / HTTP/1.1\r\nHost: b\r\n")
    gone.shutdown(posix.SHUT_WR)
    assert gone.recv(1) == b""
    unread = a.connect(("b", 80))
    unread.sendall(b"GET /big.bin HTTP/1.1\r\nHost: b\r\n\r\n")
    assert http.get(a, "http://b/").body == PAGE
    net.sleep(70)
    assert silent.recv(1) == half.recv(1) == b"", "whoever is silent for a minute is given up"
    assert [p.name for p in net.simulator._programs if not p.done] == ["b.serve"], "every program has ended"
    assert capfd.readouterr().err == ""


def test_a_client_that_writes_byte_by_byte_has_no_longer_than_the_others(
    net: Network, a: Host, b: Host
) -> None:
    s = a.connect(("b", 80))
    started = net.now
    try:
        for byte in b"GET / HTTP/1.0\r\nX: " + b"x" * 50:
            s.send(bytes([byte]))
            net.sleep(5)
    except OSError:
        pass
    assert 60 < net.now - started < 100


def test_a_slow_reader_gets_all_of_it(net: Network, a: Host, b: Host, site: Path) -> None:
    s = a.socket()
    s.setsockopt(posix.SOL_SOCKET, posix.SO_RCVBUF, 20_000)
    s.connect(("b", 80))
    s.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
    got = b""
    while piece := s.recv(20_000):
        got += piece
        net.sleep(1)
    assert got.partition(b"\r\n\r\n")[2] == (site / "big.bin").read_bytes()


def test_many_clients_at_once(net: Network, a: Host, b: Host) -> None:
    programs = [a.spawn(http.get, a, "http://b/big.bin") for _ in range(8)]
    pages = [program.join(1000) for program in programs]
    assert len({page.body for page in pages if isinstance(page, http.Response)}) == 1


def test_no_more_than_so_many_are_served_at_once(net: Network, a: Host, site: Path) -> None:
    b = net.hosts["b"]
    b.spawn(lambda: http.serve(b, site, most=2))
    first, second = a.connect(("b", 80)), a.connect(("b", 80))
    third = a.spawn(http.get, a, "http://b/")
    net.sleep(1)
    assert not third.done
    first.close()
    assert third.join() == http.get(a, "http://b/")
    second.close()


def test_a_server_waits_longer_than_an_hour_for_its_first_client(net: Network, a: Host, b: Host) -> None:
    net.sleep("2 h")
    assert http.get(a, "http://b/").body == PAGE


def test_a_folder_that_is_none_is_told(
    net: Network, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    b = net.hosts["b"]
    with pytest.raises(NotADirectoryError, match="is no folder"):
        b.spawn(http.serve, b, tmp_path / "nothing").join()


@pytest.mark.parametrize(
    "url",
    [
        "b",
        "https://b/",
        "http://",
        "http://b:x/",
        "http://b:99999/",
        "http://[",
        "http://b/a b",
        "http://b/ä",
    ],
)
def test_what_is_no_url_is_told(a: Host, url: str) -> None:
    with pytest.raises(ValueError, match=r"is no (URL|path)"):
        http.get(a, url)


@pytest.mark.parametrize(
    "answer, words",
    [
        (b"", "0 bytes that are no answer"),
        (b"hello\r\n\r\n", "'hello', which is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "answered wrongly"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour", "closed after 4 of 10 bytes"),
        (b"x" * 100_000, "no answer in HTTP"),
    ],
)
def test_a_server_that_answers_nonsense_is_told(net: Network, a: Host, answer: bytes, words: str) -> None:
    b = net.hosts["b"]
    listener = b.listen(80)

    def server() -> None:
        with listener.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(answer)

    b.spawn(server)
    with pytest.raises(ConnectionError, match=words):
        http.get(a, "http://b/")


def test_a_body_without_a_length_ends_with_the_connection(net: Network, a: Host) -> None:
    b = net.hosts["b"]
    listener = b.listen(8080)

    def server() -> None:
        with listener.accept()[0] as connection:
            assert b"Host: b:8080\r\n" in connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nall of it")

    b.spawn(server)
    page = http.get(a, "http://b:8080")
    assert (page.body, page.headers) == (b"all of it", {"set-cookie": "a, b"})


def test_nobody_there(a: Host) -> None:
    with pytest.raises(ConnectionRefusedError):
        http.get(a, "http://b/")


def test_a_file_that_becomes_shorter_ends_the_connection(
    net: Network, a: Host, b: Host, site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    big = site / "big.bin"
    with a.connect(("b", 80)) as s:
        s.sendall(b"GET /big.bin HTTP/1.0\r\n\r\n")
        assert s.recv(10)
        os.truncate(big, 1000)
        length = big.stat().st_size
        got = b"".join(iter(lambda: s.recv(65536), b""))
    assert length < len(got) < 256 * 8000
    assert http.get(a, "http://b/").body == PAGE
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_not_there(a: Host, b: Host, site: Path) -> None:
    (site / "index.html").chmod(0)
    assert http.get(a, "http://b/").status == 404
