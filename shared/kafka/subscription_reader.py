"""Reads the topics of a subscription and hands each record exactly once to its handlers.

FastStream delivers records; the position is stored in PostgreSQL and moved in the handler's transaction. A record that
is delivered twice lies before the position and is dropped; one that is delivered too early makes the reader seek back.
Offsets are committed to Kafka afterwards, only for lag tools and a quick start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import asyncpg
import stamina
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from shared.database import connected
from shared.errors import HaltError, PermanentError, TransientError
from shared.events.cloudevents import ORIGIN_HEADER
from shared.kafka import subscription_positions as positions
from shared.kafka.dead_letters import report_dead_letter
from shared.kafka.positions import ensure_positions
from shared.kafka.records import PartitionBatch
from shared.kafka.refusal_limit import RefusalLimit
from shared.kafka.subscription import Applied, Subscription
from shared.kafka.subscription_client import SubscriptionClient
from shared.kafka.subscription_log import LogCheck
from shared.logging import log
from shared.metrics import PARTITION_HALTED, PARTITION_LAG
from shared.outages import DATA_ERRORS, retry_on_outage
from shared.tasks import raise_if_cancelled

RETRY_TIMEOUT_S: Final = 120.0
"""How long delivered records are retried before they are read again; less than the five minutes after which the group
would give the partition to another member.
"""
MAX_RETRY_PAUSE_S: Final = 5.0
WATCH_INTERVAL_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 5.0
MAX_UNANSWERED_CHECKS: Final = 6
"""After this many consecutive checks without an answer from Kafka a new client takes over: after an outage one client
may get no answers while others do.
"""
STUCK_AFTER_S: Final = 45.0
START_TIMEOUT_S: Final = 60.0

_DATABASE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_OUTAGE_ERRORS: Final = (KafkaError, *_DATABASE_ERRORS)
_HALTING_ERRORS: Final[tuple[type[Exception], ...]] = (HaltError, PermanentError, *DATA_ERRORS)
_NO_ANSWER: Final = "not read: Kafka or PostgreSQL does not answer"


class SubscriptionReader:
    """Reads the topics of one subscription; `run` runs until cancelled.

    Without `dead_letter_limit` all records that are refused become dead letters, however many there are.
    """

    _client: SubscriptionClient

    def __init__(
        self,
        subscription: Subscription,
        pool: asyncpg.Pool,
        bootstrap_servers: str,
        *,
        dead_letter_limit: bool = True,
    ) -> None:
        self._subscription = subscription
        self._pool = pool
        self._bootstrap_servers = bootstrap_servers
        self._apply_lock = asyncio.Lock()
        self._log_check = LogCheck(bootstrap_servers, subscription.topics)
        self._refusal_limit = RefusalLimit(enabled=dead_letter_limit)
        self._halted: dict[TopicPartition, str] = {}
        self._progress: dict[TopicPartition, tuple[int, float]] = {}
        self._checked = False
        self._degraded: dict[str, str] = {}

    def missing(self) -> Mapping[str, str]:
        """What readiness lacks, by part; empty when ready."""
        return {} if self._checked else {self._subscription.name: "not read yet"}

    def degraded(self) -> Mapping[str, str]:
        """What is currently not read, by part: halted partitions, and what the subscription itself reports."""
        return self._degraded

    async def run(self) -> None:
        """Read until cancelled. Reading resumes after any outage of Kafka or PostgreSQL, however long.

        Raises:
            TransientError: a position did not move for 45 s although there is lag and both answer without errors.
            SetupError: a topic is missing, or has another number of partitions than its positions.
        """
        for attempt in (self._prepare, self._read):
            await retry_on_outage(attempt, partial(self._report_outage, _NO_ANSWER), outages=_OUTAGE_ERRORS)

    async def _prepare(self) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            partition_counts = await self._log_check.partition_counts()
        async with connected(self._pool) as connection, connection.transaction():
            for topic, count in partition_counts.items():
                await ensure_positions(connection, self._subscription.group, topic, count)
            if self._subscription.prepare is not None:
                await self._subscription.prepare(connection)

    async def _read(self) -> None:
        """Read with a new client."""
        async with connected(self._pool) as connection:
            stored = await positions.read_positions(connection, self._subscription.group)
        self._client = SubscriptionClient(self._subscription, self._bootstrap_servers, self._handle)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._log_check.compare_logs(stored)
                await self._client.start()
            await self._watch()
        finally:
            await self._client.stop()

    async def _handle(self, batches: Sequence[PartitionBatch]) -> bool:
        """Apply `batches`; False if one of them failed, so that the watch seeks back to its position later."""
        started_at, handled = time.monotonic(), True
        async with self._apply_lock:
            for batch in batches:
                tp = TopicPartition(batch.topic, batch.partition)
                if tp not in self._halted and tp not in self._log_check.faults:
                    handled &= await self._handle_partition(tp, batch, started_at)
        return handled

    async def _handle_partition(self, tp: TopicPartition, batch: PartitionBatch, started_at: float) -> bool:
        try:
            next_ = await self._apply_with_retries(batch, started_at + RETRY_TIMEOUT_S - time.monotonic())
            if next_ < batch.next_offset:
                await self._go_back(tp, batch, next_)
        except _HALTING_ERRORS as error:
            self._halt(tp, str(error) if isinstance(error, HaltError | PermanentError) else type(error).__name__)
        except (TransientError, *_OUTAGE_ERRORS) as error:
            self._report_outage(f"{tp.topic}/{tp.partition} not applied", error)
        except Exception as error:  # noqa: BLE001  a fault of the handler stops its partition and nothing else
            log.exception("a handler failed", topic=tp.topic, partition=tp.partition)
            self._halt(tp, type(error).__name__)
        else:
            return True
        return False

    async def _apply_with_retries(self, batch: PartitionBatch, timeout_s: float) -> int:
        attempts = stamina.retry_context(
            on=_is_transient, attempts=None, timeout=max(0.001, timeout_s), wait_max=MAX_RETRY_PAUSE_S
        )
        async for attempt in attempts:
            with attempt:
                return await self._apply(batch)
        raise AssertionError("it returns or raises")

    async def _apply(self, batch: PartitionBatch) -> int:
        """Apply the records of `batch` that follow the position, and return the offset to read next."""
        group, place = self._subscription.group, (batch.topic, batch.partition)
        applied, handled = Applied(0), batch
        try:
            async with connected(self._pool) as connection, connection.transaction():
                next_ = await positions.lock_position(connection, group, *place)
                records = self._log_check.following(batch, next_)
                if records:
                    applied = await self._subscription.apply(connection, batch._replace(records=records))
                    handled = batch._replace(records=records[: applied.handled])
                    self._refusal_limit.check(handled, _first_refusals(handled, applied))
                    last = handled.records[-1]
                    await positions.move_position(connection, group, *place, last)
                    next_ = last.offset + 1
        except Exception as error:
            if _is_transient(error):
                # It is an outage, not a stuck reader.
                self._progress.clear()
            raise
        if applied.handled:
            self._refusal_limit.note(handled, _first_refusals(handled, applied))
        for offset, reason in applied.refused.items():
            report_dead_letter(group, *place, offset, reason)
        if applied.after_commit is not None:
            applied.after_commit()
        return next_

    async def _go_back(self, tp: TopicPartition, batch: PartitionBatch, next_: int) -> None:
        """Read again from `next_` on.

        Raises:
            HaltError: the log has no record there.
        """
        if batch.first_offset > next_:
            await self._log_check.check_gap(tp, next_)
            log.warning("records were skipped, going back", topic=tp.topic, partition=tp.partition, offset=next_)
        self._client.consumer.seek(tp, next_)

    def _halt(self, tp: TopicPartition, reason: str) -> None:
        self._halted[tp] = reason
        log.error("partition halted", topic=tp.topic, partition=tp.partition, reason=reason)
        self._set_halted_metric(tp)

    def _set_halted_metric(self, tp: TopicPartition) -> None:
        halted = tp in self._halted or tp in self._log_check.faults
        PARTITION_HALTED.labels(self._subscription.group, tp.topic, tp.partition).set(int(halted))

    async def _watch(self) -> None:
        """Compare the stored positions with the logs, and seek back where the consumer is ahead of them.

        Raises:
            KafkaError, OSError, TimeoutError: Kafka no longer answers this client.
            TransientError: reading is stuck.
        """
        unanswered_checks = 0
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S), connected(self._pool) as connection:
                    stored = await positions.read_positions(connection, self._subscription.group)
                    examine = self._subscription.examine
                    degraded = {} if examine is None else dict(await examine(connection))
            except _DATABASE_ERRORS as error:
                self._report_outage("cannot tell how far it is read: PostgreSQL does not answer", error)
                continue
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    ends = await self._log_check.compare_ranges(self._client.consumer, stored)
                    await self._seek_back_to_stored()
            except _OUTAGE_ERRORS as error:
                unanswered_checks += 1
                self._log_check.suspect(stored)
                self._report_outage("not read: Kafka does not answer", error)
                if unanswered_checks >= MAX_UNANSWERED_CHECKS:
                    raise
                continue
            unanswered_checks = 0
            self._report(degraded, stored, ends)

    def _report_outage(self, reason: str, error: Exception) -> None:
        raise_if_cancelled()
        name = self._subscription.name
        log.warning("a subscription waits", subscription=name, reason=reason, failure=type(error).__name__)
        self._degraded = {**self._degraded, name: reason}
        self._progress.clear()

    def _report(
        self,
        degraded: dict[str, str],
        stored: Mapping[TopicPartition, positions.StoredPosition],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        stopped = {**self._halted, **self._log_check.faults}
        for tp, end in ends.items():
            lag = end - stored[tp].next_offset
            PARTITION_LAG.labels(self._subscription.group, tp.topic, tp.partition).set(max(0, lag))
            self._set_halted_metric(tp)
            if tp not in stopped:
                self._check_progress(tp, stored[tp].next_offset, lag)
        degraded |= {f"{tp.topic}/{tp.partition}": reason for tp, reason in stopped.items()}
        self._degraded, self._checked = degraded, True

    def _check_progress(self, tp: TopicPartition, position: int, lag: int) -> None:
        before, since = self._progress.get(tp, (-1, 0.0))
        if position != before or lag <= 0:
            self._progress[tp] = (position, time.monotonic())
        elif time.monotonic() - since > STUCK_AFTER_S:
            raise TransientError(f"{tp.topic} is not read although there is lag")

    async def _seek_back_to_stored(self) -> None:
        consumer = self._client.consumer
        for tp in consumer.assignment() - self._halted.keys() - self._log_check.faults.keys():
            if self._apply_lock.locked():
                return
            position = await consumer.position(tp)
            async with self._apply_lock, connected(self._pool) as connection:
                stored = (await positions.read_positions(connection, self._subscription.group))[tp].next_offset
                # Records delivered meanwhile that wait for the lock are applied or found too early: both are correct.
                if position > stored and await consumer.position(tp) == position:
                    consumer.seek(tp, stored)


def _first_refusals(batch: PartitionBatch, applied: Applied) -> set[int]:
    """The refused offsets of `batch` without redriven records, which an operator has sent again."""
    return {
        record.offset
        for record in batch.records
        if record.offset in applied.refused and ORIGIN_HEADER not in dict(record.headers)
    }


def _is_transient(error: Exception) -> bool:
    return isinstance(error, (TransientError, *_OUTAGE_ERRORS)) and not isinstance(error, DATA_ERRORS)
