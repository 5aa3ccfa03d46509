"""Mail and files by others, unmodified, over a TAP.

aiosmtpd with curl, aiosmtplib and smtplib with Exim, aioftp with curl and vsftpd, ftplib with vsftpd.
"""

import ftplib
import io
import os
import pwd
import smtplib
import ssl

import aioftp
import aiosmtplib
import pytest

from tests.programs.peers import HERE, PAGE, THERE, need
from tests.programs.test_mail_and_files import LETTER, file_server, mail_server
from tests.sockets.tls_scene import real_certificates

pytestmark = pytest.mark.linux
CURL = ["curl", "-sSf"]


# --- mail


@pytest.mark.feature("Applications", "aiosmtpd with STARTTLS takes a letter from curl, over a TAP")
@pytest.mark.parametrize("secure", [False, True])
def test_curl_brings_a_letter(linux, host, tmp_path, secure):
    need("curl")
    authority, context = real_certificates(HERE, tmp_path)
    box = mail_server(host, context if secure else None)
    options = ["--ssl-reqd", "--cacert", str(authority)] if secure else []
    words = [f"smtp://{HERE}", "--mail-from", "me@a", "--mail-rcpt", "you@b", "--upload-file", "-"]
    linux.check([*CURL, *options, *words], input=LETTER)
    assert b"hello" in box.letters[0]
    assert box.secure == [secure]


@pytest.fixture
def exim(linux, public):
    """A mail server on Linux, which puts letters for b into the file `letters`; the authority to trust."""
    need("exim4")
    if linux.way == "user":
        pytest.skip("Exim needs users to change to, and this namespace has one")
    authority, _ = real_certificates(THERE, public)
    who = pwd.getpwnam("Debian-exim")
    for name in ("spool", "mail"):
        (public / name).mkdir()
        os.chown(public / name, who.pw_uid, who.pw_gid)
    os.chown(public / "key.pem", who.pw_uid, who.pw_gid)
    (public / "exim.conf").write_text(
        f"primary_hostname = b\ndomainlist here = b\nspool_directory = {public}/spool\n"
        f"log_file_path = {public}/spool/%slog\nqueue_run_max = 0\nhost_lookup =\n"
        f"rfc1413_query_timeout = 0s\nkeep_environment =\ntls_advertise_hosts = *\n"
        f"tls_certificate = {public}/cert.pem\ntls_privatekey = {public}/key.pem\n"
        "acl_smtp_rcpt = check\nbegin acl\ncheck:\n  require encrypted = *\n  accept domains = +here\n"
        "begin routers\nlocal:\n  driver = accept\n  transport = file\n"
        f"begin transports\nfile:\n  driver = appendfile\n  file = {public}/mail/letters\n"
        "  user = Debian-exim\n"
    )
    linux.run(["/usr/sbin/exim4", "-C", str(public / "exim.conf"), "-bdf", "-oX", "25", "-oP", "/dev/null"])
    linux.wait_for_port(25)
    return authority


def delivered(host, folder):
    """What Exim has put into the file; it delivers beside the conversation."""
    letters, log = folder / "mail" / "letters", folder / "spool" / "mainlog"
    for _ in range(1000):
        if letters.exists() and "hello" in letters.read_text():
            return True
        host.sleep("10 ms")
    raise AssertionError(log.read_text())


@pytest.mark.feature("Applications", "aiosmtplib and smtplib with STARTTLS bring letters to Exim, over a TAP")
def test_aiosmtplib_to_exim(host, exim, public):
    async def send():
        context = ssl.create_default_context(cafile=exim)
        async with aiosmtplib.SMTP(hostname=THERE, port=25, start_tls=True, tls_context=context) as client:
            await client.sendmail("me@a", ["you@b"], LETTER)
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
                await client.sendmail("me@a", ["you@elsewhere"], LETTER)

    host.run(send())
    assert delivered(host, public)


def test_smtplib_to_exim(host, exim, public):
    with host, smtplib.SMTP(THERE) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):  # it wants it secret
            client.sendmail("me@a", ["you@b"], LETTER)
        client.starttls(context=ssl.create_default_context(cafile=exim))
        client.sendmail("me@a", ["you@b"], LETTER)
    assert delivered(host, public)


# --- files


@pytest.mark.feature("Applications", "aioftp serves files to curl, over a TAP")
def test_curl_fetches_and_brings_files(linux, host, tmp_path):
    need("curl")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "page").write_bytes(PAGE)
    file_server(host, shelf)
    fetch = [*CURL, "--user", "user:secret"]
    assert "page" in linux.check([*fetch, f"ftp://{HERE}/"]).stdout
    for way in ([], ["--disable-epsv"]):
        linux.check([*fetch, *way, "--output", str(tmp_path / "got"), f"ftp://{HERE}/page"])
        assert (tmp_path / "got").read_bytes() == PAGE
    linux.check([*fetch, "--upload-file", str(tmp_path / "got"), f"ftp://{HERE}/back"])
    assert (shelf / "back").read_bytes() == PAGE


@pytest.fixture
def vsftpd(linux, public):
    """An FTP server on Linux for anybody; the folder that it serves."""
    need("vsftpd")
    shelf, empty = public / "shelf", public / "empty"
    shelf.mkdir()
    empty.mkdir()
    (shelf / "page").write_bytes(PAGE)
    (shelf / "new").mkdir()
    (shelf / "new").chmod(0o777)
    (public / "vsftpd.conf").write_text(
        f"listen=YES\nlisten_ipv6=NO\nbackground=NO\nanonymous_enable=YES\nanon_root={shelf}\n"
        "write_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nseccomp_sandbox=NO\n"
        f"secure_chroot_dir={empty}\n"
    )
    linux.run(["/usr/sbin/vsftpd", str(public / "vsftpd.conf")])
    linux.wait_for_port(21)
    return shelf


@pytest.mark.feature("Applications", "aioftp and ftplib with vsftpd, over a TAP")
def test_aioftp_with_vsftpd(host, vsftpd):
    async def fetch():
        async with aioftp.Client.context(THERE, user="anonymous", password="me@a") as client:
            names = [str(path) async for path, _ in client.list()]
            async with client.upload_stream("new/big") as stream:
                await stream.write(PAGE)
            async with client.download_stream("page") as stream:
                return names, await stream.read()

    names, page = host.run(fetch())
    assert "page" in names and page == PAGE
    assert (vsftpd / "new" / "big").stat().st_size == len(PAGE)


@pytest.mark.parametrize("passive", [True, False])
def test_ftplib_with_vsftpd(host, vsftpd, passive):
    with host, ftplib.FTP(THERE) as client:
        client.login()
        client.set_pasv(passive)  # else it is Linux that connects to us
        assert "page" in client.nlst()
        client.storbinary("STOR new/big", io.BytesIO(PAGE))
        got = bytearray()
        client.retrbinary("RETR page", got.extend)
        assert got == PAGE
    assert (vsftpd / "new" / "big").stat().st_size == len(PAGE)
