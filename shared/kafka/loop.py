"""The loop that turns records into rows, each exactly once: positions in PostgreSQL, moved in the same transaction.

What the caller gives is `handle(connection, batches)`: it runs inside a transaction that has already moved the
positions of these batches by compare-and-set. It writes rows and outbox records; it never commits and never publishes.
Nothing is skipped: a log that does not fit the position halts its partition.
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
from shared.kafka.fetches import Fetches
from shared.kafka.positions import PositionLostError, advance, ensure_positions, note_attempts
from shared.kafka.records import PartitionBatch
from shared.logging import log
from shared.metrics import LOOP_FAILURES, PARTITION_LAG, POISONED
from shared.tasks import raise_if_cancelled

READ_APART_S: Final = 0.05
"""Records that arrive within this time share a transaction."""
OUTAGE_S: Final = 600.0
"""How long Kafka or PostgreSQL may be away before the process gives up."""
UNANSWERED: Final = 2
"""Requests in a row, each of 15 s, that Kafka leaves unanswered. After an outage one client may get no answer any more
while others get theirs: a new process has a new one.
"""
FAILURES: Final = 3
PAUSE_S: Final = 0.3
WATCH_EVERY_S: Final = 5.0
STUCK_S: Final = 45.0
"""So long without progress while there is lag, and the process ends; its backlog is gone a minute later."""
REQUEST_S: Final = 10.0

OUTAGE_ERRORS: Final = (KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
DATA_ERRORS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""What PostgreSQL says to what it cannot hold: it will say so again, to this process and the next."""

P = TypeVar("P")
Batches = Sequence[PartitionBatch]


def _nothing_more(_prepared: object) -> None:
    """What a loop does that has nothing to do after a commit."""


async def as_read(batches: Batches) -> Batches:
    """The preparation of a loop that needs none."""
    return batches


class _Write(NamedTuple):
    """A transaction under way; the generation of the places that its batches are of, and whether any is with care."""

    batches: Batches
    generation: int
    careful: bool
    task: asyncio.Task[None]


