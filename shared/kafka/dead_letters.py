"""Dead letters: records that cannot be counted, sent on as they came with the reason in headers."""

from __future__ import annotations

from typing import Final

from shared.counting.counted_topic import CountedTopic
from shared.kafka.outbox import OutboxRecord, fits
from shared.kafka.records import Record

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
    topic = counted.dead_letters.name
    why = [
        (REASON, reason.encode()),
        (TOPIC, counted.topic.name.encode()),
        (PARTITION, b"%d" % partition),
        (OFFSET, b"%d" % record.offset),
        (TIMESTAMP, b"%d" % record.timestamp_ms),
    ]
    came = [header for header in record.headers if not header[0].startswith(PREFIX)]
    whole = OutboxRecord(topic, partition, record.key, [*came, *why], record.value)
    # What the outbox refuses would come again and again: only it says what fits.
    if fits(whole):
        return whole
    why.append((LEFT_OUT, b"%d" % len(record.value or b"")))
    return OutboxRecord(topic, partition, record.key and record.key[:64], why, None)
