"""Read the distinct rows in snapshots of the services' databases."""

from __future__ import annotations

from struct import Struct
from typing import Final

import asyncpg

from deploy.audit.findings import Cell, Partition, PartitionReport, Source
from deploy.audit.topic_log import DeadLetters, SubmittedRecords

KEY_BYTES: Final = 16
OFFSETS_PER_GROUP: Final = 50_000
"""The rows that begin in each range of this many offsets are packed together."""
PREFETCH: Final = 4
_PACKED: Final = Struct("!16sq")


_COUNTED_UP_TO = """
SELECT partition, next FROM positions WHERE consumer_group = $1 AND topic = $2 ORDER BY partition
"""


def _cells_sql(table: str) -> str:
    return f"""
WITH alike AS (
    SELECT partition, dimensions, state::text AS state, invalidated, count(*) AS rows
    FROM {table} GROUP BY partition, dimensions, 3, invalidated
)
SELECT alike.partition, d.campaign, d."case", d.section, d.kind, d.channel, d.country, d.language,
    CASE WHEN alike.invalidated THEN NULL
        ELSE ('{{"r": "recorded", "c": "confirmed", "s": "self_reported"}}'::jsonb) ->> alike.state END AS evidence,
    sum(alike.rows)::bigint AS rows
FROM alike LEFT JOIN dimensions AS d ON d.id = alike.dimensions
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""  # noqa: S608  the tables' names are ours


CellsByPartition = dict[Partition, dict[Cell, int]]


async def count_rows(
    connection: asyncpg.Connection, source: Source, reports: dict[Partition, PartitionReport]
) -> CellsByPartition:
    """Count the rows that count, by partition and cell. Adds a report for each partition of `source` to `reports`."""
    cells: CellsByPartition = {}
    for partition, next_ in await connection.fetch(_COUNTED_UP_TO, source.group, source.topic):
        place = Partition(source.topic, partition)
        reports[place], cells[place] = PartitionReport(next_), {}
    for partition, *dimensions, rows in await connection.fetch(_cells_sql(source.table)):
        place = Partition(source.topic, partition)
        report = reports.setdefault(place, PartitionReport(0))
        report.rows += rows
        cell = Cell(*dimensions)
        if cell.evidence is not None:
            report.counted += rows
            cells.setdefault(place, {})[cell] = rows
    return cells


_DEAD = 'SELECT "offset", applied FROM dead_letters WHERE topic = $1 AND partition = $2'


async def dead_letters(connection: asyncpg.Connection, partition: Partition) -> DeadLetters:
    """Read which records of `partition` could not be counted."""
    letters = [tuple(row) for row in await connection.fetch(_DEAD, *partition)]
    return DeadLetters({offset for offset, _ in letters}, {offset for offset, applied in letters if not applied})


def _first_offsets_sql(table: str) -> str:
    return f"""
SELECT partition, string_agg(key || int8send(first_offset), '') FILTER (WHERE octet_length(key) = {KEY_BYTES}),
    count(*) FILTER (WHERE octet_length(key) <> {KEY_BYTES})
FROM {table} WHERE partition = ANY($1::smallint[]) GROUP BY partition, first_offset / {OFFSETS_PER_GROUP}
"""  # noqa: S608  the tables' names are ours


async def compare_with_log(
    connection: asyncpg.Connection, source: Source, submitted: dict[int, SubmittedRecords], differences: list[str]
) -> None:
    """Compare the rows of some partitions with the records submitted to them; empties `submitted`.

    Every key that was submitted in the range has a row; a row that begins in the range begins where its key was first
    submitted, and one that began before it holds a key of which the log has only the later submissions.
    """
    async for partition, packed, invalid_keys in connection.cursor(
        _first_offsets_sql(source.table), list(submitted), prefetch=PREFETCH
    ):
        place, log = Partition(source.topic, partition), submitted[partition]
        if invalid_keys:
            differences.append(f"{place}: {invalid_keys} rows have keys that are none")
        for key, first in _PACKED.iter_unpack(packed or b""):
            if first >= log.start and not log.may_begin(key, first):
                differences.append(f"{place}: a row begins at offset {first}, where its key was not first submitted")
            log.first_offsets.pop(key, None)
            log.redriven_offsets.pop(key, None)
    for partition, log in submitted.items():
        place = Partition(source.topic, partition)
        without_row = sorted(
            [*log.first_offsets.values(), *(min(offsets) for offsets in log.redriven_offsets.values())]
        )
        differences += [f"{place}: what was submitted at offset {offset} has no row" for offset in without_row]
