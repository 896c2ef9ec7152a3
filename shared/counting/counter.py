"""Counting: turns the records of a counted topic into rows, and the changes of the totals into tally batches."""

from __future__ import annotations

from collections import Counter as Multiset
from collections import defaultdict
from collections.abc import Mapping, Sequence

import asyncpg

from shared.clock import Clock
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.batch_plan import BatchPlan, Cell
from shared.counting.counted_topic import CountedTopic
from shared.counting.dimension_ids import DimensionIds, IdByCombination
from shared.counting.event_decoder import DecodedRecord
from shared.counting.fold import InputRecord, Outcome, fold
from shared.counting.projections import ActionChange
from shared.counting.row_store import copy_new_rows, copy_submissions, find_rows, load_state, write_outcome
from shared.counting.submission_store import insert_further
from shared.counting.tally_batches import TallyBatchBuilder
from shared.counting.transitions import EVIDENCE, Change, Row
from shared.kafka.dead_letters import dead_letter, report_dead_letter
from shared.kafka.outbox import OutboxRecord, put_outbox
from shared.kafka.record_ref import RecordRef
from shared.kafka.records import PartitionBatch
from shared.kafka.refusal_limit import RefusalLimit
from shared.metrics import ACCEPT_TO_COUNT, ACTIONS_COUNTED, ACTIONS_REPEATED

DecodedByOffset = Mapping[tuple[int, int], DecodedRecord]
"""Decoded records by partition and offset."""


