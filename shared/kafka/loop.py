"""The loop that stores records as rows, each exactly once: the same transaction moves their positions in PostgreSQL.

The caller supplies `handle(connection, prepared)`, which runs inside a transaction that has already moved the positions
of its batches by compare-and-set. It writes rows and outbox records; it never commits and never publishes. Nothing is
skipped: a log that does not match the position halts its partition.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Generic, NamedTuple, TypeVar

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, NoOffsetForPartitionError, OffsetOutOfRangeError

from shared.database import connected
from shared.errors import HaltError, SetupError, TransientError
from shared.kafka.assignments import Assignments
from shared.kafka.fetcher import Fetcher
from shared.kafka.positions import PositionLostError, add_attempts, advance, ensure_positions
from shared.kafka.records import PartitionBatch
from shared.logging import log
from shared.metrics import LOOP_FAILURES, PARTITION_LAG, POISONED
from shared.tasks import raise_if_cancelled

READ_INTERVAL_S: Final = 0.05
"""Records that arrive within this time share a transaction."""
MAX_OUTAGE_S: Final = 600.0
"""How long Kafka or PostgreSQL may be away before the process gives up."""
MAX_UNANSWERED: Final = 2
"""Requests in a row, each of 15 s, that Kafka may leave unanswered. After an outage one client may get no more answers
while others do: a new process has a new client.
"""
MAX_FAILURES: Final = 3
RETRY_PAUSE_S: Final = 0.3
WATCH_INTERVAL_S: Final = 5.0
MAX_STALL_S: Final = 45.0
"""After so long without progress while there is lag, the process ends; its backlog is gone a minute later."""
REQUEST_TIMEOUT_S: Final = 10.0

OUTAGE_ERRORS: Final = (KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
DATA_ERRORS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""PostgreSQL raises these for data that it cannot store; it will raise them again, in this process and the next."""

P = TypeVar("P")
Batches = Sequence[PartitionBatch]


def _ignore(_prepared: object) -> None:
    """Do nothing after a commit: the default of `on_committed`."""


async def unprepared(batches: Batches) -> Batches:
    """Return `batches` as they are: the default of `prepare`."""
    return batches


class _Write(NamedTuple):
    """A transaction in progress, and the generation of its assignments. An isolated one runs beside no other."""

    batches: Batches
    generation: int
    isolated: bool
    task: asyncio.Task[None]


