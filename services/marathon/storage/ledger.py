"""The ledger: rows, the heads of the chains, and where reading goes on after a halt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import asyncpg
import msgspec

from services.marathon.domain.ledger import ChainHead, Part, Restore, Row, RowKey, SourcePartition, StoredRow
from shared.events.tallies import ActionsCounted

_decode_batch = msgspec.json.Decoder(ActionsCounted).decode

_RESUME_HALTED = """
WITH resumed AS (
    UPDATE sources SET halted = NULL, halted_at = NULL FROM (SELECT * FROM sources WHERE halted IS NOT NULL) AS before
    WHERE (sources.source, sources.partition) = (before.source, before.partition)
    RETURNING before.topic, before.halted_at
)
UPDATE positions SET next = again.first, digest = NULL
FROM (SELECT topic, min(halted_at) AS first FROM resumed GROUP BY topic) AS again
WHERE consumer_group = $1 AND positions.topic = again.topic AND again.first < positions.next
"""


async def resume_halted(connection: asyncpg.Connection, consumer_group: str) -> None:
    """Resume halted source partitions at the part that halted them; they halt there again if nothing was mended."""
    await connection.execute(_RESUME_HALTED, consumer_group)


_REWIND_TO_HALTS = """
UPDATE positions SET next = halts.first, digest = NULL
FROM (SELECT min(halted_at) AS first FROM sources WHERE topic = $2 AND (source, partition) IN
    (SELECT * FROM unnest($3::text[], $4::integer[]))) AS halts
WHERE consumer_group = $1 AND topic = $2 AND halts.first < next
"""


async def rewind_to_halts(
    connection: asyncpg.Connection, consumer_group: str, topic: str, sources: Sequence[SourcePartition]
) -> None:
    """Rewind `topic` to the first part that halted one of `sources`; batches that were added become repeats."""
    names, partitions = [name for name, _ in sources], [partition for _, partition in sources]
    await connection.execute(_REWIND_TO_HALTS, consumer_group, topic, names, partitions)


_RESET_POSITION = """
UPDATE positions SET next = 0, digest = NULL, moved_at = now() WHERE consumer_group = $1 AND topic = $2
"""
_RESET_SOURCES = "UPDATE sources SET read = -1, halted_at = 0 WHERE topic = $1"


async def reset_position(connection: asyncpg.Connection, consumer_group: str, topic: str) -> None:
    """Reset the position of `topic` to its start, because the log is a new one."""
    await connection.execute(_RESET_POSITION, consumer_group, topic)
    await connection.execute(_RESET_SOURCES, topic)


_HEADS = "SELECT source, partition, epoch, next, hash, accepted_until, read, halted FROM sources"
_PENDING_PARTS = "SELECT source, partition, read, value FROM waiting_parts ORDER BY source, partition, part"


async def heads(connection: asyncpg.Connection) -> dict[SourcePartition, ChainHead]:
    """Return the head of every source partition's chain."""
    pending: dict[SourcePartition, list[Part]] = {}
    for row in await connection.fetch(_PENDING_PARTS):
        part = Part.of(row["read"], _decode_batch(row["value"]), row["value"])
        pending.setdefault(part.source, []).append(part)
    chain_heads = {}
    for row in await connection.fetch(_HEADS):
        source = SourcePartition(row["source"], row["partition"])
        chain_heads[source] = ChainHead(
            epoch=row["epoch"],
            next=row["next"],
            hash=row["hash"],
            accepted_until=row["accepted_until"],
            pending=tuple(pending.get(source, ())),
            tally_offset=row["read"],
            halt_reason=row["halted"],
        )
    return chain_heads


