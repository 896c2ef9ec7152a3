"""Whether what a receipt names is counted: its offset against the counter's stored position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import asyncpg

from shared.database import connected
from shared.errors import SetupError
from shared.kafka.positions import read_position

FRESH_SECONDS: Final = 0.5
"""A position read so long ago still answers: many people look at their receipts at once."""

PATIENCE_S: Final = 2.0
"""So long the database may take, and those who wait for the same answer. Were there no end to it, they would pile up
while it is cut off.
"""


class Status(NamedTuple):
    """`as_of` is when the position was read, in seconds since 1970."""

    counted: bool
    as_of: float


class ReceiptStatus:
    """Reads positions, each at most twice a second. It looks no row up, so it tells nothing about the person."""

    def __init__(self, pool: asyncpg.Pool, now: Callable[[], float], *, patience: float = PATIENCE_S) -> None:
        self._pool = pool
        self._now = now
        self._patience = patience
        self._read: dict[tuple[str, int], tuple[int, float]] = {}
        self._turn = asyncio.Lock()

    async def status(self, topic: str, partition: int, offset: int) -> Status:
        """Whether the record at `offset` is counted.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not answer in time.
        """
        known = self._fresh(topic, partition, offset)
        if known is not None:
            return known
        async with asyncio.timeout(self._patience), self._turn:
            known = self._fresh(topic, partition, offset)
            if known is not None:
                return known
            read_at = self._now()
            position = await self._next(topic, partition)
            self._read[topic, partition] = (position, read_at)
        return Status(position > offset, read_at)

    async def _next(self, topic: str, partition: int) -> int:
        async with connected(self._pool, self._patience) as connection:
            try:
                return (await read_position(connection, topic, partition)).next
            except SetupError:
                return 0  # no counter has ever started

    def _fresh(self, topic: str, partition: int, offset: int) -> Status | None:
        position, read_at = self._read.get((topic, partition), (0, 0.0))
        if position > offset or 0 <= self._now() - read_at < FRESH_SECONDS:
            return Status(position > offset, read_at)
        return None
