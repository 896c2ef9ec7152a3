"""Dead letters: records that cannot be counted, sent on as they came with the reason in headers."""

from __future__ import annotations

from typing import Final

from shared.kafka.counted import CountedTopic
from shared.kafka.records import Record
from shared.outbox import RECORD_OVERHEAD, OutboxRecord

PREFIX: Final = "dlq_"
REASON: Final = "dlq_reason"
TOPIC: Final = "dlq_topic"
PARTITION: Final = "dlq_partition"
OFFSET: Final = "dlq_offset"
TIMESTAMP: Final = "dlq_timestamp"
"""Milliseconds since 1970, by the broker's clock, at which the record was accepted."""
LEFT_OUT: Final = "dlq_value_left_out"
"""How many bytes the value had, where it was too large to be sent on; it is found where it stood."""


def dead_letter(counted: CountedTopic, partition: int, record: Record, reason: str) -> OutboxRecord:
    """`record` of `partition` as a record of the dead-letter topic, on the partition of the same number."""
    topic = counted.dead_letters
    headers = [
        *(header for header in record.headers if not header[0].startswith(PREFIX)),
        (REASON, reason.encode()),
        (TOPIC, counted.topic.name.encode()),
        (PARTITION, b"%d" % partition),
        (OFFSET, b"%d" % record.offset),
        (TIMESTAMP, b"%d" % record.timestamp_ms),
    ]
    size = len(record.key or b"") + sum(len(name) + len(value) + 16 for name, value in headers)
    if size + len(record.value or b"") + 2 * RECORD_OVERHEAD > topic.max_message_bytes:
        headers.append((LEFT_OUT, b"%d" % len(record.value or b"")))
        return OutboxRecord(topic.name, partition, record.key and record.key[:64], headers[-6:], None)
    return OutboxRecord(topic.name, partition, record.key, headers, record.value)
