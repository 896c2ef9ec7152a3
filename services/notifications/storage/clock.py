"""The time of PostgreSQL, by which every process leases, plans and limits, whatever its own clock says."""

from __future__ import annotations

import time
from typing import Final

import asyncpg

from shared.clock import Clock
from shared.logging import log

MAX_DIFFERENCE_S: Final = 5.0

_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class DatabaseClock:
    """An estimate of the database's time. Between two readings it advances by the monotonic clock, which is never set.

    A process that went by its own clock could take mails that another process still leases. `local_clock` is only
    compared with the database's, and used until the first reading.
    """

    def __init__(self, local_clock: Clock) -> None:
        self._local_clock = local_clock
        self._origin = local_clock.now() - time.monotonic()
        self._alarmed = False

    def now(self) -> float:
        """Seconds since 1970 by the database's clock."""
        return self._origin + time.monotonic()

    async def read(self, connection: asyncpg.Connection) -> None:
        """Read the time anew; the error is at most half the time that the answer took."""
        asked_at = time.monotonic()
        database_time = await connection.fetchval(_NOW)
        answered_at = time.monotonic()
        self._origin = database_time - (asked_at + answered_at) / 2
        difference = self.now() - self._local_clock.now()
        wrong = abs(difference) > MAX_DIFFERENCE_S
        if wrong != self._alarmed:
            self._alarmed = wrong
            report = log.error if wrong else log.info
            report("clock differs from the database's" if wrong else "clock agrees again", seconds=difference)
