"""How far each partition has been turned into rows: the one truth about it, in PostgreSQL beside those rows."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from shared.errors import SetupError
from shared.kafka.records import PartitionBatch, Record

POSITIONS_SCHEMA: Final = """
CREATE TABLE positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint NOT NULL DEFAULT 0 CHECK (next >= 0),
    digest bytea,
    epoch integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    stuck integer NOT NULL DEFAULT 0,
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 40);
"""
"""The table that a service's first migration makes.

`next` is the offset of the next record, `digest` names the record at `next - 1`. `epoch` rises when the database was
restored. `attempts` counts processes that died on what follows, `stuck` those since `next` last moved.
"""


class Position(NamedTuple):
    """A row of `positions`."""

    next: int
    digest: bytes | None
    epoch: int
    attempts: int
    stuck: int


class PositionLostError(Exception):
    """Somebody else has moved the position: what we have in hand is not ours to write."""


def digest(record: Record) -> bytes:
    """16 bytes that name `record` among all that could stand at its offset."""
    key, value = record.key or b"", record.value or b""
    head = struct.pack(">qqi", record.offset, record.timestamp_ms, len(key))
    return hashlib.blake2b(head + key + value + record.packed_headers, digest_size=16).digest()


_COUNT = "SELECT count(*), coalesce(max(partition), -1) FROM positions WHERE topic = $1"
_MAKE = """
INSERT INTO positions (topic, partition) SELECT $1, generate_series(0, $2::integer - 1) ON CONFLICT DO NOTHING
"""


async def ensure_positions(connection: asyncpg.Connection, topic: str, partitions: int) -> None:
    """Make the positions of `topic`, all at 0, where there are none.

    Raises:
        SetupError: there are some, for another number of partitions. Keys map to partitions by that number, so a
            person's events would part; and a single missing row would be counted from the start again.
    """
    found = await connection.fetchrow(_COUNT, topic)
    assert found is not None  # noqa: S101  an aggregate always has one row
    count, highest = found
    if count == 0:
        await connection.execute(_MAKE, topic, partitions)
    elif count != partitions or highest != partitions - 1:
        raise SetupError(f"{topic} has {partitions} partitions, its positions are for {max(count, highest + 1)}")


_READ = "SELECT next, digest, epoch, attempts, stuck FROM positions WHERE topic = $1 AND partition = $2"


async def read_position(connection: asyncpg.Connection, topic: str, partition: int) -> Position:
    """The position of a partition.

    Raises:
        SetupError: there is none: positions are made with their topic, never on the way.
    """
    row = await connection.fetchrow(_READ, topic, partition)
    if row is None:
        raise SetupError(f"{topic} has no position for partition {partition}")
    return Position(*row)


# Rows are locked in ascending order, so that two members that both believe in the same partitions cannot deadlock.
_ADVANCE = """
WITH moves AS (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bytea[], $6::integer[])
        AS move (topic, partition, first, next, digest, attempts)
), held AS (
    SELECT positions.topic, positions.partition FROM positions JOIN moves USING (topic, partition)
    WHERE positions.next = moves.first
    ORDER BY positions.topic, positions.partition FOR UPDATE OF positions
)
UPDATE positions SET next = moves.next, digest = moves.digest, attempts = moves.attempts, stuck = 0, moved_at = now()
FROM moves JOIN held USING (topic, partition)
WHERE positions.topic = held.topic AND positions.partition = held.partition
"""


async def advance(connection: asyncpg.Connection, batches: Sequence[PartitionBatch], attempts: Sequence[int]) -> None:
    """Move the positions of all `batches` from their first offset to behind their last: the compare-and-set.

    `attempts` is what to remember for each. Comes first in the transaction that writes the batches' rows.

    Raises:
        PositionLostError: at least one stands elsewhere; the transaction must be rolled back.
    """
    status = await connection.execute(
        _ADVANCE,
        [batch.topic for batch in batches],
        [batch.partition for batch in batches],
        [batch.first for batch in batches],
        [batch.next for batch in batches],
        [digest(batch.records[-1]) for batch in batches],
        attempts,
    )
    if status != f"UPDATE {len(batches)}":
        raise PositionLostError


_ATTEMPT = """
UPDATE positions SET attempts = greatest(0, attempts + $4), stuck = greatest(0, stuck + $4)
WHERE topic = $1 AND partition = $2 AND next = $3
"""


async def note_attempts(connection: asyncpg.Connection, batches: Sequence[PartitionBatch], change: int) -> None:
    """Remember that a process is about to try (`change` 1), or that its failure was no fault of the records (-1)."""
    places = sorted((batch.topic, batch.partition, batch.first, change) for batch in batches)
    await connection.executemany(_ATTEMPT, places)


_SKIP = """
UPDATE positions SET next = $4, digest = NULL, attempts = 0, stuck = 0, moved_at = now()
WHERE topic = $1 AND partition = $2 AND next = $3
"""


async def skip(connection: asyncpg.Connection, topic: str, partition: int, move: tuple[int, int]) -> None:
    """Move a position over records that are lost for ever: from the first offset of `move` to the second.

    Only for a recovery by hand: whoever calls this declares the range in the same transaction.

    Raises:
        PositionLostError: the position stands elsewhere.
    """
    if await connection.execute(_SKIP, topic, partition, *move) != "UPDATE 1":
        raise PositionLostError


_RAISE_EPOCHS = "UPDATE positions SET epoch = $1"


async def raise_epochs(connection: asyncpg.Connection, epoch: int) -> None:
    """Begin `epoch` in every partition: this database was restored, what it told after its positions is void.

    It must be higher than any that was ever told, also by what this database was before other restores.
    """
    await connection.execute(_RAISE_EPOCHS, epoch)
