"""Tally batches that are lost for ever: the ledger is filled from the rows, and the public record says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import pytest

from deploy.local.endpoints import Endpoints
from deploy.recovery import lost_tallies
from services.marathon.consumers.tallies import TallyReader
from services.petitions.consumers import SIGNATURES
from shared.errors import SetupError
from shared.events.actions import ActionReference
from tests.support.counting import World, key_of, signature, world
from tests.support.tallies import eventually, pool_on, running

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
PLACE = 1
SUM = "SELECT coalesce(sum(count), 0)::int FROM cells"
HALTED = "SELECT coalesce(string_agg(halted, ', '), '') FROM sources"
ROWS = "SELECT first, next FROM ledger WHERE partition = $1 ORDER BY first"


@dataclass
class Stage:
    """A counted topic, and marathon's database."""

    made: World
    marathon: asyncpg.Pool
    at: Endpoints

    def reader(self) -> TallyReader:
        topic = self.made.counted.tallies.name
        return TallyReader(self.marathon, self.made.kafka, read=[topic], group=f"group-{topic}")

    async def total(self) -> int:
        return int(await self.marathon.fetchval(SUM))

    async def halted(self) -> str:
        return str(await self.marathon.fetchval(HALTED))

    async def ranges(self) -> list[tuple[int, int]]:
        return [(row["first"], row["next"]) for row in await self.marathon.fetch(ROWS, PLACE)]

    async def corrections(self) -> dict[str, int]:
        rows = await self.marathon.fetch("SELECT reason, sum(change)::int FROM corrections GROUP BY reason")
        return {reason: change for reason, change in rows if change}

    async def mend(self) -> list[str]:
        found = await lost_tallies.examine(self.at, self.made.counted)
        return await lost_tallies.mend(self.at, found, "a disk died", anew=found.another_log)

    async def count(self, *said: tuple[str, str], lost: bool = False) -> None:
        """Count what people say, as one tally batch, which is sent unless it is to be lost."""
        for what, person in said:
            event = signature(person) if what == "submitted" else REFERENCE
            await self.made.say(what, key_of(person), event, partition=PLACE)
        async with self.made.counting(relay=not lost):
            await self.made.until_counted()
            if not lost:
                await self.made.until(self.made.told)
        await self.made.pool.execute("DELETE FROM outbox")


@pytest.fixture
async def stage(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Stage]:
    petitions, marathon = await make_database("petitions"), await make_database("marathon")
    at: Endpoints = {**platform, "databases": {"petitions": petitions, "marathon": marathon}}
    async with world(SIGNATURES, petitions, platform["kafka"]) as made, pool_on(marathon) as pool:
        yield Stage(made, pool, at)


async def test_nothing_is_found_where_nothing_is_missing(stage: Stage) -> None:
    await stage.count(("submitted", "ana"))
    async with running(stage.reader()):
        await eventually(stage.total, 1)
    found = await lost_tallies.examine(stage.at, stage.made.counted)
    assert (found.gaps, found.another_log) == ([], False)


async def test_a_halted_ledger_goes_on_with_what_the_rows_say_and_the_public_record_names_it(stage: Stage) -> None:
    await stage.count(("submitted", "ana"), ("submitted", "bo"))
    await stage.count(("submitted", "cleo"), ("submitted", "dan"), ("confirmed", "ana"), lost=True)
    await stage.count(("submitted", "eve"))
    await stage.count(("withdrawn", "dan"))
    async with running(stage.reader()):
        await eventually(stage.halted, "a gap")
        assert await stage.total() == 2
    [gaps] = (await lost_tallies.examine(stage.at, stage.made.counted)).gaps
    assert (list(gaps.ranges), gaps.change, await stage.total()) == ([(2, 5)], 2, 2)
    assert {cell.evidence: change for cell, change in gaps.missing.items()} == {"recorded": 1, "confirmed": 1}
    await stage.mend()
    async with running(stage.reader()):
        await stage.count(("submitted", "fay"))
        await eventually(stage.total, 5)
    assert await stage.halted() == ""
    assert (await stage.ranges())[1] == (2, 5)
    assert await stage.corrections() == {"tallies-lost": 2}
    assert await stage.marathon.fetchval("SELECT reason FROM recoveries") == "a disk died"
    assert await _by_evidence(stage) == {"recorded": 4, "confirmed": 1}
    assert (await lost_tallies.examine(stage.at, stage.made.counted)).gaps == []


async def test_a_ledger_that_does_not_halt_yet_is_found_to_lack_the_last_batch(stage: Stage) -> None:
    await stage.count(("submitted", "ana"))
    async with running(stage.reader()):
        await eventually(stage.total, 1)
    await stage.count(("submitted", "bo"), lost=True)
    await stage.mend()
    assert (await stage.total(), await stage.ranges()) == (2, [(0, 1), (1, 2)])
    async with running(stage.reader()):
        await stage.count(("submitted", "cleo"))
        await eventually(stage.total, 3)


async def test_several_gaps_are_filled_at_once(stage: Stage) -> None:
    for person in ("ana", "bo", "cleo", "dan", "eve"):
        await stage.count(("submitted", person), lost=person in {"ana", "cleo"})
    async with running(stage.reader()):
        await eventually(stage.halted, "a gap")
    await stage.mend()
    async with running(stage.reader()):
        await eventually(stage.total, 5)
    assert await stage.ranges() == [(number, number + 1) for number in range(5)]
    assert await stage.corrections() == {"tallies-lost": 2}


async def test_a_tally_topic_that_began_anew_is_read_from_its_start(stage: Stage) -> None:
    await stage.count(("submitted", "ana"))
    async with running(stage.reader()):
        await eventually(stage.total, 1)
    # As after the broker came back with an empty disk: what was read lies beyond the end.
    await stage.marathon.execute("UPDATE readings SET next = 1000")
    found = await lost_tallies.examine(stage.at, stage.made.counted)
    assert found.another_log
    await stage.mend()
    assert await stage.marathon.fetchval("SELECT next FROM readings") == 0
    async with running(stage.reader()):
        await stage.count(("submitted", "bo"))
        await eventually(stage.total, 2)


async def test_a_ledger_that_went_on_meanwhile_is_left_alone(stage: Stage) -> None:
    await stage.count(("submitted", "ana"), lost=True)
    found = await lost_tallies.examine(stage.at, stage.made.counted)
    await stage.mend()
    with pytest.raises(SetupError, match="look again"):
        await lost_tallies.mend(stage.at, found, "twice", anew=False)
    assert await stage.total() == 1


async def _by_evidence(stage: Stage) -> dict[str, int]:
    rows = await stage.marathon.fetch("SELECT evidence, sum(count)::int FROM cells GROUP BY evidence")
    return dict(map(tuple, rows))
