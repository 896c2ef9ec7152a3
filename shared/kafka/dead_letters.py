"""Dead letters: records that cannot be counted, sent on unchanged with the reason in headers."""

from __future__ import annotations

from typing import Final

from shared.kafka.outbox import OutboxRecord, fits_topic
from shared.kafka.records import Record
from shared.logging import log
from shared.metrics import DEAD_LETTERS
from shared.topics import dead_letter_name

HEADER_PREFIX: Final = "dlq_"
REASON_HEADER: Final = "dlq_reason"
TOPIC_HEADER: Final = "dlq_topic"
PARTITION_HEADER: Final = "dlq_partition"
GROUP_HEADER: Final = "dlq_group"
"""The consumer group that refused the record."""
OFFSET_HEADER: Final = "dlq_offset"
TIMESTAMP_HEADER: Final = "dlq_timestamp"
"""Milliseconds since 1970, by the broker's clock, at which the record was accepted."""
OMITTED_BYTES_HEADER: Final = "dlq_value_left_out"
"""The size in bytes of a value that was too large to be sent on; the value is still at its original offset."""
ENDS_THE_PROCESS: Final = "ends-the-process"
RAISES_AN_ERROR: Final = "raises-an-error"
SET_ASIDE_REASONS: Final = frozenset({ENDS_THE_PROCESS, RAISES_AN_ERROR})
"""Why a loop sets a record aside that may look like any other."""


def dead_letter(group: str, topic: str, partition: int, record: Record, reason: str) -> OutboxRecord:
    """Return `record` of `topic`, which `group` refused, as a record of its dead-letter topic, on the partition of the
    same number.
    """
    dead_letters = dead_letter_name(topic)
    dead_letter_headers = [
        (REASON_HEADER, reason.encode()),
        (GROUP_HEADER, group.encode()),
        (TOPIC_HEADER, topic.encode()),
        (PARTITION_HEADER, b"%d" % partition),
        (OFFSET_HEADER, b"%d" % record.offset),
        (TIMESTAMP_HEADER, b"%d" % record.timestamp_ms),
    ]
    original_headers = [header for header in record.headers if not header[0].startswith(HEADER_PREFIX)]
    letter = OutboxRecord(dead_letters, partition, record.key, [*original_headers, *dead_letter_headers], record.value)
    # A letter that the outbox refuses would be written again and again, so the outbox decides what fits.
    if fits_topic(letter):
        return letter
    dead_letter_headers.append((OMITTED_BYTES_HEADER, b"%d" % len(record.value or b"")))
    return OutboxRecord(dead_letters, partition, record.key and record.key[:64], dead_letter_headers, None)


def report_dead_letter(group: str, topic: str, partition: int, offset: int, reason: str) -> None:
    """Count and log a record of `topic`, which `group` refused, once the transaction is committed."""
    DEAD_LETTERS.labels(topic, reason).inc()
    log.warning("dead letter", group=group, topic=topic, partition=partition, offset=offset, reason=reason)
