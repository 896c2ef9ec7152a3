"""Lost tally batches: the ledger is filled from the rows, and the public record names the correction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import asyncpg
import pytest

from deploy.local.endpoints import Endpoints
from deploy.recovery import lost_tallies
from services.petitions.consumers.counted import SIGNATURES
from shared.errors import SetupError
from shared.kafka.subscription_reader import SubscriptionReader
from tests.support.counting import CountingHarness, counting_harness, follow_up, key_of, signature
from tests.support.tallies import LEDGER_KEY, eventually, pool_on, running, tally_reader

PARTITION = 1
SUM = "SELECT coalesce(sum(count), 0)::int FROM cells"
HALTED = "SELECT coalesce(string_agg(halted, ', '), '') FROM sources"
ROWS = "SELECT first, next FROM ledger WHERE partition = $1 ORDER BY first"


@dataclass
class Stage:
    """A counted topic, and marathon's database."""

    harness: CountingHarness
    marathon: asyncpg.Pool
    at: Endpoints

    def reader(self) -> SubscriptionReader:
        return tally_reader(self.marathon, self.harness.kafka, self.harness.counted.tallies.name)

    async def total(self) -> int:
        return int(await self.marathon.fetchval(SUM))

    async def halted(self) -> str:
        return str(await self.marathon.fetchval(HALTED))

    async def ranges(self) -> list[tuple[int, int]]:
        return [(row["first"], row["next"]) for row in await self.marathon.fetch(ROWS, PARTITION)]

    async def corrections(self) -> dict[str, int]:
        rows = await self.marathon.fetch("SELECT reason, sum(change)::int FROM corrections GROUP BY reason")
        return {reason: change for reason, change in rows if change}

    async def repair(self) -> list[str]:
        findings = await lost_tallies.examine(self.at, self.harness.counted)
        return await lost_tallies.repair(
            self.at, findings, "a disk died", ledger_key=LEDGER_KEY, from_start=findings.topic_replaced
        )

    async def count(self, *events: tuple[str, str], lost: bool = False) -> None:
        """Publish and count the events, each a type and a person, as one tally batch, which is sent unless `lost`."""
        for event_type, person in events:
            event = signature(person) if event_type == "submitted" else follow_up(event_type, person)
            await self.harness.publish(event_type, key_of(person), event, partition=PARTITION)
        async with self.harness.run_counter(relay=not lost):
            await self.harness.wait_until_counted()
            if not lost:
                await self.harness.wait_until(self.harness.outbox_empty)
        await self.harness.pool.execute("DELETE FROM outbox")


@pytest.fixture
async def stage(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Stage]:
    petitions, marathon = await make_database("petitions"), await make_database("marathon")
    at: Endpoints = {**platform, "databases": {"petitions": petitions, "marathon": marathon}}
    async with counting_harness(SIGNATURES, petitions, platform["kafka"]) as harness, pool_on(marathon) as pool:
        yield Stage(harness, pool, at)


async def test_nothing_is_found_where_nothing_is_missing(stage: Stage) -> None:
    await stage.count(("submitted", "ana"))
    async with running(stage.reader()):
        await eventually(stage.total, 1)
    findings = await lost_tallies.examine(stage.at, stage.harness.counted)
    assert (findings.gaps, findings.topic_replaced) == ([], False)


async def test_a_halted_ledger_goes_on_with_what_the_rows_say_and_the_public_record_names_it(stage: Stage) -> None:
    await stage.count(("submitted", "ana"), ("submitted", "bo"))
    await stage.count(("submitted", "cleo"), ("submitted", "dan"), ("confirmed", "ana"), lost=True)
    await stage.count(("submitted", "eve"))
    await stage.count(("withdrawn", "dan"))
    async with running(stage.reader()):
        await eventually(stage.halted, "a gap")
        assert await stage.total() == 2
    [gaps] = (await lost_tallies.examine(stage.at, stage.harness.counted)).gaps
    assert (list(gaps.ranges), gaps.change, await stage.total()) == ([(2, 5)], 2, 2)
    assert {cell.evidence: change for cell, change in gaps.missing.items()} == {"recorded": 1, "confirmed": 1}
    await stage.repair()
    async with running(stage.reader()):
        await stage.count(("submitted", "fay"))
        await eventually(stage.total, 5)
    assert await stage.halted() == ""
    assert (await stage.ranges())[1] == (2, 5)
    assert await stage.corrections() == {"tallies-lost": 2}
    assert await stage.marathon.fetchval("SELECT reason FROM recoveries") == "a disk died"
    assert await _by_evidence(stage) == {"recorded": 4, "confirmed": 1}
    assert (await lost_tallies.examine(stage.at, stage.harness.counted)).gaps == []


async def test_a_ledger_that_does_not_halt_yet_is_found_to_lack_the_last_batch(stage: Stage) -> None:
    await stage.count(("submitted", "ana"))
    async with running(stage.reader()):
        await eventually(stage.total, 1)
    await stage.count(("submitted", "bo"), lost=True)
    await stage.repair()
    assert (await stage.total(), await stage.ranges()) == (2, [(0, 1), (1, 2)])
    async with running(stage.reader()):
        await stage.count(("submitted", "cleo"))
        await eventually(stage.total, 3)


async def test_several_gaps_are_filled_at_once(stage: Stage) -> None:
    for person in ("ana", "bo", "cleo", "dan", "eve"):
        await stage.count(("submitted", person), lost=person in {"ana", "cleo"})
    async with running(stage.reader()):
        await eventually(stage.halted, "a gap")
    await stage.repair()
    async with running(stage.reader()):
        await eventually(stage.total, 5)
    assert await stage.ranges() == [(number, number + 1) for number in range(5)]
    assert await stage.corrections() == {"tallies-lost": 2}


async def test_a_tally_topic_that_began_anew_is_read_from_its_start(stage: Stage) -> None:
    await stage.count(("submitted", "ana"))
    async with running(stage.reader()):
        await eventually(stage.total, 1)
    # As after the broker restarted with an empty disk: the offset read up to lies beyond the end.
    await stage.marathon.execute("UPDATE positions SET next = 1000")
    findings = await lost_tallies.examine(stage.at, stage.harness.counted)
    assert findings.topic_replaced
    await stage.repair()
    assert await stage.marathon.fetchval("SELECT next FROM positions") == 0
    async with running(stage.reader()):
        await stage.count(("submitted", "bo"))
        await eventually(stage.total, 2)


async def test_a_ledger_that_went_on_meanwhile_is_left_alone(stage: Stage) -> None:
    await stage.count(("submitted", "ana"), lost=True)
    findings = await lost_tallies.examine(stage.at, stage.harness.counted)
    await stage.repair()
    with pytest.raises(SetupError, match="look again"):
        await lost_tallies.repair(stage.at, findings, "twice", ledger_key=LEDGER_KEY, from_start=False)
    assert await stage.total() == 1


async def _by_evidence(stage: Stage) -> dict[str, int]:
    rows = await stage.marathon.fetch("SELECT evidence, sum(count)::int FROM cells GROUP BY evidence")
    return dict(map(tuple, rows))
