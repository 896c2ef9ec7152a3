"""What time it is at PostgreSQL, by which every process leases, plans and limits, whatever its own clock says."""

from __future__ import annotations

import time
from typing import Final

import asyncpg

from shared.clock import Clock
from shared.logging import log

ALARM_SECONDS: Final = 5.0

_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class DatabaseClock:
    """The database's time, as well as we know. Between two readings it goes on by the monotonic clock, which nobody
    sets.

    A process with a clock of its own would take up mails that another still has in hand. `own` is that clock: it is
    only compared, and until the first reading told.
    """

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._began = own.now() - time.monotonic()
        self._alarmed = False

    def now(self) -> float:
        """Seconds since 1970 by the database's clock."""
        return self._began + time.monotonic()

    async def read(self, connection: asyncpg.Connection) -> None:
        """Learn the time anew; wrong by half the time that the answer took, at most."""
        asked = time.monotonic()
        at = await connection.fetchval(_NOW)
        answered = time.monotonic()
        self._began = at - (asked + answered) / 2
        difference = self.now() - self._own.now()
        wrong = abs(difference) > ALARM_SECONDS
        if wrong != self._alarmed:
            self._alarmed = wrong
            report = log.error if wrong else log.info
            report("clock differs from the database's" if wrong else "clock agrees again", seconds=difference)
