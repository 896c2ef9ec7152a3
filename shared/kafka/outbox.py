"""The outbox: a transaction writes the records that it publishes as rows, and a relay sends them to Kafka afterwards.

Rows of successive transactions for one source (a counted partition, a locked table row) are sent in that order. After
a crash a row may be sent twice, but none is lost; consumers recognise repeats. Only a process that was suspended in the
middle of sending, for so long that another took over, may repeat a row after later ones: consumers keep the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from shared import topics
from shared.database import connected
from shared.errors import PermanentError
from shared.kafka.producer import stop_producer
from shared.logging import log
from shared.metrics import OUTBOX_AGE, OUTBOX_SENT
from shared.outages import DATABASE_OUTAGES, OUTAGES, Backoff

NOTIFY_CHANNEL: Final = "outbox"
RELAY_LOCK: Final = 0x6F757462
"""Advisory lock of the one relay of a database."""
MAX_ROWS: Final = 500
MAX_BYTES: Final = 4 * 1024 * 1024
POLL_INTERVAL_S: Final = 1.0
"""How long a relay waits for a notification before it polls."""
SEND_TIMEOUT_S: Final = 30.0
IDLE_TIMEOUT_S: Final = 45.0
"""The server ends a session that holds the lock and sends no statement for so long, because its process is suspended or
unreachable, and another relay takes over. It is longer than any pause of a relay between two statements.
"""
MAX_AGE_S: Final = 30.0
"""From this age of the oldest row on, a relay that waits for the lock logs a warning."""
MIN_PAUSE_S: Final = 0.1
GIVE_UP_S: Final = 600.0
RECORD_OVERHEAD: Final = 512
"""Bytes reserved for the framing of a record and its batch."""


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
        PermanentError: `too-large-to-send`, where a topic would refuse the record; the relay could never pass it.
    """
    if not records:
        return
    packed = [_pack(record.headers) for record in records]
    if not all(_fits_packed(record, headers) for record, headers in zip(records, packed, strict=True)):
        raise PermanentError("too-large-to-send")
    await connection.execute(
        _PUT,
        [record.topic for record in records],
        [record.partition for record in records],
        [record.key for record in records],
        packed,
        [record.value for record in records],
    )


def fits_topic(record: OutboxRecord) -> bool:
    """Whether `record` is small enough for its topic."""
    return _fits_packed(record, _pack(record.headers))


def _fits_packed(record: OutboxRecord, headers: bytes) -> bool:
    return _packed_bytes(record.key, headers, record.value) <= _max_message_bytes(record.topic)


def _packed_bytes(key: bytes | None, headers: bytes, value: bytes | None) -> int:
    return len(key or b"") + len(headers) + len(value or b"") + RECORD_OVERHEAD


def _max_message_bytes(topic: str) -> int:
    declared = topics.BY_NAME.get(topic)
    return declared.max_message_bytes if declared else topics.MAX_MESSAGE_BYTES


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
_CHECK_SESSION = "SELECT 1"
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"


class OutboxRelay:
    """Publishes the outbox of one database and deletes what Kafka has acknowledged.

    Every process may run one; an advisory lock lets one work at a time. `pool` must spare it one connection.
    `give_up_s` is how long the relay tries without success: a process that also serves pages never gives up, since
    each attempt has its own connection and producer.
    """

    def __init__(
        self, pool: asyncpg.Pool, bootstrap_servers: str, *, service: str, give_up_s: float = GIVE_UP_S
    ) -> None:
        self._pool = pool
        self._bootstrap_servers = bootstrap_servers
        self._service = service
        self._backoff = Backoff("the outbox could not be relayed", min_pause_s=MIN_PAUSE_S, give_up_s=give_up_s)
        self._wake_up = asyncio.Event()
        self._warned = False

    def wake(self) -> None:
        """Poll at once: a row was written."""
        self._wake_up.set()

    async def run(self) -> None:
        """Relay until cancelled. Outages of Kafka or PostgreSQL are waited out, up to `give_up_s` (ten minutes).

        Raises:
            TransientError: nothing succeeded for that long.
        """
        self._backoff.reset()
        while True:
            try:
                await self._relay_under_lock()
            except OUTAGES as error:
                log.warning("outbox relay interrupted", failure=type(error).__name__)
                await self._backoff.pause(error)

    async def _relay_under_lock(self) -> None:
        """Relay for as long as this session holds the lock and both sides answer."""
        async with connected(self._pool) as connection:
            row = await connection.fetchrow(_BEGIN, RELAY_LOCK, f"{IDLE_TIMEOUT_S * 1000:.0f}")
            assert row is not None  # noqa: S101  a select without a table has one row
            OUTBOX_AGE.labels(self._service).set(row["age"])
            if not row["ours"]:
                self._warn_once(row["age"])
                self._backoff.reset()
                await asyncio.sleep(POLL_INTERVAL_S)
                return
            self._warned = False
            async with _listening(connection, self._wake_up), _open_producer(self._bootstrap_servers) as producer:
                while True:
                    self._wake_up.clear()
                    if not await self._relay_next(connection, producer):
                        with suppress(TimeoutError):
                            async with asyncio.timeout(POLL_INTERVAL_S):
                                await self._wake_up.wait()
                    self._backoff.reset()

    def _warn_once(self, age: float) -> None:
        """Warn that the working relay makes no progress, once until it does."""
        if age > MAX_AGE_S and not self._warned:
            log.warning("outbox waits for another relay, which holds the lock", oldest_s=round(age))
        self._warned = age > MAX_AGE_S

    async def _relay_next(self, connection: asyncpg.Connection, producer: AIOKafkaProducer) -> bool:
        """Publish and delete the oldest rows, and return whether there were any."""
        rows = await connection.fetch(_NEXT, MAX_ROWS, MAX_BYTES)
        OUTBOX_AGE.labels(self._service).set(rows[0]["age"] if rows else 0.0)
        if not rows:
            return False
        batches = _build_batches(producer, rows)
        # The lock ends with its session. While this process was suspended, another relay may have sent these rows and
        # later ones.
        await connection.fetchval(_CHECK_SESSION)
        sent = await _publish(producer, batches)
        await connection.execute(_DELETE, sent)
        OUTBOX_SENT.labels(self._service).inc(len(sent))
        return True


