"""Counting a topic again, and erasing a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from services.petitions.consumers.counted import SIGNATURES
from shared.clock import SystemClock
from shared.counting.replay import PartitionReport, refill, replay
from shared.counting.submission_store import erase_submissions
from shared.database import connected, create_pool
from shared.errors import SetupError
from shared.events.actions import ActionReference
from shared.kafka.topic_check import open_admin
from tests.support.counting import CountingHarness, counting_harness, key_of, signature

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
MakeDatabase = Callable[[str], Awaitable[str]]


@pytest.fixture
async def signatures(platform: Endpoints, make_database: MakeDatabase) -> AsyncIterator[CountingHarness]:
    async with counting_harness(SIGNATURES, await make_database("petitions"), platform["kafka"]) as harness:
        yield harness


async def count_history(harness: CountingHarness) -> None:
    """Count submissions, withdrawals, dead letters and repeats."""
    for number in range(40):
        await harness.publish(
            "submitted", key_of(str(number)), signature(str(number), country=("FR", "PE")[number % 2])
        )
    for number in range(50):
        await harness.publish("withdrawn", key_of(str(number * 3)), REFERENCE)
    for number in range(0, 40, 5):
        await harness.publish("submitted", key_of(str(number)), signature(f"{number} again"))
    await harness.count_all()


async def reports(harness: CountingHarness) -> list[PartitionReport]:
    async with aclosing(replay(harness.database, harness.kafka, harness.counted)) as partitions:
        return [report async for report in partitions]


async def differences(harness: CountingHarness) -> list[str]:
    return [difference for report in await reports(harness) for difference in report.differences]


async def test_a_replay_from_the_start_gives_what_is_held(signatures: CountingHarness) -> None:
    await count_history(signatures)
    partitions = await reports(signatures)
    assert [report.differences for report in partitions] == [[]] * 4
    assert {report.partition: tuple(report.offsets) for report in partitions} == {
        partition: (0, end) for partition, end in (await signatures.end_offsets()).items()
    }
    assert sum(report.rows for report in partitions) == 40


async def test_a_replay_finds_a_row_that_was_changed_invented_or_lost(signatures: CountingHarness) -> None:
    await count_history(signatures)
    await signatures.pool.execute("UPDATE signatures SET state = 'c' WHERE key = $1", key_of("1"))
    await signatures.pool.execute("DELETE FROM signatures WHERE key = $1", key_of("2"))
    await signatures.pool.execute("UPDATE signatures SET key = '\\x00' WHERE key = $1", key_of("4"))
    await signatures.pool.execute("DELETE FROM dead_letters WHERE key = $1", key_of("45"))
    texts = await differences(signatures)
    assert sorted(difference.split(": ")[1].rpartition(" at ")[0] for difference in texts) == [
        "a dead letter on one side only,",
        "nothing was submitted for a row that was first submitted",
        "the log gives another row than the one that was first submitted",
        "there is no row for a key that was first submitted",
        "there is no row for a key that was first submitted",
    ]


async def test_a_replay_of_a_part_says_which_part(signatures: CountingHarness) -> None:
    await count_history(signatures)
    ends = await signatures.end_offsets()
    cuts = {partition: end // 2 for partition, end in ends.items()}
    async with open_admin(signatures.kafka) as admin:
        await admin.delete_records(
            {TopicPartition(signatures.topic, number): RecordsToDelete(cut) for number, cut in cuts.items()}
        )
    partitions = await reports(signatures)
    assert {report.partition: tuple(report.offsets) for report in partitions} == {
        partition: (cuts[partition], end) for partition, end in ends.items()
    }
    assert [report.differences for report in partitions] == [[]] * 4
    assert sum(report.older_rows for report in partitions) > 0


async def test_a_fresh_database_is_filled_with_the_same_rows_and_nobody_is_told(
    signatures: CountingHarness, make_database: MakeDatabase
) -> None:
    await count_history(signatures)
    fresh = await make_database("petitions")
    pool = await create_pool(fresh, application_name="test")
    try:
        await refill(pool, signatures.kafka, signatures.counted, SystemClock())
        rows = "SELECT * FROM signatures AS s JOIN dimensions AS d ON d.id = s.dimensions ORDER BY key"
        omitted = ("id", "dimensions")
        filled = [{k: v for k, v in row.items() if k not in omitted} for row in await pool.fetch(rows)]
        original = [{k: v for k, v in row.items() if k not in omitted} for row in await signatures.pool.fetch(rows)]
        assert filled == original
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
        with pytest.raises(SetupError, match="already"):
            await refill(pool, signatures.kafka, signatures.counted, SystemClock())
    finally:
        await pool.close()


async def test_erasure_takes_the_sealed_data_and_leaves_the_count(signatures: CountingHarness) -> None:
    ana = key_of("ana")
    public = {"public_name": True, "confirmed_at": "2026-12-01T12:00:00Z"}
    await signatures.publish("submitted", ana, signature("ana", **public))
    await signatures.publish("submitted", ana, signature("ana maria"))
    await signatures.publish("submitted", key_of("bea"), signature("bea", **public))
    await signatures.count_all()
    async with connected(signatures.pool) as connection, connection.transaction():
        await erase_submissions(connection, signatures.counted, ana)
    query = "SELECT sealed FROM submissions ORDER BY sealed"
    assert [bytes(row["sealed"]) for row in await signatures.pool.fetch(query)] == [b"sealed data of bea"]
    assert [row["key"] for row in await signatures.pool.fetch("SELECT key FROM signatories")] == [key_of("bea")]
    assert (await signatures.rows())[ana]["state"] == "c"
    assert await differences(signatures) == []
    await signatures.publish("submitted", ana, signature("ana"))
    await signatures.count_all()
    assert len(await signatures.pool.fetch(query)) == 2
    assert (await signatures.rows())[ana]["state"] == "c"
