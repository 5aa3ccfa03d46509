"""What the programs of other people are run on: two hosts in virtual time."""

import pytest

from labstack import Network
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
