"""Web programs by others, unmodified, over a TAP: against nginx, curl, Linux's own sockets."""

import asyncio
import http.client
import http.server
import ssl
import sys
import urllib.request

import aiohttp
import aiohttp.web
import httpx
import pytest
import requests
import websockets
import websockets.sync.client

from tests.programs.peers import HERE, PAGE, THERE, need, nginx, wait_for_port
from tests.programs.test_http import serve_starlette, upper_case
from tests.programs.test_standard_library import Page
from tests.sockets.tls_scene import real_certificates

pytestmark = pytest.mark.linux
CURL = ["curl", "-sSf"]


# --- clients, of nginx


def by_http_client(scheme, context):
    connection = (
        http.client.HTTPSConnection(THERE, context=context)
        if scheme == "https"
        else http.client.HTTPConnection(THERE)
    )
    for _ in range(2):  # on one connection
        connection.request("GET", "/page")
        got = connection.getresponse().read()
    connection.close()
    return got


def by_urllib(scheme, context):
    options = {"context": context} if scheme == "https" else {}
    return urllib.request.urlopen(f"{scheme}://{THERE}/page", **options).read()


def by_httpx(scheme, context):
    with httpx.Client(verify=context) as client:
        return client.get(f"{scheme}://{THERE}/page").content


@pytest.mark.feature("Applications", "http.client, urllib, httpx against nginx, HTTP and HTTPS, over a TAP")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("fetch", [by_http_client, by_urllib, by_httpx])
def test_blocking_clients_of_nginx(linux, host, tmp_path, fetch, scheme):
    context = ssl.create_default_context(cafile=nginx(linux, tmp_path))
    with host:
        assert fetch(scheme, context) == PAGE


@pytest.mark.feature("Applications", "requests against nginx, HTTP and HTTPS, over a TAP")
def test_requests_of_nginx(linux, host, tmp_path):
    authority = nginx(linux, tmp_path)
    with host, requests.Session() as session:
        for scheme in ("http", "https"):
            assert session.get(f"{scheme}://{THERE}/page", verify=str(authority)).content == PAGE
        assert session.get(f"http://{THERE}/none").status_code == 404
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"https://{THERE}/page")


@pytest.mark.feature("Applications", "aiohttp and httpx against nginx, many at once, over a TAP")
def test_asyncio_clients_of_nginx(linux, host, tmp_path):
    context = ssl.create_default_context(cafile=nginx(linux, tmp_path))
    urls = [f"{scheme}://{THERE}/page" for scheme in ("http", "https")] * 3

    async def by_aiohttp():
        async def get(url):
            async with session.get(url, ssl=context) as answer:
                return await answer.read()

        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*map(get, urls))

    async def by_httpx():
        async with httpx.AsyncClient(verify=context) as client:
            return [answer.content for answer in await asyncio.gather(*map(client.get, urls))]

    assert host.run(by_aiohttp()) == [PAGE] * 6
    assert host.run(by_httpx()) == [PAGE] * 6


# --- servers, for curl


@pytest.mark.feature("Applications", "HTTPS to curl, over a TAP")
def test_https_to_curl(linux, host, tmp_path):
    need("curl")
    authority, context = real_certificates(HERE, tmp_path)

    def serve():
        with http.server.ThreadingHTTPServer(("", 443), Page) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.serve_forever()

    host.spawn(serve)
    wait_for_port(host, 443)
    fetch = [*CURL, "--cacert", str(authority)]
    assert linux.check([*fetch, f"https://{HERE}/one"]).stdout == "this is /one"
    assert len(linux.check([*fetch, f"https://{HERE}/long"]).stdout) == 5000 * len("this is /long")


@pytest.mark.feature("Applications", "uvicorn serves Starlette's pages to curl, over a TAP")
def test_uvicorn_to_curl(linux, host):
    need("curl")
    host.start(serve_starlette())
    wait_for_port(host, 80)
    pages = [f"http://{HERE}/hello/{name}" for name in ("one", "two")]
    assert linux.check([*CURL, *pages]).stdout == "hello onehello two"
    assert linux.check([*CURL, f"http://{HERE}/thread"]).stdout == "from a thread: True"


@pytest.mark.feature("Applications", "aiohttp serves pages and files to curl, HTTP and HTTPS, over a TAP")
@pytest.mark.parametrize("secure", [False, True])
def test_aiohttp_to_curl(linux, host, tmp_path, secure):
    need("curl")
    authority, context = real_certificates(HERE, tmp_path)
    (tmp_path / "file").write_bytes(PAGE)

    async def upper(request):
        return aiohttp.web.Response(text=(await request.text()).upper())

    async def file(request):
        return aiohttp.web.FileResponse(tmp_path / "file")

    async def serve():
        app = aiohttp.web.Application(client_max_size=1 << 20)
        app.router.add_post("/upper", upper)
        app.router.add_get("/file", file)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, port=80, ssl_context=context if secure else None).start()

    host.run(serve())
    base = f"https://{HERE}:80" if secure else f"http://{HERE}"
    fetch = [*CURL, "--cacert", str(authority)]
    assert linux.check([*fetch, "--data-binary", "x" * 100_000, f"{base}/upper"]).stdout == "X" * 100_000
    linux.check([*fetch, "-o", str(tmp_path / "got"), f"{base}/file"])
    assert (tmp_path / "got").read_bytes() == PAGE
    linux.check([*fetch, "-o", str(tmp_path / "part"), "-r", "1000-1999", f"{base}/file"])
    assert (tmp_path / "part").read_bytes() == PAGE[1000:2000]


# --- WebSockets: the other end is aiohttp's own implementation, on Linux's sockets

TALK_SERVER = """
import aiohttp.web
async def talk(request):
    socket = aiohttp.web.WebSocketResponse(max_msg_size=1 << 20)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket
app = aiohttp.web.Application()
app.router.add_get("/", talk)
aiohttp.web.run_app(app, port=8765, print=None)
"""
TALK_CLIENT = f"""
import aiohttp, asyncio
async def talk():
    async with aiohttp.ClientSession() as session, session.ws_connect("ws://{HERE}:8765") as socket:
        for said in ("hello", "x" * 100_000):
            await socket.send_str(said)
            print((await socket.receive()).data == said.upper())
asyncio.run(talk())
"""


@pytest.mark.feature("Applications", "websockets against aiohttp on Linux's sockets, both ways, over a TAP")
def test_websockets_to_a_server(linux, host):
    linux.run([sys.executable, "-c", TALK_SERVER])
    linux.wait_for_port(8765)

    async def client():
        async with websockets.connect(f"ws://{THERE}:8765") as connection:
            await connection.send("hello")
            await connection.send("x" * 100_000)
            await (await connection.ping())
            return await connection.recv(), len(await connection.recv())

    assert host.run(client()) == ("HELLO", 100_000)
    with host, websockets.sync.client.connect(f"ws://{THERE}:8765") as connection:
        connection.send("threads")
        assert connection.recv() == "THREADS"


def test_websockets_from_a_client(linux, host):
    async def serve():
        await websockets.serve(upper_case, "0.0.0.0", 8765)

    host.run(serve())
    assert linux.check([sys.executable, "-c", TALK_CLIENT]).stdout == "True\nTrue\n"
