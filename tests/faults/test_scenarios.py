"""Every fault under load, judged from outside."""

from __future__ import annotations

import pytest

from tests.faults.conftest import SEED, Stands
from tests.faults.registry import Scenario
from tests.faults.running import run
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.asyncio(loop_scope="session")

BY_LAYOUT = sorted(SCENARIOS.values(), key=lambda one: (one.layout.brokers, one.layout.disks, one.ruins))


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, id=one.name, marks=pytest.mark.fault(one.name, one.smoke)) for one in BY_LAYOUT],
)
async def test_nothing_that_must_hold_breaks(scenario: Scenario, stands: Stands) -> None:
    stand, tallies = await stands.take(scenario.layout)
    verdict = await run(scenario, stand, tallies, SEED)
    assert not verdict.broken, "\n".join(verdict.broken)
