"""Every scenario has been seen to fail: with one protection taken out, the checker notices."""

from __future__ import annotations

import pytest

from tests.faults import report
from tests.faults.conftest import SEED, Stands
from tests.faults.registry import Scenario, Without
from tests.faults.running import run
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTICED_WITHIN_S = 15.0
"""Whoever is to be found wanting need not be waited for as long as whoever is to be trusted."""


@pytest.mark.parametrize(
    ("scenario", "without"),
    [
        pytest.param(
            one, without, id=f"{one.name}-without-{without.sabotage}", marks=pytest.mark.fault(one.name, False)
        )
        for one in SCENARIOS.values()
        for without in one.without
    ],
)
async def test_the_checker_notices_what_is_missing(scenario: Scenario, without: Without, stands: Stands) -> None:
    stand, tallies = await stands.take(scenario.layout, dict.fromkeys(without.where, without.sabotage))
    verdict = await run(scenario, stand, tallies, SEED, drain_within_s=NOTICED_WITHIN_S, longest_s=NOTICED_WITHIN_S)
    assert verdict.letters & set(without.breaks), verdict
    report.note_seen(scenario, without, verdict)
