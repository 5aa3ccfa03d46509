"""Mail and files by others, unmodified, in virtual time: aiosmtpd, aiosmtplib, smtplib, aioftp, ftplib."""

import asyncio
import ftplib
import io
import pathlib
import smtplib

import aioftp
import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP

LETTER = "From: me@a\r\nTo: you@b\r\nSubject: hi\r\n\r\nhello\r\n"


class Mailbox:
    """What aiosmtpd hands a letter to."""

    def __init__(self):
        self.letters = []
        self.secure = []

    async def handle_DATA(self, server, session, envelope):
        self.letters.append(envelope.content)
        self.secure.append(session.ssl is not None)
        return "250 taken"


def mail_server(host, context):
    box = Mailbox()

    async def serve():
        def session():
            return SMTP(box, hostname="b", tls_context=context, require_starttls=context is not None)

        await asyncio.get_running_loop().create_server(session, port=25)

    host.run(serve())
    return box


@pytest.mark.feature("Applications", "aiosmtpd and aiosmtplib with STARTTLS, unmodified")
@pytest.mark.parametrize("secure", [False, True])
def test_aiosmtplib(two, tls, secure):
    a, b = two
    box = mail_server(b, tls[1] if secure else None)

    async def send():
        client = aiosmtplib.SMTP(
            hostname="b", port=25, start_tls=secure, tls_context=tls[0] if secure else None
        )
        async with client:
            await client.sendmail("me@a", ["you@b"], LETTER)

    a.run(send())
    assert b"hello" in box.letters[0]
    assert box.secure == [secure]


def test_smtplib_with_starttls(two, tls):
    a, b = two
    box = mail_server(b, tls[1])
    with a, smtplib.SMTP("b") as client:
        client.starttls(context=tls[0])
        client.sendmail("me@a", ["you@b"], LETTER)
    assert box.secure == [True]


def file_server(host, folder):
    """aioftp serves this folder."""
    user = aioftp.User("user", "secret", base_path=folder, home_path=pathlib.PurePosixPath("/"))

    async def serve():
        server = aioftp.Server([user], path_io_factory=aioftp.PathIO)
        await server.start("0.0.0.0", 21)
        return server

    # It says in its answer to PASV which address it is reached at, and asks its socket.
    server = host.run(serve())
    server.ipv4_pasv_forced_response_address = host.address


@pytest.fixture
def shelf(two, tmp_path):
    """The folder that aioftp serves on b."""
    (tmp_path / "read.me").write_text("read me")
    file_server(two[1], tmp_path)
    return tmp_path


@pytest.mark.feature("Applications", "aioftp and ftplib, unmodified")
def test_aioftp(two, shelf, tmp_path):
    async def fetch():
        async with aioftp.Client.context("b", user="user", password="secret") as client:
            names = [str(path) async for path, _ in client.list()]
            async with client.upload_stream("big") as stream:
                await stream.write(b"z" * 100_000)
            async with client.download_stream("read.me") as stream:
                return names, await stream.read()

    names, text = two[0].run(fetch())
    assert "read.me" in [name.lstrip("/") for name in names]
    assert text == b"read me"
    assert (shelf / "big").stat().st_size == 100_000


def test_ftplib(two, shelf):
    with two[0], ftplib.FTP("b") as client:
        client.login("user", "secret")
        assert "read.me" in dict(client.mlsd())
        client.storbinary("STOR new", io.BytesIO(b"n" * 5000))
        got = bytearray()
        client.retrbinary("RETR new", got.extend)
        assert got == b"n" * 5000
    assert (shelf / "new").read_bytes() == b"n" * 5000
