"""Read the submitted records that a topic still has: without a group, by the client library's own parser."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.record.memory_records import MemoryRecords

from shared.errors import TransientError
from shared.kafka.fetcher import Fetcher
from shared.kafka.topic_scan import OffsetRange, TopicScan

MAX_EMPTY_FETCHES: Final = 60
"""The audit gives up after more fetches than this, of up to a second each, in a row that return nothing."""
SUBMITTED: Final = b"-submitted"
ORIGIN: Final = "ce_origin"


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The offsets of a partition's uncountable records; no redrive has counted those in `pending`."""

    all: Collection[int]
    pending: Collection[int]


@dataclass(slots=True)
class SubmittedRecords:
    """The records submitted at offsets `start` to `end - 1` of a partition, without those that became dead letters.

    `first_offsets` has the first offset of each key, `redriven_offsets` the offsets of its redriven records.
    """

    start: int
    end: int
    record_count: int = 0
    first_offsets: dict[bytes, int] = field(default_factory=dict)
    redriven_offsets: dict[bytes, set[int]] = field(default_factory=dict)

    @property
    def key_count(self) -> int:
        """The number of keys that were submitted."""
        return len(self.first_offsets.keys() | self.redriven_offsets.keys())

    def may_begin(self, key: bytes, offset: int) -> bool:
        """Whether a row of `key` may begin at `offset`: where it was first submitted, or redriven before that."""
        first = self.first_offsets.get(key)
        return offset == first or (offset in self.redriven_offsets.get(key, ()) and (first is None or offset < first))


class TopicLog:
    """The log of the topic of `scan`, with the bounds that it had when that was opened."""

    def __init__(self, scan: TopicScan) -> None:
        self._scan = scan

    def retained(self, partition: int, next_: int) -> range:
        """Return the offsets of `partition` below `next_` that retention has left."""
        retained = self._scan.ranges.get(partition, OffsetRange(0, 0))
        end = min(next_, retained.end)
        return range(min(retained.start, end), end)

    async def read_submitted(self, partition: int, offsets: range, dead: DeadLetters) -> SubmittedRecords:
        """Read what was submitted at `offsets` of `partition`.

        Raises:
            TransientError: the broker returns nothing any more, or retention has removed a part meanwhile.
        """
        submitted = SubmittedRecords(offsets.start, offsets.stop)
        topic = self._scan.topic
        tp, position, empty_fetches = TopicPartition(topic, partition), offsets.start, 0
        fetches = Fetcher(self._scan._consumer)  # noqa: SLF001  the records are read by another parser than the scan's
        try:
            while position < offsets.stop:
                batches = _batches((await fetches.get({tp: position})).get(tp, b""))
                unread = range(position, offsets.stop)
                position = max([position, *(batch.next_offset for batch in batches)])
                empty_fetches = 0 if batches else empty_fetches + 1
                if empty_fetches > MAX_EMPTY_FETCHES:
                    raise TransientError(f"{topic} brings nothing any more")
                if position < offsets.stop:
                    # The broker works on the next response while we read this one.
                    fetches.start({tp: position})
                for batch in batches:
                    _collect(batch, unread, dead, submitted)
                await asyncio.sleep(0)
        except OffsetOutOfRangeError:
            raise TransientError(f"{topic} lost records to retention while they were read: try again") from None
        finally:
            await fetches.close()
        return submitted


def _batches(content: bytes) -> list[Any]:
    """Return the complete record batches in `content`, checked but not yet decoded.

    Raises:
        TransientError: one was damaged on the way.
    """
    batches: list[Any] = []
    records = MemoryRecords(content)
    while records.has_next():
        batches.append(records.next_batch())
        if not batches[-1].validate_crc():
            raise TransientError("a record batch was damaged on the way")
    return batches


def _collect(batch: Any, offsets: range, dead: DeadLetters, submitted: SubmittedRecords) -> None:
    """Add the submitted records of `batch` at `offsets` to `submitted`."""
    if batch.is_control_batch:
        return
    for record in batch:
        if record.offset in offsets and record.offset not in dead.all:
            _collect_record(record, dead, submitted)


def _collect_record(record: Any, dead: DeadLetters, submitted: SubmittedRecords) -> None:
    origin = None
    is_submission = False
    for name, value in record.headers:
        if name == "ce_type":
            is_submission = value.endswith(SUBMITTED)
        elif name == ORIGIN:
            origin = int(value.rpartition(b"/")[2])
    # A record that was redriven and refused again is listed under its first offset.
    if not is_submission or origin in dead.pending:
        return
    submitted.record_count += 1
    if origin is None:
        submitted.first_offsets.setdefault(record.key, record.offset)
    else:
        submitted.redriven_offsets.setdefault(record.key, set()).add(record.offset)
