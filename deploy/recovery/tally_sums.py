"""Sum tally batches cell by cell: from the rows, and from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import msgspec

from deploy.local.connections import snapshot
from services.marathon.domain.ledger import Part, SourcePartition
from shared.counting.counted_topic import CountedTopic
from shared.events.cloudevents import DECODE_ERRORS
from shared.events.tallies import ActionsCounted
from shared.kafka.records import PartitionBatch

_decode = msgspec.json.Decoder(ActionsCounted).decode


class Cell(NamedTuple):
    """The dimensions of a delta, without its change."""

    campaign: str
    case: str
    section: str | None
    kind: str
    channel: str
    country: str
    language: str
    evidence: str
    minute: int


class CountedRows(NamedTuple):
    """The position of a partition, the time at which it last moved, and the sum of its rows."""

    next: int
    moved_at: datetime
    cells: Counter[Cell]


def decode_parts(batch: PartitionBatch) -> Iterator[Part]:
    """Decode the readable records of `batch`; an unreadable one halts marathon, which reports it."""
    for record in batch.records:
        with suppress(*DECODE_ERRORS):
            yield Part.of(record.offset, _decode(record.value or b""), record.value or b"")


_POSITIONS: Final = """
SELECT partition, next, moved_at FROM positions WHERE consumer_group = $1 AND topic = $2
"""


def _cells_sql(table: str) -> str:
    return f"""
SELECT actions.partition, d.campaign, d."case", d.section, d.kind, d.channel, d.country, d.language,
    CASE state WHEN 'r' THEN 'recorded' WHEN 'c' THEN 'confirmed' ELSE 'self_reported' END AS evidence, actions.minute,
    count(*)
FROM {table} AS actions JOIN dimensions AS d ON d.id = actions.dimensions
WHERE state IN ('r', 'c', 's') AND NOT invalidated GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""  # noqa: S608  a table of ours


async def sum_rows(url: str, counted: CountedTopic) -> dict[SourcePartition, CountedRows]:
    """Sum every partition's rows, with the position up to which they were counted at that moment."""
    async with snapshot(url) as connection:
        partitions = {
            SourcePartition(counted.topic.name, row["partition"]): CountedRows(row["next"], row["moved_at"], Counter())
            for row in await connection.fetch(_POSITIONS, counted.group, counted.topic.name)
        }
        for partition, *cell, count in await connection.fetch(_cells_sql(counted.table)):
            partitions[SourcePartition(counted.topic.name, partition)].cells[Cell(*cell)] = count
    return partitions


_LEDGER_PARTS: Final = """
SELECT part FROM ledger CROSS JOIN unnest(ledger."values") AS part WHERE source = $1 AND partition = $2
"""


async def sum_ledger(connection: asyncpg.Connection, source: SourcePartition) -> Counter[Cell]:
    """Sum what the ledger has of `source`."""
    sums: Counter[Cell] = Counter()
    async for row in connection.cursor(_LEDGER_PARTS, *source, prefetch=100):
        sums.update(sum_batches([_decode(row["part"])]))
    return sums


def sum_batches(batches: Iterable[ActionsCounted]) -> Counter[Cell]:
    """Sum the deltas of `batches`."""
    sums: Counter[Cell] = Counter()
    for batch in batches:
        for delta in batch.deltas:
            sums[Cell(*(getattr(delta, name) for name in Cell._fields))] += delta.change
    return sums
