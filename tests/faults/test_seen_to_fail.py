"""Every scenario has been seen to fail: with one protection taken out, the checker notices."""

from __future__ import annotations

import pytest

from tests.faults import checker, report
from tests.faults.conftest import SEED, Stands
from tests.faults.registry import Sabotaged, Scenario
from tests.faults.scenario_run import run
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIRS = sorted(
    ((one, without) for one in SCENARIOS.values() for without in one.without),
    key=lambda pair: (pair[0].layout.brokers, pair[0].layout.disks, pair[1].is_disruptive),
)


@pytest.mark.parametrize(
    ("scenario", "without"),
    [
        pytest.param(
            one, without, id=f"{one.name}-without-{without.sabotage}", marks=pytest.mark.fault(one.name, False, True)
        )
        for one, without in PAIRS
    ],
)
async def test_the_checker_notices_what_is_missing(scenario: Scenario, without: Sabotaged, stands: Stands) -> None:
    sabotage = dict.fromkeys(without.where, without.sabotage)
    stand, tallies = await stands.acquire(scenario.layout, sabotage if without.is_disruptive else None)
    await stand.take_out(sabotage)
    verdict = await run(scenario, stand, tallies, SEED, drain_within_s=without.within_s, longest_s=without.within_s)
    if not without.is_disruptive:
        await stand.take_out({})
        stand.ruined = scenario.ruins or not await checker.recovers(stand)
    assert verdict.letters & set(without.breaks), verdict
    report.update_sabotaged(scenario, without, verdict)
