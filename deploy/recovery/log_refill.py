"""Refill the log of a partition to its former length, and append what was accepted since. May be repeated."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from shared.clock import rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.errors import SetupError
from shared.events.cloudevents import DECODE_ERRORS
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.topic_check import open_admin
from shared.kafka.topic_scan import open_scan
from shared.topics import MAX_MESSAGE_BYTES

SEND_S: Final = 60.0
RECORDS_PER_SEND: Final = 500
MOVED_FROM: Final = "ce_movedfrom"
"""The offset of a record before it was moved behind the lost ones. An extension attribute."""


@dataclass(frozen=True, slots=True)
class RecordsAfterLoss:
    """The `count` records accepted since the loss, from `since_ms` (Unix time, ms) on.

    Their copies go to `resume_offset` and above; the first `moved` of them are there already.
    """

    resume_offset: int
    since_ms: int
    count: int
    moved: int


class _Sealed(msgspec.Struct):
    """The part of a submission that is unique to it: it is sealed with a random nonce."""

    sealed: bytes = b""


_sealed = msgspec.json.Decoder(_Sealed).decode

_COUNTED: Final = """
SELECT max("offset") FROM submissions JOIN unnest($3::bigint[], $4::bytea[]) AS found ("offset", sealed)
USING ("offset", sealed) WHERE topic = $1 AND partition = $2
"""


async def find_records_after_loss(
    at: Endpoints, counted: CountedTopic, partition: int, read: int, since: float | None
) -> RecordsAfterLoss:
    """Search the log for records accepted since the loss; the lost log was read up to `read`.

    Raises:
        SetupError: the log holds records that were counted, and `since` does not separate them from the others.
    """
    since_ms = 0 if since is None else int(since * 1000)
    moved: list[int] = []
    filled, count = False, 0
    async with (
        connect(at["databases"][counted.topic.owner]) as connection,
        open_scan(at["kafka"], counted.topic.name) as scan,
    ):
        end = scan.ranges[partition].end
        async with aclosing(scan.batches(partition)) as batches:
            async for batch in batches:
                if since is None:
                    await _reject_counted(connection, batch)
                filled = filled or any(_is_filler(record) for record in batch.records)
                moved += [record.offset for record in batch.records if _was_moved(record)]
        resume_offset = min(moved) if moved else read if filled else max(read, end)
        async with aclosing(scan.batches(partition, resume_offset)) as batches:
            async for batch in batches:
                count += sum(_is_after_loss(record, since_ms) for record in batch.records)
    return RecordsAfterLoss(resume_offset, since_ms, count, len(moved))


async def _reject_counted(connection: asyncpg.Connection, batch: PartitionBatch) -> None:
    sealed_by_offset = {record.offset: sealed for record in batch.records if (sealed := _sealed_bytes(record))}
    counted = await connection.fetchval(
        _COUNTED, batch.topic, batch.partition, list(sealed_by_offset), list(sealed_by_offset.values())
    )
    if counted is not None:
        accepted = next(record.timestamp_ms for record in batch.records if record.offset == counted)
        raise SetupError(
            f"{batch.topic}/{batch.partition} holds records that were counted, among them that at {counted}, "
            f"accepted at {rfc3339(accepted / 1000)}: it is an older copy of the log that was read, or that log "
            "itself. If more was taken after a loss, say with --since from when on"
        )


def _sealed_bytes(record: Record) -> bytes:
    try:
        return _sealed(record.value or b"").sealed
    except DECODE_ERRORS:
        return b""


def _is_filler(record: Record) -> bool:
    return record.key is None and record.value is None


def _was_moved(record: Record) -> bool:
    return MOVED_FROM.encode() in record.packed_headers


def _is_after_loss(record: Record, since_ms: int) -> bool:
    return record.timestamp_ms >= since_ms and not _is_filler(record) and not _was_moved(record)


async def fill_log(bootstrap_servers: str, topic: str, partition: int, end: int) -> None:
    """Append empty records to a partition until its next offset is `end`."""
    async with open_scan(bootstrap_servers, topic) as scan:
        missing = end - scan.ranges[partition].end
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, compression_type="lz4"
    ) as producer:
        while missing > 0:
            batch = producer.create_batch()
            while missing > 0 and batch.append(key=None, value=None, timestamp=None) is not None:
                missing -= 1
            async with asyncio.timeout(SEND_S):
                await (await producer.send_batch(batch, topic, partition=partition))


async def move_records(bootstrap_servers: str, topic: str, partition: int, newer: RecordsAfterLoss) -> None:
    """Append copies of the records accepted since the loss, in order."""
    skipped = newer.moved
    async with (
        AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_request_size=MAX_MESSAGE_BYTES
        ) as producer,
        open_scan(bootstrap_servers, topic) as scan,
        aclosing(scan.batches(partition, newer.resume_offset)) as batches,
    ):
        async for batch in batches:
            chosen = [record for record in batch.records if _is_after_loss(record, newer.since_ms)]
            await _append(producer, topic, partition, chosen[skipped:])
            skipped = max(0, skipped - len(chosen))


async def _append(producer: AIOKafkaProducer, topic: str, partition: int, records: list[Record]) -> None:
    for index in range(0, len(records), RECORDS_PER_SEND):
        async with asyncio.timeout(SEND_S):
            sent = [
                await producer.send(
                    topic,
                    key=record.key,
                    value=record.value,
                    partition=partition,
                    headers=[*record.headers, (MOVED_FROM, b"%d" % record.offset)],
                )
                for record in records[index : index + RECORDS_PER_SEND]
            ]
            await asyncio.gather(*sent)


async def delete_before(bootstrap_servers: str, topic: str, partition: int, first: int) -> None:
    """Delete the records of a partition below offset `first`."""
    async with open_admin(bootstrap_servers) as admin:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(first)})
