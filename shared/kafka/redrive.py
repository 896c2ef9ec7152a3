"""Lists dead letters and puts them back on the topic that they came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.clock import rfc3339
from shared.counting.counted_topic import CountedTopic
from shared.counting.event_decoder import ORIGIN_TIME_HEADER, Origin, read_origin
from shared.errors import PermanentError
from shared.events.cloudevents import ORIGIN_HEADER
from shared.kafka.dead_letters import LEFT_OUT, OFFSET, PREFIX, REASON, TIMESTAMP
from shared.kafka.outbox import OutboxRecord, fits
from shared.kafka.records import Record
from shared.kafka.topic_scan import open_scan
from shared.logging import log
from shared.topics import MESSAGE_BYTES

AT_ONCE: Final = 500


class DeadLetterRecord(NamedTuple):
    """A dead letter. `offset` is where it stood first, `accepted` when that was (RFC 3339)."""

    partition: int
    offset: int
    reason: str
    accepted: str
    left_out: bool
    record: Record


async def list_dead_letters(bootstrap_servers: str, counted: CountedTopic) -> AsyncGenerator[DeadLetterRecord, None]:
    """The dead letters of one topic that are still there; one that was refused again appears once for each time."""
    async with open_scan(bootstrap_servers, counted.dead_letters.name) as scan:
        for partition in scan.ranges:
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        if letter := _letter(counted.topic.name, partition, record):
                            yield letter
                        else:
                            log.warning("no dead letter of ours", partition=partition, offset=record.offset)


def _letter(topic: str, partition: int, record: Record) -> DeadLetterRecord | None:
    """The dead letter that `record` is, None where nobody here wrote it."""
    headers = dict(record.headers)
    try:
        here = Origin(int(headers[OFFSET]), int(headers[TIMESTAMP]))
        accepted = rfc3339(here.timestamp_ms / 1000)
        reason = headers[REASON].decode("ascii")
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    offset = here.offset
    # Whatever the counter does not take for an origin came with the record and means nothing.
    with suppress(KeyError, PermanentError):
        offset = read_origin(headers, topic, partition, here).offset
        accepted = headers.get(ORIGIN_TIME_HEADER, accepted.encode()).decode("ascii")
    return DeadLetterRecord(partition, offset, reason, accepted, LEFT_OUT in headers, record)


_APPLIED: Final = 'SELECT partition, "offset" FROM dead_letters WHERE topic = $1 AND applied'


async def applied(connection: asyncpg.Connection, counted: CountedTopic) -> set[tuple[int, int]]:
    """Partition and offset of the dead letters that were redriven with success."""
    return {(row["partition"], row["offset"]) for row in await connection.fetch(_APPLIED, counted.topic.name)}


async def redrive(bootstrap_servers: str, counted: CountedTopic, chosen: Iterable[DeadLetterRecord]) -> int:
    """Put `chosen` back on their topic, each with its origin. Doing it twice counts nothing twice.

    Returns how many were: none that has lost its value, that its topic would refuse or that says nothing at all.
    """
    waiting = sorted(chosen, key=lambda letter: (letter.partition, letter.offset))
    whole = [_put_back(counted.topic.name, letter) for letter in waiting if not letter.left_out]
    records = [record for record in whole if _can_travel(record)]
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_request_size=MESSAGE_BYTES
    )
    await producer.start()
    try:
        for at in range(0, len(records), AT_ONCE):
            await _send(producer, records[at : at + AT_ONCE])
        return len(records)
    finally:
        await producer.stop()


def _put_back(topic: str, letter: DeadLetterRecord) -> OutboxRecord:
    headers = [
        (name, value)
        for name, value in letter.record.headers
        if not name.startswith(PREFIX) and name not in {ORIGIN_HEADER, ORIGIN_TIME_HEADER}
    ]
    headers.append((ORIGIN_HEADER, f"{topic}/{letter.partition}/{letter.offset}".encode()))
    headers.append((ORIGIN_TIME_HEADER, letter.accepted.encode()))
    return OutboxRecord(topic, letter.partition, letter.record.key, headers, letter.record.value)


def _can_travel(record: OutboxRecord) -> bool:
    return fits(record) and not (record.key is None and record.value is None)


async def _send(producer: AIOKafkaProducer, some: Sequence[OutboxRecord]) -> None:
    sent = [
        await producer.send(one.topic, key=one.key, value=one.value, partition=one.partition, headers=one.headers)
        for one in some
    ]
    await asyncio.gather(*sent)