class TopicCounter:
    """Counts one topic; its public methods are the callbacks of a `PositionedLoop`."""

    def __init__(
        self, counted: CountedTopic, pool: asyncpg.Pool, clock: Clock, refusal_limit: RefusalLimit | None = None
    ) -> None:
        self._counted = counted
        self._clock = clock
        self._refusal_limit = refusal_limit or RefusalLimit()
        self._dimension_ids = DimensionIds(pool)
        self._decoder = BatchDecoder(counted, self._dimension_ids)
        self._tally_batches = TallyBatchBuilder(counted)

    async def prepare(self, batches: Sequence[PartitionBatch]) -> BatchPlan:
        """Decode `batches` and pack their rows."""
        return await self._decoder.plan(batches)

    async def apply(self, connection: asyncpg.Connection, plan: BatchPlan) -> None:
        """Write `plan` in the caller's transaction: rows, sealed data, dead letters, tally batches.

        Raises:
            HaltError: too many of a partition's records cannot be decoded.
        """
        plan.refused = _refused_offsets(plan)
        for batch in plan.batches:
            self._refusal_limit.check(batch, plan.refused[batch.partition])
        rows = await find_rows(connection, self._counted.table, _keys(plan))
        new_keys = plan.fast_keys.keys() - rows.keys()
        # In the order of the index, and then in that of the log.
        new_by_key = [plan.fast_keys[key] for key in sorted(new_keys)]
        await copy_new_rows(connection, self._counted.table, [plan.new_rows[index] for index in new_by_key])
        new_by_offset = sorted(new_by_key)
        changes = _changes_by_cells([plan.cells[index] for index in new_by_offset])
        new_submissions = [plan.submission_rows[index] for index in new_by_offset]
        repeats = [
            plan.fast_records[index] for index in sorted(plan.fast_keys[key] for key in rows.keys() & plan.fast_keys)
        ]
        slow_records = [*plan.slow_records, *(self._decoder.event_decoder.decode(*repeat) for repeat in repeats)]
        decoded = {(record.partition, record.record.offset): record for record in slow_records}
        outcome = await self._fold(connection, slow_records, plan.ids, rows)
        for partition, partition_changes in outcome.changes.items():
            changes[partition].extend(partition_changes)
        new_submissions += self._submission_rows(outcome.first_submissions, decoded, plan.ids, further=False)
        await copy_submissions(connection, new_submissions)
        further = self._submission_rows(outcome.further_submissions, decoded, plan.ids, further=True)
        await insert_further(connection, further)
        await self._project(connection, plan, new_keys, outcome, decoded)
        await put_outbox(connection, await self._outbox_records(connection, plan, changes, outcome, decoded))
        plan.new_count, plan.outcome = len(new_keys), outcome

    async def set_aside(self, connection: asyncpg.Connection, batch: PartitionBatch, reason: str) -> None:
        """Make a dead letter of the one record of `batch`, without decoding it."""
        record = DecodedRecord(batch.partition, batch.records[0], refusal=reason)
        await self.apply(connection, BatchPlan([batch], {}, slow_records=[record]))

    async def _fold(
        self,
        connection: asyncpg.Connection,
        decoded: Sequence[DecodedRecord],
        ids: IdByCombination,
        rows: dict[bytes, Row],
    ) -> Outcome:
        if not decoded:
            return Outcome()
        records = [self._decoder.to_input(record, ids) for record in decoded]
        before = dict(rows)
        loaded = await load_state(connection, self._counted, records, rows)
        outcome = fold(records, loaded)
        await write_outcome(connection, self._counted, before, outcome)
        return outcome

    def _submission_rows(
        self, records: Sequence[InputRecord], decoded: DecodedByOffset, ids: IdByCombination, *, further: bool
    ) -> list[bytes]:
        return [
            self._decoder.pack_submission(decoded[record.partition, record.offset], ids, further=further)
            for record in records
        ]

    async def _project(
        self,
        connection: asyncpg.Connection,
        plan: BatchPlan,
        new_keys: set[bytes],
        outcome: Outcome,
        decoded: DecodedByOffset,
    ) -> None:
        """Hand each projection the changes that it asks for."""
        topic = self._counted.topic.name
        for projection in self._counted.projections:
            kinds = projection.kinds
            changes = [
                ActionChange(kind, key, RecordRef(topic, tracked.partition, tracked.offset), tracked.digest)
                for key, tracked in plan.tracked.items()
                if key in new_keys and projection.selects(tracked.submission)
                for kind in tracked.kinds
                if kind in kinds
            ]
            changes += [
                ActionChange(
                    kind,
                    record.key,
                    RecordRef(topic, record.partition, opened),
                    decoded[record.partition, record.offset].digest,
                )
                for kind, record, opened in outcome.action_changes
                if kind in kinds
            ]
            if changes:
                await projection.apply(connection, changes)

    async def _outbox_records(
        self,
        connection: asyncpg.Connection,
        plan: BatchPlan,
        changes: dict[int, list[Change]],
        outcome: Outcome,
        decoded: DecodedByOffset,
    ) -> list[OutboxRecord]:
        ids = {change.dimensions for partition_changes in changes.values() for change in partition_changes}
        combinations = await self._dimension_ids.combinations(connection, ids)
        now, topic = self._clock.now(), self._counted.topic.name
        tally_batches = [
            record
            for batch in plan.batches
            for record in self._tally_batches.build(batch, changes[batch.partition], combinations, now)
        ]
        dead_letters = [
            dead_letter(
                self._counted.group,
                topic,
                refused.partition,
                decoded[refused.partition, refused.offset].record,
                reason,
            )
            for refused, reason in outcome.refused
        ]
        return [*tally_batches, *dead_letters]

    def record_metrics(self, plan: BatchPlan) -> None:
        """Record the metrics of a committed plan."""
        topic = self._counted.topic.name
        for batch in plan.batches:
            self._refusal_limit.note(batch, plan.refused[batch.partition])
        ACTIONS_COUNTED.labels(topic).inc(plan.new_count + len(plan.outcome.first_submissions))
        ACTIONS_REPEATED.labels(topic).inc(plan.outcome.repeats)
        for refused, reason in plan.outcome.refused:
            report_dead_letter(self._counted.group, topic, refused.partition, refused.offset, reason)
        now_ms = self._clock.now() * 1000
        for batch in plan.batches:
            for accepted_ms, count in Multiset(record.timestamp_ms for record in batch.records).items():
                ACCEPT_TO_COUNT.observe(topic, max(0.0, now_ms - accepted_ms) / 1000, count)


def _refused_offsets(plan: BatchPlan) -> defaultdict[int, set[int]]:
    """The offsets by partition that cannot be decoded or were set aside, without redriven records."""
    refused: defaultdict[int, set[int]] = defaultdict(set)
    for decoded in plan.slow_records:
        if decoded.refusal and decoded.origin is None:
            refused[decoded.partition].add(decoded.record.offset)
    return refused


def _keys(plan: BatchPlan) -> list[bytes]:
    """All keys of `plan`, in the order of the index in which they are looked up."""
    return sorted({*plan.fast_keys, *(record.key for record in plan.slow_records if record.key)})


def _changes_by_cells(cells: Sequence[Cell]) -> defaultdict[int, list[Change]]:
    """The changes that new rows in `cells` make, by partition."""
    changes: defaultdict[int, list[Change]] = defaultdict(list)
    for (partition, dimensions, state, minute), count in Multiset(cells).items():
        changes[partition].append(Change(dimensions, EVIDENCE[state], minute, count))
    return changes
