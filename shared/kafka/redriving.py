"""Lists dead letters and puts them back on the topic that they came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.clock import rfc3339
from shared.events.cloudevents import ORIGIN_HEADER
from shared.kafka.counted import CountedTopic
from shared.kafka.dead_letters import LEFT_OUT, OFFSET, PARTITION, PREFIX, REASON, TIMESTAMP
from shared.kafka.records import Record
from shared.kafka.scanning import scanning
from shared.kafka.submissions import ORIGIN_TIME_HEADER
from shared.topics import MESSAGE_BYTES

AT_ONCE: Final = 500


class Letter(NamedTuple):
    """A dead letter. `offset` is where it stood first, `accepted` when that was (RFC 3339)."""

    partition: int
    offset: int
    reason: str
    accepted: str
    left_out: bool
    record: Record


async def letters(bootstrap_servers: str, counted: CountedTopic) -> AsyncGenerator[Letter, None]:
    """The dead letters of one topic that are still there; one that was refused again appears once for each time."""
    async with scanning(bootstrap_servers, counted.dead_letters.name) as scan:
        for partition in scan.ranges:
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        yield _letter(record)


def _letter(record: Record) -> Letter:
    headers = dict(record.headers)
    offset, accepted_ms = int(headers[OFFSET]), int(headers[TIMESTAMP])
    origin = headers.get(ORIGIN_HEADER)
    return Letter(
        partition=int(headers[PARTITION]),
        offset=int(origin.rpartition(b"/")[2]) if origin else offset,
        reason=headers[REASON].decode(),
        accepted=headers.get(ORIGIN_TIME_HEADER, rfc3339(accepted_ms / 1000).encode()).decode(),
        left_out=LEFT_OUT in headers,
        record=record,
    )


_APPLIED: Final = 'SELECT partition, "offset" FROM dead_letters WHERE topic = $1 AND applied'


async def applied(connection: asyncpg.Connection, counted: CountedTopic) -> set[tuple[int, int]]:
    """Partition and offset of the dead letters that were redriven with success."""
    return {(row["partition"], row["offset"]) for row in await connection.fetch(_APPLIED, counted.topic.name)}


async def redrive(bootstrap_servers: str, counted: CountedTopic, chosen: Iterable[Letter]) -> int:
    """Put `chosen` back on their topic, each with its origin; returns how many. Doing it twice counts nothing twice."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_request_size=MESSAGE_BYTES
    )
    await producer.start()
    try:
        waiting = sorted(chosen, key=lambda letter: (letter.partition, letter.offset))
        for at in range(0, len(waiting), AT_ONCE):
            await _send(producer, counted.topic.name, waiting[at : at + AT_ONCE])
        return len(waiting)
    finally:
        await producer.stop()


async def _send(producer: AIOKafkaProducer, topic: str, some: Sequence[Letter]) -> None:
    sent = []
    for letter in some:
        headers = [
            (name, value)
            for name, value in letter.record.headers
            if not name.startswith(PREFIX) and name not in {ORIGIN_HEADER, ORIGIN_TIME_HEADER}
        ]
        headers.append((ORIGIN_HEADER, f"{topic}/{letter.partition}/{letter.offset}".encode()))
        headers.append((ORIGIN_TIME_HEADER, letter.accepted.encode()))
        sent.append(
            await producer.send(
                topic, key=letter.record.key, value=letter.record.value, partition=letter.partition, headers=headers
            )
        )
    await asyncio.gather(*sent)
