"""Counting: the one place where records of a counted topic become rows, and what changed becomes a tally batch."""

from __future__ import annotations

from collections import Counter as Multiset
from collections import defaultdict
from collections.abc import Sequence

import asyncpg

from shared.clock import Clock
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.batch_plan import BatchPlan, DecodedRecord, decoded
from shared.counting.counted_topic import CountedTopic
from shared.counting.dimension_ids import DimensionIds, Ids
from shared.counting.fold import InputRecord, Outcome, fold
from shared.counting.row_store import copy_new_rows, copy_submissions, find_rows, load_state, write_outcome
from shared.counting.submission_store import insert_further, show_names
from shared.counting.tally_batches import TallyBatches
from shared.counting.transitions import EVIDENCE, Change, Row
from shared.kafka.dead_letters import dead_letter
from shared.kafka.outbox import OutboxRecord, put_outbox
from shared.kafka.records import PartitionBatch
from shared.metrics import ACCEPT_TO_COUNT, ACTIONS_COUNTED, ACTIONS_REPEATED, DEAD_LETTERS

ENDS_THE_PROCESS = "ends-the-process"


class TopicCounter:
    """Counts one topic: `prepare`, `apply`, `written` and `poison` are what a `PositionedLoop` asks for."""

    def __init__(self, counted: CountedTopic, pool: asyncpg.Pool, clock: Clock) -> None:
        self._counted = counted
        self._clock = clock
        self._interned = DimensionIds(pool)
        self._reader = BatchDecoder(counted, self._interned)
        self._tallies = TallyBatches(counted)

    async def prepare(self, batches: Sequence[PartitionBatch]) -> BatchPlan:
        """Read `batches` and pack what will be written."""
        return await self._reader.plan(batches)

    async def apply(self, connection: asyncpg.Connection, work: BatchPlan) -> None:
        """Write `work` in the caller's transaction: rows, sealed data, dead letters, tally batches."""
        rows = await find_rows(connection, self._counted.table, _keys(work))
        fresh = work.singles.keys() - rows.keys()
        await copy_new_rows(connection, self._counted.table, [work.rows[work.singles[key]] for key in sorted(fresh)])
        changes = _added(work, fresh)
        kept = [work.kept[place] for key, place in work.singles.items() if key in fresh]
        repeats = [work.records[place] for key, place in work.singles.items() if key not in fresh]
        special = [*work.special, *(self._reader.decode(*repeat) for repeat in repeats)]
        outcome = await self._fold(connection, special, work.ids, rows)
        for partition, some in outcome.changes.items():
            changes[partition].extend(some)
        await copy_submissions(connection, [*kept, *self._kept(outcome.first, work.ids, further=False)])
        await insert_further(connection, self._kept(outcome.further, work.ids, further=True))
        if self._counted.names:
            await show_names(connection, self._counted, _confirmed(work, fresh, outcome))
        await put_outbox(connection, await self._records(connection, work, changes, outcome))
        work.fresh, work.outcome = len(fresh), outcome

    async def poison(self, connection: asyncpg.Connection, batch: PartitionBatch) -> None:
        """Make a dead letter of the one record of `batch`, unread."""
        said = DecodedRecord(batch.partition, batch.records[0], refusal=ENDS_THE_PROCESS)
        await self.apply(connection, BatchPlan([batch], {}, special=[said]))

    async def _fold(
        self, connection: asyncpg.Connection, special: Sequence[DecodedRecord], ids: Ids, rows: dict[bytes, Row]
    ) -> Outcome:
        if not special:
            return Outcome()
        arrived = [self._reader.to_input(said, ids) for said in special]
        before = dict(rows)
        held = await load_state(connection, self._counted, arrived, rows)
        outcome = fold(arrived, held)
        await write_outcome(connection, self._counted, before, outcome)
        return outcome

    def _kept(self, arrived: Sequence[InputRecord], ids: Ids, *, further: bool) -> list[bytes]:
        return [self._reader.submission_row(decoded(one), ids, further=further) for one in arrived]

    async def _records(
        self, connection: asyncpg.Connection, work: BatchPlan, changes: dict[int, list[Change]], outcome: Outcome
    ) -> list[OutboxRecord]:
        used = {change.dimensions for some in changes.values() for change in some}
        combinations = await self._interned.combinations(connection, used)
        now = self._clock.now()
        records = [
            record
            for batch in work.batches
            for record in self._tallies.of_batch(batch, changes[batch.partition], combinations, now)
        ]
        letters = [
            dead_letter(self._counted, one.partition, decoded(one).record, reason) for one, reason in outcome.refused
        ]
        return [*records, *letters]

    def written(self, work: BatchPlan) -> None:
        """Measure what was committed."""
        topic = self._counted.topic.name
        ACTIONS_COUNTED.labels(topic).inc(work.fresh + len(work.outcome.first))
        ACTIONS_REPEATED.labels(topic).inc(work.outcome.repeats)
        for _, reason in work.outcome.refused:
            DEAD_LETTERS.labels(topic, reason).inc()
        now_ms = self._clock.now() * 1000
        for batch in work.batches:
            for accepted_ms, count in Multiset(record.timestamp_ms for record in batch.records).items():
                ACCEPT_TO_COUNT.observe(topic, max(0.0, now_ms - accepted_ms) / 1000, count)


def _keys(work: BatchPlan) -> list[bytes]:
    """Every key that `work` names, in the order of the index in which they are looked up."""
    return sorted({*work.singles, *(said.key for said in work.special if said.key)})


def _added(work: BatchPlan, fresh: set[bytes]) -> defaultdict[int, list[Change]]:
    """What the `fresh` ones of the singles add, by partition."""
    cells = [work.cells[place] for key, place in work.singles.items() if key in fresh]
    changes: defaultdict[int, list[Change]] = defaultdict(list)
    for (partition, dimensions, state, minute), count in Multiset(cells).items():
        changes[partition].append(Change(dimensions, EVIDENCE[state], minute, count))
    return changes


def _confirmed(work: BatchPlan, fresh: set[bytes], outcome: Outcome) -> list[tuple[bytes, bytes]]:
    """The keys whose name a submission decides about now, each with that submission's digest."""
    shown = [(key, digest) for key, digest in work.named.items() if key in fresh]
    return [*shown, *((one.key, decoded(one).digest) for one in outcome.confirmed)]
