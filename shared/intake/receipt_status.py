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
        self._reads: dict[tuple[str, int], asyncio.Task[None]] = {}

    async def status(self, topic: str, partition: int, offset: int) -> Status:
        """Return whether the record at `offset` is counted. All who ask while a position is being read share that read.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does not answer in time.
        """
        place = (topic, partition)
        if not self._is_answered(place, offset):
            if place not in self._reads:
                self._reads[place] = asyncio.create_task(self._read(place), name=f"read-position-{topic}-{partition}")
            # Who no longer waits must not end the read of the others.
            await asyncio.shield(self._reads[place])
        position, read_at = self._positions[place]
        return Status(position > offset, read_at)

    async def _read(self, place: tuple[str, int]) -> None:
        topic, partition = place
        try:
            async with asyncio.timeout(self._timeout_seconds):
                read_at = self._now()
                async with connected(self._pool, self._timeout_seconds) as connection:
                    position = await read_position(connection, self._counters[topic], topic, partition)
            self._positions[place] = (position.next_offset, read_at)
        except SetupError:
            self._positions[place] = (0, read_at)  # no counter has ever started
        finally:
            del self._reads[place]

    def _is_answered(self, place: tuple[str, int], offset: int) -> bool:
        """Whether the position that was read last tells: it is behind the record, or new enough."""
        position, read_at = self._positions.get(place, (0, 0.0))
        return position > offset or 0 <= self._now() - read_at < CACHE_SECONDS
