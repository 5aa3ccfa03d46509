"""`labstack run`: Python programs over a TAP, against a real Linux kernel and what runs on it."""

import re
import signal
import subprocess
import sys
import textwrap

import pytest

from labstack.cli import main
from labstack.linux import LinuxPeer

PLACE = ["--tap", "lab0", "--address", "10.0.0.2/24"]
COMMAND = [sys.executable, "-c", "import sys; from labstack.cli import main; sys.exit(main())"]


@pytest.fixture
def kernel():
    """A namespace with a TAP, lab0, where Linux is 10.0.0.1."""
    with LinuxPeer() as kernel:
        kernel.check(["ip", "tuntap", "add", "mode", "tap", "name", "lab0"])
        kernel.check(["ip", "address", "add", "10.0.0.1/24", "dev", "lab0"])
        kernel.check(["ip", "link", "set", "lab0", "up"])
        yield kernel


def run(kernel, *words):
    return kernel.run([*COMMAND, "run", *PLACE, "--", "python", *words])


@pytest.mark.linux
@pytest.mark.feature("Command line", "`labstack run` runs any Python program over a TAP")
def test_a_script_fetches_from_linux(kernel, tmp_path):
    (tmp_path / "page").write_bytes(b"p" * 300_000)
    kernel.run([sys.executable, "-m", "http.server", "8000"], cwd=tmp_path)
    kernel.wait_for_port(8000)
    (tmp_path / "beside.py").write_text("URL = 'http://10.0.0.1:8000/'\n")
    script = tmp_path / "fetch.py"
    script.write_text(
        "import socket, sys, urllib.request\n"
        "from beside import URL\n"
        "page = urllib.request.urlopen(URL + sys.argv[1])\n"
        "print(len(page.read()), socket.gethostname(), sys.argv[0].endswith('fetch.py'))\n"
        "sys.exit(3)\n"
    )
    program = run(kernel, str(script), "page")
    assert program.wait(30) == 3
    assert program.output == "300000 labstack True\n"


@pytest.mark.linux
def test_requests_and_a_name_of_the_machines(kernel, tmp_path):
    kernel.run([sys.executable, "-m", "http.server", "8000"], cwd=tmp_path)
    kernel.wait_for_port(8000)
    code = (
        "import requests, socket; print(requests.get('http://10.0.0.1:8000/').status_code);"
        "print(socket.gethostbyname('localhost'))"
    )
    program = run(kernel, "-c", code)
    assert program.wait(30) == 0, program.output
    assert program.output == "200\n127.0.0.1\n"


@pytest.mark.linux
def test_curl_fetches_from_a_module(kernel, tmp_path):
    """Python's own Web server, threads and all; Ctrl-C ends it as it ends python."""
    (tmp_path / "page").write_bytes(b"q" * 500_000)
    program = run(kernel, "-m", "http.server", "80", "--directory", str(tmp_path))
    got = kernel.check(["curl", "-sSf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1",
                        "http://10.0.0.2/page"]).stdout  # fmt: skip
    assert len(got) == 500_000
    many = [f"http://10.0.0.2/page?{n}" for n in range(5)]
    assert len(kernel.check(["curl", "-sSf", "--parallel", *many]).stdout) == 5 * 500_000
    program.send_signal(signal.SIGINT)
    assert program.wait(10) == 0


@pytest.mark.linux
def test_uvicorn_serves_curl(kernel, tmp_path):
    (tmp_path / "app.py").write_text(
        "import uvicorn\nfrom starlette.applications import Starlette\n"
        "from starlette.responses import PlainTextResponse\nfrom starlette.routing import Route\n"
        "app = Starlette(routes=[Route('/', lambda request: PlainTextResponse('from starlette'))])\n"
        "uvicorn.run(app, host='0.0.0.0', port=80, log_level='error')\n"
    )
    program = run(kernel, str(tmp_path / "app.py"))
    got = kernel.check(["curl", "-sSf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1",
                        "http://10.0.0.2/"]).stdout  # fmt: skip
    assert got == "from starlette"
    program.send_signal(signal.SIGTERM)
    program.wait(10)


@pytest.mark.linux
def test_the_last_bytes_arrive(kernel):
    """The program ends while most of what it sent is still in the send buffer."""
    listen = (
        "import socket; s = socket.create_server(('', 9)); c = s.accept()[0]; n = 0\n"
        "while d := c.recv(65536): n += len(d)\nprint(n)"
    )
    sink = kernel.run([sys.executable, "-c", listen])
    kernel.wait_for_port(9)
    code = "import socket; s = socket.create_connection(('10.0.0.1', 9)); s.sendall(b'x' * 200_000)"
    program = run(kernel, "-c", code)
    assert program.wait(30) == 0, program.output
    assert sink.wait(10) == 0
    assert sink.output == "200000\n"


