"""What was submitted, as the log still has it: read without a group, by the client library's own parser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.record.memory_records import MemoryRecords

from shared.errors import SetupError, TransientError
from shared.kafka.fetches import Fetches

EMPTY_FETCHES: Final = 60
"""So many fetches in a row that bring nothing, of up to a second each, and the audit gives up."""
SUBMITTED: Final = b"-submitted"
ORIGIN: Final = "ce_origin"


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Offsets of a partition's records that could not be counted; `waiting` are those that no redrive mended."""

    all: Collection[int]
    waiting: Collection[int]


@dataclass(slots=True)
class Submitted:
    """What was submitted on offsets `start` to `end - 1` of a partition, without what became dead letters.

    `first` is each key's first offset, `redriven` where records stand that came a second time; `records` is their
    number.
    """

    start: int
    end: int
    records: int = 0
    first: dict[bytes, int] = field(default_factory=dict)
    redriven: dict[bytes, set[int]] = field(default_factory=dict)

    @property
    def keys(self) -> int:
        """How many keys were submitted."""
        return len(self.first.keys() | self.redriven.keys())

    def may_begin(self, key: bytes, offset: int) -> bool:
        """Whether a row of `key` may begin at `offset`: where it was first submitted, or redriven before that."""
        first = self.first.get(key)
        return offset == first or (offset in self.redriven.get(key, ()) and (first is None or offset < first))


class Log:
    """One topic."""

    def __init__(
        self, consumer: AIOKafkaConsumer, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._starts = starts
        self._ends = ends

    def retained(self, partition: int, next_: int) -> range:
        """The offsets of `partition` below `next_` that are still there."""
        end = min(next_, self._ends.get(partition, 0))
        return range(min(self._starts.get(partition, end), end), end)

    async def submitted(self, partition: int, offsets: range, dead: DeadLetters) -> Submitted:
        """What was submitted on `offsets` of `partition`.

        Raises:
            TransientError: the broker brings nothing any more, or retention has taken a part meanwhile.
        """
        found = Submitted(offsets.start, offsets.stop)
        tp, at, nothing = TopicPartition(self._topic, partition), offsets.start, 0
        fetches = Fetches(self._consumer)
        try:
            while at < offsets.stop:
                batches = _batches((await fetches.get({tp: at})).get(tp, b""))
                wanted = range(at, offsets.stop)
                at = max([at, *(batch.next_offset for batch in batches)])
                nothing = 0 if batches else nothing + 1
                if nothing > EMPTY_FETCHES:
                    raise TransientError(f"{self._topic} brings nothing any more")
                if at < offsets.stop:
                    # The broker works on the next answer while we read this one.
                    fetches.start({tp: at})
                for batch in batches:
                    _note(batch, wanted, dead, found)
                await asyncio.sleep(0)
        except OffsetOutOfRangeError:
            raise TransientError(f"{self._topic} lost records to retention while they were read: try again") from None
        finally:
            await fetches.close()
        return found


def _batches(content: bytes) -> list[Any]:
    """The whole record batches in `content`, checked but not yet read.

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


def _note(batch: Any, wanted: range, dead: DeadLetters, found: Submitted) -> None:
    """Note the submitted records in `batch` whose offsets are `wanted`."""
    if batch.is_control_batch:
        return
    for record in batch:
        if record.offset in wanted and record.offset not in dead.all:
            _note_record(record, dead, found)


def _note_record(record: Any, dead: DeadLetters, found: Submitted) -> None:
    origin = None
    submits = False
    for name, value in record.headers:
        if name == "ce_type":
            submits = value.endswith(SUBMITTED)
        elif name == ORIGIN:
            origin = int(value.rpartition(b"/")[2])
    # What was redriven and refused again is remembered by where it stood first.
    if not submits or origin in dead.waiting:
        return
    found.records += 1
    if origin is None:
        found.first.setdefault(record.key, record.offset)
    else:
        found.redriven.setdefault(record.key, set()).add(record.offset)


@asynccontextmanager
async def reading(bootstrap_servers: str, topic: str) -> AsyncIterator[Log]:
    """`topic` as it now is.

    Raises:
        SetupError: there is no such topic.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="none", enable_auto_commit=False)
    await consumer.start()
    try:
        await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  a consumer without a topic knows none
        tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not tps:
            raise SetupError(f"Kafka has no topic {topic}")
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        yield Log(
            consumer,
            topic,
            {tp.partition: starts[tp] for tp in tps},
            {tp.partition: ends[tp] for tp in tps},
        )
    finally:
        await consumer.stop()
