"""Finds the records that raise: batches that failed are written again, then in ever smaller parts."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
from aiokafka import TopicPartition

from shared.database import connected
from shared.errors import HaltError
from shared.kafka.assignments import Assignments
from shared.kafka.dead_letters import RAISES_AN_ERROR
from shared.kafka.positions import PositionLostError, advance
from shared.kafka.records import Batches, PartitionBatch
from shared.kafka.writes import topic_partition
from shared.logging import log
from shared.metrics import LOOP_FAILURES, POISONED
from shared.outages import DATA_ERRORS, OUTAGES

AROUND_ERRORS: Final[tuple[type[Exception], ...]] = (PositionLostError, MemoryError, asyncpg.PostgresError, *OUTAGES)
"""Errors of what is around the records, apart from `DATA_ERRORS`. A missing table is one: it fails for all records."""
MAX_SET_ASIDE: Final = 10
"""So many records of a partition may be set aside in a row. Where more raise errors, the code is to blame."""

HandlePoison = Callable[[asyncpg.Connection, PartitionBatch, str], Awaitable[None]]


def is_fault_of_records(error: Exception) -> bool:
    """Whether `error` comes of the records in hand, so that another attempt with them would raise it again."""
    return isinstance(error, DATA_ERRORS) or not isinstance(error, (HaltError, *AROUND_ERRORS))


class Poison:
    """Sets single records aside, in a transaction of their own that `handle_poison` may write in."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        assignments: Assignments,
        handle_poison: HandlePoison | None,
        on_written: Callable[[Batches], None],
    ) -> None:
        self._pool = pool
        self._assignments = assignments
        self._handle_poison = handle_poison
        self._on_written = on_written
        self._in_a_row: Counter[TopicPartition] = Counter()

    async def set_aside(self, batch: PartitionBatch, reason: str, deed: str) -> None:
        """Move the position past the one record of `batch`, which is not tried again for its `deed`, or halt there.

        Raises:
            PositionLostError, OSError, asyncpg.PostgresError: it is not known to be set aside.
        """
        group, tp = self._assignments.group, topic_partition(batch)
        found = f"the record at {batch.first_offset} {deed}"
        if self._handle_poison is None or self._in_a_row[tp] >= MAX_SET_ASIDE:
            self._assignments.halt(tp, found)
            return
        try:
            async with connected(self._pool) as connection, connection.transaction():
                await advance(connection, group, [batch])
                await self._handle_poison(connection, batch, reason)
        except Exception as error:
            if not isinstance(error, HaltError) and not is_fault_of_records(error):
                raise
            why = str(error) if isinstance(error, HaltError) else type(error).__name__
            self._assignments.halt(tp, f"{found} and cannot be set aside: {why}")
            return
        self._in_a_row[tp] += 1
        self._on_written([batch])
        POISONED.labels(group, tp.topic).inc()
        log.error("record set aside", group=group, topic=tp.topic, partition=tp.partition, offset=batch.first_offset,
                  reason=reason, deed=deed)  # fmt: skip

    def end_row(self, written: Batches) -> None:
        """Begin to count anew for the partitions of `written`."""
        for batch in written:
            self._in_a_row.pop(topic_partition(batch), None)


async def write_parts(
    batches: Batches,
    error: Exception,
    assignments: Assignments,
    write: Callable[[Batches], Awaitable[None]],
    poison: Poison,
) -> None:
    """Write `batches`, of which `error` came, without the records that raise it. Stops at a rebalance.

    `write` raises what went wrong. A record is set aside when it fails alone, so for the second time at least.

    Raises:
        Exception: an error that is not the fault of records.
    """
    generation = assignments.generation
    group, failure, first = assignments.group, type(error).__name__, batches[0]
    LOOP_FAILURES.labels(group, failure).inc()
    log.warning("nothing written, trying again in parts", group=group, failure=failure, at=_line(error),
                topic=first.topic, partition=first.partition, offset=first.first_offset)  # fmt: skip
    parts = deque([batches])
    while parts and generation == assignments.generation:
        part = parts.popleft()
        batch, tp = part[0], topic_partition(part[0])
        if tp in assignments.halted:
            continue
        try:
            await write(part)
        except Exception as again:
            if not isinstance(again, HaltError) and not is_fault_of_records(again):
                raise
            if len(part) > 1:
                parts.extendleft([batch] for batch in reversed(part))
            elif isinstance(again, HaltError):
                assignments.halt(tp, str(again))
            elif len(batch.records) > 1:
                parts.extendleft([half] for half in reversed(_halves(batch)))
            else:
                await poison.set_aside(batch, RAISES_AN_ERROR, f"raises {type(again).__name__}")


def _halves(batch: PartitionBatch) -> tuple[PartitionBatch, PartitionBatch]:
    middle = len(batch.records) // 2
    return batch._replace(records=batch.records[:middle]), batch._replace(records=batch.records[middle:])


def _line(error: Exception) -> str:
    """Return the line of code that raised `error`; its message may quote a record."""
    frames = traceback.extract_tb(error.__traceback__, -1)
    return f"{frames[0].filename}:{frames[0].lineno}" if frames else ""