SCRIPTS = {
    "asyncio": """
        import asyncio
        async def main():
            async def echo(reader, writer):
                writer.write((await reader.readline()).upper())
                writer.close()
            server = await asyncio.start_server(echo, port=7)
            async def ask(number):
                reader, writer = await asyncio.open_connection("10.0.0.2", 7)
                writer.write(b"n%d\\n" % number)
                answer = await reader.read()
                writer.close()
                return answer
            answers = await asyncio.gather(*(ask(n) for n in range(20)))
            reader, writer = await asyncio.open_connection("10.0.0.1", 8000)
            writer.write(b"GET /page HTTP/1.0\\r\\n\\r\\n")
            page = await reader.read()
            print(answers == [b"N%d\\n" % n for n in range(20)], page.endswith(b"p" * 1000))
        asyncio.run(main())
        """,
    "requests and threads": """
        import requests, threading
        got = []
        def get(number):
            got.append(requests.get(f"http://10.0.0.1:8000/page?{number}").content)
        threads = [threading.Thread(target=get, args=(n,)) for n in range(5)]
        for each in threads: each.start()
        for each in threads: each.join()
        print(len(got) == 5, set(got) == {b"p" * 300_000})
        """,
    "httpx and aiohttp": """
        import aiohttp, asyncio, httpx
        async def main():
            async with aiohttp.ClientSession() as session, session.get("http://10.0.0.1:8000/page") as answer:
                one = await answer.read()
            async with httpx.AsyncClient() as client:
                two = (await client.get("http://10.0.0.1:8000/page")).content
            return one, two
        one, two = asyncio.run(main())
        print(one == two, len(httpx.get("http://10.0.0.1:8000/page").content) == 300_000)
        """,
    "selectors and datagrams": """
        import selectors, socket
        one, two = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        one.bind(("10.0.0.2", 0))
        two.bind(("", 0))
        with selectors.DefaultSelector() as selector:
            selector.register(one, selectors.EVENT_READ)
            two.sendto(b"hello", one.getsockname())
            [(key, _)] = selector.select(5)
            print(key.fileobj is one, one.recv(10) == b"hello")
        """,
}


@pytest.mark.linux
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_of_all_kinds(kernel, tmp_path, script):
    (tmp_path / "page").write_bytes(b"p" * 300_000)
    kernel.run([sys.executable, "-m", "http.server", "8000"], cwd=tmp_path)
    kernel.wait_for_port(8000)
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPTS[script]))
    program = run(kernel, str(tmp_path / "script.py"))
    assert program.wait(30) == 0, program.output
    assert program.output == "True True\n"


@pytest.mark.linux
@pytest.mark.parametrize(
    "code, status, told",
    [
        ("raise ValueError('mine')", 1, "ValueError: mine"),
        ("import sys; sys.exit('that is all')", 1, "that is all"),
        ("import sys; sys.exit(5)", 5, ""),
        ("import socket; socket.create_connection(('10.0.0.1', 1))", 1, "ConnectionRefusedError"),
        ("import socket; socket.create_connection(('10.9.9.9', 1))", 1, "Network is unreachable"),
    ],
)
def test_a_program_that_fails_does_so_as_under_python(kernel, code, status, told):
    program = run(kernel, "-c", code)
    assert program.wait(30) == status
    assert told in program.output.strip().rpartition("\n")[2]


@pytest.mark.linux
@pytest.mark.parametrize(
    "first, place, told",
    [
        ([], ["--tap", "lab0", "--address", "10.0.0.1/24"], "the address 10.0.0.1 is taken"),
        (["ip", "link", "set", "lab0", "down"], PLACE, "the TAP lab0 is down: `ip link set lab0 up`"),
        ([], [*PLACE, "--mtu", "9000"], "--mtu 9000 does not fit lab0"),
        ([], ["--tap", "lo", "--address", "10.0.0.2/24"], "'lo' cannot be a TAP"),
        ([], ["--tap", "none", "--address", "10.0.0.2/24"], "there is no TAP none: make it"),
        ([], ["--tap", "lab0", "--address", "10.0.0.2"], "10.0.0.2"),
        ([], ["--tap", "lab0", "--address", "10.0.0.255/24"], "10.0.0.255"),
    ],
)
def test_a_place_that_cannot_be_had_is_told(kernel, first, place, told):
    if first:
        kernel.check(first)
    program = kernel.run([*COMMAND, "run", *place, "--", "python", "-c", "print('ran')"])
    assert program.wait(30) == 2
    assert told in program.output and "Traceback" not in program.output and "ran" not in program.output


@pytest.mark.linux
def test_a_tap_that_is_in_use_is_told(kernel):
    program = run(kernel, "-m", "http.server", "80")
    kernel.check(["curl", "-sSf", "--retry", "20", "--retry-connrefused", "--retry-delay", "1",
                  "http://10.0.0.2/"])  # fmt: skip
    other = run(kernel, "-c", "1")
    assert other.wait(30) == 2
    assert re.fullmatch(r"labstack: the TAP lab0 is in use by another program: [^\n]+\n", other.output)
    program.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "nothing is no Python program"),
        (["perl", "x.pl"], "perl x.pl is no Python program: write -- python SCRIPT"),
        (["python"], "python needs a program"),
        (["python", "-u", "x.py"], "python's option -u is not understood"),
        (["python", "nosuch.py"], "nosuch.py cannot be read: No such file"),
        (["python", "-c", "1 +"], "is not Python"),
        (["python", "-c", "1"], "there is no TAP nosuchtap"),
    ],
)
def test_what_cannot_be_run_is_told(words, told, capsys):
    assert main(["run", "--tap", "nosuchtap", "--address", "10.0.0.2/24", "--", *words]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"labstack: [^\n]+\n", said)
    assert told in said


def test_a_gateway_that_is_not_on_the_link_is_told(capsys):
    words = [
        "run",
        "--tap",
        "x",
        "--address",
        "10.0.0.2/24",
        "--gateway",
        "10.1.0.1",
        "--",
        "python",
        "-c",
        "1",
    ]
    assert main(words) == 2
    assert "the gateway 10.1.0.1 must be another machine" in capsys.readouterr().err


def test_it_explains_itself():
    done = subprocess.run([*COMMAND, "run", "--help"], capture_output=True, text=True, check=True)
    assert "-- python SCRIPT" in done.stdout
