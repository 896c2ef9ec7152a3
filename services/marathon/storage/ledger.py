"""The ledger: rows, the heads of the chains, and how far the tally topics have been read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import asyncpg
import msgspec

from services.marathon.domain.ledger import Head, KnownRow, Part, Restore, Row, RowKey, SourcePartition
from shared.events.tallies import ActionsCounted

_batch = msgspec.json.Decoder(ActionsCounted).decode

_ENSURE_READING = "INSERT INTO readings (topic, next) VALUES ($1, 0) ON CONFLICT DO NOTHING"


async def ensure_reading(connection: asyncpg.Connection, topic: str) -> None:
    """Make the row that says how far `topic` was read, where there is none."""
    await connection.execute(_ENSURE_READING, topic)


_LOCK_READING = "SELECT next FROM readings WHERE topic = $1 FOR UPDATE"


async def lock_reading(connection: asyncpg.Connection, topic: str) -> int:
    """The offset of the next record of `topic`; nobody else applies records of it until the transaction ends."""
    return int(await connection.fetchval(_LOCK_READING, topic))


_READINGS = "SELECT topic, next FROM readings"


async def readings(connection: asyncpg.Connection) -> dict[str, int]:
    """The offset of the next record of each tally topic."""
    return {row["topic"]: row["next"] for row in await connection.fetch(_READINGS)}


_MOVE_READING = "UPDATE readings SET next = greatest(next, $2) WHERE topic = $1"


async def move_reading(connection: asyncpg.Connection, topic: str, next_: int) -> None:
    """Remember that everything below `next_` was read."""
    await connection.execute(_MOVE_READING, topic, next_)


_TRY_AGAIN = """
WITH resumed AS (
    UPDATE sources SET halted = NULL, halted_at = NULL FROM (SELECT * FROM sources WHERE halted IS NOT NULL) AS before
    WHERE (sources.source, sources.partition) = (before.source, before.partition)
    RETURNING before.topic, before.halted_at
)
UPDATE readings SET next = least(next, again.first)
FROM (SELECT topic, min(halted_at) AS first FROM resumed GROUP BY topic) AS again
WHERE readings.topic = again.topic
"""


async def try_halted_again(connection: asyncpg.Connection) -> None:
    """Let halted source partitions go on from the part that halted them; if nothing was mended they halt there
    again.
    """
    await connection.execute(_TRY_AGAIN)


_READ_AGAIN = """
UPDATE readings SET next = least(next, coalesce(
    (SELECT min(halted_at) FROM sources WHERE topic = $1 AND (source, partition) IN
        (SELECT * FROM unnest($2::text[], $3::integer[]))), next))
WHERE topic = $1
"""


async def read_again(connection: asyncpg.Connection, topic: str, places: Sequence[SourcePartition]) -> None:
    """Read `topic` again from the first part that halted one of `places`; what was added is then a repeat."""
    sources, partitions = [place.source for place in places], [place.partition for place in places]
    await connection.execute(_READ_AGAIN, topic, sources, partitions)


_BEGIN_ANEW = "UPDATE readings SET next = 0 WHERE topic = $1"
_NOTHING_READ = "UPDATE sources SET read = -1, halted_at = 0 WHERE topic = $1"


async def begin_anew(connection: asyncpg.Connection, topic: str) -> None:
    """Read `topic` from its start: it is another log than the one that was read."""
    await connection.execute(_BEGIN_ANEW, topic)
    await connection.execute(_NOTHING_READ, topic)


_HEADS = "SELECT source, partition, epoch, next, hash, accepted_until, read, halted FROM sources"
_WAITING = "SELECT source, partition, read, value FROM waiting_parts ORDER BY source, partition, part"


async def heads(connection: asyncpg.Connection) -> dict[SourcePartition, Head]:
    """Where every source partition stands."""
    waiting: dict[SourcePartition, list[Part]] = {}
    for row in await connection.fetch(_WAITING):
        part = Part.of(row["read"], _batch(row["value"]), row["value"])
        waiting.setdefault(part.place, []).append(part)
    found = {}
    for row in await connection.fetch(_HEADS):
        place = SourcePartition(row["source"], row["partition"])
        found[place] = Head(
            epoch=row["epoch"],
            next=row["next"],
            hash=row["hash"],
            accepted_until=row["accepted_until"],
            waiting=tuple(waiting.get(place, ())),
            read=row["read"],
            halted=row["halted"],
        )
    return found


_PUT_HEADS = """
INSERT INTO sources (source, partition, topic, epoch, next, hash, accepted_until, read, halted, halted_at)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::integer[], $5::bigint[], $6::bytea[], $7::text[],
    $8::bigint[], $9::text[], $10::bigint[])