_Batches = dict[tuple[str, int], "_RowBatch"]


def _build_batches(producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record]) -> _Batches:
    """Build one batch of `rows` for each topic and partition."""
    batches: _Batches = {}
    for row in rows:
        target = (row["topic"], row["partition"])
        if target not in batches:
            batches[target] = _RowBatch(producer.create_batch(), _max_message_bytes(row["topic"]))
        batches[target].append(row)
    return batches


async def _publish(producer: AIOKafkaProducer, batches: _Batches) -> list[int]:
    """Publish `batches`, and return the ids of the rows in them.

    One batch per partition, and no other before it is acknowledged: a row never overtakes one that failed.

    Raises:
        KafkaError, TimeoutError: not every batch was acknowledged; none may be taken as sent.
    """
    acks: list[asyncio.Future[RecordMetadata]] = []
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            for (topic, partition), batch in batches.items():
                acks.append(await producer.send_batch(batch.builder, topic, partition=partition))
            await asyncio.wait(acks)
    finally:
        # Results that are still pending are not needed any more.
        for ack in acks:
            ack.cancel()
    for ack in acks:
        ack.result()
    return [row_id for batch in batches.values() for row_id in batch.ids]


class _RowBatch:
    """The rows that are sent to one partition together, at most `max_bytes` of them."""

    def __init__(self, builder: BatchBuilder, max_bytes: int) -> None:
        self.builder = builder
        self.ids: list[int] = []
        self._remaining_bytes = max_bytes
        self._full = False

    def append(self, row: asyncpg.Record) -> None:
        """Append `row`, or leave it and all later ones for the next batch."""
        headers = _unpack(row["headers"])
        self._remaining_bytes -= _packed_bytes(row["key"], row["headers"], row["value"])
        self._full = (
            self._full
            or self._remaining_bytes < 0
            or self.builder.append(key=row["key"], value=row["value"], timestamp=None, headers=headers) is None
        )
        if not self._full:
            self.ids.append(row["id"])


@asynccontextmanager
async def _listening(connection: asyncpg.Connection, awake: asyncio.Event) -> AsyncIterator[None]:
    def notified(*_: object) -> None:
        awake.set()

    await connection.add_listener(NOTIFY_CHANNEL, notified)
    try:
        yield
    finally:
        lost = True
        with suppress(*DATABASE_OUTAGES):
            async with asyncio.timeout(5):
                await connection.remove_listener(NOTIFY_CHANNEL, notified)
            lost = connection.is_closed()
        if lost:
            # In the middle of a statement, or about to close and still with its listener: the pool must not reuse it.
            connection.terminate()


@asynccontextmanager
async def _open_producer(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    """Open a producer that is discarded at the first error, since a refused batch makes an idempotent one unusable."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        max_batch_size=topics.MAX_MESSAGE_BYTES + topics.DEAD_LETTER_HEADER_BYTES,
        request_timeout_ms=15_000,
    )
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await producer.start()
        yield producer
    finally:
        await stop_producer(producer)
