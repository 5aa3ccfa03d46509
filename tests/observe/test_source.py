"""What a chapter shows of the package is what runs."""

import pytest

from labstack.observe.source import show
from labstack.transport.tcp.rtt import Rfc6298


def test_members_of_a_class_under_the_name_of_their_file() -> None:
    lines = show(Rfc6298, "__init__").splitlines()
    assert lines[0] == "# labstack/transport/tcp/rtt.py"
    assert lines[1].startswith("def __init__(self")


def test_a_whole_class() -> None:
    assert "class Rfc6298" in show(Rfc6298)


def test_a_member_that_is_gone_is_an_error() -> None:
    with pytest.raises(AttributeError):
        show(Rfc6298, "gone")
