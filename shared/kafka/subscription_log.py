"""Compares the logs that a subscription reads with its positions: a log that does not fit stops its partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.errors import HaltError
from shared.kafka.positions import digest
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.subscription_positions import StoredPosition
from shared.kafka.topic_scan import OffsetRange, TopicScan, open_scan
from shared.topics import Topic

GAP_TIMEOUT_S: Final = 15.0


class LogCheck:
    """The faults of the logs of `topics`: a partition in `faults` is not read until its log fits its position."""

    def __init__(self, bootstrap_servers: str, topics: Sequence[Topic]) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topics = {topic.name: topic for topic in topics}
        self._suspects: set[TopicPartition] = set()
        self._replaced: dict[TopicPartition, StoredPosition] = {}
        self.faults: dict[TopicPartition, str] = {}

    async def partition_counts(self) -> dict[str, int]:
        """Return the number of partitions of each topic.

        Raises:
            SetupError: a topic is missing. KafkaError, OSError, TimeoutError: Kafka does not answer.
        """
        counts = {}
        for topic in self._topics:
            async with open_scan(self._bootstrap_servers, topic) as scan:
                counts[topic] = len(scan.ranges)
        return counts

    async def compare_logs(self, stored: Mapping[TopicPartition, StoredPosition]) -> None:
        """Compare every position with its log: its range, and the record before the position with its stored digest."""
        for topic in self._topics:
            async with open_scan(self._bootstrap_servers, topic) as scan:
                for number, retained in scan.ranges.items():
                    tp = TopicPartition(topic, number)
                    await self._compare_record(scan, tp, stored[tp])
                    self._compare(tp, stored[tp], retained)

    async def compare_ranges(
        self, consumer: AIOKafkaConsumer, stored: Mapping[TopicPartition, StoredPosition]
    ) -> dict[TopicPartition, int]:
        """Compare every position with the range of its log, and return the ends.

        A log that was too short, or out of reach, may be another by now: its last record is compared again as well.
        """
        starts = await consumer.beginning_offsets(list(stored))
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(stored))
        self._suspects |= {tp for tp, position in stored.items() if position.next_offset > ends[tp]}
        for tp in [tp for tp in self._suspects if stored[tp].next_offset <= ends[tp]]:
            async with open_scan(self._bootstrap_servers, tp.topic) as scan:
                await self._compare_record(scan, tp, stored[tp])
        for tp, position in stored.items():
            self._compare(tp, position, OffsetRange(starts[tp], ends[tp]))
        return ends

    def suspect(self, partitions: Iterable[TopicPartition]) -> None:
        """Compare the last records of `partitions` again: Kafka was away."""
        self._suspects.update(partitions)

    async def _compare_record(self, scan: TopicScan, tp: TopicPartition, position: StoredPosition) -> None:
        if await is_replaced(scan, tp.partition, position, compacted=self._topics[tp.topic].compacted):
            self._replaced[tp] = position
        else:
            self._replaced.pop(tp, None)
        self._suspects.discard(tp)

    def _compare(self, tp: TopicPartition, position: StoredPosition, retained: OffsetRange) -> None:
        next_ = position.next_offset
        if next_ > retained.end:
            self.faults[tp] = "ends before what was read: is this the same Kafka?"
        elif next_ < retained.start and not self._topics[tp.topic].compacted:
            self.faults[tp] = f"starts at {retained.start}, behind the position {next_}"
        elif self._replaced.get(tp) == position:
            self.faults[tp] = f"the record at {next_ - 1} is not the one that was read"
        else:
            self.faults.pop(tp, None)

    def following(self, batch: PartitionBatch, next_: int) -> list[Record]:
        """Return the records of `batch` from `next_` on, as far as none is missing between them."""
        following = []
        for record in batch.records:
            if record.offset > next_ and not self._topics[batch.topic].compacted:
                break
            if record.offset >= next_:
                following.append(record)
                next_ = record.offset + 1
        return following

    async def check_gap(self, tp: TopicPartition, next_: int) -> None:
        """Check that the log has a record at `next_`, which was not delivered.

        Raises:
            HaltError: it has none, but later ones.
        """
        async with asyncio.timeout(GAP_TIMEOUT_S), open_scan(self._bootstrap_servers, tp.topic) as scan:
            first = await scan.first_record(tp.partition, next_)
        if first is not None and first.offset > next_:
            raise HaltError(f"records are missing between {next_} and {first.offset}")


async def is_replaced(scan: TopicScan, partition: int, position: StoredPosition, *, compacted: bool = False) -> bool:
    """Whether the record before `position` is not the one that was read; it may be gone from a `compacted` topic."""
    start, end = scan.ranges[partition]
    offset = position.next_offset - 1
    if position.digest is None or not start <= offset < end:
        return False
    last = await scan.first_record(partition, offset)
    if last is None or last.offset != offset:
        return not compacted
    return digest(last) != position.digest
