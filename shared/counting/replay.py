"""Counts what a topic still holds once more, in memory, and compares it with what is held."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from shared.clock import Clock
from shared.counting.batch_decoder import BatchDecoder
from shared.counting.counted_topic import CountedTopic
from shared.counting.counter import ENDS_THE_PROCESS, TopicCounter
from shared.counting.dimension_ids import Combination, Ids
from shared.counting.fold import MINUTES_A_DAY, InputRecord, LoadedState, fold
from shared.counting.transitions import NO_SUBMISSION, Row
from shared.database import connected
from shared.errors import SetupError
from shared.kafka.positions import advance, ensure_positions
from shared.kafka.topic_scan import OffsetRange, TopicScan, open_scan


class LocalCombinations:
    """Numbers for combinations of dimensions that no database knows."""

    def __init__(self) -> None:
        self.ids: Ids = {}
        self.combinations: list[Combination] = []

    def clear_if_full(self) -> None:
        """A replay needs all of them to the end."""

    async def ensure(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""
        for one in combinations:
            self.ids[one] = len(self.combinations)
            self.combinations.append(one)


@dataclass(slots=True)
class Report:
    """What the replay of one partition found. `checked` is the range of offsets that it could replay."""

    topic: str
    partition: int
    checked: OffsetRange
    rows: int = 0
    unknown: int = 0
    """Rows that began before the range."""
    differences: list[str] = field(default_factory=list)

    def differs(self, what: str, offset: int) -> None:
        """Note a difference, by the offset of a first submission; never by its key."""
        self.differences.append(f"{self.topic}/{self.partition}: {what} that was first submitted at {offset}")


_POSITIONS: Final = "SELECT partition, next FROM positions WHERE topic = $1 ORDER BY partition"
_ANY: Final = "SELECT EXISTS (SELECT FROM positions WHERE topic = $1 AND next > 0)"
_START: Final = "UPDATE positions SET next = $3 WHERE topic = $1 AND partition = $2"
_TELL_NOBODY: Final = "DELETE FROM outbox"
_DEAD: Final = 'SELECT "offset", reason FROM dead_letters WHERE topic = $1 AND partition = $2 AND "offset" >= $3'


def _rows(table: str) -> str:
    return f"""
SELECT key, held.dimensions, state::text, invalidated, partition, first_offset, applied_offset, opened, minute, digest,
    campaign, "case", subject, section, kind, channel, country, language
FROM {table} AS held JOIN dimensions ON dimensions.id = held.dimensions WHERE partition = $1
"""  # noqa: S608  a table of ours


async def replay(database_url: str, bootstrap_servers: str, counted: CountedTopic) -> AsyncGenerator[Report, None]:
    """Compare each partition of `counted` as it stands at one moment, while counting may go on."""
    async with open_scan(bootstrap_servers, counted.topic.name) as scan, _snapshot(database_url) as connection:
        for partition, end in await connection.fetch(_POSITIONS, counted.topic.name):
            yield await _Replay(connection, scan, counted, partition).run(end)


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10, server_settings={"application_name": "replay"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close(timeout=10)


class _Replay:
    def __init__(self, connection: asyncpg.Connection, scan: TopicScan, counted: CountedTopic, partition: int) -> None:
        self._connection = connection
        self._scan = scan
        self._counted = counted
        self._partition = partition
        self._combinations = LocalCombinations()
        self._reader = BatchDecoder(counted, self._combinations)
        self._held = LoadedState()
        self._start = scan.ranges[partition].start
        self._vague_day = -1
        self._older: set[bytes] = set()

    async def run(self, end: int) -> Report:
        report = Report(self._counted.topic.name, self._partition, OffsetRange(self._start, end))
        dead = {row["offset"]: row["reason"] for row in await self._connection.fetch(
            _DEAD, report.topic, self._partition, self._start
        )}  # fmt: skip
        await self._fold(end, {offset for offset, reason in dead.items() if reason == ENDS_THE_PROCESS})
        await self._compare_rows(report)
        self._compare_dead_letters(dead.keys(), report)
        return report

    async def _fold(self, end: int, set_aside: Collection[int]) -> None:
        async with aclosing(self._scan.batches(self._partition, end)) as batches:
            async for batch in batches:
                if self._start and self._vague_day < 0:
                    self._vague_day = batch.records[0].timestamp_ms // 60_000 // MINUTES_A_DAY
                work = await self._reader.plan([batch])
                singles = [self._reader.decode(*work.records[place]) for place in work.singles.values()]
                said = sorted([*singles, *work.special], key=lambda one: one.record.offset)
                arrived = [self._reader.to_input(one, work.ids) for one in said]
                fold([_set_aside(one) if one.offset in set_aside else one for one in arrived], self._held)

    async def _compare_rows(self, report: Report) -> None:
        rows = self._held.rows
        async for key, *found in self._connection.cursor(_rows(self._counted.table), self._partition, prefetch=5000):
            report.rows += 1
            row, combination = Row(*found[:9]), Combination(*found[9:])
            replayed = rows.pop(key, None)
            if row.first_offset < self._start:
                report.unknown += 1
                self._older.add(key)
            elif replayed is None:
                report.differs("nothing was submitted for a row", row.first_offset)
            elif self._differ(row, combination, replayed):
                report.differs("the log gives another row than the one", row.first_offset)
        for row in rows.values():
            report.differs("there is no row for a key", row.first_offset)

    def _differ(self, row: Row, combination: Combination, replayed: Row) -> bool:
        if self._combinations.combinations[replayed.dimensions] != combination:
            return True
        # An erased person's digest is gone.
        alike = replayed._replace(dimensions=row.dimensions, digest=row.digest and replayed.digest)
        # What was sent on the first day before the range is not known, hence not whether the limit was reached.
        if self._counted.daily_limit and row.minute // MINUTES_A_DAY <= self._vague_day:
            alike = alike._replace(state=row.state)
        return row != alike

    def _compare_dead_letters(self, kept: Collection[int], report: Report) -> None:
        replayed = {
            place.offset
            for place, letter in self._held.dead.items()
            if place.offset >= self._start and not (letter.reason == NO_SUBMISSION and letter.key in self._older)
        }
        for offset in sorted(replayed.symmetric_difference(kept)):
            report.differences.append(f"{report.topic}/{self._partition}: a dead letter on one side only, at {offset}")


def _set_aside(one: InputRecord) -> InputRecord:
    return one._replace(event=None, refusal=ENDS_THE_PROCESS)


async def refill(
    pool: asyncpg.Pool, bootstrap_servers: str, counted: CountedTopic, clock: Clock
) -> dict[int, OffsetRange]:
    """Count what `counted` still holds into the empty tables of `pool`, telling nobody; returns the ranges counted.

    Raises:
        SetupError: something was counted there already.
    """
    counting = TopicCounter(counted, pool, clock)
    async with open_scan(bootstrap_servers, counted.topic.name) as scan:
        async with connected(pool) as connection:
            await ensure_positions(connection, counted.topic.name, len(scan.ranges))
            if await connection.fetchval(_ANY, counted.topic.name):
                raise SetupError(f"{counted.topic.name} was counted into this database already")
        for partition, (start, _) in scan.ranges.items():
            async with connected(pool) as connection:
                await connection.execute(_START, counted.topic.name, partition, start)
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    work = await counting.prepare([batch])
                    async with connected(pool) as connection, connection.transaction():
                        await advance(connection, [batch], [0])
                        await counting.apply(connection, work)
                        await connection.execute(_TELL_NOBODY)
        return dict(scan.ranges)
