"""A counted topic for one test: publishes events, counts them, and reads rows, tally batches and dead letters."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from shared.clock import SystemClock
from shared.counting.batch_plan import BatchPlan
from shared.counting.counted_topic import CountedTopic
from shared.counting.process import counting_loop
from shared.database import create_pool
from shared.events.actions import ActionConfirmed, ActionInvalidated, ActionReference, ActionSubmitted, ActionWithdrawn
from shared.events.cloudevents import Envelope
from shared.events.letters import MessageSubmitted
from shared.events.petitions import SignatureSubmitted
from shared.events.tallies import ActionsCounted
from shared.kafka.loop import PositionedLoop
from shared.kafka.outbox import OutboxRelay
from shared.kafka.partitions import partition_of
from shared.kafka.topic_check import open_admin
from shared.topics import Topic

Event = TypeVar("Event", bound=ActionSubmitted)

DEADLINE_S: Final = 40.0
_POSITIONS: Final = "SELECT partition, next FROM positions WHERE consumer_group = $1 AND topic = $2"
PARTITIONS: Final = 4


def key_of(person: str, petition: str = "free-azat") -> bytes:
    """A dedupe key as uniform as a real one."""
    return hashlib.sha256(f"{petition}|{person}".encode()).digest()[:16]


def digest_of(text: str) -> str:
    """A submission's digest."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).decode().rstrip("=")


def signature(person: str, **changed: Any) -> SignatureSubmitted:
    """A signature of `person`, with `changed` fields."""
    return _submitted(SignatureSubmitted, person, {"kind": "signature", "petition_version": 1, **changed})


def message(person: str, **changed: Any) -> MessageSubmitted:
    """A letter of `person`, with `changed` fields."""
    return _submitted(
        MessageSubmitted, person, {"kind": "letter", "person": digest_of(person), "daily_limit": 5, **changed}
    )


def _submitted(kind: type[Event], person: str, changed: dict[str, Any]) -> Event:
    fields: dict[str, Any] = {
        "campaign": "w4r-2026",
        "case": "azat",
        "subject": "free-azat",
        "section": None,
        "channel": "web",
        "country": "FR",
        "language": "fr",
        "digest": digest_of(person),
        "sealed": base64.b64encode(f"sealed data of {person}".encode()).decode(),
        "seal_key": 1,
        "locale": "fr",
    }
    return kind(**(fields | changed))


def follow_up(event_type: str, person: str) -> ActionReference:
    """The confirmation or withdrawal of what `person` has submitted: `confirmed` or `withdrawn`."""
    reference = {"campaign": "w4r-2026", "case": "azat", "subject": "free-azat"}
    if event_type == "confirmed":
        return ActionConfirmed(**reference, digest=digest_of(person))
    return ActionWithdrawn(**reference)


def decision(content: str, number: int, *, reason: str = "") -> ActionInvalidated:
    """Decision `number`, of the type that it is published as, about the submission with the digest of `content`."""
    return ActionInvalidated(
        campaign="w4r-2026",
        case="azat",
        subject="free-azat",
        digest=digest_of(content),
        decision=number,
        reason=reason,
    )


