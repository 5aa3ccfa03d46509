"""Who stories are told to, and what they say of the RFC.

@pytest.mark.clause("3.5", "MUST-10", "two ends may open at the same time")
@pytest.mark.beside_linux            # the kernel must do the same
@pytest.mark.beside_linux("why not") # the kernel does otherwise, and this is why
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from labstack import TcpConfig
from labstack.grading.machines import Labstack, Linux
from labstack.grading.story import Story


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "judge" not in metafunc.fixturenames:
        return
    judges: list[Any] = ["labstack"]
    beside = metafunc.definition.get_closest_marker("beside_linux")
    if beside is not None:
        marks = [pytest.mark.linux]
        if beside.args:
            marks.append(pytest.mark.xfail(strict=True, raises=AssertionError, reason=beside.args[0]))
        judges.append(pytest.param("linux", marks=marks))
    metafunc.parametrize("judge", judges, indirect=True)


@pytest.fixture(scope="session")
def linux() -> Iterator[Linux]:
    kernel = Linux()
    yield kernel
    kernel.close()


@pytest.fixture
def judge(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "linux":
        yield request.getfixturevalue("linux")
        return
    constants = request.node.get_closest_marker("constants")
    machine = Labstack(tcp=TcpConfig(**(constants.kwargs if constants else {})))
    yield machine
    machine.close()


@pytest.fixture
def judge_with() -> Iterator[Callable[..., Story]]:
    """Tell a story to a labstack of other constants: those of TcpConfig, and `mtu`."""
    machines = []

    def make(mtu: int = 1500, **constants: Any) -> Story:
        machines.append(Labstack(tcp=TcpConfig(**constants), mtu=mtu))
        return Story(machines[-1])

    yield make
    for machine in machines:
        machine.close()


@pytest.fixture
def story(judge: Any) -> Iterator[Story]:
    told = Story(judge)
    yield told
    told.close()
