"""Marks of attempts, by which a process learns that earlier ones died of the records before it.

A process stores a mark before it begins with records. Whatever it lives through removes the mark: it has written the
records, or it takes the mark back. A mark that stays is a death.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import asyncpg

from shared.database import connected
from shared.kafka.records import Batches, PartitionBatch
from shared.outages import OUTAGES


class _Mark(NamedTuple):
    group: str
    topic: str
    partition: int
    offset: int


# Deaths of whole batches are no evidence against the first of the records that are then taken one by one.
_STORE: Final = """
UPDATE positions SET attempts = CASE WHEN suspects_end < $5 THEN 1 ELSE attempts + 1 END,
    suspects_end = greatest(suspects_end, $5)
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next = $4
"""
_TAKE_BACK: Final = """
UPDATE positions SET attempts = greatest(0, attempts - 1)
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND next = $4
"""


class AttemptMarks:
    """The marks that this process has stored for `group` and not removed."""

    def __init__(self, pool: asyncpg.Pool, group: str) -> None:
        self._pool = pool
        self._group = group
        self._stored: set[_Mark] = set()
        self._due: set[_Mark] = set()

    async def store(self, batches: Batches, suspects_ends: Sequence[int]) -> None:
        """Store a mark for each batch, with the end of the records that are to be taken one by one (0: none are)."""
        marks = dict(zip(map(self._mark, batches), suspects_ends, strict=True))
        self._stored |= marks.keys()
        try:
            async with connected(self._pool) as connection:
                await self._take_back_due(connection)
                # In ascending order, so that two members that claim the same partitions cannot deadlock.
                await connection.executemany(_STORE, [(*mark, end) for mark, end in sorted(marks.items())])
        except Exception:
            self._stored -= marks.keys()
            raise

    def remove(self, batches: Batches) -> None:
        """Forget the marks of `batches`, which are written: the positions moved and left the marks behind."""
        if self._stored:
            self._stored.difference_update(map(self._mark, batches))

    async def take_back(self, batches: Batches | None = None) -> None:
        """Take back the marks of `batches` (None: all), of which this process did not die.

        What PostgreSQL does not answer to is taken back before the next mark is stored.
        """
        self._due |= self._stored if batches is None else self._stored & set(map(self._mark, batches))
        self._stored -= self._due
        with suppress(*OUTAGES, asyncpg.PostgresError):
            if self._due:
                async with connected(self._pool) as connection:
                    await self._take_back_due(connection)

    async def _take_back_due(self, connection: asyncpg.Connection) -> None:
        if due := sorted(self._due):
            await connection.executemany(_TAKE_BACK, due)
            self._due.difference_update(due)

    def _mark(self, batch: PartitionBatch) -> _Mark:
        return _Mark(self._group, batch.topic, batch.partition, batch.first_offset)
