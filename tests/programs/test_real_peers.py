"""Programs by others, unmodified, over a TAP against Linux: curl, nginx, OpenSSH, in real time."""

import asyncio
import http.server
import os
import shutil
import subprocess
import sys
from contextlib import closing

import asyncssh
import pytest
import requests

from labstack.linux import LinuxPeer
from tests.programs.test_ssh import Server, run_command
from tests.programs.test_standard_library import Page
from tests.sockets.tls_scene import real_certificates

pytestmark = pytest.mark.linux
HERE, THERE = "192.168.77.2", "192.168.77.1"


@pytest.fixture
def linux():
    with LinuxPeer() as linux:
        yield linux


@pytest.fixture
def host(linux):
    with closing(linux.host()) as host:
        yield host


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")


@pytest.mark.feature("Applications", "HTTPS to curl and from nginx, over a TAP")
def test_https_to_curl(linux, host, tmp_path):
    need("curl")
    authority, context = real_certificates(HERE, tmp_path)
    ready = []

    def serve():
        with http.server.ThreadingHTTPServer(("", 443), Page) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            ready.append(True)
            server.serve_forever()

    host.spawn(serve)
    while not ready:
        host.sleep(0.01)
    fetch = ["curl", "-sSf", "--cacert", str(authority)]
    assert linux.check([*fetch, f"https://{HERE}/one"]).stdout == "this is /one"
    assert len(linux.check([*fetch, f"https://{HERE}/long"]).stdout) == 5000 * len("this is /long")


def test_https_from_nginx(linux, host, tmp_path):
    need("nginx")
    authority, _ = real_certificates(THERE, tmp_path)
    (tmp_path / "page").write_bytes(os.urandom(300_000))
    (tmp_path / "nginx.conf").write_text(
        f"user root; daemon off; master_process off; pid {tmp_path}/pid; events {{}}\n"
        f"http {{ access_log off; server {{ listen 443 ssl; root {tmp_path};\n"
        f"ssl_certificate {tmp_path}/cert.pem; ssl_certificate_key {tmp_path}/key.pem; }} }}\n"
    )
    os.chmod(tmp_path.parent, 0o755)
    linux.run(["nginx", "-e", str(tmp_path / "errors"), "-c", str(tmp_path / "nginx.conf")])
    linux.wait_for_port(443)
    with host:
        got = requests.get(f"https://{THERE}/page", verify=str(authority)).content
    assert got == (tmp_path / "page").read_bytes()


@pytest.mark.feature("Applications", "asyncssh against OpenSSH, over a TAP")
def test_openssh_comes(linux, host, tmp_path):
    need("ssh")
    key, mine = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    mine.write_private_key(tmp_path / "id")
    os.chmod(tmp_path / "id", 0o600)

    async def serve():
        options = {"server_host_keys": [key], "sftp_factory": True, "server_factory": Server}
        await asyncssh.listen("", 22, process_factory=run_command, **options)

    host.run(serve())
    options = ["-F", "/dev/null", "-i", str(tmp_path / "id"), "-o", "StrictHostKeyChecking=no",
               "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "BatchMode=yes"]  # fmt: skip
    program = linux.run(["ssh", *options, f"me@{HERE}", "uptime"], stderr=subprocess.DEVNULL)
    assert program.wait(30) == 7, program.output
    assert program.output == "uptime on b\n"
    if shutil.which("sftp"):
        (tmp_path / "there").write_bytes(b"b" * 100_000)
        (tmp_path / "batch").write_text(f"get {tmp_path}/there {tmp_path}/here\n")
        linux.check(["sftp", "-b", str(tmp_path / "batch"), *options, f"me@{HERE}"])
        assert (tmp_path / "here").read_bytes() == b"b" * 100_000


@pytest.mark.feature("Applications", "500 connections from Linux to asyncio, over a TAP")
def test_five_hundred_connections(linux, host):
    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data.upper())
        writer.close()

    host.run(asyncio.start_server(echo, port=7, backlog=600))
    code = (
        "import socket\n"
        f"them = [socket.create_connection(('{HERE}', 7)) for _ in range(500)]\n"
        "for s in them: s.sendall(b'x')\n"
        "print(all(s.recv(9) == b'X' for s in them))\n"
    )
    assert linux.check([sys.executable, "-c", code]).stdout == "True\n"
    host.sleep(1)
    assert len(host.sockets) <= 1
