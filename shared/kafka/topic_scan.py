"""Reads what a topic holds, from its start to its present end, without a group and without leaving a trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.errors import SetupError, TransientError
from shared.kafka.fetches import Fetches
from shared.kafka.records import PartitionBatch, read_records

EMPTY_FETCHES: Final = 60
"""So many fetches in a row that bring nothing, of up to a second each, and the scan gives up."""


class OffsetRange(NamedTuple):
    """The offsets of a partition that are there: from `start` to before `end`."""

    start: int
    end: int


class TopicScan:
    """What one topic holds. `ranges` are its partitions as they were when the scan was opened."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, ranges: Mapping[int, OffsetRange]) -> None:
        self._consumer = consumer
        self._topic = topic
        self.ranges = ranges

    async def batches(
        self, partition: int, end: int | None = None, *, start: int | None = None
    ) -> AsyncGenerator[PartitionBatch, None]:
        """The records of `partition` in order, from `start` and up to `end` (exclusive) where those are given.

        Raises:
            TransientError: the broker brings nothing any more.
        """
        tp = TopicPartition(self._topic, partition)
        at, last = self.ranges[partition]
        at = at if start is None else max(at, start)
        last = last if end is None else min(last, end)
        fetches, nothing = Fetches(self._consumer), 0
        try:
            while at < last:
                fetched = (await fetches.get({tp: at})).get(tp, b"")
                records = [record for record in read_records(fetched, at) if record.offset < last]
                nothing = 0 if records else nothing + 1
                if nothing > EMPTY_FETCHES:
                    raise TransientError(f"{self._topic} brings nothing any more")
                if records:
                    at = records[-1].offset + 1
                    fetches.start({tp: at})
                    yield PartitionBatch(self._topic, partition, 0, records)
        finally:
            await fetches.close()


@asynccontextmanager
async def open_scan(bootstrap_servers: str, topic: str) -> AsyncIterator[TopicScan]:
    """A scan of `topic`.

    Raises:
        SetupError: there is no such topic.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="none", enable_auto_commit=False)
    try:
        await consumer.start()
        await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  a consumer without a topic knows none
        tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not tps:
            raise SetupError(f"Kafka has no topic {topic}")
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        yield TopicScan(consumer, topic, {tp.partition: OffsetRange(starts[tp], ends[tp]) for tp in tps})
    finally:
        await consumer.stop()
