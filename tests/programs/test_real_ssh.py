"""asyncssh, unmodified, over a TAP, as client and as server of OpenSSH: commands, files, ports forwarded."""

import asyncio
import os
import sys

import asyncssh
import pytest

from tests.programs.peers import HERE, PAGE, THERE, need, wait_for_port
from tests.programs.test_ssh import Server, run_command

pytestmark = pytest.mark.linux

ECHO_ON_LINUX = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())
socketserver.TCPServer(("127.0.0.1", 7), Echo).serve_forever()
"""
SAY = (
    "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
    "s.sendall(b'through\\n'); print(s.makefile().read(), end='')"
)


async def echo(reader, writer):
    writer.write((await reader.readline()).upper())
    writer.close()


async def say(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"through\n")
    answer = await reader.readline()
    writer.close()
    return answer


@pytest.fixture
def sshd(linux, tmp_path):
    """OpenSSH's server on Linux; what its client has to know."""
    need("sshd")
    if linux.way == "user":
        pytest.skip("sshd needs users to change to, and this namespace has one")
    if not os.path.isdir("/run/sshd"):  # where it goes to be nobody
        os.mkdir("/run/sshd", 0o755)
    own, mine = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    own.write_private_key(tmp_path / "host_key")
    os.chmod(tmp_path / "host_key", 0o600)
    mine.write_public_key(tmp_path / "authorized")
    (tmp_path / "sshd_config").write_text(
        f"HostKey {tmp_path}/host_key\nAuthorizedKeysFile {tmp_path}/authorized\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n"
    )
    linux.run(["/usr/sbin/sshd", "-D", "-e", "-f", str(tmp_path / "sshd_config")])
    linux.wait_for_port(22)
    return {
        "host": THERE,
        "username": "root",
        "client_keys": [mine],
        "known_hosts": ([own.convert_to_public()], [], []),
        "config": None,
    }


@pytest.mark.feature("Applications", "asyncssh to OpenSSH's server: exec, SFTP, ports forwarded, over a TAP")
def test_exec_on_openssh(host, sshd):
    async def client():
        async with asyncssh.connect(**sshd) as connection:
            long = await connection.run("head -c 200000 /dev/zero | tr '\\0' z", check=True)
            both = await connection.run("read word; echo $word; echo twice >&2; exit 5", input="a word\n")
        return len(long.stdout), both.stdout, both.stderr, both.exit_status

    assert host.run(client()) == (200_000, "a word\n", "twice\n", 5)


def test_sftp_on_openssh(host, sshd, tmp_path):
    (tmp_path / "there").write_bytes(PAGE)

    async def client():
        async with asyncssh.connect(**sshd) as connection, connection.start_sftp_client() as sftp:
            await sftp.get(str(tmp_path / "there"), str(tmp_path / "here"))
            await sftp.put(str(tmp_path / "here"), str(tmp_path / "back"))
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat(str(tmp_path / "none"))
            return await sftp.listdir(str(tmp_path))

    assert {"there", "back"} <= set(host.run(client()))
    assert (tmp_path / "back").read_bytes() == PAGE


def test_ports_forwarded_by_openssh(linux, host, sshd):
    linux.run([sys.executable, "-c", ECHO_ON_LINUX])
    linux.wait_for_port(7)

    async def client():
        server = await asyncio.start_server(echo, "127.0.0.1", 8)
        async with asyncssh.connect(**sshd) as connection:
            local = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", 7)
            answer = await say(local.get_port())
            # Linux listens at the other, and what connects there comes out here.
            remote = await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 8)
            code = SAY.replace("int(sys.argv[1])", str(remote.get_port()))
            other = await connection.run(f'{sys.executable} -c "{code}"', check=True)
        server.close()
        return answer, other.stdout

    assert host.run(client()) == (b"THROUGH\n", "THROUGH\n")


# --- OpenSSH's client comes


@pytest.fixture
def client(host, tmp_path):
    """An asyncssh server on the labstack host; the options of ssh and sftp that let them in."""
    need("ssh", "sftp")
    key, mine = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    mine.write_private_key(tmp_path / "id")
    os.chmod(tmp_path / "id", 0o600)
    (tmp_path / "known").write_text(f"{HERE} {key.export_public_key().decode()}")

    async def serve():
        options = {"server_host_keys": [key], "sftp_factory": True, "server_factory": Server}
        await asyncssh.listen("", 22, process_factory=run_command, **options)

    host.run(serve())
    return ["-F", "/dev/null", "-i", str(tmp_path / "id"), "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={tmp_path}/known", "-o", "GlobalKnownHostsFile=/dev/null"]  # fmt: skip


@pytest.mark.feature("Applications", "OpenSSH's client to asyncssh: exec, SFTP, ports forwarded, over a TAP")
def test_openssh_runs_a_command(linux, client):
    program = linux.run(["ssh", *client, f"me@{HERE}", "uptime"])
    assert program.wait(30) == 7, program.output
    assert sorted(program.output.splitlines()) == ["and more", "uptime on b"]


def test_openssh_fetches_and_brings_files(linux, client, tmp_path):
    (tmp_path / "there").write_bytes(PAGE)
    (tmp_path / "batch").write_text("get there here\nput here back\n")
    words = ["sftp", "-b", str(tmp_path / "batch"), *client, f"me@{HERE}:{tmp_path}"]
    linux.check(words, cwd=tmp_path)
    assert (tmp_path / "back").read_bytes() == PAGE


def test_openssh_forwards_ports(linux, host, client):
    host.run(asyncio.start_server(echo, "127.0.0.1", 7))
    ways = ["-L", "7001:127.0.0.1:7", "-R", "7002:127.0.0.1:8"]
    linux.run([sys.executable, "-c", ECHO_ON_LINUX.replace("7)", "8)")])
    linux.wait_for_port(8)
    ssh = linux.run(["ssh", *client, "-N", "-o", "ExitOnForwardFailure=yes", *ways, f"me@{HERE}"])
    linux.wait_for_port(7001)
    assert linux.check([sys.executable, "-c", SAY, "7001"]).stdout == "THROUGH\n", ssh.output
    wait_for_port(host, 7002)
    assert host.run(say(7002)) == b"THROUGH\n"
