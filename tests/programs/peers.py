"""Real peers: programs that run on Linux's own stack, at the other end of a TAP."""

import os
import shutil

import pytest

from labstack.linux import LinuxPeer
from tests.sockets.tls_scene import real_certificates

HERE, THERE = "192.168.77.2", "192.168.77.1"
"""labstack's address, and Linux's."""
PAGE = os.urandom(300_000)


def need(*programs):
    for program in programs:
        if shutil.which(program) is None and not os.path.exists(f"/usr/sbin/{program}"):
            pytest.skip(f"needs {program}")


def nginx(linux: LinuxPeer, folder):
    """nginx on Linux: `PAGE` as /page over HTTP and HTTPS; the authority to trust."""
    need("nginx")
    authority, _ = real_certificates(THERE, folder)
    (folder / "page").write_bytes(PAGE)
    (folder / "nginx.conf").write_text(
        f"user root; daemon off; master_process off; pid {folder}/pid; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body;\n"
        f"server {{ listen 80; listen 443 ssl; root {folder};\n"
        f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; }} }}\n"
    )
    linux.run(["nginx", "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")])
    linux.wait_for_port(443)
    return authority


def wait_for_port(host, port):
    """Until a program on the labstack host listens there; those that were started beside us need a moment."""
    deadline = host.now + 10
    while not any(at == port for _, at in host.tcp.listeners):
        assert host.now < deadline, f"nobody listens at port {port}"
        host.sleep("10 ms")
