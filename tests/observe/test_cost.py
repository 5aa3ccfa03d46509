"""What events cost while nobody listens."""

import pytest

from labstack.bench import _simulated, _unheard


@pytest.mark.check
@pytest.mark.feature("Observation", "Events cost less than 1 % while nobody listens (`labstack bench`)")
def test_events_that_nobody_hears_cost_nothing_to_speak_of() -> None:
    assert 99 < _unheard(_simulated()) <= 100
