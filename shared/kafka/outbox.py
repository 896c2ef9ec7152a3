"""The outbox: what a transaction tells others is a row of that transaction, and leaves for Kafka after it.

Rows that one transaction after another writes for one source (a partition counted, a table row held locked) leave in
that order. A row may leave twice after a crash, and never not at all; readers know repeats. Only a process that stood
still in the middle of sending, so long that another took over, may repeat a row after later ones: readers keep the
newest they know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from shared import topics
from shared.database import connected
from shared.errors import PermanentError, TransientError
from shared.kafka.producer import stop
from shared.logging import log
from shared.metrics import OUTBOX_AGE, OUTBOX_SENT
from shared.tasks import raise_if_cancelled

OUTBOX_SCHEMA: Final = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key bytea,
    headers bytea NOT NULL,
    value bytea,
    put_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
"""
"""The table that a service's first migration makes. `headers` is MessagePack of a list of [name, value]."""

CHANNEL: Final = "outbox"
LOCK: Final = 0x6F757462
"""Advisory lock of the one relay of a database."""
ROWS: Final = 500
BYTES: Final = 4 * 1024 * 1024
POLL_S: Final = 1.0
"""How long a relay waits for a notification before it looks by itself."""
SEND_S: Final = 30.0
IDLE_S: Final = 45.0
"""A session that holds the lock and asks nothing for so long is ended by the server, and another relay takes over: its
process stands still or is out of reach. Longer than a relay lets anything last between two statements.
"""
OLD_S: Final = 30.0
"""From this age of the oldest row on, a relay that waits for the lock says so."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
GIVE_UP_S: Final = 600.0
RECORD_OVERHEAD: Final = 512
"""Room for the framing of a record and its batch."""


class OutboxRecord(NamedTuple):
    """A Kafka record to be published on `partition` of `topic`."""

    topic: str
    partition: int
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes | None


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode

_PUT = """
WITH put AS (
    INSERT INTO outbox (topic, partition, key, headers, value)
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bytea[], $4::bytea[], $5::bytea[]) RETURNING 1
)
SELECT pg_notify('outbox', '') FROM put LIMIT 1
"""


async def put_outbox(connection: asyncpg.Connection, records: Sequence[OutboxRecord]) -> None:
    """Write `records` to the outbox, in order, in the caller's transaction.

    Raises:
        PermanentError: `too-large-to-send`, where a topic would refuse the record; the relay would never get by it.
    """
    if not records:
        return
    packed = [_pack(record.headers) for record in records]
    if not all(_fits(record, headers) for record, headers in zip(records, packed, strict=True)):
        raise PermanentError("too-large-to-send")
    await connection.execute(
        _PUT,
        [record.topic for record in records],
        [record.partition for record in records],
        [record.key for record in records],
        packed,
        [record.value for record in records],
    )


def fits(record: OutboxRecord) -> bool:
    """Whether the topic of `record` takes it."""
    return _fits(record, _pack(record.headers))


def _fits(record: OutboxRecord, headers: bytes) -> bool:
    size = len(record.key or b"") + len(headers) + len(record.value or b"") + RECORD_OVERHEAD
    return size <= _largest(record.topic)


def _largest(topic: str) -> int:
    declared = topics.BY_NAME.get(topic)
    return declared.max_message_bytes if declared else topics.MESSAGE_BYTES


_BEGIN = """
SELECT set_config('idle_session_timeout', $2, false), pg_try_advisory_lock($1) AS ours,
    coalesce((SELECT extract(epoch FROM clock_timestamp() - put_at) FROM outbox ORDER BY id LIMIT 1), 0)::float8 AS age
