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

from services.marathon.actions.apply_tallies import Applied, Tallies, apply_tallies
from services.marathon.domain.ledger import Part, is_place
from services.marathon.storage import ledger
from shared import topics
from shared.database import connected
from shared.errors import PermanentError, TransientError
from shared.events import cloudevents
from shared.events.tallies import ActionsCounted
from shared.kafka.consumer_shutdown import leave
from shared.kafka.loop import DATA_ERRORS
from shared.logging import log
from shared.metrics import LEDGER_BATCHES, LEDGER_HALTED, PARTITION_LAG
from shared.tasks import raise_if_cancelled, wait_out

TOPICS: Final = (topics.PETITIONS_TALLIES.name, topics.LETTERS_TALLIES.name)
GROUP: Final = "marathon.apply-tallies"
RECORDS: Final = 500
WAIT_MS: Final = 50
APART_S: Final = 0.1
"""Tally batches that arrive within this time share a transaction."""
RETRY_S: Final = 120.0
"""How long records in hand are tried again; less than the five minutes after which the group would give our place to
another. After that they are read anew.
"""
LONGEST_PAUSE_S: Final = 5.0
WATCH_EVERY_S: Final = 5.0
ANSWER_S: Final = 5.0
UNANSWERED: Final = 6
"""So many looks in a row that Kafka leaves unanswered, and another client takes over: after an outage one may get no
answer any more while others get theirs.
"""
STUCK_S: Final = 45.0
METADATA_MS: Final = 15_000
"""A topic that went and came back is seen within this time; by default it would be five minutes."""
REQUEST_MS: Final = 15_000
START_S: Final = 60.0

_DATABASE: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_SURROUNDINGS: Final = (KafkaError, *_DATABASE)
_SILENT: Final = "not read: Kafka or PostgreSQL does not answer"
_batch = msgspec.json.Decoder(ActionsCounted).decode


