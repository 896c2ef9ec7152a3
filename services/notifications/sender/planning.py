"""Plans mails: the due deliveries of each recipient become row mail, in a transaction that locks the recipient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from services.notifications.domain.plan import History, UnconfirmedDelivery, plan_mail
from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.sender.outages import run_repeatedly
from services.notifications.storage import deliveries, mails, recipients
from services.notifications.storage.recipients import MAX_DELIVERIES_PER_PLAN, UnconfirmedRow
from shared.catalog import Catalog
from shared.clock import Clock, parse_rfc3339, utc
from shared.database import connected
from shared.kafka.record_ref import RecordRef
from shared.metrics import MAILS

MAX_RECIPIENTS: Final = 500
"""Recipients planned in row transaction."""
IDLE_S: Final = 0.2
"""How often to look for due recipients, and so the longest time that \"at once\" takes."""
NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Planner:
    """Plans for the recipients that are due. Several may run, because each locks its recipients. `on_planned` is called
    after new mails.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        catalog: Catalog,
        recipient_keys: RecipientKeys,
        clock: Clock,
        on_planned: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._recipient_keys = recipient_keys
        self._clock = clock
        self._on_planned = on_planned

    async def run(self) -> None:
        """Plan until cancelled.

        Raises:
            TransientError: PostgreSQL was away for ten minutes.
        """
        await run_repeatedly("planning", self.plan_due, None, IDLE_S)

    async def plan_due(self) -> bool:
        """Plan for a batch of due recipients; return whether there may be more."""
        now = utc(self._clock.now())
        planned = 0
        async with connected(self._pool) as connection, connection.transaction():
            due = await recipients.lock_due(connection, now, MAX_RECIPIENTS)
            if due:
                planned = await self._plan(connection, due, now)
        if planned:
            MAILS.labels(outcome="planned").inc(planned)
            self._on_planned()
        return len(due) == MAX_RECIPIENTS

    async def _plan(self, connection: asyncpg.Connection, due: dict[bytes, list[datetime]], now: datetime) -> int:
        due_recipients = list(due)
        unconfirmed: defaultdict[bytes, list[UnconfirmedRow]] = defaultdict(list)
        for row in await recipients.load_unconfirmed(connection, due_recipients):
            unconfirmed[row.recipient].append(row)
        suppressed = await recipients.find_suppressed(connection, due_recipients)
        campaigns = await recipients.load_mailed_campaigns(connection, due_recipients)
        unwanted = [
            row.submission
            for recipient in due_recipients
            for row in unconfirmed[recipient]
            if row.address_gone or recipient in suppressed
        ]
        expired: list[RecordRef] = []
        new_mails: list[mails.NewMail] = []
        plans: list[tuple[bytes, datetime | None, bool]] = [
            (recipient, now if len(unconfirmed[recipient]) == MAX_DELIVERIES_PER_PLAN else None, False)
            for recipient in suppressed
        ]
        mailed_campaigns: set[tuple[bytes, str]] = set()
        for recipient in due.keys() - suppressed:
            plan = plan_mail(
                self._unconfirmed(unconfirmed[recipient]), History(due[recipient], campaigns[recipient]), now
            )
            expired += [delivery.submission for delivery in plan.expired]
            plans.append(
                (recipient, plan.replan_at or _replan_for_rest(unconfirmed[recipient], now), bool(plan.covered))
            )
            if plan.covered:
                submissions = [delivery.submission for delivery in plan.covered]
                mail_id = self._recipient_keys.mail_id(deliveries.CONFIRMATION, submissions[0])
                new_mails.append(mails.NewMail(mail_id, recipient, plan.covered[0].address, submissions))
                mailed_campaigns |= {(recipient, delivery.campaign) for delivery in plan.covered}
        await deliveries.end_unmailed(connection, unwanted, "suppressed", now)
        await deliveries.end_unmailed(connection, expired, "expired", now)
        await mails.insert(connection, new_mails, now)
        await recipients.record_mailed_campaigns(connection, mailed_campaigns, now)
        await recipients.record_plans(connection, plans, now)
        return len(new_mails)

    def _unconfirmed(self, rows: Iterable[UnconfirmedRow]) -> list[UnconfirmedDelivery]:
        return [
            UnconfirmedDelivery(
                row.submission,
                row.campaign,
                row.accepted_at,
                self._closes_at(row.campaign),
                other_data=row.other_data,
                mailed=row.mailed,
                address=row.address,
                network_rank=row.network_rank,
            )
            for row in rows
            if not row.address_gone
        ]

    def _closes_at(self, slug: str) -> datetime:
        campaign = self._catalog.campaigns.get(slug)
        return utc(parse_rfc3339(campaign.confirmations_close)) if campaign is not None else NEVER


def _replan_for_rest(rows: Sequence[UnconfirmedRow], now: datetime) -> datetime | None:
    """Return when to plan the deliveries beyond `rows`, none of which waits any more: at once, if some of them may be
    unmailed. Mailed deliveries come last and need no plan.
    """
    return now if len(rows) == MAX_DELIVERIES_PER_PLAN and not rows[-1].mailed else None
