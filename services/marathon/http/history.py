"""The history of a campaign, cached so that all requests together read it at most once in a few seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec

from services.marathon.domain.history import DEFAULT_STEPS, STEP_MINUTES, Point, Step, points
from services.marathon.storage import cells
from shared.catalog import Catalog
from shared.clock import Clock, parse_rfc3339
from shared.database import connected
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged
from shared.outages import OUTAGES

FRESH_FOR_S: Final = 5.0
MAX_ENTRIES: Final = 200
WAIT_TIMEOUT_S: Final = 2.0
"""How long a request waits for a running query, for a connection, and to release it."""
QUERY_TIMEOUT_S: Final = 5.0
BACKOFF_S: Final = 5.0
"""A database that did not answer is not queried again for this time."""

Key = tuple[str, str | None, Step, int]
"""Campaign, case, step and number of steps."""


class History(msgspec.Struct, frozen=True):
    """The answer to `/history`. `as_of` is how far the totals had come."""

    campaign: str
    case: str | None
    step: Step
    as_of: str
    points: list[Point]


class HistoryCache:
    """A cache of histories by campaign, case, step and number of steps, fresh for five seconds.

    `pool` is set once the process has one. While the database does not answer, the last answer is served, whose `as_of`
    gives its age.
    """

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self.pool: asyncpg.Pool | None = None
        self._catalog = catalog
        self._clock = clock
        self._entries: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()
        self._query_lock = asyncio.Lock()
        self._backoff_until = 0.0

    async def read(self, campaign: CampaignChanged, step: Step, *, case: str | None, last: int | None) -> bytes:
        """Return the history of `campaign` as JSON.

        Raises:
            TransientError: the database does not answer, and no earlier answer is cached.
            asyncpg.PostgresError: the query failed.
        """
        key = (campaign.slug, case, step, last or DEFAULT_STEPS[step])
        if (fresh := self._fresh(key)) is not None:
            return fresh
        try:
            async with self._query_turn():
                return self._fresh(key) or await self._refresh(campaign, key)
        except OUTAGES as error:
            if (entry := self._entries.get(key)) is not None:
                return entry[1]
            raise TransientError("the database does not answer") from error

    def _fresh(self, key: Key) -> bytes | None:
        entry = self._entries.get(key)
        return entry[1] if entry is not None and _now() - entry[0] <= FRESH_FOR_S else None

    @asynccontextmanager
    async def _query_turn(self) -> AsyncIterator[None]:
        """Admit one query at a time, whose result serves the requests that wait; they wait only briefly."""
        self._raise_in_backoff()
        async with asyncio.timeout(WAIT_TIMEOUT_S):
            await self._query_lock.acquire()
        try:
            self._raise_in_backoff()
            yield
        finally:
            self._query_lock.release()

    def _raise_in_backoff(self) -> None:
        if _now() < self._backoff_until:
            raise TransientError("the database did not answer a moment ago")

    async def _refresh(self, campaign: CampaignChanged, key: Key) -> bytes:
        read_at = _now()
        try:
            body = await self._query(campaign, key)
        except OUTAGES:
            self._backoff_until = _now() + BACKOFF_S
            raise
        self._entries[key] = read_at, body
        if len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)
        return body

    async def _query(self, campaign: CampaignChanged, key: Key) -> bytes:
        if self.pool is None:
            raise TransientError("no database yet")
        _, case, step, steps = key
        totals = self._catalog.totals.get(campaign.slug)
        frozen = totals is not None and totals.state == "frozen"
        end = parse_rfc3339(totals.as_of) if totals is not None and frozen else self._clock.now()
        minutes = STEP_MINUTES[step]
        since = (int(end) // 60 // minutes - steps + 1) * minutes
        async with connected(self.pool, WAIT_TIMEOUT_S) as connection, asyncio.timeout(QUERY_TIMEOUT_S):
            changes = await cells.step_changes(
                connection, campaign.slug, minutes, campaign.policies.public_evidence, case=case, since=since
            )
        history = History(
            campaign=campaign.slug,
            case=case,
            step=step,
            as_of=totals.as_of if totals is not None else "",
            points=points(changes, campaign.policies, since),
        )
        return msgspec.json.encode(history)


def _now() -> float:
    return asyncio.get_running_loop().time()
