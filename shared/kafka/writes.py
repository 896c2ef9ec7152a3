"""The transactions of a loop that are in progress."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from shared.kafka.records import Batches, PartitionBatch


class Write(NamedTuple):
    """A transaction in progress, and the generation of its assignments. An isolated one runs beside no other."""

    batches: Batches
    generation: int
    isolated: bool
    task: asyncio.Task[None]


class Writes:
    """The transactions in progress: at most `limit`, each of other partitions."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._writes: deque[Write] = deque()

    def __bool__(self) -> bool:
        return bool(self._writes)

    @property
    def isolated(self) -> bool:
        """Whether one of them is isolated."""
        return any(write.isolated for write in self._writes)

    def start(
        self, batches: Batches, transaction: Coroutine[Any, Any, None], generation: int, *, isolated: bool
    ) -> None:
        """Start `transaction`, which writes `batches`."""
        self._writes.append(Write(batches, generation, isolated, asyncio.create_task(transaction)))

    def delay(self, batches: Batches, *, isolated: bool) -> bool:
        """Whether `batches` have to wait for the oldest transaction."""
        limit = 1 if isolated or self.isolated else self.limit
        partitions = set(map(topic_partition, batches))
        return len(self._writes) >= limit or any(
            partitions & set(map(topic_partition, write.batches)) for write in self._writes
        )

    async def end_oldest(self) -> Write:
        """Wait until the oldest transaction has ended, and return it."""
        write = self._writes[0]
        # Not awaited directly: a cancellation of this task must not cancel a transaction that may be at its commit.
        await asyncio.wait({write.task})
        self._writes.popleft()
        return write

    async def finish(self, timeout_s: float) -> None:
        """Wait until no transaction is in progress, whatever its outcome."""
        if self._writes:
            done, _ = await asyncio.wait([write.task for write in self._writes], timeout=timeout_s)
            for task in done:
                # Retrieved, or asyncio would log it when the process ends for another reason.
                if not task.cancelled():
                    task.exception()


def topic_partition(batch: PartitionBatch) -> TopicPartition:
    """Return the partition of `batch`."""
    return TopicPartition(batch.topic, batch.partition)
