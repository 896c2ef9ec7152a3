"""Clocks that are wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from tests.faults import evidence
from tests.faults.journal import Act
from tests.faults.load import Load, Target
from tests.faults.nemeses import MARATHON
from tests.faults.registry import Sabotaged, ScenarioRun, scenario
from tests.faults.scenario_run import import_campaign

INTAKE: Final = "petitions-intake"
COUNTER: Final = "petitions-counter"
DAY_S: Final = 86_400
PUBLISHED_S: Final = 3.0
"""Totals are published every second."""
_FREEZES: Final = "SELECT count(*) FROM freezes WHERE campaign = $1"
PRELOADS: Final = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def _zulu(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@scenario("wrong-clock", rows="20", without=(Sabotaged("own-clock", (INTAKE,), "H"),))
async def wrong_clock(run: ScenarioRun) -> None:
    """The intake a day ahead, the counter a day behind, marathon a day ahead: campaigns keep the broker's hours."""
    run.expected.cut_off = True
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    for name, opens, closes in (("open", now - hour, now + hour), ("later", now + hour, now + 3 * hour)):
        await import_campaign(run.stand, f"{name}-{run.campaign}", opens=_zulu(opens), closes=_zulu(closes))
    for name, offset in ((INTAKE, DAY_S), (COUNTER, -DAY_S), (MARATHON, DAY_S)):
        await run.stand.restart(name, sabotage="wrong-clock", CLOCK_OFFSET_SECONDS=str(offset))
        await run.load.reach(100)
        await _campaigns_keep_their_hours(run)
    await run.wait(PUBLISHED_S)
    async with evidence.database(run.stand.databases["marathon"]) as connection:
        frozen = await connection.fetchval(_FREEZES, f"open-{run.campaign}")
    run.require(not frozen, "H: a campaign that is open is about to be frozen by a wrong clock")
    for name in (INTAKE, COUNTER, MARATHON):
        await run.stand.restart(name)
    run.heal()


async def _campaigns_keep_their_hours(run: ScenarioRun) -> None:
    origin = run.stand.origin
    for name, wanted in (("open", 202), ("later", 422)):
        other = Load(Target(origin("petitions"), origin("letters"), f"{name}-{run.campaign}"), 1, 0)
        answer = await other.post(Act("signature", 1))
        status = answer.status if answer else 0
        run.require(status == wanted, f"H: a campaign that is {name} answers {status} by a wrong clock")
        await other.cancel()


def _libfaketime() -> str:
    given = os.environ.get("LIBFAKETIME", "")
    found = [given] if given else [str(path) for pattern in PRELOADS for path in Path("/").glob(pattern[1:])]
    if not found:
        pytest.skip("libfaketime is not installed (Debian: libfaketime), and LIBFAKETIME names none")
    return found[0]


@scenario("wrong-clock-of-the-system", rows="20", without=(Sabotaged("own-clock", (INTAKE,), "H"),))
async def wrong_clock_of_the_system(run: ScenarioRun) -> None:
    """As wrong-clock, with the clock of the operating system wrong for the intake and the counter (libfaketime)."""
    run.expected.cut_off = True
    preload = _libfaketime()
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    for name, opens, closes in (("open", now - hour, now + hour), ("later", now + hour, now + 3 * hour)):
        await import_campaign(run.stand, f"{name}-{run.campaign}", opens=_zulu(opens), closes=_zulu(closes))
    for name, offset in ((INTAKE, "+1d"), (COUNTER, "-1d")):
        await run.stand.restart(name, LD_PRELOAD=preload, FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1")
        await run.load.reach(100)
        await _campaigns_keep_their_hours(run)
    for name in (INTAKE, COUNTER):
        await run.stand.restart(name)
    run.heal()
