"""The positions of consumer groups: how far each has stored a partition's records as rows, in the same database."""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import asyncpg

from shared.errors import SetupError
from shared.kafka.records import Batches, Record


class Position(NamedTuple):
    """A row of `positions`."""

    next_offset: int
    digest: bytes | None
    epoch: int
    attempts: int
    suspects_end: int


class PositionLostError(Exception):
    """Another member has moved the position: the records in hand must not be written."""


def digest(record: Record) -> bytes:
    """Return 16 bytes that identify `record` among all that could have its offset."""
    key, value = record.key or b"", record.value or b""
    prefix = struct.pack(">qqi", record.offset, record.timestamp_ms, len(key))
    return hashlib.blake2b(prefix + key + value + record.packed_headers, digest_size=16).digest()


_COUNT = """
SELECT count(*), coalesce(max(partition), -1) FROM positions WHERE consumer_group = $1 AND topic = $2
"""
_INSERT = """
INSERT INTO positions (consumer_group, topic, partition) SELECT $1, $2, generate_series(0, $3::integer - 1)
ON CONFLICT DO NOTHING
"""


async def ensure_positions(connection: asyncpg.Connection, group: str, topic: str, partitions: int) -> None:
    """Create the positions of `group` in `topic`, all at 0, unless it has some.

    Raises:
        SetupError: it has positions for another number of partitions. That number maps keys to partitions, so a
            person's events would be separated; and a single missing row would be counted from the start again.
    """
    row = await connection.fetchrow(_COUNT, group, topic)
    assert row is not None  # noqa: S101  an aggregate always has one row
    count, highest = row
    if count == 0:
        await connection.execute(_INSERT, group, topic, partitions)
    elif count != partitions or highest != partitions - 1:
        positions = max(count, highest + 1)
        raise SetupError(f"{topic} has {partitions} partitions, the positions of {group} are for {positions}")


_READ = """
SELECT next, digest, epoch, attempts, suspects_end FROM positions
WHERE consumer_group = $1 AND topic = $2 AND partition = $3
"""


async def read_position(connection: asyncpg.Connection, group: str, topic: str, partition: int) -> Position:
    """Read the position of `group` in a partition.

    Raises:
        SetupError: it has none: positions are created with their topic and never later.
    """
    row = await connection.fetchrow(_READ, group, topic, partition)
    if row is None:
        raise SetupError(f"{group} has no position in partition {partition} of {topic}")
    return Position(*row)


# Rows are locked in ascending order, so that two members that claim the same partitions cannot deadlock.
_ADVANCE = """
WITH moves AS (
    SELECT * FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[])
        AS move (topic, partition, first, next, digest)
), locked AS (
    SELECT positions.topic, positions.partition FROM positions JOIN moves USING (topic, partition)
    WHERE positions.consumer_group = $1 AND positions.next = moves.first
    ORDER BY positions.topic, positions.partition FOR UPDATE OF positions
)
UPDATE positions SET next = moves.next, digest = moves.digest, attempts = 0, moved_at = now()
FROM moves JOIN locked USING (topic, partition)
WHERE positions.consumer_group = $1 AND positions.topic = locked.topic AND positions.partition = locked.partition
"""


async def advance(connection: asyncpg.Connection, group: str, batches: Batches) -> None:
    """Move the positions of all `batches` from their first offset to their next offset: the compare-and-set.

    This is the first statement of the transaction that writes rows.

    Raises:
        PositionLostError: at least one position differs; the transaction must be rolled back.
    """
    status = await connection.execute(
        _ADVANCE,
        group,
        [batch.topic for batch in batches],
        [batch.partition for batch in batches],
        [batch.first_offset for batch in batches],
        [batch.next_offset for batch in batches],
        [digest(batch.records[-1]) for batch in batches],
    )
    if status != f"UPDATE {len(batches)}":
        raise PositionLostError


_SKIP = """
UPDATE positions SET next = $5, digest = NULL, attempts = 0, moved_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next = $4
"""


async def skip_records(
    connection: asyncpg.Connection, group: str, topic: str, partition: int, offsets: tuple[int, int]
) -> None:
    """Move a position over records that are permanently lost: from the first of `offsets` to the second.

    Only for a recovery by hand: the caller declares the range in the same transaction.

    Raises:
        PositionLostError: the position is not the first of `offsets`.
    """
    if await connection.execute(_SKIP, group, topic, partition, *offsets) != "UPDATE 1":
        raise PositionLostError


_RAISE_EPOCHS = "UPDATE positions SET epoch = $1"


async def raise_epochs(connection: asyncpg.Connection, epoch: int) -> None:
    """Start `epoch` in all positions: this database was restored, and what it published after its positions is void.

    It must be higher than any published epoch, including those published before earlier restores.
    """
    await connection.execute(_RAISE_EPOCHS, epoch)
