"""The loop that stores records as rows, each exactly once: the same transaction moves their positions in PostgreSQL.

The caller supplies `handle(connection, prepared)`, which runs inside a transaction that has already moved the positions
of its batches by compare-and-set. It writes rows and outbox records; it never commits and never publishes. Nothing is
skipped: a log that does not match the position halts its partition.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

import asyncpg
from aiokafka import TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from shared.database import connected
from shared.errors import HaltError, TransientError
from shared.kafka.assignments import Assignments
from shared.kafka.attempts import AttemptMarks
from shared.kafka.consumer_shutdown import start_whole
from shared.kafka.dead_letters import ENDS_THE_PROCESS
from shared.kafka.fetcher import Fetcher
from shared.kafka.isolation import AROUND_ERRORS, HandlePoison, Poison, is_fault_of_records, write_parts
from shared.kafka.lag import LagWatch
from shared.kafka.membership import RebalanceListener, create_consumer, create_positions, wait_out_outages
from shared.kafka.positions import advance
from shared.kafka.records import Batches
from shared.kafka.writes import Writes, topic_partition
from shared.logging import log
from shared.metrics import LOOP_FAILURES
from shared.outages import KAFKA_OUTAGES, OUTAGES
from shared.tasks import raise_if_cancelled

READ_INTERVAL_S: Final = 0.05
"""Records that arrive within this time share a transaction."""
MAX_FAILURES: Final = 3
RETRY_PAUSE_S: Final = 0.3
REQUEST_TIMEOUT_S: Final = 10.0

P = TypeVar("P")


def _ignore(_prepared: object) -> None:
    """Do nothing after a commit: the default of `on_committed`."""


async def unprepared(batches: Batches) -> Batches:
    """Return `batches` as they are: the default of `prepare`."""
    return batches


class PositionedLoop(Generic[P]):
    """Reads `topics` in the consumer group `group` and hands every record exactly once to `handle`.

    `prepare` may convert batches while the previous transaction is still running; it must not touch the rows. Up to
    `max_transactions` transactions, of different partitions, run concurrently. `on_committed` gets the prepared batches
    of each commit. `handle_poison(connection, batch, reason)` takes a single record of which processes died or errors
    came; without it the partition halts there. `instance_id` makes the membership static. A loop runs once.
    """

    def __init__(
        self,
        *,
        topics: Sequence[str],
        group: str,
        pool: asyncpg.Pool,
        bootstrap_servers: str,
        handle: Callable[[asyncpg.Connection, P], Awaitable[None]],
        prepare: Callable[[Batches], Awaitable[P]] = unprepared,  # type: ignore[assignment]
        on_committed: Callable[[P], None] = _ignore,
        handle_poison: HandlePoison | None = None,
        instance_id: str | None = None,
        max_transactions: int = 1,
    ) -> None:
        self._topics = tuple(topics)
        self._group = group
        self._pool = pool
        self._handle = handle
        self._prepare = prepare
        self._on_committed = on_committed
        self._consumer = create_consumer(bootstrap_servers, group, instance_id)
        self._assignments = Assignments(self._consumer, group)
        self._fetcher = Fetcher(self._consumer)
        self._lag = LagWatch(self._consumer, self._assignments)
        self._marks = AttemptMarks(pool, group)
        self._writes = Writes(max_transactions)
        self._poison = Poison(pool, self._assignments, handle_poison, self._record_progress)
        self._failures = 0
        self._failing_partitions: set[TopicPartition] = set()

    def missing(self) -> Mapping[str, str]:
        """Return the reasons why the loop is not ready, by group and topic or partition; empty while it is ready."""
        if not self._assignments.assigned:
            return {f"{self._group} in {topic}": "not assigned yet" for topic in self._topics}
        return {f"{self._group} in {tp.topic}/{tp.partition}": why for tp, why in self._assignments.halted.items()}

    def assigned_count(self) -> int:
        """Return how many partitions this member reads now."""
        return len(self._assignments.cursors)

    async def run(self) -> None:
        """Read until cancelled; transactions in progress are finished first.

        Raises:
            TransientError: three transactions in a row failed, Kafka or PostgreSQL was away for ten minutes, or there
                was no progress for 45 s although there is lag.
            SetupError: a topic is missing, or has another number of partitions than its positions.
        """
        self._consumer.subscribe(self._topics, listener=RebalanceListener(self._assignments, self._writes))
        try:
            await wait_out_outages(lambda: start_whole(self._consumer.start()))
            await wait_out_outages(partial(create_positions, self._consumer, self._pool, self._group, self._topics))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._lag.run())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await self._writes.finish(REQUEST_TIMEOUT_S)
            await self._fetcher.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._marks.take_back()
            with suppress(*KAFKA_OUTAGES):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._consumer.stop()

    async def _read(self) -> None:
        next_read = 0.0
        while True:
            raise_if_cancelled()
            if partitions := self._assignments.partitions_to_seek():
                await self._seek(partitions)
                continue
            await asyncio.sleep(next_read - time.monotonic())
            generation = self._assignments.generation
            batches = await self._fetch()
            next_read = time.monotonic() + READ_INTERVAL_S
            self._fetcher.start(self._assignments.next_offsets())
            if not batches:
                await self._await_writes()
                continue
            for share in self._assignments.split_batches(batches, self._writes.limit):
                if await self._mark_attempts(share, generation):
                    await self._process(share, generation)

    async def _process(self, batches: Batches, generation: int) -> None:
        """Prepare `batches` while earlier ones are being written, then start to write them."""
        try:
            prepared = await self._prepare(batches)
        except Exception as error:  # noqa: BLE001  what becomes of it is decided there
            await self._await_writes()
            await self._handle_failure(batches, generation, error)
            return
        await self._await_writes_before(batches)
        # After a failure or a rebalance meanwhile, the owner of the partitions reads these batches again.
        if generation == self._assignments.generation:
            self._start_write(batches, prepared)
        else:
            await self._marks.take_back(batches)

    def _start_write(self, batches: Batches, prepared: P) -> None:
        isolated, generation = self._assignments.any_suspect(batches), self._assignments.generation
        self._writes.start(batches, self._write(batches, prepared), generation, isolated=isolated)

    async def _seek(self, partitions: Sequence[TopicPartition]) -> None:
        await self._await_writes()

        async def attempt() -> None:
            async with connected(self._pool) as connection:
                await self._assignments.seek_to_positions(connection, partitions)

        await wait_out_outages(attempt)

    async def _fetch(self) -> Batches:
        next_offsets = self._assignments.next_offsets()
        try:
            # It returns nothing, since all partitions are paused; but it shows the group that this member is alive.
            await self._consumer.getmany(timeout_ms=0)
            fetched = await self._fetcher.get(next_offsets)
            if self._assignments.connections_changed():
                self._assignments.reset()
                return []
            batches = [self._assignments.read_batch(tp, fetched[tp]) for tp in sorted(fetched)]
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self._assignments.reset()
            return []
        except OUTAGES as error:
            await self._reset_after_failure(error)
            return []
        return [batch for batch in batches if batch]

    async def _mark_attempts(self, batches: Batches, generation: int) -> bool:
        """Store a mark before records are processed, so that the next process knows if this one dies of them.

        Returns:
            Whether `batches` may be processed.
        """
        unmarked = [batch for batch in batches if self._assignments.needs_mark(batch)]
        if unmarked or self._writes.isolated:
            await self._await_writes_before(batches)
        if generation != self._assignments.generation or not unmarked:
            return generation == self._assignments.generation
        try:
            if self._assignments.is_poison(unmarked[0]):
                await self._poison.set_aside(unmarked[0], ENDS_THE_PROCESS, "ends the process")
                self._assignments.reset()
                return False
            await self._marks.store(unmarked, [self._assignments.suspects_end(batch) for batch in unmarked])
        except AROUND_ERRORS as error:
            await self._reset_after_failure(error)
            return False
        self._assignments.mark(unmarked)
        return True

    async def _write(self, batches: Batches, prepared: P) -> None:
        async with connected(self._pool) as connection, connection.transaction():
            await advance(connection, self._group, batches)
            await self._handle(connection, prepared)
        self._on_committed(prepared)

    async def _write_part(self, batches: Batches) -> None:
        """Prepare and write `batches` while nothing else is in progress, and raise what went wrong."""
        raise_if_cancelled()
        await self._consumer.getmany(timeout_ms=0)
        self._start_write(batches, await self._prepare(batches))
        (await self._writes.end_oldest()).task.result()
        self._record_progress(batches)
        self._poison.end_row(batches)

    async def _await_writes_before(self, batches: Batches) -> None:
        """Wait until `batches` may be written: fewer transactions than allowed, and none of the same partitions."""
        while self._writes.delay(batches, isolated=self._assignments.any_suspect(batches)):
            await self._await_oldest_write()

    async def _await_writes(self) -> None:
        """Wait for all transactions in progress, and handle their outcomes."""
        while self._writes:
            await self._await_oldest_write()

    async def _await_oldest_write(self) -> None:
        write = await self._writes.end_oldest()
        try:
            write.task.result()
        except Exception as error:  # noqa: BLE001  what becomes of it is decided there
            await self._handle_failure(write.batches, write.generation, error)
            return
        self._record_progress(write.batches)
        if write.generation == self._assignments.generation:
            self._record_written(write.batches)

    def _record_progress(self, batches: Batches) -> None:
        self._marks.remove(batches)
        self._lag.record_progress(batches)

    def _record_written(self, batches: Batches) -> None:
        """Reset the count of failures, unless the last ones were of other partitions that this member still reads."""
        self._poison.end_row(batches)
        self._failing_partitions -= set(map(topic_partition, batches))
        self._failing_partitions &= self._assignments.cursors.keys()
        if not self._failing_partitions:
            self._failures = 0

    async def _handle_failure(self, batches: Batches, generation: int, error: Exception) -> None:
        """Set aside or halt at what raised `error`, or read `batches` again, which the marks must not blame then."""
        raise_if_cancelled()
        if generation != self._assignments.generation:
            await self._marks.take_back(batches)
            return
        if isinstance(error, HaltError) or is_fault_of_records(error):
            self._assignments.reset()
            await self._await_writes()
            try:
                await write_parts(batches, error, self._assignments, self._write_part, self._poison)
            except AROUND_ERRORS as around:
                error = around
            else:
                await self._marks.take_back(batches)
                return
        self._failing_partitions |= set(map(topic_partition, batches))
        await self._marks.take_back(batches)
        await self._reset_after_failure(error)

    async def _reset_after_failure(self, error: Exception) -> None:
        """Drop the batches in hand and seek every partition again; three times in a row end the process."""
        self._failures += 1
        self._assignments.reset()
        # Other transactions may fail for the same reason: they count as no further failure and leave no mark.
        await self._await_writes()
        LOOP_FAILURES.labels(self._group, type(error).__name__).inc()
        failure = type(error).__name__
        log.warning("nothing written, reading again", group=self._group, failure=failure, in_a_row=self._failures)
        if self._failures >= MAX_FAILURES:
            raise TransientError(f"{self._failures} failures in a row, the last of type {failure}") from error
        await asyncio.sleep(RETRY_PAUSE_S * self._failures)
