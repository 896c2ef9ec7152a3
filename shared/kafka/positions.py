"""The position of each partition: how far its records are stored as rows, in the same PostgreSQL database."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from shared.errors import SetupError
from shared.kafka.records import PartitionBatch, Record


class Position(NamedTuple):
    """A row of `positions`."""

    next_offset: int
    digest: bytes | None
    epoch: int
    attempts: int
    stuck: int


class PositionLostError(Exception):
    """Another member has moved the position: the records in hand must not be written."""


def digest(record: Record) -> bytes:
    """Return 16 bytes that identify `record` among all that could have its offset."""
    key, value = record.key or b"", record.value or b""
    prefix = struct.pack(">qqi", record.offset, record.timestamp_ms, len(key))
    return hashlib.blake2b(prefix + key + value + record.packed_headers, digest_size=16).digest()


_COUNT = "SELECT count(*), coalesce(max(partition), -1) FROM positions WHERE topic = $1"
_INSERT = """
INSERT INTO positions (topic, partition) SELECT $1, generate_series(0, $2::integer - 1) ON CONFLICT DO NOTHING
"""


async def ensure_positions(connection: asyncpg.Connection, topic: str, partitions: int) -> None:
    """Create the positions of `topic`, all at 0, unless it has some.

    Raises:
        SetupError: it has positions for another number of partitions. That number maps keys to partitions, so a
            person's events would be separated; and a single missing row would be counted from the start again.
    """
    row = await connection.fetchrow(_COUNT, topic)
    assert row is not None  # noqa: S101  an aggregate always has one row
    count, highest = row
    if count == 0:
        await connection.execute(_INSERT, topic, partitions)
    elif count != partitions or highest != partitions - 1:
        raise SetupError(f"{topic} has {partitions} partitions, its positions are for {max(count, highest + 1)}")


_READ = "SELECT next, digest, epoch, attempts, stuck FROM positions WHERE topic = $1 AND partition = $2"


async def read_position(connection: asyncpg.Connection, topic: str, partition: int) -> Position:
    """Read the position of a partition.

    Raises:
        SetupError: it has none: positions are created with their topic and never later.
    """
    row = await connection.fetchrow(_READ, topic, partition)
    if row is None:
        raise SetupError(f"{topic} has no position for partition {partition}")
    return Position(*row)


# Rows are locked in ascending order, so that two members that claim the same partitions cannot deadlock.
_ADVANCE = """
WITH moves AS (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::bytea[], $6::integer[])
        AS move (topic, partition, first, next, digest, attempts)
), locked AS (
    SELECT positions.topic, positions.partition FROM positions JOIN moves USING (topic, partition)
    WHERE positions.next = moves.first
    ORDER BY positions.topic, positions.partition FOR UPDATE OF positions
)
UPDATE positions SET next = moves.next, digest = moves.digest, attempts = moves.attempts, stuck = 0, moved_at = now()
FROM moves JOIN locked USING (topic, partition)
WHERE positions.topic = locked.topic AND positions.partition = locked.partition
"""


async def advance(connection: asyncpg.Connection, batches: Sequence[PartitionBatch], attempts: Sequence[int]) -> None:
    """Move the positions of all `batches` from their first offset to their next offset: the compare-and-set.

    `attempts` are the new counts, one for each batch. This is the first statement of the transaction that writes rows.

    Raises:
        PositionLostError: at least one position differs; the transaction must be rolled back.
    """
    status = await connection.execute(
        _ADVANCE,
        [batch.topic for batch in batches],
        [batch.partition for batch in batches],
        [batch.first_offset for batch in batches],
        [batch.next_offset for batch in batches],
        [digest(batch.records[-1]) for batch in batches],
        attempts,
    )
    if status != f"UPDATE {len(batches)}":
        raise PositionLostError


_ADD_ATTEMPTS = """
UPDATE positions SET attempts = greatest(0, attempts + $4), stuck = greatest(0, stuck + $4)
WHERE topic = $1 AND partition = $2 AND next = $3
"""


async def add_attempts(connection: asyncpg.Connection, batches: Sequence[PartitionBatch], change: int) -> None:
    """Count that a process is about to try `batches` (`change` 1), or that its failure was not caused by them (-1)."""
    changes = sorted((batch.topic, batch.partition, batch.first_offset, change) for batch in batches)
    await connection.executemany(_ADD_ATTEMPTS, changes)


_SKIP = """
UPDATE positions SET next = $4, digest = NULL, attempts = 0, stuck = 0, moved_at = now()
WHERE topic = $1 AND partition = $2 AND next = $3
"""


async def skip_records(connection: asyncpg.Connection, topic: str, partition: int, offsets: tuple[int, int]) -> None:
    """Move a position over records that are permanently lost: from the first of `offsets` to the second.

    Only for a recovery by hand: the caller declares the range in the same transaction.

    Raises:
        PositionLostError: the position is not the first of `offsets`.
    """
    if await connection.execute(_SKIP, topic, partition, *offsets) != "UPDATE 1":
        raise PositionLostError


_RAISE_EPOCHS = "UPDATE positions SET epoch = $1"


async def raise_epochs(connection: asyncpg.Connection, epoch: int) -> None:
    """Start `epoch` in every partition: this database was restored, and what it published after its positions is void.

    It must be higher than any published epoch, including those published before earlier restores.
    """
    await connection.execute(_RAISE_EPOCHS, epoch)
