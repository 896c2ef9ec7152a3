"""Reports the lag of a loop, commits Kafka's own offsets for its lag tools, and ends a loop that is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.errors import TransientError
from shared.kafka.assignments import Assignments
from shared.kafka.records import Batches
from shared.kafka.writes import topic_partition
from shared.metrics import PARTITION_LAG
from shared.outages import KAFKA_OUTAGES

WATCH_INTERVAL_S: Final = 5.0
MAX_STALL_S: Final = 45.0
"""After so long without progress while there is lag, the process ends; its backlog is gone a minute later."""
REQUEST_TIMEOUT_S: Final = 10.0


class LagWatch:
    """Watches the partitions of `assignments`."""

    def __init__(self, consumer: AIOKafkaConsumer, assignments: Assignments) -> None:
        self._consumer = consumer
        self._assignments = assignments
        self._next_offsets: dict[TopicPartition, int] = {}
        self._reported: set[TopicPartition] = set()
        self._progress_at = time.monotonic()

    def record_progress(self, batches: Batches) -> None:
        """Record that `batches` are written."""
        self._progress_at = time.monotonic()
        for batch in batches:
            self._next_offsets[topic_partition(batch)] = batch.next_offset

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            TransientError: there was no progress for 45 s although there is lag.
        """
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            partitions = self._consumer.assignment() - self._assignments.halted.keys()
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    lag = await self._measure(partitions)
                    if offsets := {tp: self._next_offsets[tp] for tp in partitions & self._next_offsets.keys()}:
                        await self._consumer.commit(offsets)
            except KAFKA_OUTAGES:
                continue
            if not any(lag.values()):
                self._progress_at = time.monotonic()
            elif time.monotonic() - self._progress_at > MAX_STALL_S:
                raise TransientError("no progress although there is lag")

    async def _measure(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Report the lag of `partitions`, also while PostgreSQL is away, and return that of those with a cursor."""
        ends = await self._consumer.end_offsets(partitions)
        for tp, cursor in self._assignments.cursors.items():
            self._next_offsets[tp] = max(self._next_offsets.get(tp, 0), cursor.position.next_offset)
        lag = {tp: max(0, end - self._next_offsets[tp]) for tp, end in ends.items() if tp in self._next_offsets}
        group = self._assignments.group
        for tp in self._reported - lag.keys():
            PARTITION_LAG.remove(group, tp.topic, str(tp.partition))
        for tp, records in lag.items():
            PARTITION_LAG.labels(group, tp.topic, str(tp.partition)).set(records)
        self._reported = set(lag)
        return {tp: lag[tp] for tp in lag.keys() & self._assignments.cursors.keys()}
