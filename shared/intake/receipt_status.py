"""Whether the record of a receipt is counted: its offset against the counter's stored position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import asyncpg

from shared.database import connected
from shared.errors import SetupError
from shared.kafka.positions import read_position

CACHE_SECONDS: Final = 0.5
"""How long a position that was read answers: many people look at their receipts at once."""

TIMEOUT_SECONDS: Final = 2.0
"""How long the database may take, and with it all requests for the same position. Without this bound they would pile
up while it is cut off.
"""


class Status(NamedTuple):
    """`as_of` is when the position was read, in seconds since 1970."""

    counted: bool
    as_of: float


class ReceiptStatus:
    """Reads positions, each at most twice a second. It looks up no row, so it reveals nothing about the person.

    `counters` has the consumer group that counts each topic.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        now: Callable[[], float],
        counters: Mapping[str, str],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._pool = pool
        self._now = now
        self._counters = counters
        self._timeout_seconds = timeout_seconds
        self._positions: dict[tuple[str, int], tuple[int, float]] = {}
        self._lock = asyncio.Lock()

    async def status(self, topic: str, partition: int, offset: int) -> Status:
        """Return whether the record at `offset` is counted.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not answer in time.
        """
        cached = self._cached_status(topic, partition, offset)
        if cached is not None:
            return cached
        async with asyncio.timeout(self._timeout_seconds), self._lock:
            cached = self._cached_status(topic, partition, offset)
            if cached is not None:
                return cached
            read_at = self._now()
            position = await self._read_next_offset(topic, partition)
            self._positions[topic, partition] = (position, read_at)
        return Status(position > offset, read_at)

    async def _read_next_offset(self, topic: str, partition: int) -> int:
        async with connected(self._pool, self._timeout_seconds) as connection:
            try:
                return (await read_position(connection, self._counters[topic], topic, partition)).next_offset
            except SetupError:
                return 0  # no counter has ever started

    def _cached_status(self, topic: str, partition: int, offset: int) -> Status | None:
        position, read_at = self._positions.get((topic, partition), (0, 0.0))
        if position > offset or 0 <= self._now() - read_at < CACHE_SECONDS:
            return Status(position > offset, read_at)
        return None