@dataclass
class CountingHarness:
    """One counted topic. `database` and `kafka` are addresses, `pool` is for reading."""

    counted: CountedTopic
    database: str
    kafka: str
    pool: asyncpg.Pool
    producer: AIOKafkaProducer
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return self.counted.topic.name

    async def publish(
        self, event_type: str, key: bytes, event: msgspec.Struct | bytes | None, *, partition: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> tuple[int, int]:  # fmt: skip
        """Publish one event, such as `submitted`; returns its partition and offset."""
        noun = self.counted.topic.events[0].rpartition("-")[0]
        envelope = self.envelopes.setdefault(event_type, Envelope(f"{noun}-{event_type}", source="/tests"))
        value = event if event is None or isinstance(event, bytes) else msgspec.json.encode(event)
        sent = await self.producer.send_and_wait(
            self.topic,
            key=key,
            value=value,
            partition=partition_of(key, PARTITIONS) if partition is None else partition,
            headers=envelope.headers(b"2026-12-01T12:00:00.250Z") if headers is None else headers,
        )
        return sent.partition, sent.offset

    async def publish_all(self, events: Iterable[tuple[str, bytes, msgspec.Struct]]) -> None:
        """Publish many events, in their order for each partition."""
        await asyncio.gather(*[asyncio.ensure_future(self.publish(*event)) for event in events])

    def create_loop(self, pool: asyncpg.Pool | None = None) -> PositionedLoop[BatchPlan]:
        """Create a counting loop of this topic."""
        return counting_loop(self.counted, pool or self.pool, self.kafka, SystemClock())

    @asynccontextmanager
    async def run_counter(self, *, relay: bool = True) -> AsyncIterator[PositionedLoop[BatchPlan]]:
        """Run a counting loop, and with `relay` an outbox relay, for as long as the block lasts."""
        pool = await create_pool(self.database, application_name="counter", max_size=6)
        loop = self.create_loop(pool)
        tasks = [asyncio.create_task(loop.run())]
        if relay:
            tasks.append(asyncio.create_task(OutboxRelay(pool, self.kafka, service="petitions").run()))
        self.tasks.extend(tasks)
        try:
            yield loop
        finally:
            self.tasks = [task for task in self.tasks if task not in tasks]
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
            await pool.close()

    async def count_all(self) -> None:
        """Count all records of the topic and publish the outbox."""
        async with self.run_counter():
            await self.wait_until_counted()
            await self.wait_until(self.outbox_empty)

    async def wait_until_counted(self) -> None:
        """Wait until every record of every partition is counted."""
        ends = await self.end_offsets()

        async def done() -> bool:
            return await self.positions() == ends

        await self.wait_until(done)

    async def outbox_empty(self) -> bool:
        """Whether the outbox is empty."""
        return bool(await self.pool.fetchval("SELECT count(*) = 0 FROM outbox"))

    async def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait for `condition`, with a deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not await condition():
            for task in self.tasks:
                if task.done():
                    task.result()
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s"
            await asyncio.sleep(0.05)

    async def positions(self) -> dict[int, int]:
        """The position of each partition."""
        rows = await self.pool.fetch(_POSITIONS, self.counted.group, self.topic)
        return {row["partition"]: row["next"] for row in rows}

    async def end_offsets(self, topic: str | None = None) -> dict[int, int]:
        """The end offset of each partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        try:
            tps = [TopicPartition(topic or self.topic, number) for number in range(PARTITIONS)]
            return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()

    async def records(self, topic: str, partitions: int = 1) -> list[Any]:
        """All records of `topic`."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
        await consumer.start()
        try:
            tps = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            missing = {tp: end for tp, end in (await consumer.end_offsets(tps)).items() if end}
            records = []
            while missing:
                for tp, fetched in (await consumer.getmany(timeout_ms=1000)).items():
                    records.extend(fetched)
                    if fetched[-1].offset + 1 >= missing.get(tp, 0):
                        missing.pop(tp, None)
            return records
        finally:
            await consumer.stop()

    async def tallies(self) -> list[ActionsCounted]:
        """All published tally batches."""
        decode = msgspec.json.Decoder(ActionsCounted).decode
        return [decode(record.value) for record in await self.records(self.counted.tallies.name)]

    async def dead_letters(self) -> list[tuple[str, Any]]:
        """All published dead letters: reason and record."""
        records = await self.records(self.counted.dead_letters.name, PARTITIONS)
        return [(dict(record.headers)["dlq_reason"].decode(), record) for record in records]

    async def rows(self) -> dict[bytes, asyncpg.Record]:
        """The rows by key."""
        query = f"""
        SELECT stored.*, state::text AS state, to_jsonb(of) AS of FROM {self.counted.table} AS stored
        JOIN dimensions AS of ON of.id = stored.dimensions
        """  # noqa: S608
        return {row["key"]: row for row in await self.pool.fetch(query)}


@asynccontextmanager
async def counting_harness(counted: CountedTopic, database: str, kafka: str) -> AsyncIterator[CountingHarness]:
    """Create a harness with topics of its own, like those of `counted`, on `database`."""
    name = f"{counted.topic.name}.{time.time_ns():x}"
    own = replace(
        counted,
        topic=replace(counted.topic, name=name, partitions=PARTITIONS),
        tallies=replace(counted.tallies, name=f"{name}.tallies"),
    )
    async with _topics(kafka, (own.topic, own.tallies, own.dead_letters)):
        pool = await create_pool(database, application_name="test", max_size=3)
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka, acks="all", enable_idempotence=True, max_request_size=2_000_000
        )
        await producer.start()
        harness = CountingHarness(own, database, kafka, pool, producer)
        try:
            yield harness
        finally:
            await harness.producer.stop()
            await pool.close()


@asynccontextmanager
async def _topics(kafka: str, topics: Sequence[Topic]) -> AsyncIterator[None]:
    await create_topics(kafka, topics)
    try:
        yield
    finally:
        async with open_admin(kafka) as admin:
            await admin.delete_topics([topic.name for topic in topics])


async def create_topics(kafka: str, topics: Sequence[Topic]) -> None:
    """Create topics as they are declared, with a broker that does not flush."""
    async with open_admin(kafka) as admin:
        new_topics = [
            NewTopic(topic.name, topic.partitions, 1, topic_configs=topic.broker_settings(flush=False))
            for topic in topics
        ]
        answer: Any = await admin.create_topics(new_topics)
        assert [error[1] for error in answer.topic_errors] == [0] * len(topics), answer
