"""HTTP clients and servers by others, unmodified, in virtual time."""

import asyncio
import threading

import aiohttp
import aiohttp.web
import httpx
import pytest
import requests
import uvicorn
import websockets
import websockets.sync.client
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from tests.programs.test_standard_library import web


@pytest.mark.feature("Applications", "requests and httpx, unmodified")
def test_requests(two, tls, tmp_path):
    a, b = two
    b.spawn(web)
    with a, requests.Session() as session:
        for path in ("/one", "/long"):
            assert session.get(f"http://b{path}").text.startswith(f"this is {path}")
        assert requests.post("http://b/", data=b"sent").text == "this is sent"
        with pytest.raises(requests.ConnectionError):
            session.get("http://b:81/")


def test_requests_over_tls(two, tls, tmp_path):
    a, b = two
    b.spawn(web, tls[1], 443)
    authority = tmp_path / "ca.pem"
    from tests.sockets.tls_scene import _authority

    _authority()[0].cert_pem.write_to_path(authority)
    with a:
        assert requests.get("https://b/x", verify=str(authority)).text == "this is /x"
        with pytest.raises(requests.exceptions.SSLError):
            requests.get("https://b/x")


def test_a_time_out_of_requests(two, net):
    a, b = two
    b.listen(80)
    with a, pytest.raises(requests.exceptions.ReadTimeout):
        requests.get("http://b/", timeout=5)
    assert 5 < net.now < 6


def test_httpx(two, tls):
    a, b = two
    b.spawn(web)
    b.spawn(web, tls[1], 443)

    async def fetch():
        async with httpx.AsyncClient(verify=tls[0]) as client:
            both = await asyncio.gather(client.get("http://b/one"), client.get("https://b/two"))
        return [answer.text for answer in both]

    assert a.run(fetch()) == ["this is /one", "this is /two"]
    with a:
        assert httpx.get("http://b/three").text == "this is /three"


async def page(request):
    return PlainTextResponse(f"hello {request.path_params['name']}")


def blocking(request):
    return PlainTextResponse(f"from a thread: {threading.current_thread().name != 'MainThread'}")


async def slowly(request):
    async def body():
        for number in range(5):
            yield f"{number} "
            await asyncio.sleep(1)

    return StreamingResponse(body())


APP = Starlette(routes=[Route("/hello/{name}", page), Route("/thread", blocking), Route("/slowly", slowly)])


async def serve_starlette():
    await uvicorn.Server(uvicorn.Config(APP, host="0.0.0.0", port=80, log_level="error")).serve()


@pytest.mark.feature("Applications", "uvicorn and Starlette, unmodified")
def test_uvicorn_serves_starlette(two, net):
    a, b = two
    b.start(serve_starlette())
    b.sleep(1)
    with a:
        assert requests.get("http://b/hello/world").text == "hello world"
        assert requests.get("http://b/thread").text == "from a thread: True"
        before = net.now
        assert requests.get("http://b/slowly").text == "0 1 2 3 4 "
        assert 5 < net.now - before < 6


@pytest.mark.feature("Applications", "aiohttp client and server, unmodified")
@pytest.mark.parametrize("secure", [False, True])
def test_aiohttp(two, tls, tmp_path, secure):
    a, b = two
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 30_000)

    async def upper(request):
        return aiohttp.web.Response(text=(await request.text()).upper())

    async def talk(request):
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def page_file(request):
        return aiohttp.web.FileResponse(file)

    async def serve():
        app = aiohttp.web.Application()
        app.router.add_post("/upper", upper)
        app.router.add_get("/talk", talk)
        app.router.add_get("/file", page_file)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, port=80, ssl_context=tls[1] if secure else None).start()

    async def client():
        options = {"ssl": tls[0]} if secure else {}
        base = "https://b:80" if secure else "http://b"
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{base}/upper", data="hello", **options) as answer:
                assert await answer.text() == "HELLO"
            async with session.get(f"{base}/file", **options) as answer:
                assert await answer.read() == file.read_bytes()
            async with session.ws_connect(f"{base}/talk", **options) as talking:
                await talking.send_str("over a web socket")
                assert (await talking.receive()).data == "OVER A WEB SOCKET"

    b.run(serve())
    a.run(client())


async def upper_case(connection):
    async for message in connection:
        await connection.send(message.upper())


@pytest.mark.feature("Applications", "websockets, unmodified")
def test_websockets(two):
    a, b = two

    async def serve():
        async with websockets.serve(upper_case, "0.0.0.0", 8765):
            await asyncio.Event().wait()

    async def client():
        async with websockets.connect("ws://b:8765") as connection:
            await connection.send("hello")
            await asyncio.sleep(100)  # pings go on meanwhile
            await connection.send("x" * 100_000)
            return await connection.recv(), len(await connection.recv())

    b.start(serve())
    b.sleep(1)
    assert a.run(client()) == ("HELLO", 100_000)
    with a, websockets.sync.client.connect("ws://b:8765") as connection:
        connection.send("threads")
        assert connection.recv() == "THREADS"
