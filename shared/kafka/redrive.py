"""Lists dead letters and puts them back on their original topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Final, NamedTuple

import asyncpg
from aiokafka import AIOKafkaProducer

from shared.clock import rfc3339
from shared.errors import PermanentError, TransientError
from shared.events.cloudevents import ORIGIN_GROUP_HEADER, ORIGIN_HEADER
from shared.kafka.consumer_shutdown import start_whole
from shared.kafka.dead_letters import (
    GROUP_HEADER,
    HEADER_PREFIX,
    OFFSET_HEADER,
    OMITTED_BYTES_HEADER,
    REASON_HEADER,
    TIMESTAMP_HEADER,
)
from shared.kafka.origins import ORIGIN_TIME_HEADER, Origin, decode_origin
from shared.kafka.outbox import OutboxRecord, fits_topic
from shared.kafka.records import Record
from shared.kafka.topic_scan import open_scan
from shared.logging import log
from shared.topics import MAX_MESSAGE_BYTES, dead_letter_name

MAX_IN_FLIGHT: Final = 500
TIMEOUT_S: Final = 30.0
"""For the start, for each part and for the stop."""
_ORIGIN_HEADERS: Final = {ORIGIN_HEADER, ORIGIN_TIME_HEADER, ORIGIN_GROUP_HEADER}

LetterId = tuple[str, int, int]
"""The group that refused a record, the record's partition and its original offset."""


class DeadLetterRecord(NamedTuple):
    """A dead letter of `group`. `offset` is its original offset, `accepted_at` the time of its acceptance (RFC 3339);
    `refused_offset` is the offset of the copy that was refused, `refused_at` the time at which it became a dead letter.
    """

    group: str
    partition: int
    offset: int
    refused_offset: int
    reason: str
    accepted_at: str
    refused_at: str
    value_omitted: bool
    record: Record

    @property
    def id(self) -> LetterId:
        """The identity of the refusal: the same record may be refused again, and by other groups."""
        return self.group, self.partition, self.offset


async def list_dead_letters(bootstrap_servers: str, topic: str) -> AsyncGenerator[DeadLetterRecord, None]:
    """Yield the retained dead letters of `topic`; one that was refused again appears once for each refusal."""
    async with open_scan(bootstrap_servers, dead_letter_name(topic)) as scan:
        for partition in scan.ranges:
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        if letter := _parse_letter(topic, partition, record):
                            yield letter
                        else:
                            log.warning("no dead letter of ours", partition=partition, offset=record.offset)


def _parse_letter(topic: str, partition: int, record: Record) -> DeadLetterRecord | None:
    """Return `record` as a dead letter, None where it was not written by `dead_letter`."""
    headers = dict(record.headers)
    try:
        source = Origin(int(headers[OFFSET_HEADER]), int(headers[TIMESTAMP_HEADER]))
        accepted_at, refused_at = rfc3339(source.timestamp_ms / 1000), rfc3339(record.timestamp_ms / 1000)
        reason = headers[REASON_HEADER].decode("ascii")
        group = headers[GROUP_HEADER].decode("ascii")
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    offset = source.offset
    # An origin that the counter would not accept came with the record and means nothing.
    with suppress(KeyError, PermanentError):
        offset = decode_origin(headers, topic, partition, source).offset
        accepted_at = headers.get(ORIGIN_TIME_HEADER, accepted_at.encode()).decode("ascii")
    omitted = OMITTED_BYTES_HEADER in headers
    return DeadLetterRecord(group, partition, offset, source.offset, reason, accepted_at, refused_at, omitted, record)


_APPLIED: Final = 'SELECT partition, "offset" FROM dead_letters WHERE topic = $1 AND applied'


async def read_applied(connection: asyncpg.Connection, topic: str) -> set[tuple[int, int]]:
    """Return partition and offset of the dead letters that were redriven successfully."""
    return {(row["partition"], row["offset"]) for row in await connection.fetch(_APPLIED, topic)}


