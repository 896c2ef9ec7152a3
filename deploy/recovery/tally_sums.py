"""What tally batches add up to, cell by cell: as the rows say it, and as the ledger has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg
import msgspec

from services.marathon.domain.ledger import Part, SourcePartition
from shared.counting.counted_topic import CountedTopic
from shared.events.cloudevents import UNREADABLE
from shared.events.tallies import ActionsCounted, Delta
from shared.kafka.records import PartitionBatch

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 600.0

_batch = msgspec.json.Decoder(ActionsCounted).decode


class Cell(NamedTuple):
    """What a delta changes, without how far."""

    campaign: str
    case: str
    section: str | None
    kind: str
    channel: str
    country: str
    language: str
    evidence: str
    minute: int


class Counted(NamedTuple):
    """How far a partition was counted, when that last moved, and what its rows add up to."""

    next: int
    moved_at: datetime
    cells: Counter[Cell]


def parts_in(batch: PartitionBatch) -> Iterator[Part]:
    """What can be read of `batch`; what cannot halts marathon, which tells of it."""
    for record in batch.records:
        with suppress(*UNREADABLE):
            yield Part.of(record.offset, _batch(record.value or b""), record.value or b"")


@asynccontextmanager
async def moment(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that sees one state of its database and changes nothing."""
    connection = await asyncpg.connect(url, timeout=CONNECT_S, command_timeout=STATEMENT_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close(timeout=CONNECT_S)


_POSITIONS: Final = "SELECT partition, next, moved_at FROM positions WHERE topic = $1"


def _cells_sql(table: str) -> str:
    return f"""
SELECT held.partition, d.campaign, d."case", d.section, d.kind, d.channel, d.country, d.language,
    CASE state WHEN 'r' THEN 'recorded' WHEN 'c' THEN 'confirmed' ELSE 'self_reported' END AS evidence, held.minute,
    count(*)
FROM {table} AS held JOIN dimensions AS d ON d.id = held.dimensions
WHERE state IN ('r', 'c', 's') AND NOT invalidated GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""  # noqa: S608  a table of ours


async def rows(url: str, counted: CountedTopic) -> dict[SourcePartition, Counted]:
    """What every partition's rows add up to, and how far they were counted at that moment."""
    async with moment(url) as connection:
        found = {
            SourcePartition(counted.topic.name, row["partition"]): Counted(row["next"], row["moved_at"], Counter())
            for row in await connection.fetch(_POSITIONS, counted.topic.name)
        }
        for partition, *cell, count in await connection.fetch(_cells_sql(counted.table)):
            found[SourcePartition(counted.topic.name, partition)].cells[Cell(*cell)] = count
    return found


_TOLD: Final = """
SELECT part FROM ledger CROSS JOIN unnest(ledger."values") AS part WHERE source = $1 AND partition = $2
"""


async def told(connection: asyncpg.Connection, place: SourcePartition) -> Counter[Cell]:
    """What the ledger has of `place`."""
    sums: Counter[Cell] = Counter()
    async for row in connection.cursor(_TOLD, *place, prefetch=100):
        sums.update(sum_of([_batch(row["part"])]))
    return sums


def sum_of(batches: Iterable[ActionsCounted]) -> Counter[Cell]:
    """What `batches` add up to."""
    sums: Counter[Cell] = Counter()
    for batch in batches:
        for delta in batch.deltas:
            sums[_cell(delta)] += delta.change
    return sums


def _cell(delta: Delta) -> Cell:
    return Cell(*(getattr(delta, name) for name in Cell._fields))
