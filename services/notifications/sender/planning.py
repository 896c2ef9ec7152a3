"""Plans mails: what is due for each address becomes one mail, in one transaction that locks the address."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from services.notifications.domain.plan import History, Pending, Place, plan
from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.sender.outages import again_and_again
from services.notifications.storage import deliveries, mails, recipients
from services.notifications.storage.recipients import CONSIDERED, Waiting
from shared.catalog import Catalog
from shared.clock import Clock, parse_rfc3339, utc
from shared.database import connected
from shared.metrics import MAILS

ADDRESSES: Final = 500
"""Addresses planned in one transaction."""
IDLE_S: Final = 0.2
"""How often to look whether anybody is due: the longest that \"at once\" takes."""
FAR: Final = datetime.max.replace(tzinfo=UTC)


class Planner:
    """Plans for whoever is due. Several may run: each address is locked by one. `planned` is called after new mails."""

    def __init__(
        self, pool: asyncpg.Pool, catalog: Catalog, names: RecipientKeys, clock: Clock, planned: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._names = names
        self._clock = clock
        self._planned = planned

    async def run(self) -> None:
        """Plan until cancelled.

        Raises:
            TransientError: PostgreSQL was away for ten minutes.
        """
        await again_and_again("planning", self.plan_due, None, IDLE_S)

    async def plan_due(self) -> bool:
        """Plan for some of the addresses that are due; returns whether there may be more."""
        now = utc(self._clock.now())
        planned = 0
        async with connected(self._pool) as connection, connection.transaction():
            due = await recipients.lock_due(connection, now, ADDRESSES)
            if due:
                planned = await self._plan(connection, due, now)
        if planned:
            MAILS.labels(outcome="planned").inc(planned)
            self._planned()
        return len(due) == ADDRESSES

    async def _plan(self, connection: asyncpg.Connection, due: dict[bytes, list[datetime]], now: datetime) -> int:
        addresses = list(due)
        waiting: defaultdict[bytes, list[Waiting]] = defaultdict(list)
        for one in await recipients.waiting(connection, addresses):
            waiting[one.recipient].append(one)
        suppressed = await recipients.suppressed(connection, addresses)
        campaigns = await recipients.mailed_campaigns(connection, addresses)
        unwanted = [one.place for address in addresses for one in waiting[address] if one.gone or address in suppressed]
        expired: list[Place] = []
        new: list[mails.NewMail] = []
        noted: list[tuple[bytes, datetime | None, bool]] = [
            (address, now if len(waiting[address]) == CONSIDERED else None, False) for address in suppressed
        ]
        mailed: set[tuple[bytes, str]] = set()
        for address in due.keys() - suppressed:
            decided = plan(self._pending(waiting[address]), History(due[address], campaigns[address]), now)
            expired += [one.place for one in decided.expired]
            noted.append((address, decided.look_again or _rest(waiting[address], now), bool(decided.cover)))
            if decided.cover:
                places = [one.place for one in decided.cover]
                name = self._names.mail_id(deliveries.CONFIRMATION, places[0])
                new.append(mails.NewMail(name, address, decided.cover[0].address, places))
                mailed |= {(address, one.campaign) for one in decided.cover}
        await deliveries.leave(connection, unwanted, "suppressed", now)
        await deliveries.leave(connection, expired, "expired", now)
        await mails.insert(connection, new, now)
        await recipients.mailed_to(connection, mailed, now)
        await recipients.planned(connection, noted, now)
        return len(new)

    def _pending(self, waiting: Iterable[Waiting]) -> list[Pending]:
        return [
            Pending(
                one.place,
                one.campaign,
                one.accepted_at,
                self._closes(one.campaign),
                other_data=one.other_data,
                mailed=one.mailed,
                address=one.address,
                turn=one.turn,
            )
            for one in waiting
            if not one.gone
        ]

    def _closes(self, slug: str) -> datetime:
        campaign = self._catalog.campaigns.get(slug)
        return utc(parse_rfc3339(campaign.confirmations_close)) if campaign is not None else FAR


def _rest(considered: Sequence[Waiting], now: datetime) -> datetime | None:
    """When to look for what stands behind `considered`, of which nothing waits any more: at once, if there may be
    more that no mail has covered. What a mail has covered comes last, and waits for nothing.
    """
    return now if len(considered) == CONSIDERED and not considered[-1].mailed else None