ON CONFLICT (source, partition) DO UPDATE SET epoch = excluded.epoch, next = excluded.next, hash = excluded.hash,
    accepted_until = excluded.accepted_until, read = excluded.read, halted = excluded.halted,
    halted_at = coalesce(excluded.halted_at, sources.halted_at)
"""
_DROP_WAITING = """
DELETE FROM waiting_parts USING unnest($1::text[], $2::integer[]) AS place (source, partition)
WHERE waiting_parts.source = place.source AND waiting_parts.partition = place.partition
"""
_PUT_WAITING = "INSERT INTO waiting_parts (source, partition, part, read, value) VALUES ($1, $2, $3, $4, $5)"


async def put_heads(
    connection: asyncpg.Connection,
    topic: str,
    changed: Mapping[SourcePartition, Head],
    halts: Mapping[SourcePartition, int],
) -> None:
    """Store `changed` heads of places that are counted on `topic`; `halts` says at which offset of it some halted
    now.
    """
    places = sorted(changed)
    heads = [changed[place] for place in places]
    sources, partitions = [place.source for place in places], [place.partition for place in places]
    await connection.execute(
        _PUT_HEADS,
        sources,
        partitions,
        [topic] * len(places),
        [head.epoch for head in heads],
        [head.next for head in heads],
        [head.hash for head in heads],
        [head.accepted_until for head in heads],
        [head.read for head in heads],
        [head.halted for head in heads],
        [halts.get(place) for place in places],
    )
    await connection.execute(_DROP_WAITING, sources, partitions)
    await connection.executemany(
        _PUT_WAITING,
        [(*place, part.batch.part, part.offset, part.value) for place in places for part in changed[place].waiting],
    )


_KNOWN = """
SELECT ledger.source, ledger.partition, ledger.epoch, ledger.first, ledger.next, ledger.digests
FROM ledger JOIN unnest($1::text[], $2::integer[], $3::bigint[]) AS wanted (source, partition, first)
USING (source, partition, first)
"""


async def known_rows(
    connection: asyncpg.Connection, wanted: Collection[tuple[SourcePartition, int]]
) -> dict[RowKey, KnownRow]:
    """The stored rows that begin at these offsets of these places."""
    if not wanted:
        return {}
    found = await connection.fetch(
        _KNOWN,
        [place.source for place, _ in wanted],
        [place.partition for place, _ in wanted],
        [first for _, first in wanted],
    )
    return {
        (SourcePartition(source, partition), epoch, first): KnownRow(next_, tuple(digests))
        for source, partition, epoch, first, next_, digests in found
    }


_COLUMNS = (
    "source",
    "partition",
    "epoch",
    "first",
    "next",
    "change",
    "accepted_until",
    "digests",
    "values",
    "previous_hash",
    "hash",
)


async def put_rows(connection: asyncpg.Connection, rows: Sequence[Row]) -> None:
    """Append `rows`."""
    await connection.copy_records_to_table("ledger", columns=_COLUMNS, records=_records(rows))


def _records(rows: Sequence[Row]) -> Iterable[tuple[object, ...]]:
    for row in rows:
        yield (
            *row.place,
            row.epoch,
            row.first,
            row.next,
            row.change,
            row.accepted_until,
            row.digests,
            row.values,
            row.previous_hash,
            row.hash,
        )


class Dropped(NamedTuple):
    """What a restore took off the ledger, and where the place stands now."""

    batches: list[ActionsCounted]
    head: Head


_ROW_BEFORE = """
SELECT next, hash, accepted_until FROM ledger WHERE source = $1 AND partition = $2 AND first < $3
ORDER BY first DESC LIMIT 1
"""
_DROP_ROWS = """
DELETE FROM ledger WHERE source = $1 AND partition = $2 AND first >= $3 RETURNING "values"
"""


async def drop_from(connection: asyncpg.Connection, restore: Restore, read: int) -> Dropped | None:
    """Take the rows from the restored offset on off the ledger; None, and nothing done, where no row ends there."""
    before = await connection.fetchrow(_ROW_BEFORE, *restore.place, restore.first)
    if (before["next"] if before else 0) != restore.first:
        return None
    rows = await connection.fetch(_DROP_ROWS, *restore.place, restore.first)
    head = Head(epoch=restore.epoch, read=read)
    if before is not None:
        head = Head(restore.epoch, before["next"], before["hash"], before["accepted_until"], read=read)
    return Dropped([_batch(value) for row in rows for value in row["values"]], head)
