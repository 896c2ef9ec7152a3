"""Reads tally batches with FastStream and applies them to the ledger.

FastStream delivers, this module keeps the position: it stands in PostgreSQL, moved in the transaction that adds to the
totals. Whatever is delivered twice is a repeat that the ledger knows; whatever is delivered too early makes the
consumer go back. Kafka's own offsets are committed afterwards and only serve lag tools and a quick start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
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

from services.marathon.actions.apply_tallies import Applied, Tallies, apply_tallies
from services.marathon.domain.ledger import Part
from services.marathon.storage import ledger
from shared import topics
from shared.database import connected
from shared.errors import PermanentError, TransientError
from shared.events import cloudevents
from shared.events.tallies import ActionsCounted
from shared.logging import log
from shared.metrics import LEDGER_BATCHES, LEDGER_HALTED, PARTITION_LAG

TOPICS: Final = (topics.PETITIONS_TALLIES.name, topics.LETTERS_TALLIES.name)
GROUP: Final = "marathon.apply-tallies"
RECORDS: Final = 500
WAIT_MS: Final = 50
APART_S: Final = 0.1
"""Tally batches that arrive within this time share a transaction."""
RETRY_S: Final = 120.0
"""How long the database may be away; less than the five minutes after which the group would give our place to
another."""
WATCH_EVERY_S: Final = 5.0
STUCK_S: Final = 45.0
METADATA_MS: Final = 15_000
"""A topic that went and came back is seen within this time; by default it would be five minutes."""
START_S: Final = 60.0

_SURROUNDINGS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_batch = msgspec.json.Decoder(ActionsCounted).decode


class TallyReader:
    """Applies the tally batches of `read`, topics of one partition; `run` goes on until cancelled."""

    def __init__(
        self, pool: asyncpg.Pool, bootstrap_servers: str, *, read: Sequence[str] = TOPICS, group: str = GROUP
    ) -> None:
        self._pool = pool
        self._topics = tuple(read)
        # FastStream takes a text for one address, however many stand in it.
        self._broker = KafkaBroker(
            bootstrap_servers.split(","),
            consumer_only=True,
            allow_auto_create_topics=False,
            logger=None,
            graceful_timeout=10.0,
            metadata_max_age_ms=METADATA_MS,
        )
        self._subscriber = self._broker.subscriber(
            *self._topics,
            group_id=group,
            batch=True,
            max_records=RECORDS,
            batch_timeout_ms=WAIT_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=self._parse,
            decoder=_undecoded,
            session_timeout_ms=10_000,
        )
        self._subscriber(self._handle)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._working = asyncio.Lock()
        self._moved: dict[str, tuple[int, float]] = {}
        self._looked = False
        self._degraded: dict[str, str] = {}

    def missing(self) -> Mapping[str, str]:
        """What readiness lacks, by part; empty is well."""
        return {} if self._looked else {"tally batches": "not read yet"}

    def degraded(self) -> Mapping[str, str]:
        """What the totals go on without, by part: sources that halted, a topic that is another one."""
        return self._degraded

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            TransientError: the database was away for two minutes, or nothing moved for 45 s although there is lag.
        """
        async with connected(self._pool) as connection:
            for topic in self._topics:
                await ledger.ensure_reading(connection, topic)
            await ledger.try_halted_again(connection)
        try:
            async for attempt in stamina.retry_context(on=(KafkaError, OSError), attempts=None, timeout=START_S):
                with attempt:
                    await self._broker.start()
            await self._watch()
        finally:
            await self._broker.stop()

    async def _parse(self, records: tuple[ConsumerRecord[bytes, bytes], ...]) -> KafkaAckableMessage:
        # FastStream's own parser reads header values as UTF-8 and fails on others; a bad record must reach the ledger.
        consumer = self._subscriber.consumer
        assert consumer is not None  # noqa: S101  it delivered these records
        return KafkaAckableMessage(body=b"", headers={}, raw_message=records, consumer=consumer)

    async def _handle(self, message: KafkaMessage) -> None:
        began = time.monotonic()
        records: Any = message.raw_message
        try:
            async with self._working:
                for topic, group in groupby(records, key=lambda record: record.topic):
                    await self._apply(topic, list(group))
        except _SURROUNDINGS as error:
            if not self._failed.done():
                self._failed.set_exception(TransientError(f"tallies not applied: {type(error).__name__}"))
            return
        with suppress(KafkaError):
            await message.ack()
        await asyncio.sleep(max(0.0, began + APART_S - time.monotonic()))

    async def _apply(self, topic: str, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
        tallies = _tallies(topic, records)
        applied = await self._apply_stubbornly(tallies)
        LEDGER_BATCHES.labels("added").inc(applied.rows)
        LEDGER_BATCHES.labels("repeated").inc(applied.repeats)
        for place, why in applied.halts.items():
            log.error("source halted: what it tells contradicts the ledger", source=str(place), reason=why, topic=topic)
        consumer = self._subscriber.consumer
        if applied.next != tallies.next and consumer is not None:
            log.warning("tally batches were skipped, going back", topic=topic, offset=applied.next)
            consumer.seek(TopicPartition(topic, 0), applied.next)

    @stamina.retry(on=_SURROUNDINGS, attempts=None, timeout=RETRY_S, wait_max=5.0)
    async def _apply_stubbornly(self, tallies: Tallies) -> Applied:
        async with connected(self._pool) as connection:
            return await apply_tallies(connection, tallies)

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._failed), WATCH_EVERY_S)
            try:
                async with asyncio.timeout(WATCH_EVERY_S):
                    await self._look()
            except (KafkaError, *_SURROUNDINGS) as error:
                log.warning("cannot tell how far the ledger is", failure=type(error).__name__)

    async def _look(self) -> None:
        """Compare what was read with what there is, and go back to the stored position if we are ahead of it."""
        consumer = self._subscriber.consumer
        if consumer is None:
            return
        async with connected(self._pool) as connection:
            stored = await ledger.readings(connection)
            halted = {
                str(place): head.halted for place, head in (await ledger.heads(connection)).items() if head.halted
            }
        LEDGER_HALTED.set(len(halted))
        degraded = {place: f"halted: {why}" for place, why in halted.items()}
        partitions = [TopicPartition(topic, 0) for topic in self._topics]
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            lag = ends[partition] - stored[partition.topic]
            PARTITION_LAG.labels(partition.topic, 0).set(max(0, lag))
            if lag < 0:
                degraded[partition.topic] = "ends before what was read: is this the same Kafka?"
            self._note_progress(partition.topic, stored[partition.topic], lag)
            await self._go_back_if_ahead(consumer, partition)
        self._degraded, self._looked = degraded, True

    def _note_progress(self, topic: str, position: int, lag: int) -> None:
        before, since = self._moved.get(topic, (-1, 0.0))
        if position != before or lag <= 0:
            self._moved[topic] = (position, time.monotonic())
        elif time.monotonic() - since > STUCK_S and not self._failed.done():
            self._failed.set_exception(TransientError(f"{topic} is not read although there is lag"))

    async def _go_back_if_ahead(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        if partition not in consumer.assignment() or self._working.locked():
            return
        position = await consumer.position(partition)
        async with self._working, connected(self._pool) as connection:
            stored = (await ledger.readings(connection))[partition.topic]
            # What was delivered meanwhile and waits for the lock is applied or found too early: both are right.
            if position > stored and await consumer.position(partition) == position:
                consumer.seek(partition, stored)


async def _undecoded(message: KafkaMessage) -> None:
    """Nothing: the records are read by `_tallies`, which knows what to do with a bad one."""


def _tallies(topic: str, records: Sequence[ConsumerRecord[bytes, bytes]]) -> Tallies:
    parts, unreadable = [], []
    for record in records:
        try:
            event_type = cloudevents.event_type(record.headers)
            if event_type != ("actions-counted", 1) or record.value is None:
                raise PermanentError("unknown-event")
            parts.append(Part.of(record.offset, _batch(record.value), record.value))
        except (PermanentError, msgspec.MsgspecError):
            unreadable.append(record.offset)
    return Tallies(topic, records[0].offset, records[-1].offset + 1, parts, unreadable)