_PUT_HEADS = """
INSERT INTO sources (source, partition, topic, epoch, next, hash, accepted_until, read, halted, halted_at)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::integer[], $5::bigint[], $6::bytea[], $7::text[],
    $8::bigint[], $9::text[], $10::bigint[])
ON CONFLICT (source, partition) DO UPDATE SET epoch = excluded.epoch, next = excluded.next, hash = excluded.hash,
    accepted_until = excluded.accepted_until, read = excluded.read, halted = excluded.halted,
    halted_at = coalesce(excluded.halted_at, sources.halted_at)
"""
_DELETE_PENDING = """
DELETE FROM waiting_parts USING unnest($1::text[], $2::integer[]) AS changed (source, partition)
WHERE waiting_parts.source = changed.source AND waiting_parts.partition = changed.partition
"""
_PUT_PENDING = "INSERT INTO waiting_parts (source, partition, part, read, value) VALUES ($1, $2, $3, $4, $5)"


async def put_heads(
    connection: asyncpg.Connection,
    topic: str | None,
    changed: Mapping[SourcePartition, ChainHead],
    halt_offsets: Mapping[SourcePartition, int],
) -> None:
    """Store `changed` heads of sources whose tally topic is `topic`, if they have one; `halt_offsets` are the offsets,
    on that topic, of the parts that halted some of them now.
    """
    sources = sorted(changed)
    heads = [changed[source] for source in sources]
    names, partitions = [name for name, _ in sources], [partition for _, partition in sources]
    await connection.execute(
        _PUT_HEADS,
        names,
        partitions,
        [topic] * len(sources),
        [head.epoch for head in heads],
        [head.next for head in heads],
        [head.hash for head in heads],
        [head.accepted_until for head in heads],
        [head.tally_offset for head in heads],
        [head.halt_reason for head in heads],
        [halt_offsets.get(source) for source in sources],
    )
    await connection.execute(_DELETE_PENDING, names, partitions)
    await connection.executemany(
        _PUT_PENDING,
        [(*source, part.batch.part, part.offset, part.value) for source in sources for part in changed[source].pending],
    )


_STORED_ROWS = """
SELECT ledger.source, ledger.partition, ledger.epoch, ledger.first, ledger.next, ledger.digests
FROM ledger JOIN unnest($1::text[], $2::integer[], $3::bigint[]) AS keys (source, partition, first)
USING (source, partition, first)
"""


async def stored_rows(
    connection: asyncpg.Connection, keys: Collection[tuple[SourcePartition, int]]
) -> dict[RowKey, StoredRow]:
    """Return the stored rows that begin at these offsets of these source partitions."""
    if not keys:
        return {}
    rows = await connection.fetch(
        _STORED_ROWS,
        [source.source for source, _ in keys],
        [source.partition for source, _ in keys],
        [first for _, first in keys],
    )
    return {
        (SourcePartition(source, partition), epoch, first): StoredRow(next_, tuple(digests))
        for source, partition, epoch, first, next_, digests in rows
    }


_COLUMNS = (*SourcePartition._fields, *Row._fields[1:])


async def put_rows(connection: asyncpg.Connection, rows: Sequence[Row]) -> None:
    """Append `rows` to the ledger."""
    records = [(*source, *values) for source, *values in rows]
    await connection.copy_records_to_table("ledger", columns=_COLUMNS, records=records)


class DroppedRows(NamedTuple):
    """The batches that a restore removed from the ledger, and the new head of the source partition."""

    batches: list[ActionsCounted]
    head: ChainHead


_ROW_BEFORE = """
SELECT next, hash, accepted_until FROM ledger WHERE source = $1 AND partition = $2 AND first < $3
ORDER BY first DESC LIMIT 1
"""
_DELETE_ROWS = """
DELETE FROM ledger WHERE source = $1 AND partition = $2 AND first >= $3 RETURNING "values"
"""


async def drop_rows(connection: asyncpg.Connection, restore: Restore, tally_offset: int) -> DroppedRows | None:
    """Delete the rows from the restored offset on. Return None, and delete nothing, if no row ends there."""
    before = await connection.fetchrow(_ROW_BEFORE, *restore.source, restore.first)
    if (before["next"] if before else 0) != restore.first:
        return None
    rows = await connection.fetch(_DELETE_ROWS, *restore.source, restore.first)
    head = ChainHead(epoch=restore.epoch, tally_offset=tally_offset)
    if before is not None:
        head = replace(head, **before)
    return DroppedRows([_decode_batch(value) for row in rows for value in row["values"]], head)
