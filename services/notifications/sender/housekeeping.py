"""Purges the tables and measures the backlog."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from services.notifications.domain.consents import kept_until
from services.notifications.storage import housekeeping
from shared.catalog import Catalog
from shared.clock import Clock, utc
from shared.database import connected
from shared.metrics import DELIVERIES_OLDEST, DELIVERIES_PENDING, MAILS_OLDEST, MAILS_PENDING

MEASURE_INTERVAL_S = 15.0
MEASUREMENTS_PER_PURGE = 40
"""Measurements between two purges: ten minutes."""


class Housekeeping:
    """Measures the backlog, and purges personal data and rows in time."""

    def __init__(self, pool: asyncpg.Pool, catalog: Catalog, clock: Clock) -> None:
        self._pool = pool
        self._catalog = catalog
        self._clock = clock
        self._measurements = 0

    async def run_once(self) -> bool:
        """Measure, and purge when it is due; return whether there is more to purge at once."""
        now = utc(self._clock.now())
        async with connected(self._pool) as connection:
            backlog = await housekeeping.measure_backlog(connection, now)
            more = self._measurements % MEASUREMENTS_PER_PURGE == 0 and await self._purge(connection, now)
        if not more:
            self._measurements += 1
        DELIVERIES_PENDING.set(backlog.deliveries)
        DELIVERIES_OLDEST.set(max(0.0, backlog.oldest_delivery))
        MAILS_PENDING.set(backlog.mails)
        MAILS_OLDEST.set(max(0.0, backlog.oldest_mail))
        return more

    async def _purge(self, connection: asyncpg.Connection, now: datetime) -> bool:
        over, unconfirmed_over = (
            [slug for slug, each in self._catalog.campaigns.items() if kept_until(each, confirmed=confirmed) <= now]
            for confirmed in (True, False)
        )
        return await housekeeping.purge(connection, over, unconfirmed_over, now)
