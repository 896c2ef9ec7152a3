"""The course of a campaign over time, read from the database at most once in a few seconds for all who ask."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec

from services.marathon.domain.history import DEFAULT_LENGTH, MINUTES, Point, Step, points
from services.marathon.storage import cells
from shared.catalog import Catalog
from shared.clock import Clock, parse_rfc3339
from shared.database import connected
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged
from shared.http.problem import OUTAGES

FRESH_S: Final = 5.0
REMEMBERED: Final = 200
PATIENCE_S: Final = 2.0
"""How long one waits for those who read before, for a connection, and to give it back."""
ANSWER_S: Final = 5.0
REST_S: Final = 5.0
"""So long a database that did not answer is left alone."""

Key = tuple[str, str | None, Step, int]
"""Campaign, case, step and how many of them."""


class History(msgspec.Struct, frozen=True):
    """The answer to `/history`. `as_of` is how far the totals had come."""

    campaign: str
    case: str | None
    step: Step
    as_of: str
    points: list[Point]


class Course:
    """Histories by campaign, case, step and length, remembered for five seconds.

    `pool` is set once the process has one. While the database does not answer the last answer holds, whose `as_of`
    says how old it is.
    """

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self.pool: asyncpg.Pool | None = None
        self._catalog = catalog
        self._clock = clock
        self._remembered: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()
        self._reading = asyncio.Lock()
        self._rests_until = 0.0

    async def read(self, campaign: CampaignChanged, step: Step, *, case: str | None, last: int | None) -> bytes:
        """The history of `campaign` as JSON.

        Raises:
            TransientError: the database does not answer, and has not answered this before.
            asyncpg.PostgresError: it refuses to.
        """
        key = (campaign.slug, case, step, last or DEFAULT_LENGTH[step])
        if (fresh := self._fresh(key)) is not None:
            return fresh
        try:
            async with self._turn():
                return self._fresh(key) or await self._anew(campaign, key)
        except OUTAGES as error:
            if (known := self._remembered.get(key)) is not None:
                return known[1]
            raise TransientError("the database does not answer") from error

    def _fresh(self, key: Key) -> bytes | None:
        known = self._remembered.get(key)
        return known[1] if known is not None and _now() - known[0] <= FRESH_S else None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One reader at a time: the others find what it has read. Nobody waits long for one that gets no answer."""
        self._leave_it_alone()
        async with asyncio.timeout(PATIENCE_S):
            await self._reading.acquire()
        try:
            self._leave_it_alone()
            yield
        finally:
            self._reading.release()

    def _leave_it_alone(self) -> None:
        if _now() < self._rests_until:
            raise TransientError("the database did not answer a moment ago")

    async def _anew(self, campaign: CampaignChanged, key: Key) -> bytes:
        read_at = _now()
        try:
            body = await self._read(campaign, key)
        except OUTAGES:
            self._rests_until = _now() + REST_S
            raise
        self._remembered[key] = read_at, body
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return body

    async def _read(self, campaign: CampaignChanged, key: Key) -> bytes:
        if self.pool is None:
            raise TransientError("no database yet")
        _, case, step, length = key
        totals = self._catalog.totals.get(campaign.slug)
        frozen = totals is not None and totals.state == "frozen"
        end = parse_rfc3339(totals.as_of) if totals is not None and frozen else self._clock.now()
        minutes = MINUTES[step]
        since = (int(end) // 60 // minutes - length + 1) * minutes
        async with connected(self.pool, PATIENCE_S) as connection, asyncio.timeout(ANSWER_S):
            changes = await cells.course(
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
