"""The repair of a log that lost counted or uncounted records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from deploy.recovery import log_refill, lost_logs
from services.petitions.consumers.counted import SIGNATURES
from shared.database import create_pool
from shared.errors import SetupError
from shared.kafka.positions import PositionLostError
from shared.kafka.topic_check import open_admin
from tests.support.counting import (
    PARTITIONS,
    CountingHarness,
    counting_harness,
    create_topics,
    follow_up,
    key_of,
    signature,
)

PARTITION = 1
"""The partition of every record in these tests."""


@dataclass
class Operator:
    """Examines and repairs the logs of a harness; `at` is what its `endpoints.json` would hold."""

    harness: CountingHarness
    at: Endpoints

    async def broken(self) -> list[lost_logs.PartitionState]:
        return [partition for partition in await lost_logs.examine(self.at, self.harness.counted) if partition.broken]

    async def repair(self, since: float | None = None) -> list[str]:
        lines = []
        for partition in await self.broken():
            lines += await lost_logs.repair(self.at, partition, since=since, reason="the disk died")
        return lines

    async def trail(self) -> list[tuple[str, str]]:
        rows = await self.harness.pool.fetch("SELECT place, reason FROM recoveries ORDER BY id")
        return [(row["place"].rpartition("/")[2], row["reason"]) for row in rows]


@pytest.fixture
async def operator(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Operator]:
    petitions, notifications = await make_database("petitions"), await make_database("notifications")
    at: Endpoints = {**platform, "databases": {"petitions": petitions, "notifications": notifications}}
    async with counting_harness(SIGNATURES, petitions, platform["kafka"]) as harness:
        yield Operator(harness, at)


async def publish(harness: CountingHarness, event_type: str, *people: str) -> None:
    for person in people:
        event = signature(person) if event_type == "submitted" else follow_up(event_type, person)
        await harness.publish(event_type, key_of(person), event, partition=PARTITION)


async def lose(harness: CountingHarness) -> None:
    """Lose the topic, as a broker does that restarts with an empty disk."""
    async with open_admin(harness.kafka) as admin:
        await admin.delete_topics([harness.topic])

        async def gone() -> bool:
            return harness.topic not in await admin.list_topics()

        await harness.wait_until(gone)
    await create_topics(harness.kafka, [harness.counted.topic])
    await harness.producer.stop()
    harness.producer = AIOKafkaProducer(bootstrap_servers=harness.kafka, acks="all", enable_idempotence=True)
    await harness.producer.start()


async def states(harness: CountingHarness) -> dict[bytes, str]:
    return {key: row["state"] for key, row in (await harness.rows()).items()}


async def tally_total(harness: CountingHarness) -> int:
    """Sum all tally batches of the partition, which must follow one another without a gap."""
    batches = sorted((b for b in await harness.tallies() if b.partition == PARTITION), key=lambda batch: batch.first)
    next_offset = 0
    for batch in batches:
        assert batch.first == next_offset
        next_offset = batch.next
    assert next_offset == (await harness.positions())[PARTITION]
    return sum(delta.change for batch in batches for delta in batch.deltas)


async def test_a_log_that_is_as_it_was_needs_nothing(operator: Operator) -> None:
    await publish(operator.harness, "submitted", "ana", "bo")
    await operator.harness.count_all()
    assert await operator.broken() == []


async def test_looking_at_a_lost_log_changes_nothing(operator: Operator) -> None:
    await publish(operator.harness, "submitted", "ana", "bo")
    await operator.harness.count_all()
    await lose(operator.harness)
    [partition] = await operator.broken()
    assert (partition.number, partition.end, partition.replaced) == (PARTITION, 0, True)
    assert partition.readers[0].problem == "the log ends at 0, before the position"
    assert await lost_logs.describe_repair(operator.at, partition, None) == "the log goes on at 2"
    assert await operator.harness.end_offsets() == dict.fromkeys(range(PARTITIONS), 0)
    assert await operator.trail() == []


async def test_after_a_lost_log_nobody_counts_twice_and_old_acts_can_be_confirmed_and_withdrawn(
    operator: Operator,
) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo", "cleo", "dan")
    await harness.count_all()
    await lose(harness)
    await operator.repair()
    assert await operator.broken() == []
    await publish(harness, "submitted", "ana", "eve")
    await publish(harness, "confirmed", "bo")
    await publish(harness, "withdrawn", "cleo")
    await harness.count_all()
    expected = {"ana": "r", "bo": "c", "cleo": "w", "dan": "r", "eve": "r"}
    assert await states(harness) == {key_of(person): state for person, state in expected.items()}
    assert await tally_total(harness) == 4
    assert await operator.trail() == [("1", "the disk died")]


async def test_what_was_taken_since_the_loss_is_counted_in_its_order_even_if_the_log_has_outgrown_the_old_one(
    operator: Operator,
) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo", "cleo")
    await harness.count_all()
    await lose(harness)
    await publish(harness, "confirmed", "ana")
    await publish(harness, "submitted", *(f"new{number}" for number in range(5)))
    await publish(harness, "withdrawn", "new0")
    await operator.repair()
    await harness.count_all()
    row_states = await states(harness)
    assert row_states[key_of("ana")] == "c"
    assert [row_states[key_of(f"new{number}")] for number in range(5)] == ["w", "r", "r", "r", "r"]
    assert await tally_total(harness) == 7


async def test_mending_that_was_broken_off_can_be_repeated(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo", "cleo")
    await harness.count_all()
    await lose(harness)
    await publish(harness, "submitted", "dan")

    async def killed(*_: object) -> None:
        raise ConnectionError

    for name in ("delete_before", "move_records"):
        with monkeypatch.context() as patched:
            patched.setattr(log_refill, name, killed)
            with pytest.raises(ConnectionError):
                await operator.repair()
    await operator.repair()
    await harness.count_all()
    assert set(await states(harness)) == {key_of(person) for person in ("ana", "bo", "cleo", "dan")}
    # Dan's submission, moved behind the lost ones only once, is the only remaining record.
    assert await harness.end_offsets() == {0: 0, PARTITION: 4, 2: 0, 3: 0}
    assert await tally_total(harness) == 4


async def test_an_older_copy_of_the_log_is_not_taken_for_a_new_one(operator: Operator) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo")
    await harness.count_all()
    await publish(harness, "withdrawn", "ana")
    await harness.count_all()
    await lose(harness)
    await publish(harness, "submitted", "ana", "bo")
    with pytest.raises(SetupError, match="that were counted, among them that at 1, accepted at"):
        await operator.repair()
    await publish(harness, "submitted", "cleo")
    [*_, last] = await harness.records(harness.topic, PARTITIONS)
    await operator.repair(since=last.timestamp / 1000)
    await harness.count_all()
    assert await states(harness) == {key_of("ana"): "w", key_of("bo"): "r", key_of("cleo"): "r"}


async def test_a_log_that_is_whole_is_not_replaced_for_one_position_that_disagrees(
    operator: Operator,
) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo")
    await harness.count_all()
    await harness.pool.execute("UPDATE positions SET digest = 'x' WHERE partition = $1", PARTITION)
    [partition] = await operator.broken()
    for attempt in (lost_logs.describe_repair(operator.at, partition, None), operator.repair()):
        with pytest.raises(SetupError, match="or that log itself"):
            await attempt
    assert (await harness.end_offsets())[PARTITION] == 2


async def test_records_that_went_before_they_were_counted_are_declared_and_skipped(operator: Operator) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo")
    await harness.count_all()
    await publish(harness, "submitted", "lost1", "lost2", "lost3", "cleo")
    async with open_admin(harness.kafka) as admin:
        await admin.delete_records({TopicPartition(harness.topic, PARTITION): RecordsToDelete(5)})
    [partition] = await operator.broken()
    assert (partition.replaced, partition.readers[0].resume_offset) == (False, 5)
    assert (
        await lost_logs.describe_repair(operator.at, partition, None)
        == "petitions.count-signatures skips 3 lost records"
    )
    lines = await operator.repair()
    assert lines == [f"{harness.topic}/{PARTITION}: petitions.count-signatures: offsets 2 to 4 were skipped"]
    await harness.count_all()
    assert set(await states(harness)) == {key_of(person) for person in ("ana", "bo", "cleo")}
    declared = [batch for batch in await harness.tallies() if batch.recovered]
    assert [(batch.first, batch.next, batch.recovered, batch.deltas) for batch in declared] == [
        (2, 5, "records-lost", [])
    ]
    assert await tally_total(harness) == 3


async def test_a_counter_that_went_on_meanwhile_is_not_overtaken(operator: Operator) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo", "cleo")
    await harness.count_all()
    await publish(harness, "submitted", "dan")
    async with open_admin(harness.kafka) as admin:
        await admin.delete_records({TopicPartition(harness.topic, PARTITION): RecordsToDelete(4)})
    [partition] = await operator.broken()
    await harness.pool.execute("UPDATE positions SET next = 4 WHERE partition = $1", PARTITION)
    with pytest.raises(PositionLostError):
        await lost_logs.repair(operator.at, partition, since=None, reason="late")
    assert await operator.trail() == []


async def test_who_mails_skips_what_is_lost_too(operator: Operator) -> None:
    harness = operator.harness
    await publish(harness, "submitted", "ana", "bo", "cleo")
    await harness.count_all()
    pool = await create_pool(operator.at["databases"]["notifications"], application_name="test")
    try:
        statement = "INSERT INTO positions (consumer_group, topic, partition, next) VALUES ('mails', $1, $2, $3)"
        await pool.execute(statement, harness.topic, PARTITION, 5)
        await lose(harness)
        await operator.repair()
        # Mails had been made of two records that nobody will ever count.
        assert (await harness.positions())[PARTITION] == 5
        assert await pool.fetchval("SELECT next FROM positions") == 5
        assert await pool.fetchval("SELECT count(*) FROM recoveries") == 1
    finally:
        await pool.close()
    await publish(harness, "submitted", "dan")
    await harness.count_all()
    assert await tally_total(harness) == 4
