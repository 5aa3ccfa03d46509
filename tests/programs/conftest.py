"""What the programs of other people are run on: two hosts in virtual time, or one against Linux."""

import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from labstack import Network
from labstack.linux import LinuxPeer
from tests.sockets.tls_scene import contexts, pair


@pytest.fixture
def net():
    with Network(seed=1) as network:
        yield network


@pytest.fixture
def two(net):
    """a, the client, and b, the server."""
    return pair(net)


@pytest.fixture
def tls():
    """The contexts of a client and of a server that it trusts."""
    return contexts()


@pytest.fixture
def linux(public):
    """A real kernel, at the other end of a TAP; it ends before `public` goes, for its servers write there."""
    with LinuxPeer() as linux:
        yield linux


@pytest.fixture
def host(linux):
    """The labstack host that faces `linux`, in real time."""
    with closing(linux.host()) as host:
        yield host


@pytest.fixture
def public():
    """A folder that a server may read when it has become a user of its own; `tmp_path` is only ours."""
    with tempfile.TemporaryDirectory(prefix="labstack-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
