"""Reads the records of a batch and makes them ready for the transaction, without touching rows."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from shared.counting.batch_plan import BatchPlan, DecodedRecord
from shared.counting.copy_format import own_part, place_part, sort_part
from shared.counting.counted_topic import CountedTopic
from shared.counting.dimension_ids import Combination, Ids, combination_of
from shared.counting.event_decoder import EventDecoder, check_shape, keyed_hash
from shared.counting.fast_path import FastPath
from shared.counting.fold import InputRecord
from shared.counting.transitions import FollowUp, Submitted
from shared.errors import PermanentError
from shared.kafka.records import PartitionBatch, Record

Item = TypeVar("Item")

SLICE: Final = 100
"""After so many records what else waits gets its turn: foremost the transaction before."""


class DimensionNumbers(Protocol):
    """Numbers for combinations of dimensions: `Interned`, or a replay's own."""

    ids: Ids

    def clear_if_full(self) -> None:
        """Start anew once there are too many to remember."""

    async def ensure(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""


class BatchDecoder:
    """Makes `Work` of the batches of one counted topic."""

    def __init__(self, counted: CountedTopic, interned: DimensionNumbers) -> None:
        self._reading = EventDecoder(counted.topic)
        self._topic = counted.topic.name.encode()
        self._interned = interned
        self._limited = counted.daily_limit
        self._usual = None if counted.daily_limit else FastPath(self._reading, self._topic)

    async def plan(self, batches: Sequence[PartitionBatch]) -> BatchPlan:
        """What there is to do for `batches`."""
        self._interned.clear_if_full()
        work = BatchPlan(batches, self._interned.ids)
        for batch in batches:
            for records in _slices(batch.records):
                await self._read(batch.partition, records, work)
                await asyncio.sleep(0)
        for key in work.shared:
            if taken := work.take_back(key):
                work.special.append(self.decode(*taken))
        work.special.sort(key=lambda said: (said.partition, said.record.offset))
        return work

    async def _read(self, partition: int, records: Sequence[Record], work: BatchPlan) -> None:
        others = self._take(partition, records, work)
        said = [self.decode(partition, record) for record in others]
        if unknown := _unknown(said, work.ids):
            await self._interned.ensure(unknown)
            others = self._take(partition, others, work)
            said = [self.decode(partition, record) for record in others]
        work.special.extend(said)
        work.shared.update(one.key for one in said)

    def _take(self, partition: int, records: Sequence[Record], work: BatchPlan) -> Sequence[Record]:
        return self._usual.take(partition, records, work) if self._usual else records

    def decode(self, partition: int, record: Record) -> DecodedRecord:
        """What `record` says, or why it says nothing."""
        origin = None
        try:
            what, origin = self._reading.decode_headers(record, partition)
            check_shape(record.key, record.value)
            if what == "submitted":
                submission = self._reading.decode_submission(record.value or b"")
                submission.check_person()
                return DecodedRecord(partition, record, submission, keyed_hash(submission.digest), origin=origin)
            reference = self._reading.decode_reference(record.value or b"")
            digest = keyed_hash(reference.digest) if reference.digest else b""
        except PermanentError as error:
            return DecodedRecord(partition, record, origin=origin, refusal=error.reason)
        return DecodedRecord(partition, record, digest=digest, follow_up=what, origin=origin)

    def to_input(self, said: DecodedRecord, ids: Ids) -> InputRecord:
        """What the fold sees of `said`."""
        record, origin, key = said.record, said.origin, said.key
        first = origin.offset if origin else record.offset
        if said.refusal:
            return InputRecord(said.partition, record.offset, first, key, None, refusal=said.refusal, decoded=said)
        if said.submission is None:
            assert said.follow_up is not None  # noqa: S101  what is neither refused nor a submission happened later
            follow_up = FollowUp(record.offset, first, said.follow_up)
            return InputRecord(said.partition, record.offset, first, key, follow_up, decoded=said)
        submitted = Submitted(
            offset=record.offset,
            origin=first,
            partition=said.partition,
            dimensions=ids[combination_of(said.submission)],
            minute=said.accepted_ms // 60_000,
            state=said.submission.state,
            digest=int.from_bytes(said.digest[:8], "big", signed=True),
        )
        quota = said.submission.quota if self._limited else None
        return InputRecord(said.partition, record.offset, first, key, submitted, quota=quota, decoded=said)

    def submission_row(self, said: DecodedRecord, ids: Ids, *, further: bool) -> bytes:
        """The packed row of `submissions` for `said`, which is a submission."""
        submission = said.submission
        assert submission is not None  # noqa: S101
        sort = sort_part(self._topic, ids[combination_of(submission)], submission, further=further)
        own = own_part(said.record.offset, said.key, said.digest, submission)
        return b"".join((place_part(said.partition, said.accepted_ms), sort, *own))


def _unknown(said: Sequence[DecodedRecord], ids: Ids) -> set[Combination]:
    return {found for one in said if one.submission and (found := combination_of(one.submission)) not in ids}


def _slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for at in range(0, len(items), SLICE):
        yield items[at : at + SLICE]
