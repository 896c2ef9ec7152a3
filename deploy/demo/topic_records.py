"""Count the records on the intake topics: the driver itself reads them, without a group."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import stamina
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

RECORDS_AT_ONCE: Final = 5_000
STALLED_SECONDS: Final = 60.0
SUBMITTED: Final = b"-submitted"

Offsets = dict[TopicPartition, int]


class _Event(msgspec.Struct):
    campaign: str


_decode = msgspec.json.Decoder(_Event).decode


@stamina.retry(on=(KafkaError, TimeoutError), attempts=20, timeout=120)
async def end_offsets(bootstrap_servers: str, topics: Iterable[str]) -> Offsets:
    """Return the next offset of each partition of `topics`."""
    async with _consumer(bootstrap_servers, topics) as consumer:
        return dict(await consumer.end_offsets(consumer.assignment()))


@stamina.retry(on=(KafkaError, TimeoutError), attempts=5, timeout=600)
async def count_submitted(bootstrap_servers: str, topics: Iterable[str], start: Offsets) -> Counter[str]:
    """Count the submitted records on `topics` from `start` to their ends, by campaign.

    Raises:
        TimeoutError: no record came for a minute.
    """
    counts: Counter[str] = Counter()
    async with _consumer(bootstrap_servers, topics) as consumer:
        remaining = dict(await consumer.end_offsets(consumer.assignment()))
        for tp in remaining:
            consumer.seek(tp, start[tp])
        last_record_at = time.monotonic()
        while remaining := {tp: end for tp, end in remaining.items() if await consumer.position(tp) < end}:
            if time.monotonic() - last_record_at > STALLED_SECONDS:
                raise TimeoutError
            for records in (await consumer.getmany(timeout_ms=1000, max_records=RECORDS_AT_ONCE)).values():
                counts.update(_decode(record.value or b"").campaign for record in records if _is_submitted(record))
                last_record_at = time.monotonic()
    return counts


def _is_submitted(record: ConsumerRecord[bytes, bytes]) -> bool:
    return any(key == "ce_type" and value.endswith(SUBMITTED) for key, value in record.headers)


@asynccontextmanager
async def _consumer(bootstrap_servers: str, topics: Iterable[str]) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer of every partition of `topics`."""
    consumer: AIOKafkaConsumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()
