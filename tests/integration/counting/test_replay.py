"""Counting a topic again, and erasing a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from services.petitions.consumers import SIGNATURES
from shared.clock import SystemClock
from shared.counting.replay import Report, refill, replay
from shared.counting.submission_store import erase
from shared.database import connected, create_pool
from shared.errors import SetupError
from shared.events.actions import ActionReference
from shared.kafka.topic_check import administrator
from tests.support.counting import World, key_of, signature, world

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
MakeDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def signatures(platform: Endpoints, make_database: MakeDatabase) -> AsyncIterator[World]:
    async with world(SIGNATURES, await make_database("petitions"), platform["kafka"]) as made:
        yield made


async def history(made: World) -> None:
    """Something of everything."""
    for number in range(40):
        await made.say("submitted", key_of(str(number)), signature(str(number), country=("FR", "PE")[number % 2]))
    for number in range(50):
        await made.say("withdrawn", key_of(str(number * 3)), REFERENCE)
    for number in range(0, 40, 5):
        await made.say("submitted", key_of(str(number)), signature(f"{number} again"))
    await made.count()


async def reports(made: World) -> list[Report]:
    async with aclosing(replay(made.database, made.kafka, made.counted)) as found:
        return [report async for report in found]


async def differences(made: World) -> list[str]:
    return [difference for report in await reports(made) for difference in report.differences]


async def test_a_replay_from_the_start_gives_what_is_held(signatures: World) -> None:
    await history(signatures)
    found = await reports(signatures)
    assert [report.differences for report in found] == [[]] * 4
    assert {report.partition: tuple(report.checked) for report in found} == {
        partition: (0, end) for partition, end in (await signatures.ends()).items()
    }
    assert sum(report.rows for report in found) == 40


async def test_a_replay_finds_a_row_that_was_changed_invented_or_lost(signatures: World) -> None:
    await history(signatures)
    await signatures.pool.execute("UPDATE signatures SET state = 'c' WHERE key = $1", key_of("1"))
    await signatures.pool.execute("DELETE FROM signatures WHERE key = $1", key_of("2"))
    await signatures.pool.execute("UPDATE signatures SET key = '\\x00' WHERE key = $1", key_of("4"))
    await signatures.pool.execute("DELETE FROM dead_letters WHERE key = $1", key_of("45"))
    found = await differences(signatures)
    assert sorted(difference.split(": ")[1].rpartition(" at ")[0] for difference in found) == [
        "a dead letter on one side only,",
        "nothing was submitted for a row that was first submitted",
        "the log gives another row than the one that was first submitted",
        "there is no row for a key that was first submitted",
        "there is no row for a key that was first submitted",
    ]


async def test_a_replay_of_a_part_says_which_part(signatures: World) -> None:
    await history(signatures)
    ends = await signatures.ends()
    cuts = {partition: end // 2 for partition, end in ends.items()}
    async with administrator(signatures.kafka) as admin:
        await admin.delete_records(
            {TopicPartition(signatures.topic, number): RecordsToDelete(cut) for number, cut in cuts.items()}
        )
    found = await reports(signatures)
    assert {report.partition: tuple(report.checked) for report in found} == {
        partition: (cuts[partition], end) for partition, end in ends.items()
    }
    assert [report.differences for report in found] == [[]] * 4
    assert sum(report.unknown for report in found) > 0


async def test_a_fresh_database_is_filled_with_the_same_rows_and_nobody_is_told(
    signatures: World, make_database: MakeDatabase
) -> None:
    await history(signatures)
    fresh = await make_database("petitions")
    pool = await create_pool(fresh, application_name="test")
    try:
        await refill(pool, signatures.kafka, signatures.counted, SystemClock())
        rows = "SELECT * FROM signatures AS s JOIN dimensions AS d ON d.id = s.dimensions ORDER BY key"
        without = ("id", "dimensions")
        filled = [{k: v for k, v in row.items() if k not in without} for row in await pool.fetch(rows)]
        held = [{k: v for k, v in row.items() if k not in without} for row in await signatures.pool.fetch(rows)]
        assert filled == held
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
        with pytest.raises(SetupError, match="already"):
            await refill(pool, signatures.kafka, signatures.counted, SystemClock())
    finally:
        await pool.close()


async def test_erasure_takes_the_sealed_data_and_leaves_the_count(signatures: World) -> None:
    ana = key_of("ana")
    public = {"public_name": True, "confirmed_at": "2026-12-01T12:00:00Z"}
    await signatures.say("submitted", ana, signature("ana", **public))
    await signatures.say("submitted", ana, signature("ana maria"))
    await signatures.say("submitted", key_of("bea"), signature("bea", **public))
    await signatures.count()
    async with connected(signatures.pool) as connection, connection.transaction():
        await erase(connection, signatures.counted, ana)
    kept = "SELECT sealed FROM submissions ORDER BY sealed"
    assert [bytes(row["sealed"]) for row in await signatures.pool.fetch(kept)] == [b"sealed data of bea"]
    assert [row["key"] for row in await signatures.pool.fetch("SELECT key FROM signatories")] == [key_of("bea")]
    assert (await signatures.rows())[ana]["state"] == "c"
    assert await differences(signatures) == []
    await signatures.say("submitted", ana, signature("ana"))
    await signatures.count()
    assert len(await signatures.pool.fetch(kept)) == 2
    assert (await signatures.rows())[ana]["state"] == "c"
