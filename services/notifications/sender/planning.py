"""Plans mails: the due deliveries of each recipient become one mail, in a transaction that locks the recipient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from services.notifications.domain.plan import NEVER, History, Plan, WaitingDelivery, plan_mail
from services.notifications.domain.recipient_keys import RecipientKeys
from services.notifications.mailing import Mailing
from services.notifications.sender.outages import run_repeatedly
from services.notifications.storage import deliveries, mails, recipients
from services.notifications.storage.recipients import MAX_DELIVERIES_PER_PLAN, DueRecipient
from shared.catalog import Catalog
from shared.clock import Clock, utc
from shared.database import connected
from shared.kafka.record_ref import RecordRef
from shared.metrics import MAILS

MAX_RECIPIENTS: Final = 500
"""Recipients planned in one transaction."""
IDLE_S: Final = 0.2
"""How often to look for due recipients, and so the longest time that \"at once\" takes."""


class Planner:
    """Plans for the recipients that are due. Several may run, because each locks its recipients. `on_planned` is called
    after new mails.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        mailings: Sequence[Mailing],
        catalog: Catalog,
        recipient_keys: RecipientKeys,
        clock: Clock,
        *,
        on_planned: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._mailings = mailings
        self._limits = {limit.name: limit.mails for limit in (mailing.gathering.daily_limit for mailing in mailings)}
        self._catalog = catalog
        self._recipient_keys = recipient_keys
        self._clock = clock
        self._on_planned = on_planned

    async def run(self) -> None:
        """Plan until cancelled.

        Raises:
            TransientError: PostgreSQL was away for ten minutes.
        """
        await run_repeatedly("planning", self.plan_due, IDLE_S)

    async def plan_due(self) -> bool:
        """Plan for a batch of due recipients; return whether there may be more."""
        now = utc(self._clock.now())
        async with connected(self._pool) as connection, connection.transaction():
            due = await recipients.lock_due(connection, now, MAX_RECIPIENTS, list(self._limits))
            if due:
                await self._plan(connection, due, now)
        if planned := sum(recipient.mails for recipient in due):
            MAILS.labels(outcome="planned").inc(planned)
            self._on_planned()
        return len(due) == MAX_RECIPIENTS

    async def _plan(self, connection: asyncpg.Connection, due: Sequence[DueRecipient], now: datetime) -> None:
        suppressed = await recipients.find_suppressed(connection, [recipient.recipient for recipient in due])
        by_limit: defaultdict[str, list[DueRecipient]] = defaultdict(list)
        for recipient in due:
            by_limit[recipient.daily_limit].append(recipient)
        for mailing in self._mailings:
            limited = by_limit[mailing.gathering.daily_limit.name]
            if limited:
                await self._plan_mailing(connection, mailing, limited, suppressed, now)
        planned = [(recipient, self._limits[recipient.daily_limit]) for recipient in due]
        await recipients.record_plans(connection, planned, now)

    async def _plan_mailing(
        self,
        connection: asyncpg.Connection,
        mailing: Mailing,
        due: Sequence[DueRecipient],
        suppressed: set[bytes],
        now: datetime,
    ) -> None:
        keys = [recipient.recipient for recipient in due]
        waiting: defaultdict[bytes, list[WaitingDelivery]] = defaultdict(list)
        for delivery in await recipients.load_waiting(connection, mailing.name, keys):
            waiting[delivery.recipient].append(delivery)
        campaigns = await recipients.load_mailed_campaigns(connection, mailing.name, keys)
        unwanted: list[RecordRef] = []
        plans: dict[bytes, Plan] = {}
        for recipient in due:
            rows = waiting[recipient.recipient]
            if recipient.recipient in suppressed:
                unwanted += [row.record for row in rows]
                recipient.plan_again(now if len(rows) == MAX_DELIVERIES_PER_PLAN else None)
            else:
                unwanted += [row.record for row in rows if row.address_gone]
                plan = self._plan_recipient(mailing, recipient, rows, campaigns[recipient.recipient], now)
                plans[recipient.recipient] = plan
        expired = [delivery.record for plan in plans.values() for delivery in plan.expired]
        covered = {recipient: plan.covered for recipient, plan in plans.items() if plan.covered}
        await deliveries.end_unmailed(connection, mailing.name, unwanted, "suppressed", now)
        await deliveries.end_unmailed(connection, mailing.name, expired, "expired", now)
        await mails.insert(connection, [self._new_mail(mailing, *mail) for mail in covered.items()], now)
        await recipients.record_mailed_campaigns(
            connection, mailing.name, {(key, row.campaign) for key, rows in covered.items() for row in rows}, now
        )

    def _plan_recipient(
        self,
        mailing: Mailing,
        recipient: DueRecipient,
        rows: Sequence[WaitingDelivery],
        campaigns: dict[str, datetime],
        now: datetime,
    ) -> Plan:
        waiting = [row._replace(expires_at=self._expires_at(mailing, row)) for row in rows if not row.address_gone]
        mail_times = [*recipient.mailed_at, *[now] * recipient.mails]
        plan = plan_mail(mailing.gathering, waiting, History(mail_times, campaigns), now)
        recipient.plan_again(plan.replan_at or _replan_for_rest(rows, now))
        recipient.mails += bool(plan.covered)
        return plan

    def _new_mail(self, mailing: Mailing, recipient: bytes, covered: Sequence[WaitingDelivery]) -> mails.NewMail:
        records = [delivery.record for delivery in covered]
        mail_id = self._recipient_keys.mail_id(mailing.name, records[0])
        return mails.NewMail(mail_id, mailing.name, recipient, covered[0].address, records)

    def _expires_at(self, mailing: Mailing, delivery: WaitingDelivery) -> datetime:
        campaign = self._catalog.campaigns.get(delivery.campaign)
        return mailing.expires_at(campaign, delivery.accepted_at) if campaign is not None else NEVER


def _replan_for_rest(rows: Sequence[WaitingDelivery], now: datetime) -> datetime | None:
    """Return when to plan the deliveries beyond `rows`, none of which waits any more: at once, if some of them may be
    unmailed. Mailed deliveries come last and need no plan.
    """
    return now if len(rows) == MAX_DELIVERIES_PER_PLAN and not rows[-1].mailed else None