async def read_put_back(bootstrap_servers: str, topic: str, letters: Collection[DeadLetterRecord]) -> set[LetterId]:
    """Return those of `letters` of which `topic` has a redriven copy that is newer than the refusal."""
    refused_offsets = {letter.id: letter.refused_offset for letter in letters}
    if not letters:
        return set()
    put_back: set[LetterId] = set()
    async with open_scan(bootstrap_servers, topic) as scan:
        for partition in {letter.partition for letter in letters}:
            start = min(letter.refused_offset for letter in letters if letter.partition == partition)
            async with aclosing(scan.batches(partition, start=start)) as batches:
                async for batch in batches:
                    copies = ((_origin_id(topic, partition, record), record.offset) for record in batch.records)
                    put_back |= {id_ for id_, offset in copies if id_ and offset > refused_offsets.get(id_, offset)}
    return put_back


def _origin_id(topic: str, partition: int, record: Record) -> LetterId | None:
    """Return the dead letter of which `record` is a redriven copy, None if it is none."""
    headers = dict(record.headers)
    try:
        origin = decode_origin(headers, topic, partition, Origin(record.offset, record.timestamp_ms))
        return headers[ORIGIN_GROUP_HEADER].decode("ascii"), partition, origin.offset
    except (KeyError, UnicodeDecodeError, PermanentError):
        return None


async def redrive(bootstrap_servers: str, topic: str, letters: Iterable[DeadLetterRecord]) -> dict[LetterId, int]:
    """Put `letters` back on `topic`, each with its origin. Doing it twice counts nothing twice.

    Returns:
        The offset of each copy. Letters without their value, too large for the topic or entirely empty are left out.

    Raises:
        TransientError: Kafka did not take a part of them within half a minute.
    """
    ordered = sorted(letters, key=lambda letter: (letter.partition, letter.offset))
    originals = [(letter.id, _original_record(topic, letter)) for letter in ordered if not letter.value_omitted]
    records = [(id_, record) for id_, record in originals if _is_sendable(record)]
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True, max_request_size=MAX_MESSAGE_BYTES
    )
    offsets: dict[LetterId, int] = {}
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await start_whole(producer.start())
        for start in range(0, len(records), MAX_IN_FLIGHT):
            part = records[start : start + MAX_IN_FLIGHT]
            async with asyncio.timeout(TIMEOUT_S):
                sent = await _send(producer, [record for _, record in part])
            offsets |= zip([id_ for id_, _ in part], sent, strict=True)
    except TimeoutError:
        raise TransientError("Kafka takes nothing: redrive them again later, nothing is counted twice") from None
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                await producer.stop()
    return offsets


def _original_record(topic: str, letter: DeadLetterRecord) -> OutboxRecord:
    headers = [
        (name, value)
        for name, value in letter.record.headers
        if not name.startswith(HEADER_PREFIX) and name not in _ORIGIN_HEADERS
    ]
    headers.append((ORIGIN_HEADER, f"{topic}/{letter.partition}/{letter.offset}".encode()))
    headers.append((ORIGIN_TIME_HEADER, letter.accepted_at.encode()))
    headers += [(ORIGIN_GROUP_HEADER, group) for name, group in letter.record.headers if name == GROUP_HEADER]
    return OutboxRecord(topic, letter.partition, letter.record.key, headers, letter.record.value)


def _is_sendable(record: OutboxRecord) -> bool:
    return fits_topic(record) and not (record.key is None and record.value is None)


async def _send(producer: AIOKafkaProducer, records: Sequence[OutboxRecord]) -> list[int]:
    sent = [
        await producer.send(
            record.topic, key=record.key, value=record.value, partition=record.partition, headers=record.headers
        )
        for record in records
    ]
    return [metadata.offset for metadata in await asyncio.gather(*sent)]
