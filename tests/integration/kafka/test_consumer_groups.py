"""Several consumers of one topic in one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.endpoints import Endpoints
from shared import topics
from shared.database import create_pool
from shared.kafka.loop import PositionedLoop
from shared.kafka.records import Batches
from shared.metrics import PARTITION_LAG
from tests.support.waiting import wait_until

PARTITIONS = 2


class Consumer:
    """A consumer of `group` that remembers what it was given, and raises for the values in `refused`."""

    def __init__(self, group: str, topic: str, pool: asyncpg.Pool, kafka: str, refused: bytes = b"") -> None:
        self.group = group
        self.given: list[tuple[int, int, bytes]] = []
        self._refused = refused
        self._topic, self._pool, self._kafka = topic, pool, kafka

    async def _handle(self, _connection: asyncpg.Connection, batches: Batches) -> None:
        records = [(b.partition, r.offset, r.value or b"") for b in batches for r in b.records]
        if any(value == self._refused for *_, value in records):
            raise ValueError
        self.given += records

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PositionedLoop[Any]]:
        """Run a new loop of the group."""
        loop: PositionedLoop[Batches] = PositionedLoop(
            topics=[self._topic],
            group=self.group,
            pool=self._pool,
            bootstrap_servers=self._kafka,
            handle=self._handle,
        )
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def pool(make_database: Callable[[str], Awaitable[str]]) -> AsyncIterator[asyncpg.Pool]:
    pool = await create_pool(await make_database("petitions"), application_name="test", max_size=6)
    yield pool
    await pool.close()


async def publish(platform: Endpoints, topic: str, first: int, count: int) -> set[tuple[int, int, bytes]]:
    """Publish records, and return their partitions, offsets and values."""
    producer = AIOKafkaProducer(bootstrap_servers=platform["kafka"], acks="all")
    await producer.start()
    try:
        sent = set()
        for number in range(first, first + count):
            value = b"%d" % number
            record = await producer.send_and_wait(topic, value, partition=number % PARTITIONS)
            sent.add((record.partition, record.offset, value))
        return sent
    finally:
        await producer.stop()


def measured() -> set[tuple[str, str]]:
    """Groups and partitions whose lag is measured."""
    samples = (sample for family in PARTITION_LAG.collect() for sample in family.samples)
    return {(sample.labels["group"], sample.labels["partition"]) for sample in samples}


async def stored(pool: asyncpg.Pool, group: str) -> dict[int, int]:
    query = "SELECT partition, next FROM positions WHERE consumer_group = $1"
    return {row["partition"]: row["next"] for row in await pool.fetch(query, group)}


async def test_each_group_is_given_every_record_once_and_goes_on_from_its_own_position(
    platform: Endpoints, make_topic: Any, pool: asyncpg.Pool
) -> None:
    topic = await make_topic(topics.SIGNATURES, partitions=PARTITIONS)
    one, other = (Consumer(f"{topic}.{name}", topic, pool, platform["kafka"]) for name in ("one", "other"))
    published = await publish(platform, topic, 0, 20)
    async with one.running(), other.running():
        await wait_until(lambda: len(one.given) == len(other.given) == 20)
    published |= await publish(platform, topic, 20, 10)
    async with one.running():
        await wait_until(lambda: len(one.given) == 30)
    assert (await stored(pool, one.group), await stored(pool, other.group)) == ({0: 15, 1: 15}, {0: 10, 1: 10})
    async with other.running():
        await wait_until(lambda: len(other.given) == 30)
    for consumer in (one, other):
        assert set(consumer.given) == published
        assert len(consumer.given) == len(published)
        assert await stored(pool, consumer.group) == {0: 15, 1: 15}


async def test_a_group_that_halts_keeps_no_other_from_reading_and_is_named_by_its_lag(
    platform: Endpoints, make_topic: Any, pool: asyncpg.Pool
) -> None:
    topic = await make_topic(topics.SIGNATURES, partitions=PARTITIONS)
    halting = Consumer(f"{topic}.halting", topic, pool, platform["kafka"], refused=b"7")
    other = Consumer(f"{topic}.other", topic, pool, platform["kafka"])
    await publish(platform, topic, 0, 20)
    async with halting.running() as loop, other.running():
        halted = f"{halting.group} in {topic}/1"
        await wait_until(lambda: len(halting.given) == 13 and len(other.given) == 20)
        await wait_until(lambda: loop.missing() == {halted: "the record at 3 raises ValueError"})
        await wait_until(lambda: (other.group, "1") in measured())
    assert (await stored(pool, halting.group), await stored(pool, other.group)) == ({0: 10, 1: 3}, {0: 10, 1: 10})