"""
_NEXT = """
SELECT id, topic, partition, key, headers, value, extract(epoch FROM clock_timestamp() - put_at)::float8 AS age
FROM (
    SELECT *, sum(coalesce(octet_length(value), 0) + octet_length(headers)) OVER (ORDER BY id) AS size
    FROM (SELECT * FROM outbox ORDER BY id LIMIT $1) AS first
) AS sized
WHERE size <= $2 OR id = (SELECT min(id) FROM outbox)
ORDER BY id
"""
_STILL_THERE = "SELECT 1"
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"


class OutboxRelay:
    """Publishes the outbox of one database and deletes what Kafka has acknowledged.

    Every process may run one; an advisory lock lets one work at a time. `pool` must spare it one connection.
    `give_up_s` is for how long nothing may succeed: a process that also shows pages goes on with them and never gives
    up, since each turn has a connection and a producer of its own anyway.
    """

    def __init__(
        self, pool: asyncpg.Pool, bootstrap_servers: str, *, service: str, give_up_s: float = GIVE_UP_S
    ) -> None:
        self._pool = pool
        self._bootstrap_servers = bootstrap_servers
        self._service = service
        self._give_up_s = give_up_s
        self._awake = asyncio.Event()
        self._last_good = time.monotonic()
        self._told = False

    def wake(self) -> None:
        """Look at once: something was put."""
        self._awake.set()

    async def run(self) -> None:
        """Relay until cancelled. Outages of Kafka or PostgreSQL are waited out, up to `give_up_s` (ten minutes).

        Raises:
            TransientError: nothing could be done for so long.
        """
        pause = FIRST_PAUSE_S
        self._last_good = time.monotonic()
        while True:
            before = self._last_good
            try:
                await self._turn()
            except (KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("outbox relay interrupted", failure=type(error).__name__)
            raise_if_cancelled()
            if time.monotonic() - self._last_good > self._give_up_s:
                raise TransientError(f"the outbox could not be relayed for {self._give_up_s:g} s")
            pause = FIRST_PAUSE_S if self._last_good > before else min(pause * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    async def _turn(self) -> None:
        """Relay for as long as the lock is ours and both sides answer."""
        async with connected(self._pool) as connection:
            begun = await connection.fetchrow(_BEGIN, LOCK, f"{IDLE_S * 1000:.0f}")
            assert begun is not None  # noqa: S101  a select without a table has one row
            OUTBOX_AGE.labels(self._service).set(begun["age"])
            if not begun["ours"]:
                self._tell_once(begun["age"])
                self._last_good = time.monotonic()
                await asyncio.sleep(POLL_S)
                return
            self._told = False
            async with _listening(connection, self._awake), _producer(self._bootstrap_servers) as producer:
                while True:
                    self._awake.clear()
                    if not await self._relay_some(connection, producer):
                        with suppress(TimeoutError):
                            async with asyncio.timeout(POLL_S):
                                await self._awake.wait()
                    self._last_good = time.monotonic()

    def _tell_once(self, age: float) -> None:
        """Say that the relay that works does not get on, once until it does."""
        if age > OLD_S and not self._told:
            log.warning("outbox waits for another relay, which holds the lock", oldest_s=round(age))
        self._told = age > OLD_S

    async def _relay_some(self, connection: asyncpg.Connection, producer: AIOKafkaProducer) -> bool:
        """Publish and delete the oldest rows; returns whether there were any."""
        rows = await connection.fetch(_NEXT, ROWS, BYTES)
        OUTBOX_AGE.labels(self._service).set(rows[0]["age"] if rows else 0.0)
        if not rows:
            return False
        batches = _batches(producer, rows)
        # The lock lives as long as its session. Where this process stood still, another relay may have sent these rows
        # and later ones.
        await connection.fetchval(_STILL_THERE)
        sent = await _publish(producer, batches)
        await connection.execute(_DELETE, sent)
        OUTBOX_SENT.labels(self._service).inc(len(sent))
        return True


_Batches = dict[tuple[str, int], "_Batch"]


def _batches(producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record]) -> _Batches:
    """Of `rows` one batch for each topic and partition."""
    batches: _Batches = {}
    for row in rows:
        place = (row["topic"], row["partition"])
        if place not in batches:
            batches[place] = _Batch(producer.create_batch(), _largest(row["topic"]))
        batches[place].append(row)
    return batches


async def _publish(producer: AIOKafkaProducer, batches: _Batches) -> list[int]:
    """Publish `batches`, and return the ids of the rows in them.

    One batch a partition, and none after it before it is acknowledged: a row never overtakes one that failed.

    Raises:
        KafkaError, TimeoutError: not everything was acknowledged; nothing may be taken as sent.
    """
    acknowledged: list[asyncio.Future[RecordMetadata]] = []
    try:
        async with asyncio.timeout(SEND_S):
            for (topic, partition), batch in batches.items():
                acknowledged.append(await producer.send_batch(batch.builder, topic, partition=partition))
            await asyncio.wait(acknowledged)
    finally:
        # What is still to come of them nobody looks at any more.
        for future in acknowledged:
            future.cancel()
    for future in acknowledged:
        future.result()
    return [row_id for batch in batches.values() for row_id in batch.ids]


class _Batch:
    """What leaves for one partition at once: never more than its topic takes."""

    def __init__(self, builder: BatchBuilder, room: int) -> None:
        self.builder = builder
        self.ids: list[int] = []
        self._room = room
        self._full = False

    def append(self, row: asyncpg.Record) -> None:
        """Add `row`, or leave it and all after it for the next time."""
        headers = _unpack(row["headers"])
        self._room -= len(row["key"] or b"") + len(row["headers"]) + len(row["value"] or b"") + RECORD_OVERHEAD
        self._full = self._full or self._room < 0
        if self._full:
            return
        if self.builder.append(key=row["key"], value=row["value"], timestamp=None, headers=headers) is None:
            self._full = True
            return
        self.ids.append(row["id"])


@asynccontextmanager
async def _listening(connection: asyncpg.Connection, awake: asyncio.Event) -> AsyncIterator[None]:
    def notified(*_: object) -> None:
        awake.set()

    await connection.add_listener(CHANNEL, notified)
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(5):
                await connection.remove_listener(CHANNEL, notified)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError):
            # Lost in the middle of something: not to be given to anybody else.
            connection.terminate()


@asynccontextmanager
async def _producer(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer that is thrown away at the first error: an idempotent one is poisoned by a refused batch."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        max_batch_size=topics.MESSAGE_BYTES + topics.DEAD_LETTER_EXTRA_BYTES,
        request_timeout_ms=15_000,
    )
    try:
        async with asyncio.timeout(SEND_S):
            await producer.start()
        yield producer
    finally:
        await stop(producer)
