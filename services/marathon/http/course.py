"""The course of a campaign over time, read from the database at most once in a few seconds for all who ask."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
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

FRESH_S: Final = 5.0
REMEMBERED: Final = 200


class History(msgspec.Struct, frozen=True):
    """The answer to `/history`. `as_of` is how far the totals had come."""

    campaign: str
    case: str | None
    step: Step
    as_of: str
    points: list[Point]


class Course:
    """Histories by campaign, case, step and length, remembered for five seconds.

    `pool` is set once the process has one.
    """

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self.pool: asyncpg.Pool | None = None
        self._catalog = catalog
        self._clock = clock
        self._remembered: OrderedDict[tuple[str, str | None, Step, int], tuple[float, bytes]] = OrderedDict()
        self._reading = asyncio.Lock()

    async def read(self, campaign: CampaignChanged, step: Step, *, case: str | None, last: int | None) -> bytes:
        """The history of `campaign` as JSON.

        Raises:
            TransientError, TimeoutError, OSError, asyncpg.PostgresError: the database does not answer.
        """
        length = last or DEFAULT_LENGTH[step]
        key = (campaign.slug, case, step, length)
        # One reader at a time: the others find what it has read.
        async with self._reading:
            now = asyncio.get_running_loop().time()
            known = self._remembered.get(key)
            if known is None or now - known[0] > FRESH_S:
                known = (now, await self._read(campaign, step, case, length))
                self._remembered[key] = known
                if len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
        return known[1]

    async def _read(self, campaign: CampaignChanged, step: Step, case: str | None, length: int) -> bytes:
        if self.pool is None:
            raise TransientError("no database yet")
        totals = self._catalog.totals.get(campaign.slug)
        frozen = totals is not None and totals.state == "frozen"
        end = parse_rfc3339(totals.as_of) if totals is not None and frozen else self._clock.now()
        minutes = MINUTES[step]
        since = (int(end) // 60 // minutes - length + 1) * minutes
        async with connected(self.pool) as connection:
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
