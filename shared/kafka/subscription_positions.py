"""The positions of subscriptions: rows of `positions`, each moved in the transaction of the handler."""

from __future__ import annotations

from typing import NamedTuple

import asyncpg
from aiokafka import TopicPartition

from shared.errors import SetupError
from shared.kafka.positions import digest
from shared.kafka.records import Record


class StoredPosition(NamedTuple):
    """The offset of the next record of a partition, and the digest of the record before it where one is stored."""

    next_offset: int
    digest: bytes | None


_READ = "SELECT topic, partition, next, digest FROM positions WHERE consumer_group = $1"


async def read_positions(connection: asyncpg.Connection, consumer_group: str) -> dict[TopicPartition, StoredPosition]:
    """Return the position of every partition that the group reads."""
    rows = await connection.fetch(_READ, consumer_group)
    return {TopicPartition(topic, partition): StoredPosition(*position) for topic, partition, *position in rows}


_LOCK = """
SELECT next FROM positions WHERE consumer_group = $1 AND topic = $2 AND partition = $3 FOR UPDATE
"""


async def lock_position(connection: asyncpg.Connection, consumer_group: str, topic: str, partition: int) -> int:
    """Return the offset of the next record of a partition, and lock it until the transaction ends.

    Raises:
        SetupError: the partition has no position: positions are created with their topic and never later.
    """
    offset = await connection.fetchval(_LOCK, consumer_group, topic, partition)
    if offset is None:
        raise SetupError(f"{topic} has no position for partition {partition}")
    return int(offset)


_MOVE = """
UPDATE positions SET next = $4, digest = $5, attempts = 0, moved_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3
"""


async def move_position(
    connection: asyncpg.Connection, consumer_group: str, topic: str, partition: int, last: Record
) -> None:
    """Move a locked position behind the record `last`."""
    await connection.execute(_MOVE, consumer_group, topic, partition, last.offset + 1, digest(last))