class PositionedLoop(Generic[P]):
    """Reads `topics` in the consumer group `group` and hands every record exactly once to `handle`.

    `prepare` may convert batches while the previous transaction is still running; it must not touch the rows. Up to
    `max_transactions` transactions, of different partitions, run concurrently. `on_committed` gets the prepared batches
    of each commit. `handle_poison(connection, batch)` handles a single record on which several processes have died;
    without it the partition halts there. `instance_id` makes the membership static. A loop runs once.
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
        handle_poison: Callable[[asyncpg.Connection, PartitionBatch], Awaitable[None]] | None = None,
        instance_id: str | None = None,
        max_transactions: int = 1,
    ) -> None:
        self._topics = tuple(topics)
        self._group = group
        self._pool = pool
        self._handle = handle
        self._prepare = prepare
        self._on_committed = on_committed
        self._handle_poison = handle_poison
        self._consumer = _create_consumer(bootstrap_servers, group, instance_id)
        self._assignments = Assignments(self._consumer, group)
        self._fetcher = Fetcher(self._consumer)
        self._next_offsets: dict[TopicPartition, int] = {}
        self._reported: set[TopicPartition] = set()
        self._max_transactions = max_transactions
        self._writes: deque[_Write] = deque()
        self._failures = 0
        self._failing_partitions: set[TopicPartition] = set()
        self._progress_at = time.monotonic()

    def missing(self) -> Mapping[str, str]:
        """Return the reasons why the loop is not ready, by topic or partition; empty while it is ready."""
        if not self._assignments.assigned:
            return dict.fromkeys(self._topics, "not assigned yet")
        return {f"{tp.topic}/{tp.partition}": reason for tp, reason in self._assignments.halted.items()}

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
        self._consumer.subscribe(self._topics, listener=_RebalanceListener(self._assignments, self._finish_writes))
        try:
            await _retry_on_outage(self._consumer.start)
            await _retry_on_outage(self._check_topics)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._watch())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await self._finish_writes()
            await self._fetcher.close()
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await self._consumer.stop()

    async def _check_topics(self) -> None:
        for topic in self._topics:
            partitions = self._consumer.partitions_for_topic(topic)
            if not partitions:
                raise SetupError(f"Kafka has no topic {topic}")
            async with connected(self._pool) as connection:
                await ensure_positions(connection, topic, len(partitions))

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
            for share in self._assignments.split_batches(batches, self._max_transactions):
                if await self._register_attempts(share, generation):
                    await self._process(share, generation)

    async def _process(self, batches: Batches, generation: int) -> None:
        """Prepare `batches` while earlier ones are being written, then start to write them."""
        try:
            prepared = await self._prepare(batches)
        except OUTAGE_ERRORS as error:
            await self._handle_write_failure(batches, error)
            return
        await self._await_writes_before(batches)
        # After a failure or a rebalance meanwhile, the owner of the partitions reads these batches again.
        if generation == self._assignments.generation:
            self._start_write(batches, prepared)

    def _start_write(self, batches: Batches, prepared: P) -> None:
        task = asyncio.create_task(self._write(batches, prepared))
        self._writes.append(_Write(batches, self._assignments.generation, self._assignments.limited, task))

    async def _seek(self, partitions: Sequence[TopicPartition]) -> None:
        await self._await_writes()

        async def attempt() -> None:
            async with connected(self._pool) as connection:
                await self._assignments.seek_to_positions(connection, partitions)

        await _retry_on_outage(attempt)

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
        except (KafkaError, TransientError) as error:
            await self._reset_after_failure(error)
            return []
        return [batch for batch in batches if batch]

    async def _register_attempts(self, batches: Batches, generation: int) -> bool:
        """Store an attempt before records are processed, so that the next process knows if this one dies on them.

        Returns:
            Whether `batches` may be processed.
        """
        unregistered = [batch for batch in batches if self._assignments.needs_registration(batch)]
        if unregistered:
            await self._await_writes_before(batches)
        if generation != self._assignments.generation:
            return False
        if not unregistered:
            return True
        try:
            async with connected(self._pool) as connection:
                poisoned = [batch for batch in unregistered if self._assignments.is_poison(batch)]
                if poisoned:
                    await self._set_aside(connection, poisoned[0])
                    return False
                await add_attempts(connection, unregistered, 1)
        except OUTAGE_ERRORS as error:
            await self._reset_after_failure(error)
            return False
        self._assignments.mark_registered(unregistered)
        return True

    async def _set_aside(self, connection: asyncpg.Connection, batch: PartitionBatch) -> None:
        POISONED.labels(batch.topic).inc()
        if self._handle_poison is None:
            self._assignments.halt(_topic_partition(batch), f"the record at {batch.first_offset} ends the process")
            return
        log.error("record set aside", topic=batch.topic, partition=batch.partition, offset=batch.first_offset)
        async with connection.transaction():
            await advance(connection, [batch], [self._assignments.attempts_after(batch)])
            await self._handle_poison(connection, batch)
        self._assignments.reset()

    async def _write(self, batches: Batches, prepared: P) -> None:
        attempts = [self._assignments.attempts_after(batch) for batch in batches]
        async with connected(self._pool) as connection, connection.transaction():
            await advance(connection, batches, attempts)
            await self._handle(connection, prepared)
        self._on_committed(prepared)

    async def _finish_writes(self) -> None:
        """Wait until no transaction is in progress, whatever its outcome."""
        if self._writes:
            done, _ = await asyncio.wait([write.task for write in self._writes], timeout=REQUEST_TIMEOUT_S)
            for task in done:
                # Retrieved, or asyncio would log it when the process ends for another reason.
                if not task.cancelled():
                    task.exception()

    async def _await_writes_before(self, batches: Batches) -> None:
        """Wait until `batches` may be written: fewer transactions than allowed, and none of the same partitions."""
        partitions = set(map(_topic_partition, batches))
        isolated = self._assignments.limited or any(write.isolated for write in self._writes)
        limit = 1 if isolated else self._max_transactions
        while len(self._writes) >= limit or any(
            partitions & set(map(_topic_partition, write.batches)) for write in self._writes
        ):
            await self._await_oldest_write()

    async def _await_writes(self) -> None:
        """Wait for all transactions in progress, and handle their outcomes."""
        while self._writes:
            await self._await_oldest_write()

    async def _await_oldest_write(self) -> None:
        batches, generation, _, task = self._writes[0]
        # Not awaited directly: a cancellation of this task must not cancel a transaction that may be at its commit.
        await asyncio.wait({task})
        self._writes.popleft()
        try:
            task.result()
        except HaltError as error:
            await self._write_one_by_one(batches, error)
        except (PositionLostError, *OUTAGE_ERRORS) as error:
            if generation == self._assignments.generation:
                await self._handle_write_failure(batches, error)
            else:
                await self._retract_attempts(batches, error)
        else:
            if generation == self._assignments.generation:
                self._record_success(batches)
            self._record_progress(batches)

    def _record_success(self, batches: Batches) -> None:
        """Reset the count of failures, unless the last ones were of other partitions that this member still reads."""
        self._failing_partitions -= set(map(_topic_partition, batches))
        self._failing_partitions &= self._assignments.cursors.keys()
        if not self._failing_partitions:
            self._failures = 0

    async def _write_one_by_one(self, batches: Batches, error: HaltError) -> None:
        """Halt the partition that raised `error`, and no other."""
        self._assignments.reset()
        if len(batches) == 1:
            self._assignments.halt(_topic_partition(batches[0]), str(error))
            return
        for batch in batches:
            try:
                prepared = await self._prepare([batch])
            except OUTAGE_ERRORS as failure:
                await self._handle_write_failure([batch], failure)
                return
            self._start_write([batch], prepared)
            await self._await_writes()

    async def _handle_write_failure(self, batches: Batches, error: Exception) -> None:
        """Retract the attempts of `batches`, and read them again."""
        self._failing_partitions |= set(map(_topic_partition, batches))
        await self._retract_attempts(batches, error)
        await self._reset_after_failure(error)

    async def _retract_attempts(self, batches: Batches, error: Exception) -> None:
        """Retract the attempts of `_register_attempts`, unless the records of `batches` caused `error`."""
        if not isinstance(error, DATA_ERRORS):
            with suppress(*OUTAGE_ERRORS):
                async with connected(self._pool) as connection:
                    await add_attempts(connection, batches, -1)

    async def _reset_after_failure(self, error: Exception) -> None:
        """Drop the batches in hand and seek every partition again; three times in a row end the process."""
        self._failures += 1
        self._assignments.reset()
        # Other transactions may fail for the same reason: they count as no further failure and register no attempt.
        await self._await_writes()
        LOOP_FAILURES.labels(type(error).__name__).inc()
        log.warning("nothing written, reading again", failure=type(error).__name__, in_a_row=self._failures)
        if self._failures >= MAX_FAILURES:
            raise TransientError(
                f"{self._failures} failures in a row, the last of type {type(error).__name__}"
            ) from error
        await asyncio.sleep(RETRY_PAUSE_S * self._failures)

    def _record_progress(self, batches: Batches) -> None:
        self._progress_at = time.monotonic()
        for batch in batches:
            self._next_offsets[_topic_partition(batch)] = batch.next_offset

    async def _watch(self) -> None:
        """Report the lag, commit Kafka's own offsets for its lag tools, and end a loop that is stuck."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            partitions = self._consumer.assignment() - self._assignments.halted.keys()
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    lag = await self._measure_lag(partitions)
                    if offsets := {tp: self._next_offsets[tp] for tp in partitions & self._next_offsets.keys()}:
                        await self._consumer.commit(offsets)
            except (KafkaError, TimeoutError):
                continue
            if not any(lag.values()):
                self._progress_at = time.monotonic()
            elif time.monotonic() - self._progress_at > MAX_STALL_S:
                raise TransientError("no progress although there is lag")

    async def _measure_lag(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Report the lag of `partitions`, also while PostgreSQL is away, and return that of those with a cursor."""
        ends = await self._consumer.end_offsets(partitions)
        for tp, cursor in self._assignments.cursors.items():
            self._next_offsets[tp] = max(self._next_offsets.get(tp, 0), cursor.position.next_offset)
        lag = {tp: max(0, end - self._next_offsets[tp]) for tp, end in ends.items() if tp in self._next_offsets}
        for tp in self._reported - lag.keys():
            PARTITION_LAG.remove(self._group, tp.topic, str(tp.partition))
        for tp, records in lag.items():
            PARTITION_LAG.labels(self._group, tp.topic, str(tp.partition)).set(records)
        self._reported = set(lag)
        return {tp: lag[tp] for tp in lag.keys() & self._assignments.cursors.keys()}


class _RebalanceListener(ConsumerRebalanceListener):
    """Passes rebalances to the assignments. Transactions end first, so that the next owner need not repeat them."""

    def __init__(self, assignments: Assignments, finish_writes: Callable[[], Awaitable[None]]) -> None:
        self._assignments = assignments
        self._finish_writes = finish_writes

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        self._assignments.on_rebalance()
        await self._finish_writes()

    async def on_partitions_assigned(self, _assigned: Iterable[TopicPartition]) -> None:
        self._assignments.on_rebalance()
        self._assignments.assigned = True


async def _retry_on_outage(attempt: Callable[[], Awaitable[None]]) -> None:
    """Call `attempt` until it returns, retrying while Kafka or PostgreSQL is away.

    Raises:
        TransientError: they were away for ten minutes, or Kafka accepted requests and did not answer.
    """
    started, pause, unanswered = time.monotonic(), RETRY_PAUSE_S, 0
    while True:
        try:
            await attempt()
        except OUTAGE_ERRORS as error:
            raise_if_cancelled()
            unanswered = unanswered + 1 if isinstance(error, KafkaTimeoutError) else 0
            if unanswered == MAX_UNANSWERED or time.monotonic() - started > MAX_OUTAGE_S:
                raise TransientError("Kafka or PostgreSQL is away") from error
            log.warning("waiting for Kafka or PostgreSQL", failure=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
        else:
            return


def _topic_partition(batch: PartitionBatch) -> TopicPartition:
    return TopicPartition(batch.topic, batch.partition)


def _create_consumer(bootstrap_servers: str, group: str, instance_id: str | None) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        group_instance_id=instance_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        session_timeout_ms=10_000,
        heartbeat_interval_ms=2_000,
        request_timeout_ms=15_000,
        retry_backoff_ms=200,
        # A topic that was deleted and created again, by a wiped broker for example, is noticed within this time.
        metadata_max_age_ms=15_000,
    )
