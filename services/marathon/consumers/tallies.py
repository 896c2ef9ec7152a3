"""Read tally batches with FastStream and apply them to the ledger.

FastStream delivers records; this module owns the position, which is stored in PostgreSQL and advanced in the
transaction that updates the totals. The ledger recognises a record that is delivered twice as a repeat; a record that
is delivered too early makes the consumer seek back. Offsets are committed to Kafka afterwards, only for lag tools and a
quick start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from typing import Any, Final

import asyncpg
import msgspec
import stamina
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.kafka.message import KafkaAckableMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber

from services.marathon.actions.apply_tallies import ApplyResult, TallyRecords, apply_tallies
from services.marathon.domain.ledger import Part, has_valid_source
from services.marathon.storage import ledger
from shared import topics
from shared.database import connected
from shared.errors import PermanentError, TransientError
from shared.events import cloudevents
from shared.events.tallies import ActionsCounted
from shared.kafka.consumer_shutdown import shut_down
from shared.logging import log
from shared.metrics import LEDGER_BATCHES, LEDGER_HALTED, PARTITION_LAG
from shared.outages import DATA_ERRORS, retry_on_outage
from shared.tasks import raise_if_cancelled

TOPICS: Final = (topics.PETITIONS_TALLIES.name, topics.LETTERS_TALLIES.name)
GROUP: Final = "marathon.apply-tallies"
MAX_RECORDS: Final = 500
BATCH_TIMEOUT_MS: Final = 50
MIN_TRANSACTION_INTERVAL_S: Final = 0.1
"""Tally batches that arrive within this time share a transaction."""
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
METADATA_MAX_AGE_MS: Final = 15_000
"""A topic that was deleted and created again is noticed within this time (the default is five minutes)."""
REQUEST_TIMEOUT_MS: Final = 15_000
START_TIMEOUT_S: Final = 60.0

_DATABASE_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_OUTAGE_ERRORS: Final = (KafkaError, *_DATABASE_ERRORS)
_NO_ANSWER: Final = "not read: Kafka or PostgreSQL does not answer"
_decode_batch = msgspec.json.Decoder(ActionsCounted).decode


class TallyReader:
    """Applies the tally batches of `tally_topics`, which have one partition each; `run` runs until cancelled."""

    _broker: KafkaBroker
    _subscriber: BatchSubscriber

    def __init__(
        self, pool: asyncpg.Pool, bootstrap_servers: str, *, tally_topics: Sequence[str] = TOPICS, group: str = GROUP
    ) -> None:
        self._pool = pool
        self._bootstrap_servers = bootstrap_servers
        self._topics = tuple(tally_topics)
        self._group = group
        self._apply_lock = asyncio.Lock()
        self._progress: dict[str, tuple[int, float]] = {}
        self._checked = False
        self._degraded: dict[str, str] = {}

    def missing(self) -> Mapping[str, str]:
        """What readiness lacks, by part; empty when ready."""
        return {} if self._checked else {"tally batches": "not read yet"}

    def degraded(self) -> Mapping[str, str]:
        """What the totals currently lack, by part: halted sources, a topic that was replaced."""
        return self._degraded

    async def run(self) -> None:
        """Read until cancelled. Reading resumes after any outage of Kafka or PostgreSQL, however long.

        Raises:
            TransientError: the position did not move for 45 s although there is lag and both answer without errors.
        """
        for attempt in (self._prepare, self._read):
            await retry_on_outage(attempt, partial(self._report_outage, _NO_ANSWER), outages=_OUTAGE_ERRORS)

    async def _prepare(self) -> None:
        async with connected(self._pool) as connection:
            for topic in self._topics:
                await ledger.ensure_position(connection, topic)
            await ledger.resume_halted(connection)

    async def _read(self) -> None:
        """Read with a new client."""
        self._create_client()
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._broker.start()
            await self._watch()
        finally:
            if (consumer := self._subscriber.consumer) is not None:
                await shut_down(consumer, self._broker.stop())

    def _create_client(self) -> None:
        """Create a new client, without starting it."""
        # FastStream takes a string as one address, even when it lists several.
        self._broker = KafkaBroker(
            self._bootstrap_servers.split(","),
            consumer_only=True,
            allow_auto_create_topics=False,
            logger=None,
            graceful_timeout=10.0,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        self._subscriber = self._broker.subscriber(
            *self._topics,
            group_id=self._group,
            batch=True,
            max_records=MAX_RECORDS,
            batch_timeout_ms=BATCH_TIMEOUT_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=_skip_decoding,
            session_timeout_ms=10_000,
        )
        self._subscriber(self._handle)

    async def _parse(self, records: tuple[ConsumerRecord[bytes, bytes], ...]) -> KafkaAckableMessage:
        # FastStream's own parser decodes header values as UTF-8 and fails on others; a bad record must reach
        # the ledger.
        return KafkaAckableMessage(body=b"", headers={}, raw_message=records, consumer=self._consumer())

    async def _handle(self, message: KafkaMessage) -> None:
        started_at = time.monotonic()
        records: Any = message.raw_message
        try:
            async with self._apply_lock:
                for topic, group in groupby(records, key=lambda record: record.topic):
                    await self._apply(topic, list(group))
        except _DATABASE_ERRORS as error:
            # The records are read again: the watch seeks back to the stored position once PostgreSQL answers.
            self._report_outage("not applied: PostgreSQL does not take them", error)
            return
        with suppress(KafkaError):
            await message.ack()
        await asyncio.sleep(max(0.0, started_at + MIN_TRANSACTION_INTERVAL_S - time.monotonic()))

    async def _apply(self, topic: str, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        batch = _tally_records(topic, records)
        result = await self._apply_with_retries(batch)
        LEDGER_BATCHES.labels("added").inc(result.rows)
        LEDGER_BATCHES.labels("repeated").inc(result.repeats)
        for source, reason in result.halt_reasons.items():
            log.error(
                "source halted: what it tells contradicts the ledger", source=str(source), reason=reason, topic=topic
            )
        if result.next != batch.next:
            log.warning("tally batches were skipped, going back", topic=topic, offset=result.next)
            self._consumer().seek(TopicPartition(topic, 0), result.next)

    async def _apply_with_retries(self, records: TallyRecords) -> ApplyResult:
        attempts = stamina.retry_context(
            on=_DATABASE_ERRORS, attempts=None, timeout=RETRY_TIMEOUT_S, wait_max=MAX_RETRY_PAUSE_S
        )
        async for attempt in attempts:
            with attempt:
                return await self._apply_once(records)
        raise AssertionError("it returns or raises")

    async def _apply_once(self, records: TallyRecords) -> ApplyResult:
        try:
            async with connected(self._pool) as connection:
                return await apply_tallies(connection, records)
        except DATA_ERRORS:
            raise
        except _DATABASE_ERRORS:
            # An error from PostgreSQL is an outage, not a stuck reader.
            self._progress.clear()
            raise

    async def _watch(self) -> None:
        """Compare the stored positions with the ends of the topics, and seek back where the consumer is ahead of them.

        Raises:
            KafkaError, OSError, TimeoutError: Kafka no longer answers this client.
            TransientError: reading is stuck.
        """
        unanswered_checks = 0
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S), connected(self._pool) as connection:
                    stored, heads = await ledger.positions(connection), await ledger.heads(connection)
            except _DATABASE_ERRORS as error:
                self._report_outage("cannot tell how far the ledger is: PostgreSQL does not answer", error)
                continue
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    ends = await self._ends()
                    await self._seek_back_to_stored()
            except _OUTAGE_ERRORS as error:
                unanswered_checks += 1
                self._report_outage("not read: Kafka does not answer", error)
                if unanswered_checks >= MAX_UNANSWERED_CHECKS:
                    raise
                continue
            unanswered_checks = 0
            self._report(
                {str(source): head.halt_reason for source, head in heads.items() if head.halt_reason}, stored, ends
            )

    def _report_outage(self, reason: str, error: Exception) -> None:
        raise_if_cancelled()
        log.warning("tally batches wait", reason=reason, failure=type(error).__name__)
        self._degraded = {**self._degraded, "tally batches": reason}
        self._progress.clear()

    async def _ends(self) -> dict[str, int]:
        """The end offset of each topic."""
        ends = await self._consumer().end_offsets([TopicPartition(topic, 0) for topic in self._topics])
        return {partition.topic: end for partition, end in ends.items()}

    def _report(self, halted: Mapping[str, str], stored: Mapping[str, int], ends: Mapping[str, int]) -> None:
        LEDGER_HALTED.set(len(halted))
        degraded = {source: f"halted: {reason}" for source, reason in halted.items()}
        for topic, end in ends.items():
            lag = end - stored[topic]
            PARTITION_LAG.labels(self._group, topic, 0).set(max(0, lag))
            if lag < 0:
                degraded[topic] = "ends before what was read: is this the same Kafka?"
            self._check_progress(topic, stored[topic], lag)
        self._degraded, self._checked = degraded, True

    def _check_progress(self, topic: str, position: int, lag: int) -> None:
        before, since = self._progress.get(topic, (-1, 0.0))
        if position != before or lag <= 0:
            self._progress[topic] = (position, time.monotonic())
        elif time.monotonic() - since > STUCK_AFTER_S:
            raise TransientError(f"{topic} is not read although there is lag")

    async def _seek_back_to_stored(self) -> None:
        consumer = self._consumer()
        for partition in consumer.assignment():
            if self._apply_lock.locked():
                return
            position = await consumer.position(partition)
            async with self._apply_lock, connected(self._pool) as connection:
                stored = (await ledger.positions(connection))[partition.topic]
                # Records delivered meanwhile that wait for the lock are applied or found too early: both are correct.
                if position > stored and await consumer.position(partition) == position:
                    consumer.seek(partition, stored)

    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        assert consumer is not None  # noqa: S101  it is started
        return consumer


async def _skip_decoding(message: KafkaMessage) -> None:
    """Decode nothing: `_tally_records` decodes the records and handles unreadable ones."""


def _tally_records(topic: str, records: Sequence[ConsumerRecord[bytes, bytes]]) -> TallyRecords:
    parts, unreadable = [], []
    for record in records:
        try:
            event_type = cloudevents.parse_event_type(record.headers)
            if event_type != ("actions-counted", 1) or record.value is None:
                raise PermanentError("unknown-event")
            batch = _decode_batch(record.value)
            if not has_valid_source(batch):
                raise PermanentError("no-source-partition")
            parts.append(Part.of(record.offset, batch, record.value))
        except (PermanentError, *cloudevents.DECODE_ERRORS):
            unreadable.append(record.offset)
    return TallyRecords(topic, records[0].offset, records[-1].offset + 1, parts, unreadable)
