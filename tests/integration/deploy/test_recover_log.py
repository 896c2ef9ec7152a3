"""A log that lost what was counted, or what was not yet: an operator makes it one that can be read on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from deploy.recovery import lost_logs, refilling
from services.petitions.consumers import SIGNATURES
from shared.database import create_pool
from shared.errors import SetupError
from shared.events.actions import ActionReference
from shared.kafka.positions import PositionLostError
from shared.kafka.topic_check import administrator
from tests.support.counting import PARTITIONS, World, create_topics, key_of, signature, world

REFERENCE = ActionReference(campaign="w4r-2026", case="azat", subject="free-azat")
PLACE = 1
"""The partition that everybody in these tests is put on."""


@dataclass
class Operator:
    """Who looks at and mends a world; `at` is what `endpoints.json` would say of it."""

    made: World
    at: Endpoints

    async def broken(self) -> list[lost_logs.Partition]:
        return [partition for partition in await lost_logs.examine(self.at, self.made.counted) if partition.broken]

    async def mend(self, since: float | None = None) -> list[str]:
        said = []
        for partition in await self.broken():
            said += await lost_logs.mend(self.at, partition, since=since, reason="the disk died")
        return said

    async def trail(self) -> list[tuple[str, str]]:
        rows = await self.made.pool.fetch("SELECT place, reason FROM recoveries ORDER BY id")
        return [(row["place"].rpartition("/")[2], row["reason"]) for row in rows]


@pytest.fixture
async def operator(platform: Endpoints, make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[Operator]:
    petitions, notifications = await make_database("petitions"), await make_database("notifications")
    at: Endpoints = {**platform, "databases": {"petitions": petitions, "notifications": notifications}}
    async with world(SIGNATURES, petitions, platform["kafka"]) as made:
        yield Operator(made, at)


async def say(made: World, what: str, *people: str) -> None:
    for person in people:
        event = signature(person) if what == "submitted" else REFERENCE
        await made.say(what, key_of(person), event, partition=PLACE)


async def lose(made: World) -> None:
    """Lose the topic, as a broker does that comes back with an empty disk."""
    async with administrator(made.kafka) as admin:
        await admin.delete_topics([made.topic])

        async def gone() -> bool:
            return made.topic not in await admin.list_topics()

        await made.until(gone)
    await create_topics(made.kafka, [made.counted.topic])
    await made.producer.stop()
    made.producer = AIOKafkaProducer(bootstrap_servers=made.kafka, acks="all", enable_idempotence=True)
    await made.producer.start()


async def states(made: World) -> dict[bytes, str]:
    return {key: row["state"] for key, row in (await made.rows()).items()}


async def told(made: World) -> int:
    """The sum of all tally batches of the partition, which must follow one another without a gap."""
    batches = sorted((b for b in await made.tallies() if b.partition == PLACE), key=lambda batch: batch.first)
    at = 0
    for batch in batches:
        assert batch.first == at
        at = batch.next
    assert at == (await made.positions())[PLACE]
    return sum(delta.change for batch in batches for delta in batch.deltas)


async def test_a_log_that_is_as_it_was_needs_nothing(operator: Operator) -> None:
    await say(operator.made, "submitted", "ana", "bo")
    await operator.made.count()
    assert await operator.broken() == []


async def test_looking_at_a_lost_log_changes_nothing(operator: Operator) -> None:
    await say(operator.made, "submitted", "ana", "bo")
    await operator.made.count()
    await lose(operator.made)
    [partition] = await operator.broken()
    assert (partition.number, partition.end, partition.replaced) == (PLACE, 0, True)
    assert partition.standings[0].problem == "the log ends at 0, before the position"
    assert await lost_logs.intent(operator.at, partition, None) == "the log goes on at 2"
    assert await operator.made.ends() == dict.fromkeys(range(PARTITIONS), 0)
    assert await operator.trail() == []


async def test_after_a_lost_log_nobody_counts_twice_and_old_acts_can_be_confirmed_and_withdrawn(
    operator: Operator,
) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo", "cleo", "dan")
    await made.count()
    await lose(made)
    await operator.mend()
    assert await operator.broken() == []
    await say(made, "submitted", "ana", "eve")
    await say(made, "confirmed", "bo")
    await say(made, "withdrawn", "cleo")
    await made.count()
    expected = {"ana": "r", "bo": "c", "cleo": "w", "dan": "r", "eve": "r"}
    assert await states(made) == {key_of(person): state for person, state in expected.items()}
    assert await told(made) == 4
    assert await operator.trail() == [("1", "the disk died")]


async def test_what_was_taken_since_the_loss_is_counted_in_its_order_even_if_the_log_has_outgrown_the_old_one(
    operator: Operator,
) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo", "cleo")
    await made.count()
    await lose(made)
    await say(made, "confirmed", "ana")
    await say(made, "submitted", *(f"new{number}" for number in range(5)))
    await say(made, "withdrawn", "new0")
    await operator.mend()
    await made.count()
    found = await states(made)
    assert found[key_of("ana")] == "c"
    assert [found[key_of(f"new{number}")] for number in range(5)] == ["w", "r", "r", "r", "r"]
    assert await told(made) == 7


async def test_mending_that_was_broken_off_can_be_repeated(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo", "cleo")
    await made.count()
    await lose(made)
    await say(made, "submitted", "dan")

    async def killed(*_: object) -> None:
        raise ConnectionError

    for broken in ("cut", "move"):
        with monkeypatch.context() as patched:
            patched.setattr(refilling, broken, killed)
            with pytest.raises(ConnectionError):
                await operator.mend()
    await operator.mend()
    await made.count()
    assert set(await states(made)) == {key_of(person) for person in ("ana", "bo", "cleo", "dan")}
    # Dan's submission, put behind the lost ones only once, is the only record that is left.
    assert await made.ends() == {0: 0, PLACE: 4, 2: 0, 3: 0}
    assert await told(made) == 4


async def test_an_older_copy_of_the_log_is_not_taken_for_a_new_one(operator: Operator) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo")
    await made.count()
    await say(made, "withdrawn", "ana")
    await made.count()
    await lose(made)
    await say(made, "submitted", "ana", "bo")
    with pytest.raises(SetupError, match="that were counted, among them that at 1, accepted at"):
        await operator.mend()
    await say(made, "submitted", "cleo")
    [*_, last] = await made.records(made.topic, PARTITIONS)
    await operator.mend(since=last.timestamp / 1000)
    await made.count()
    assert await states(made) == {key_of("ana"): "w", key_of("bo"): "r", key_of("cleo"): "r"}


async def test_a_log_that_is_whole_is_not_replaced_for_one_position_that_disagrees(
    operator: Operator,
) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo")
    await made.count()
    await made.pool.execute("UPDATE positions SET digest = 'x' WHERE partition = $1", PLACE)
    [partition] = await operator.broken()
    for attempt in (lost_logs.intent(operator.at, partition, None), operator.mend()):
        with pytest.raises(SetupError, match="or that log itself"):
            await attempt
    assert (await made.ends())[PLACE] == 2


async def test_records_that_went_before_they_were_counted_are_declared_and_skipped(operator: Operator) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo")
    await made.count()
    await say(made, "submitted", "lost1", "lost2", "lost3", "cleo")
    async with administrator(made.kafka) as admin:
        await admin.delete_records({TopicPartition(made.topic, PLACE): RecordsToDelete(5)})
    [partition] = await operator.broken()
    assert (partition.replaced, partition.standings[0].goes_on) == (False, 5)
    assert await lost_logs.intent(operator.at, partition, None) == "petitions skips 3 lost records"
    said = await operator.mend()
    assert said == [f"{made.topic}/{PLACE}: petitions: offsets 2 to 4 were skipped"]
    await made.count()
    assert set(await states(made)) == {key_of(person) for person in ("ana", "bo", "cleo")}
    declared = [batch for batch in await made.tallies() if batch.recovered]
    assert [(batch.first, batch.next, batch.recovered, batch.deltas) for batch in declared] == [
        (2, 5, "records-lost", [])
    ]
    assert await told(made) == 3


async def test_a_counter_that_went_on_meanwhile_is_not_overtaken(operator: Operator) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo", "cleo")
    await made.count()
    await say(made, "submitted", "dan")
    async with administrator(made.kafka) as admin:
        await admin.delete_records({TopicPartition(made.topic, PLACE): RecordsToDelete(4)})
    [partition] = await operator.broken()
    await made.pool.execute("UPDATE positions SET next = 4 WHERE partition = $1", PLACE)
    with pytest.raises(PositionLostError):
        await lost_logs.mend(operator.at, partition, since=None, reason="late")
    assert await operator.trail() == []


async def test_who_mails_skips_what_is_lost_too(operator: Operator) -> None:
    made = operator.made
    await say(made, "submitted", "ana", "bo", "cleo")
    await made.count()
    pool = await create_pool(operator.at["databases"]["notifications"], application_name="test")
    try:
        statement = "INSERT INTO positions (topic, partition, next) VALUES ($1, $2, $3)"
        await pool.execute(statement, made.topic, PLACE, 5)
        await lose(made)
        await operator.mend()
        # Mails had been made of two records that nobody will ever count.
        assert (await made.positions())[PLACE] == 5
        assert await pool.fetchval("SELECT next FROM positions") == 5
        assert await pool.fetchval("SELECT count(*) FROM recoveries") == 1
    finally:
        await pool.close()
    await say(made, "submitted", "dan")
    await made.count()
    assert await told(made) == 4