class TallyReader:
    """Applies the tally batches of `read`, topics of one partition; `run` goes on until cancelled."""

    _broker: KafkaBroker
    _subscriber: BatchSubscriber

    def __init__(
        self, pool: asyncpg.Pool, bootstrap_servers: str, *, read: Sequence[str] = TOPICS, group: str = GROUP
    ) -> None:
        self._pool = pool
        self._bootstrap_servers = bootstrap_servers
        self._topics = tuple(read)
        self._group = group
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
        """Read until cancelled. However long Kafka or PostgreSQL is away, reading is taken up again after it.

        Raises:
            TransientError: nothing moved for 45 s although there is lag, both answer, and neither refuses anything.
        """
        for attempt in (self._begin, self._read):
            await wait_out(attempt, _SURROUNDINGS, partial(self._note_outage, _SILENT))

    async def _begin(self) -> None:
        async with connected(self._pool) as connection:
            for topic in self._topics:
                await ledger.ensure_reading(connection, topic)
            await ledger.try_halted_again(connection)

    async def _read(self) -> None:
        """Read with a client of its own."""
        self._connect()
        try:
            async with asyncio.timeout(START_S):
                await self._broker.start()
            await self._watch()
        finally:
            if (consumer := self._subscriber.consumer) is not None:
                await leave(consumer, self._broker.stop())

    def _connect(self) -> None:
        """Take another client, which is not started yet."""
        # FastStream takes a text for one address, however many stand in it.
        self._broker = KafkaBroker(
            self._bootstrap_servers.split(","),
            consumer_only=True,
            allow_auto_create_topics=False,
            logger=None,
            graceful_timeout=10.0,
            metadata_max_age_ms=METADATA_MS,
            request_timeout_ms=REQUEST_MS,
        )
        self._subscriber = self._broker.subscriber(
            *self._topics,
            group_id=self._group,
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

    async def _parse(self, records: tuple[ConsumerRecord[bytes, bytes], ...]) -> KafkaAckableMessage:
        # FastStream's own parser reads header values as UTF-8 and fails on others; a bad record must reach the ledger.
        return KafkaAckableMessage(body=b"", headers={}, raw_message=records, consumer=self._consumer())

    async def _handle(self, message: KafkaMessage) -> None:
        began = time.monotonic()
        records: Any = message.raw_message
        try:
            async with self._working:
                for topic, group in groupby(records, key=lambda record: record.topic):
                    await self._apply(topic, list(group))
        except _DATABASE as error:
            # They are read again: the watch goes back to the stored position once PostgreSQL tells it.
            self._note_outage("not applied: PostgreSQL does not take them", error)
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
        if applied.next != tallies.next:
            log.warning("tally batches were skipped, going back", topic=topic, offset=applied.next)
            self._consumer().seek(TopicPartition(topic, 0), applied.next)

    async def _apply_stubbornly(self, tallies: Tallies) -> Applied:
        retried = stamina.retry_context(on=_DATABASE, attempts=None, timeout=RETRY_S, wait_max=LONGEST_PAUSE_S)
        async for attempt in retried:
            with attempt:
                return await self._apply_once(tallies)
        raise AssertionError("it returns or raises")

    async def _apply_once(self, tallies: Tallies) -> Applied:
        try:
            async with connected(self._pool) as connection:
                return await apply_tallies(connection, tallies)
        except DATA_ERRORS:
            raise
        except _DATABASE:
            # Whoever is refused is not stuck.
            self._moved.clear()
            raise

    async def _watch(self) -> None:
        """Compare what was read with what there is, and go back to the stored position where we are ahead of it.

        Raises:
            KafkaError, OSError, TimeoutError: Kafka does not answer this client any more.
            TransientError: reading is stuck.
        """
        unanswered = 0
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                async with asyncio.timeout(ANSWER_S), connected(self._pool) as connection:
                    stored, heads = await ledger.readings(connection), await ledger.heads(connection)
            except _DATABASE as error:
                self._note_outage("cannot tell how far the ledger is: PostgreSQL does not answer", error)
                continue
            try:
                async with asyncio.timeout(ANSWER_S):
                    ends = await self._ends()
                    await self._go_back_where_ahead()
            except _SURROUNDINGS as error:
                unanswered += 1
                self._note_outage("not read: Kafka does not answer", error)
                if unanswered >= UNANSWERED:
                    raise
                continue
            unanswered = 0
            self._tell({str(place): head.halted for place, head in heads.items() if head.halted}, stored, ends)

    def _note_outage(self, what: str, error: Exception) -> None:
        raise_if_cancelled()
        log.warning("tally batches wait", reason=what, failure=type(error).__name__)
        self._degraded = {**self._degraded, "tally batches": what}
        self._moved.clear()

    async def _ends(self) -> dict[str, int]:
        """The end of each topic."""
        ends = await self._consumer().end_offsets([TopicPartition(topic, 0) for topic in self._topics])
        return {partition.topic: end for partition, end in ends.items()}

    def _tell(self, halted: Mapping[str, str], stored: Mapping[str, int], ends: Mapping[str, int]) -> None:
        LEDGER_HALTED.set(len(halted))
        degraded = {place: f"halted: {why}" for place, why in halted.items()}
        for topic, end in ends.items():
            lag = end - stored[topic]
            PARTITION_LAG.labels(topic, 0).set(max(0, lag))
            if lag < 0:
                degraded[topic] = "ends before what was read: is this the same Kafka?"
            self._note_progress(topic, stored[topic], lag)
        self._degraded, self._looked = degraded, True

    def _note_progress(self, topic: str, position: int, lag: int) -> None:
        before, since = self._moved.get(topic, (-1, 0.0))
        if position != before or lag <= 0:
            self._moved[topic] = (position, time.monotonic())
        elif time.monotonic() - since > STUCK_S:
            raise TransientError(f"{topic} is not read although there is lag")

    async def _go_back_where_ahead(self) -> None:
        consumer = self._consumer()
        for partition in consumer.assignment():
            if self._working.locked():
                return
            position = await consumer.position(partition)
            async with self._working, connected(self._pool) as connection:
                stored = (await ledger.readings(connection))[partition.topic]
                # What was delivered meanwhile and waits for the lock is applied or found too early: both are right.
                if position > stored and await consumer.position(partition) == position:
                    consumer.seek(partition, stored)

    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        assert consumer is not None  # noqa: S101  it is started
        return consumer


async def _undecoded(message: KafkaMessage) -> None:
    """Nothing: the records are read by `_tallies`, which knows what to do with a bad one."""


def _tallies(topic: str, records: Sequence[ConsumerRecord[bytes, bytes]]) -> Tallies:
    parts, unreadable = [], []
    for record in records:
        try:
            event_type = cloudevents.event_type(record.headers)
            if event_type != ("actions-counted", 1) or record.value is None:
                raise PermanentError("unknown-event")
            batch = _batch(record.value)
            if not is_place(batch):
                raise PermanentError("no-source-partition")
            parts.append(Part.of(record.offset, batch, record.value))
        except (PermanentError, *cloudevents.UNREADABLE):
            unreadable.append(record.offset)
    return Tallies(topic, records[0].offset, records[-1].offset + 1, parts, unreadable)
