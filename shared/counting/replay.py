"""Counts the records that a topic still has again, in memory, and compares the result with the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from shared.clock import Clock
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.counted_topic import CountedTopic
from shared.counting.counter import TopicCounter
from shared.counting.dimension_ids import Combination, IdByCombination
from shared.counting.fold import InputRecord, LoadedState, fold
from shared.counting.transitions import NO_SUBMISSION, Row
from shared.database import connected
from shared.errors import SetupError
from shared.kafka.dead_letters import SET_ASIDE_REASONS
from shared.kafka.positions import advance, ensure_positions
from shared.kafka.topic_scan import OffsetRange, TopicScan, open_scan


class LocalDimensionIds:
    """Ids for combinations of dimensions that are not in any database."""

    def __init__(self) -> None:
        self.ids: IdByCombination = {}
        self.combinations: list[Combination] = []

    def clear_if_full(self) -> None:
        """A replay needs all of them to the end."""

    async def ensure(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""
        for combination in combinations:
            self.ids[combination] = len(self.combinations)
            self.combinations.append(combination)


@dataclass(slots=True)
class PartitionReport:
    """The result of replaying one partition. `offsets` is the range that it could replay."""

    topic: str
    partition: int
    offsets: OffsetRange
    rows: int = 0
    older_rows: int = 0
    """Rows whose first submission is before the range."""
    differences: list[str] = field(default_factory=list)

    def add_difference(self, text: str, offset: int) -> None:
        """Add a difference, named by the offset of a first submission, never by its key."""
        self.differences.append(f"{self.topic}/{self.partition}: {text} that was first submitted at {offset}")


_SELECT_POSITIONS: Final = """
SELECT partition, next FROM positions WHERE consumer_group = $1 AND topic = $2 ORDER BY partition
"""
_ANY_COUNTED: Final = """
SELECT EXISTS (SELECT FROM positions WHERE consumer_group = $1 AND topic = $2 AND next > 0)
"""
_SET_POSITION: Final = """
UPDATE positions SET next = $4 WHERE consumer_group = $1 AND topic = $2 AND partition = $3
"""
_CLEAR_OUTBOX: Final = "DELETE FROM outbox"
_SELECT_DEAD_LETTERS: Final = (
    'SELECT "offset", reason FROM dead_letters WHERE topic = $1 AND partition = $2 AND "offset" >= $3'
)


def _select_rows(table: str) -> str:
    return f"""
SELECT key, dimensions.id, state::text, invalidated, partition, first_offset, applied_offset, opened, minute, digest,
    campaign, "case", subject, section, kind, channel, country, language
