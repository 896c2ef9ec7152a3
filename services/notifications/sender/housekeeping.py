"""Keeps the tables small and says how much waits."""

from __future__ import annotations

import asyncpg

from services.notifications.storage import housekeeping
from shared.clock import Clock, utc
from shared.database import connected
from shared.metrics import DELIVERIES_OLDEST, DELIVERIES_PENDING, MAILS_OLDEST, MAILS_PENDING

MEASURE_S = 15.0
TIDY_EVERY = 40
"""Measurements between two tidyings: ten minutes."""


class Housekeeping:
    """Measures what waits, and forgets in time what people typed."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._measured = 0

    async def turn(self) -> bool:
        """Measure, and tidy where it is time to; returns whether there is more to tidy at once."""
        now = utc(self._clock.now())
        async with connected(self._pool) as connection:
            waiting = await housekeeping.backlog(connection, now)
            more = self._measured % TIDY_EVERY == 0 and await housekeeping.tidy(connection, now)
        if not more:
            self._measured += 1
        DELIVERIES_PENDING.set(waiting.deliveries)
        DELIVERIES_OLDEST.set(max(0.0, waiting.oldest_delivery))
        MAILS_PENDING.set(waiting.mails)
        MAILS_OLDEST.set(max(0.0, waiting.oldest_mail))
        return more
