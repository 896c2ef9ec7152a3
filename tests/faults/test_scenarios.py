"""Every fault under load, judged from outside."""

from __future__ import annotations

import pytest

from tests.faults import report
from tests.faults.conftest import SEED, Stands
from tests.faults.registry import Scenario
from tests.faults.scenario_run import run
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.asyncio(loop_scope="session")

BY_LAYOUT = sorted(SCENARIOS.values(), key=lambda one: (one.layout.brokers, one.layout.disks, one.ruins))


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, id=one.name, marks=pytest.mark.fault(one.name, one.smoke, False)) for one in BY_LAYOUT],
)
async def test_what_must_hold_holds(scenario: Scenario, stands: Stands) -> None:
    try:
        stand, tallies = await stands.acquire(scenario.layout)
        verdict = await run(scenario, stand, tallies, SEED)
    except pytest.skip.Exception as skipped:
        report.update(scenario.name, verdict=None, skipped=str(skipped))
        raise
    report.update_verdict(scenario, verdict, SEED)
    if verdict.broken:
        report.keep_logs(scenario, stand.home.logs)
    assert not verdict.broken, "\n".join(verdict.broken)