FROM {table} AS stored JOIN dimensions ON dimensions.id = stored.dimensions WHERE partition = $1
"""  # noqa: S608  a table of ours


async def replay(
    database_url: str, bootstrap_servers: str, counted: CountedTopic
) -> AsyncGenerator[PartitionReport, None]:
    """Compare each partition of `counted` with a snapshot of the database, while counting may go on."""
    async with open_scan(bootstrap_servers, counted.topic.name) as scan, _snapshot(database_url) as connection:
        for partition, end in await connection.fetch(_SELECT_POSITIONS, counted.group, counted.topic.name):
            yield await _PartitionReplay(connection, scan, counted, partition).run(end)


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10, server_settings={"application_name": "replay"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close(timeout=10)


class _PartitionReplay:
    def __init__(self, connection: asyncpg.Connection, scan: TopicScan, counted: CountedTopic, partition: int) -> None:
        self._connection = connection
        self._scan = scan
        self._counted = counted
        self._partition = partition
        self._dimension_ids = LocalDimensionIds()
        self._decoder = BatchDecoder(counted, self._dimension_ids)
        self._quota = counted.quota
        self._state = LoadedState()
        self._start = scan.ranges[partition].start
        self._partial_period = -1
        self._older_keys: set[bytes] = set()

    async def run(self, end: int) -> PartitionReport:
        report = PartitionReport(self._counted.topic.name, self._partition, OffsetRange(self._start, end))
        rows = await self._connection.fetch(_SELECT_DEAD_LETTERS, report.topic, self._partition, self._start)
        await self._fold(end, {row["offset"]: row["reason"] for row in rows if row["reason"] in SET_ASIDE_REASONS})
        await self._compare_rows(report)
        self._compare_dead_letters({row["offset"] for row in rows}, report)
        return report

    async def _fold(self, end: int, set_aside: Mapping[int, str]) -> None:
        async with aclosing(self._scan.batches(self._partition, end)) as batches:
            async for batch in batches:
                if self._quota and self._start and self._partial_period < 0:
                    self._partial_period = self._quota.period(batch.records[0].timestamp_ms)
                plan = await self._decoder.plan([batch])
                fast_records = [
                    self._decoder.event_decoder.decode(*plan.fast_records[index]) for index in plan.fast_keys.values()
                ]
                decoded = sorted([*fast_records, *plan.slow_records], key=lambda decoded: decoded.record.offset)
                records = [self._decoder.to_input(record, plan.ids) for record in decoded]
                fold([_refuse(record, set_aside.get(record.offset)) for record in records], self._state)

    async def _compare_rows(self, report: PartitionReport) -> None:
        rows = self._state.rows
        query = _select_rows(self._counted.table)
        async for key, *columns in self._connection.cursor(query, self._partition, prefetch=5000):
            report.rows += 1
            row, combination = Row(*columns[:9]), Combination(*columns[9:])
            replayed = rows.pop(key, None)
            if row.first_offset < self._start:
                report.older_rows += 1
                self._older_keys.add(key)
            elif replayed is None:
                report.add_difference("nothing was submitted for a row", row.first_offset)
            elif self._differ(row, combination, replayed):
                report.add_difference("the log gives another row than the one", row.first_offset)
        for row in rows.values():
            report.add_difference("there is no row for a key", row.first_offset)

    def _differ(self, row: Row, combination: Combination, replayed: Row) -> bool:
        if self._dimension_ids.combinations[replayed.dimensions] != combination:
            return True
        # An erased person's digest is gone.
        expected = replayed._replace(dimensions=row.dimensions, digest=row.digest and replayed.digest)
        # Submissions of the first period may precede the range, so it is unknown whether the quota was reached.
        if self._quota and self._quota.period(row.minute * 60_000) <= self._partial_period:
            expected = expected._replace(state=row.state)
        return row != expected

    def _compare_dead_letters(self, stored: Collection[int], report: PartitionReport) -> None:
        replayed = {
            origin.offset
            for origin, letter in self._state.dead_letters.items()
            if origin.offset >= self._start and not (letter.reason == NO_SUBMISSION and letter.key in self._older_keys)
        }
        for offset in sorted(replayed.symmetric_difference(stored)):
            report.differences.append(f"{report.topic}/{self._partition}: a dead letter on one side only, at {offset}")


def _refuse(record: InputRecord, reason: str | None) -> InputRecord:
    return record._replace(event=None, refusal=reason) if reason else record


async def refill(
    pool: asyncpg.Pool, bootstrap_servers: str, counted: CountedTopic, clock: Clock
) -> dict[int, OffsetRange]:
    """Count the records that `counted` still has into the empty tables of `pool`, without publishing tally batches.

    Returns the counted offsets of each partition.

    Raises:
        SetupError: this database has counted records of the topic already.
    """
    counter = TopicCounter(counted, pool, clock)
    async with open_scan(bootstrap_servers, counted.topic.name) as scan:
        async with connected(pool) as connection:
            await ensure_positions(connection, counted.group, counted.topic.name, len(scan.ranges))
            if await connection.fetchval(_ANY_COUNTED, counted.group, counted.topic.name):
                raise SetupError(f"{counted.topic.name} was counted into this database already")
        for partition, (start, _) in scan.ranges.items():
            async with connected(pool) as connection:
                await connection.execute(_SET_POSITION, counted.group, counted.topic.name, partition, start)
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    plan = await counter.prepare([batch])
                    async with connected(pool) as connection, connection.transaction():
                        await advance(connection, counted.group, [batch])
                        await counter.apply(connection, plan)
                        await connection.execute(_CLEAR_OUTBOX)
        return dict(scan.ranges)
