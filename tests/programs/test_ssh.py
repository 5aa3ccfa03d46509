"""asyncssh, unmodified, in virtual time: commands, files, and a port forwarded."""

import asyncio

import asyncssh
import pytest


@pytest.fixture(scope="module")
def key():
    return asyncssh.generate_private_key("ssh-ed25519")


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

    def connection_requested(self, *where):
        return True

    def server_requested(self, *where):
        return True


def run_command(process):
    process.stdout.write(f"{process.command} on b\n")
    process.stderr.write("and more\n")
    process.exit(7)


@pytest.fixture
def server(two, key, tmp_path):
    async def serve():
        options = {"server_host_keys": [key], "sftp_factory": True, "server_factory": Server}
        await asyncssh.listen("", 22, process_factory=run_command, **options)

    two[1].run(serve())
    (tmp_path / "there").write_bytes(b"bytes" * 20_000)
    return {"host": "b", "known_hosts": None, "username": "me", "client_keys": None, "config": None}


@pytest.mark.feature("Applications", "asyncssh (exec, SFTP, port forwarding), unmodified")
def test_exec(two, server):
    async def client():
        async with asyncssh.connect(**server) as connection:
            return await connection.run("hostname")

    done = two[0].run(client())
    assert (done.stdout, done.stderr, done.exit_status) == ("hostname on b\n", "and more\n", 7)


def test_sftp(two, server, tmp_path):
    async def client():
        async with asyncssh.connect(**server) as connection, connection.start_sftp_client() as sftp:
            await sftp.get(str(tmp_path / "there"), str(tmp_path / "here"))
            await sftp.put(str(tmp_path / "here"), str(tmp_path / "back"))
            return await sftp.listdir(str(tmp_path))

    assert {"there", "back"} <= set(two[0].run(client()))
    assert (tmp_path / "back").read_bytes() == b"bytes" * 20_000


def test_a_forwarded_port(two, server):
    a, b = two

    async def echo(reader, writer):
        writer.write((await reader.readline()).upper())
        writer.close()

    async def client():
        async with asyncssh.connect(**server) as connection:
            listener = await connection.forward_local_port("127.0.0.1", 0, "10.0.0.2", 7)
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
            writer.write(b"through\n")
            answer = await reader.readline()
            writer.close()
            listener.close()
            return answer

    b.run(asyncio.start_server(echo, port=7))
    assert a.run(client()) == b"THROUGH\n"
