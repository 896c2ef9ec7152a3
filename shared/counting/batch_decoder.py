"""Decodes the records of batches into the plan of a transaction, without reading or writing rows."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from shared.counting.batch_plan import BatchPlan
from shared.counting.copy_format import pack_submission_attributes, pack_submission_prefix, pack_submission_suffix
from shared.counting.counted_topic import CountedTopic
from shared.counting.dimension_ids import Combination, IdByCombination, combination_of
from shared.counting.event_decoder import DecodedRecord, EventDecoder
from shared.counting.fast_path import FastPath
from shared.counting.fold import InputRecord
from shared.counting.transitions import DECISIONS, FollowUp, Submitted
from shared.kafka.records import PartitionBatch, Record

Item = TypeVar("Item")

SLICE_RECORDS: Final = 100
"""How many records are decoded before other tasks get their turn, foremost the previous transaction."""


class DimensionIdSource(Protocol):
    """Ids for combinations of dimensions: `DimensionIds`, or a replay's own."""

    ids: IdByCombination

    def clear_if_full(self) -> None:
        """Forget all ids once there are too many. Called before `ensure`."""

    async def ensure(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""


class BatchDecoder:
    """Makes plans of the batches of one counted topic."""

    def __init__(self, counted: CountedTopic, dimension_ids: DimensionIdSource) -> None:
        self.event_decoder = EventDecoder(counted.topic)
        self._topic = counted.topic.name.encode()
        self._dimension_ids = dimension_ids
        self._quota = counted.quota
        self._fast_path = None if counted.quota else FastPath(self.event_decoder, self._topic, counted.projections)

    async def plan(self, batches: Sequence[PartitionBatch]) -> BatchPlan:
        """Plan the transaction that counts `batches`."""
        self._dimension_ids.clear_if_full()
        plan = BatchPlan(batches, self._dimension_ids.ids)
        for batch in batches:
            for records in _slices(batch.records):
                await self._add_records(batch.partition, records, plan)
                await asyncio.sleep(0)
        for key in plan.slow_keys:
            if demoted := plan.demote(key):
                plan.slow_records.append(self.event_decoder.decode(*demoted))
        plan.slow_records.sort(key=lambda decoded: (decoded.partition, decoded.record.offset))
        return plan

    async def _add_records(self, partition: int, records: Sequence[Record], plan: BatchPlan) -> None:
        others = self._add_plain_records(partition, records, plan)
        decoded = [self.event_decoder.decode(partition, record) for record in others]
        if unknown := _unknown_combinations(decoded, plan.ids):
            await self._dimension_ids.ensure(unknown)
            others = self._add_plain_records(partition, others, plan)
            decoded = [self.event_decoder.decode(partition, record) for record in others]
        plan.slow_records.extend(decoded)
        plan.slow_keys.update(record.key for record in decoded)

    def _add_plain_records(self, partition: int, records: Sequence[Record], plan: BatchPlan) -> Sequence[Record]:
        return self._fast_path.add_plain_records(partition, records, plan) if self._fast_path else records

    def to_input(self, decoded: DecodedRecord, ids: IdByCombination) -> InputRecord:
        """Make the fold's input of a decoded record."""
        record, key = decoded.record, decoded.key
        origin = decoded.origin.offset if decoded.origin else record.offset
        if decoded.refusal:
            return InputRecord(decoded.partition, record.offset, origin, key, None, refusal=decoded.refusal)
        digest = int.from_bytes(decoded.digest[:8], "big", signed=True)
        if decoded.submission is None:
            assert decoded.follow_up is not None  # noqa: S101  it is neither refused nor a submission
            assert decoded.reference is not None  # noqa: S101  as above
            follow_up = FollowUp(
                record.offset,
                origin,
                decoded.follow_up,
                digest=digest,
                decision=decoded.reference.decision if decoded.follow_up in DECISIONS else 0,
                reason=decoded.reference.reason,
            )
            return InputRecord(decoded.partition, record.offset, origin, key, follow_up)
        submitted = Submitted(
            offset=record.offset,
            origin=origin,
            partition=decoded.partition,
            dimensions=ids[combination_of(decoded.submission)],
            minute=decoded.minute,
            state=decoded.submission.state,
            digest=digest,
            held=bool(decoded.submission.held),
        )
        claim = self._quota.claim(decoded.submission, decoded.accepted_ms) if self._quota else None
        return InputRecord(decoded.partition, record.offset, origin, key, submitted, claim=claim)

    def pack_submission(self, decoded: DecodedRecord, ids: IdByCombination, *, further: bool) -> bytes:
        """Pack the row of `submissions` for a decoded record that is a submission."""
        submission = decoded.submission
        assert submission is not None  # noqa: S101
        prefix = pack_submission_prefix(decoded.partition, decoded.accepted_ms)
        attributes = pack_submission_attributes(
            self._topic, ids[combination_of(submission)], submission, further=further
        )
        suffix = pack_submission_suffix(decoded.record.offset, decoded.key, decoded.digest, submission)
        return b"".join((prefix, attributes, *suffix))


def _unknown_combinations(decoded: Sequence[DecodedRecord], ids: IdByCombination) -> set[Combination]:
    combinations = (combination_of(record.submission) for record in decoded if record.submission)
    return {combination for combination in combinations if combination not in ids}


def _slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for at in range(0, len(items), SLICE_RECORDS):
        yield items[at : at + SLICE_RECORDS]