class PositionedLoop(Generic[P]):
    """Reads `topics` in the consumer group `group` and hands every record exactly once to `handle`.

    `prepare` may turn batches into something else beforehand, while the transaction before is still at work; it must
    not touch the rows. Up to `at_once` transactions, of different partitions, are under way together. `written` is told
    what was committed. `poison(connection, batch)` takes over for a single record on which several processes have died;
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
        prepare: Callable[[Batches], Awaitable[P]] = as_read,  # type: ignore[assignment]
        written: Callable[[P], None] = _nothing_more,
        poison: Callable[[asyncpg.Connection, PartitionBatch], Awaitable[None]] | None = None,
        instance_id: str | None = None,
        at_once: int = 1,
    ) -> None:
        self._topics = tuple(topics)
        self._pool = pool
        self._handle = handle
        self._prepare = prepare
        self._tell = written
        self._poison = poison
        self._consumer = _consumer(bootstrap_servers, group, instance_id)
        self._places = Assignments(self._consumer)
        self._fetches = Fetches(self._consumer)
        self._next: dict[TopicPartition, int] = {}
        self._told: set[TopicPartition] = set()
        self._at_once = at_once
        self._writes: deque[_Write] = deque()
        self._failures = 0
        self._failing: set[TopicPartition] = set()
        self._moved_at = time.monotonic()

    def missing(self) -> Mapping[str, str]:
        """What readiness lacks, by topic or partition; empty while all is well."""
        if not self._places.assigned:
            return dict.fromkeys(self._topics, "not assigned yet")
        return {f"{tp.topic}/{tp.partition}": reason for tp, reason in self._places.halted.items()}

    def assigned(self) -> int:
        """How many partitions are ours now."""
        return len(self._places.cursors)

    async def run(self) -> None:
        """Read until cancelled; what is being written then is finished first.

        Raises:
            TransientError: three transactions in a row failed, Kafka or PostgreSQL was away for ten minutes, or nothing
                moved for 45 s although there is lag.
            SetupError: a topic is missing, or has another number of partitions than its positions.
        """
        self._consumer.subscribe(self._topics, listener=_Listener(self._places, self._last_write))
        try:
            await _wait_out(self._consumer.start)
            await _wait_out(self._check_topics)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read())
                tasks.create_task(self._watch())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            await self._last_write()
            await self._fetches.close()
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(REQUEST_S):
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
            if unplaced := self._places.to_seek():
                await self._place(unplaced)
                continue
            await asyncio.sleep(next_read - time.monotonic())
            generation = self._places.generation
            batches = await self._fetch()
            next_read = time.monotonic() + READ_APART_S
            self._fetches.start(self._places.next_offsets())
            if not batches:
                await self._settle()
                continue
            for portion in self._places.portions(batches, self._at_once):
                if await self._may_try(portion, generation):
                    await self._process(portion, generation)

    async def _process(self, batches: Batches, generation: int) -> None:
        """Prepare `batches` while those before are being written, then begin to write them."""
        try:
            prepared = await self._prepare(batches)
        except OUTAGE_ERRORS as error:
            await self._not_written(batches, error)
            return
        await self._settle_before(batches)
        # After a failure or a rebalance meanwhile, what is in hand will be read again by whom it belongs to.
        if generation == self._places.generation:
            self._begin(batches, prepared)

    def _begin(self, batches: Batches, prepared: P) -> None:
        task = asyncio.create_task(self._write(batches, prepared))
        self._writes.append(_Write(batches, self._places.generation, self._places.careful, task))

    async def _place(self, partitions: Sequence[TopicPartition]) -> None:
        await self._settle()

        async def attempt() -> None:
            async with connected(self._pool) as connection:
                await self._places.seek_to_positions(connection, partitions)

        await _wait_out(attempt)

    async def _fetch(self) -> Batches:
        wanted = self._places.next_offsets()
        try:
            # Nothing comes of it, all partitions are paused; but it tells the group that we are at work.
            await self._consumer.getmany(timeout_ms=0)
            fetched = await self._fetches.get(wanted)
            if self._places.connection_was_lost():
                self._places.forget()
                return []
            accepted = [self._places.accept(tp, fetched[tp]) for tp in sorted(fetched)]
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self._places.forget()
            return []
        except (KafkaError, TransientError) as error:
            await self._failed(error)
            return []
        return [batch for batch in accepted if batch]

    async def _may_try(self, batches: Batches, generation: int) -> bool:
        """Leave a mark before records are touched: by it the next process knows if this one dies of them."""
        untried = [batch for batch in batches if self._places.must_note(batch)]
        if untried:
            await self._settle_before(batches)
        if generation != self._places.generation:
            return False
        if not untried:
            return True
        try:
            async with connected(self._pool) as connection:
                poisoned = [batch for batch in untried if self._places.poisoned(batch)]
                if poisoned:
                    await self._set_aside(connection, poisoned[0])
                    return False
                await note_attempts(connection, untried, 1)
        except OUTAGE_ERRORS as error:
            await self._failed(error)
            return False
        self._places.noted(untried)
        return True

    async def _set_aside(self, connection: asyncpg.Connection, batch: PartitionBatch) -> None:
        POISONED.labels(batch.topic).inc()
        if self._poison is None:
            self._places.halt(_place(batch), f"the record at {batch.first} ends the process")
            return
        log.error("record set aside", topic=batch.topic, partition=batch.partition, offset=batch.first)
        async with connection.transaction():
            await advance(connection, [batch], [self._places.attempts_after(batch)])
            await self._poison(connection, batch)
        self._places.forget()

    async def _write(self, batches: Batches, prepared: P) -> None:
        attempts = [self._places.attempts_after(batch) for batch in batches]
        async with connected(self._pool) as connection, connection.transaction():
            await advance(connection, batches, attempts)
            await self._handle(connection, prepared)
        self._tell(prepared)

    async def _last_write(self) -> None:
        """Wait until nothing is being written any more, whatever comes of it."""
        if self._writes:
            done, _ = await asyncio.wait([write.task for write in self._writes], timeout=REQUEST_S)
            for task in done:
                # Looked at, or asyncio would log it when the process ends for another reason.
                if not task.cancelled():
                    task.exception()

    async def _settle_before(self, batches: Batches) -> None:
        """Wait until `batches` may be written: there is room, and what came before them in their partitions is."""
        mine = set(map(_place, batches))
        careful = self._places.careful or any(one.careful for one in self._writes)
        room = 1 if careful else self._at_once
        while len(self._writes) >= room or any(mine & set(map(_place, one.batches)) for one in self._writes):
            await self._settle_oldest()

    async def _settle(self) -> None:
        """Wait for all that is being written, and do what its end asks for."""
        while self._writes:
            await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        batches, generation, _, task = self._writes[0]
        # Not awaited directly: whoever cancels us must not cancel a transaction that may be at its commit.
        await asyncio.wait({task})
        self._writes.popleft()
        try:
            task.result()
        except HaltError as error:
            await self._write_one_by_one(batches, error)
        except (PositionLostError, *OUTAGE_ERRORS) as error:
            if generation == self._places.generation:
                await self._not_written(batches, error)
            else:
                await self._take_mark_back(batches, error)
        else:
            if generation == self._places.generation:
                self._succeeded(batches)
            self._moved(batches)

    def _succeeded(self, batches: Batches) -> None:
        """Forget the failures before, unless they were of other partitions that are still ours."""
        self._failing -= set(map(_place, batches))
        self._failing &= self._places.cursors.keys()
        if not self._failing:
            self._failures = 0

    async def _write_one_by_one(self, batches: Batches, error: HaltError) -> None:
        """Halt the partition that asked for it, and no other."""
        self._places.forget()
        if len(batches) == 1:
            self._places.halt(_place(batches[0]), str(error))
            return
        for batch in batches:
            try:
                prepared = await self._prepare([batch])
            except OUTAGE_ERRORS as failure:
                await self._not_written([batch], failure)
                return
            self._begin([batch], prepared)
            await self._settle()

    async def _not_written(self, batches: Batches, error: Exception) -> None:
        """Take the mark back that `batches` may have, and read again."""
        self._failing |= set(map(_place, batches))
        await self._take_mark_back(batches, error)
        await self._failed(error)

    async def _take_mark_back(self, batches: Batches, error: Exception) -> None:
        """Take the mark of `_may_try` back, unless `error` is the fault of the records of `batches`."""
        if not isinstance(error, DATA_ERRORS):
            with suppress(*OUTAGE_ERRORS):
                async with connected(self._pool) as connection:
                    await note_attempts(connection, batches, -1)

    async def _failed(self, error: Exception) -> None:
        """Drop what was read and place every partition again; three times in a row end the process."""
        self._failures += 1
        self._places.forget()
        # What else is under way may fail of the same cause: that is no failure more, and leaves no mark.
        await self._settle()
        LOOP_FAILURES.labels(type(error).__name__).inc()
        log.warning("nothing written, reading again", failure=type(error).__name__, in_a_row=self._failures)
        if self._failures >= FAILURES:
            raise TransientError(
                f"{self._failures} failures in a row, the last of type {type(error).__name__}"
            ) from error
        await asyncio.sleep(PAUSE_S * self._failures)

    def _moved(self, batches: Batches) -> None:
        self._moved_at = time.monotonic()
        for batch in batches:
            self._next[_place(batch)] = batch.next

    async def _watch(self) -> None:
        """Tell how far behind we are, leave Kafka's own offsets for its lag tools, and end a loop that is stuck."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            mine = self._consumer.assignment() - self._places.halted.keys()
            try:
                async with asyncio.timeout(REQUEST_S):
                    lag = await self._measure(mine)
                    if offsets := {tp: self._next[tp] for tp in mine & self._next.keys()}:
                        await self._consumer.commit(offsets)
            except (KafkaError, TimeoutError):
                continue
            if not any(lag.values()):
                self._moved_at = time.monotonic()
            elif time.monotonic() - self._moved_at > STUCK_S:
                raise TransientError("no progress although there is lag")

    async def _measure(self, mine: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The lag of the placed partitions; tells that of all that are ours, also while PostgreSQL is away."""
        ends = await self._consumer.end_offsets(mine)
        for tp, place in self._places.cursors.items():
            self._next[tp] = max(self._next.get(tp, 0), place.position.next)
        lag = {tp: max(0, end - self._next[tp]) for tp, end in ends.items() if tp in self._next}
        for tp in self._told - lag.keys():
            PARTITION_LAG.remove(tp.topic, str(tp.partition))
        for tp, records in lag.items():
            PARTITION_LAG.labels(tp.topic, str(tp.partition)).set(records)
        self._told = set(lag)
        return {tp: lag[tp] for tp in lag.keys() & self._places.cursors.keys()}


class _Listener(ConsumerRebalanceListener):
    """Tells the places of a rebalance. What is being written ends first: the next owner need not read it twice."""

    def __init__(self, places: Assignments, last_write: Callable[[], Awaitable[None]]) -> None:
        self._places = places
        self._last_write = last_write

    async def on_partitions_revoked(self, _revoked: Iterable[TopicPartition]) -> None:
        self._places.reassigned()
        await self._last_write()

    async def on_partitions_assigned(self, _assigned: Iterable[TopicPartition]) -> None:
        self._places.reassigned()
        self._places.assigned = True


async def _wait_out(attempt: Callable[[], Awaitable[None]]) -> None:
    """Do `attempt`, waiting for Kafka and PostgreSQL where they are away.

    Raises:
        TransientError: they were away for ten minutes, or Kafka took requests and did not answer.
    """
    started, pause, unanswered = time.monotonic(), PAUSE_S, 0
    while True:
        try:
            await attempt()
        except OUTAGE_ERRORS as error:
            raise_if_cancelled()
            unanswered = unanswered + 1 if isinstance(error, KafkaTimeoutError) else 0
            if unanswered == UNANSWERED or time.monotonic() - started > OUTAGE_S:
                raise TransientError("Kafka or PostgreSQL is away") from error
            log.warning("waiting for Kafka or PostgreSQL", failure=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)
        else:
            return


def _place(batch: PartitionBatch) -> TopicPartition:
    return TopicPartition(batch.topic, batch.partition)


def _consumer(bootstrap_servers: str, group: str, instance_id: str | None) -> AIOKafkaConsumer:
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
        # A topic that went and came back, a wiped broker for one, is seen within this time.
        metadata_max_age_ms=15_000,
    )
