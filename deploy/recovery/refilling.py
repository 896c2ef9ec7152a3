"""Makes the log of a partition as long as it was, and puts what was taken since behind that. May be repeated."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from deploy.local.endpoints import Endpoints
from shared.clock import rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.errors import SetupError
from shared.events.cloudevents import UNREADABLE
from shared.kafka.records import PartitionBatch, Record
from shared.kafka.topic_check import administrator
from shared.kafka.topic_scan import open_scan
from shared.topics import MESSAGE_BYTES

CONNECT_S: Final = 10.0
SEND_S: Final = 60.0
AT_ONCE: Final = 500
MOVED_FROM: Final = "ce_movedfrom"
"""The offset at which a record stood before it was put behind the lost ones. An extension attribute."""


@dataclass(frozen=True, slots=True)
class Newer:
    """What was taken since the loss: `count` records below offset `behind`, accepted from `since` (ms) on.

    `moved` of them, the first, were put behind it before.
    """

    behind: int
    since_ms: int
    count: int
    moved: int


class _Sealed(msgspec.Struct):
    """The part of a submission that no other has: sealed with a random nonce."""

    sealed: bytes = b""


_sealed = msgspec.json.Decoder(_Sealed).decode

_COUNTED: Final = """
SELECT max("offset") FROM submissions JOIN unnest($3::bigint[], $4::bytea[]) AS found ("offset", sealed)
USING ("offset", sealed) WHERE topic = $1 AND partition = $2
"""


async def taken_since(at: Endpoints, counted: CountedTopic, partition: int, read: int, since: float | None) -> Newer:
    """Look through the log for what was taken since the loss; `read` is how far anybody had read the lost log.

    Raises:
        SetupError: it holds records that were counted, and `since` does not tell which were not.
    """
    since_ms = 0 if since is None else int(since * 1000)
    moved: list[int] = []
    filled, below = False, 0
    connection = await asyncpg.connect(at["databases"][counted.topic.owner], timeout=CONNECT_S)
    try:
        async with open_scan(at["kafka"], counted.topic.name) as scan:
            end = scan.ranges[partition].end
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    if since is None:
                        await _refuse_old(connection, batch)
                    filled = filled or any(_is_filler(record) for record in batch.records)
                    moved += [record.offset for record in batch.records if _was_moved(record)]
            behind = min(moved) if moved else read if filled else max(read, end)
            async with aclosing(scan.batches(partition, behind)) as batches:
                async for batch in batches:
                    below += sum(_is_newer(record, since_ms) for record in batch.records)
    finally:
        await connection.close(timeout=CONNECT_S)
    return Newer(behind, since_ms, below, len(moved))


async def _refuse_old(connection: asyncpg.Connection, batch: PartitionBatch) -> None:
    theirs = {record.offset: sealed for record in batch.records if (sealed := _sealed_in(record))}
    known = await connection.fetchval(_COUNTED, batch.topic, batch.partition, list(theirs), list(theirs.values()))
    if known is not None:
        accepted = next(record.timestamp_ms for record in batch.records if record.offset == known)
        raise SetupError(
            f"{batch.topic}/{batch.partition} holds records that were counted, among them that at {known}, accepted at "
            f"{rfc3339(accepted / 1000)}: it is an older copy of the log that was read, or that log itself. If more "
            "was taken after a loss, say with --since from when on"
        )


def _sealed_in(record: Record) -> bytes:
    try:
        return _sealed(record.value or b"").sealed
    except UNREADABLE:
        return b""


def _is_filler(record: Record) -> bool:
    return record.key is None and record.value is None


def _was_moved(record: Record) -> bool:
    return MOVED_FROM.encode() in record.packed_headers


def _is_newer(record: Record, since_ms: int) -> bool:
    return record.timestamp_ms >= since_ms and not _is_filler(record) and not _was_moved(record)


async def fill(bootstrap_servers: str, topic: str, partition: int, until: int) -> None:
    """Append empty records to a partition until its next offset is `until`."""
    async with open_scan(bootstrap_servers, topic) as scan:
        missing = until - scan.ranges[partition].end
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, compression_type="lz4"
    )
    await producer.start()
    try:
        while missing > 0:
            batch = producer.create_batch()
            while missing > 0 and batch.append(key=None, value=None, timestamp=None) is not None:
                missing -= 1
            async with asyncio.timeout(SEND_S):
                await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


async def move(bootstrap_servers: str, topic: str, partition: int, newer: Newer) -> int:
    """Append copies of what was taken since the loss, in order; returns how many stand there in the end."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_request_size=MESSAGE_BYTES
    )
    await producer.start()
    try:
        left_out = newer.moved
        async with (
            open_scan(bootstrap_servers, topic) as scan,
            aclosing(scan.batches(partition, newer.behind)) as found,
        ):
            async for batch in found:
                chosen = [record for record in batch.records if _is_newer(record, newer.since_ms)]
                await _append(producer, topic, partition, chosen[left_out:])
                left_out = max(0, left_out - len(chosen))
    finally:
        await producer.stop()
    return newer.count


async def _append(producer: AIOKafkaProducer, topic: str, partition: int, records: list[Record]) -> None:
    for at in range(0, len(records), AT_ONCE):
        async with asyncio.timeout(SEND_S):
            sent = [
                await producer.send(
                    topic,
                    key=record.key,
                    value=record.value,
                    partition=partition,
                    headers=[*record.headers, (MOVED_FROM, b"%d" % record.offset)],
                )
                for record in records[at : at + AT_ONCE]
            ]
            await asyncio.gather(*sent)


async def cut(bootstrap_servers: str, topic: str, partition: int, before: int) -> None:
    """Let the log of a partition begin at offset `before`."""
    async with administrator(bootstrap_servers) as admin:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})
