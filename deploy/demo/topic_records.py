"""Count the records on the intake topics: the driver itself reads them, without a group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

import msgspec
import stamina
from aiokafka.errors import KafkaError

from shared.errors import TransientError
from shared.kafka.records import Record
from shared.kafka.topic_scan import open_scan

SUBMITTED: Final = b"-submitted"

Offsets = dict[tuple[str, int], int]


class _Event(msgspec.Struct):
    campaign: str


_decode = msgspec.json.Decoder(_Event).decode


@stamina.retry(on=(KafkaError, TimeoutError), attempts=20, timeout=120)
async def end_offsets(bootstrap_servers: str, topics: Iterable[str]) -> Offsets:
    """Return the next offset of each partition of `topics`."""
    offsets: Offsets = {}
    for topic in topics:
        async with open_scan(bootstrap_servers, topic) as scan:
            offsets |= {(topic, partition): retained.end for partition, retained in scan.ranges.items()}
    return offsets


@stamina.retry(on=(KafkaError, TimeoutError, TransientError), attempts=5, timeout=600)
async def count_submitted(bootstrap_servers: str, topics: Iterable[str], start: Offsets) -> Counter[str]:
    """Count the submitted records on `topics` from `start` to their ends, by campaign.

    Raises:
        TransientError: no record came for a minute.
    """
    counts: Counter[str] = Counter()
    for topic in topics:
        async with open_scan(bootstrap_servers, topic) as scan:
            for partition in scan.ranges:
                async with aclosing(scan.batches(partition, start=start[topic, partition])) as batches:
                    async for batch in batches:
                        submitted = filter(_is_submitted, batch.records)
                        counts.update(_decode(record.value or b"").campaign for record in submitted)
    return counts


def _is_submitted(record: Record) -> bool:
    return any(key == "ce_type" and value.endswith(SUBMITTED) for key, value in record.headers)
