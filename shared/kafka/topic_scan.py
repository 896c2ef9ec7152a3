"""Reads a topic from its start to its present end, without a consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.errors import SetupError, TransientError
from shared.kafka.consumer_shutdown import shut_down, start_whole
from shared.kafka.fetcher import Fetcher
from shared.kafka.records import PartitionBatch, Record, read_records

MAX_EMPTY_FETCHES: Final = 60
"""After so many empty fetches in a row, of up to a second each, the scan gives up."""

OPEN_TIMEOUT_S: Final = 30.0


class OffsetRange(NamedTuple):
    """The retained offsets of a partition: from `start` up to `end` (exclusive)."""

    start: int
    end: int


class TopicScan:
    """A scan of `topic`. `ranges` are the offset ranges of its partitions when the scan was opened."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, ranges: Mapping[int, OffsetRange]) -> None:
        self._consumer = consumer
        self.topic = topic
        self.ranges = ranges

    async def batches(
        self, partition: int, end: int | None = None, *, start: int | None = None
    ) -> AsyncGenerator[PartitionBatch, None]:
        """Yield the records of `partition` in order, from `start` and up to `end` (exclusive) where those are given.

        Raises:
            TransientError: the broker brings nothing any more.
        """
        tp = TopicPartition(self.topic, partition)
        retained = self.ranges[partition]
        offset = retained.start if start is None else max(retained.start, start)
        end = retained.end if end is None else min(retained.end, end)
        fetcher, empty_fetches = Fetcher(self._consumer), 0
        try:
            while offset < end:
                fetched = (await fetcher.get({tp: offset})).get(tp, b"")
                records = [record for record in read_records(fetched, offset) if record.offset < end]
                empty_fetches = 0 if records else empty_fetches + 1
                if empty_fetches > MAX_EMPTY_FETCHES:
                    raise TransientError(f"{self.topic} brings nothing any more")
                if records:
                    offset = records[-1].offset + 1
                    fetcher.start({tp: offset})
                    yield PartitionBatch(self.topic, partition, 0, records)
        finally:
            await fetcher.close()

    async def first_record(self, partition: int, start: int) -> Record | None:
        """Return the first record of `partition` from offset `start` on, None where there is none."""
        async with aclosing(self.batches(partition, start=start)) as batches:
            async for batch in batches:
                return batch.records[0]
        return None


@asynccontextmanager
async def open_scan(bootstrap_servers: str, topic: str) -> AsyncIterator[TopicScan]:
    """Open a scan of `topic`.

    Raises:
        SetupError: there is no such topic.
        TransientError: Kafka does not say within half a minute which offsets the topic has.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="none", enable_auto_commit=False)
    try:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                ranges = await _offset_ranges(consumer, topic)
        except TimeoutError:
            raise TransientError(f"Kafka does not answer about {topic}") from None
        yield TopicScan(consumer, topic, ranges)
    finally:
        await shut_down(consumer, consumer.stop())


async def _offset_ranges(consumer: AIOKafkaConsumer, topic: str) -> dict[int, OffsetRange]:
    await start_whole(consumer.start())
    if topic not in await consumer.topics():
        raise SetupError(f"Kafka has no topic {topic}")
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  a consumer without a topic has no metadata
    tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    return {tp.partition: OffsetRange(starts[tp], ends[tp]) for tp in tps}
