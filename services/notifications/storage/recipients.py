"""Recipients by their keyed hash: their waiting deliveries, their mails, and who wants none or can get none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from services.notifications.domain.plan import WaitingDelivery
from services.notifications.storage import subscriptions
from shared.kafka.record_ref import RecordRef

MAX_DELIVERIES_PER_PLAN: Final = 200
"""Deliveries of one recipient that one plan considers: more than a mail can cover."""


@dataclass(slots=True)
class DueRecipient:
    """A recipient whose plan is due, of the mailings under one daily limit.

    `mailed_at` are the times of the last mails, as many as the limit needs. Planning sets `mails`, the number of mails
    planned now, and `replan_at`, when to plan again, None if nothing waits.
    """

    recipient: bytes
    daily_limit: str
    mailed_at: list[datetime]
    mails: int = 0
    replan_at: datetime | None = None

    def plan_again(self, at: datetime | None) -> None:
        """Set `replan_at`, unless it is earlier."""
        if at is not None:
            self.replan_at = min(at, self.replan_at or at)


_DUE = """
SELECT recipient, daily_limit, mailed_at FROM recipients WHERE due_at <= $1 AND daily_limit = ANY($3)
ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""


async def lock_due(
    connection: asyncpg.Connection, now: datetime, limit: int, daily_limits: Sequence[str]
) -> list[DueRecipient]:
    """Lock up to `limit` recipients whose plan under one of `daily_limits` is due."""
    return [DueRecipient(*row) for row in await connection.fetch(_DUE, now, limit, daily_limits)]


_WAITING = """
SELECT waiting.* FROM unnest($1::bytea[]) AS due (recipient) CROSS JOIN LATERAL (
    SELECT recipient, topic, partition, "offset", address, campaign, accepted_at, other_data,
        state = 'mailed' AS mailed,
        row_number() OVER (PARTITION BY network ORDER BY state <> 'mailed', other_data, accepted_at) AS network_rank,
        EXISTS (SELECT FROM gone_addresses WHERE gone_addresses.address = deliveries.address)
    FROM deliveries
    WHERE recipient = due.recipient AND mailing = $3 AND state IN ('pending', 'mailed') AND sealed IS NOT NULL
    ORDER BY mailed, other_data, network_rank, accepted_at LIMIT $2
) AS waiting
"""


async def load_waiting(
    connection: asyncpg.Connection, mailing: str, recipients: Sequence[bytes]
) -> list[WaitingDelivery]:
    """Load the deliveries of `mailing` that wait for each of `recipients`: new ones first, one of each network in turn,
    older before newer.
    """
    return [
        WaitingDelivery(recipient, RecordRef(topic, partition, offset), *rest)
        for recipient, topic, partition, offset, *rest in await connection.fetch(
            _WAITING, recipients, MAX_DELIVERIES_PER_PLAN, mailing
        )
    ]


_CAMPAIGNS = "SELECT recipient, campaign, mailed_at FROM mailed_campaigns WHERE recipient = ANY($1) AND mailing = $2"


async def load_mailed_campaigns(
    connection: asyncpg.Connection, mailing: str, recipients: Sequence[bytes]
) -> dict[bytes, dict[str, datetime]]:
    """Load when the last mail of `mailing` was planned, by recipient and campaign."""
    by_recipient: dict[bytes, dict[str, datetime]] = {recipient: {} for recipient in recipients}
    for recipient, campaign, mailed_at in await connection.fetch(_CAMPAIGNS, recipients, mailing):
        by_recipient[recipient][campaign] = mailed_at
    return by_recipient


_SUPPRESSED = "SELECT recipient FROM suppressions WHERE recipient = ANY($1)"


async def find_suppressed(connection: asyncpg.Connection, recipients: Sequence[bytes]) -> set[bytes]:
    """Return those of `recipients` who want no mail."""
    return {row[0] for row in await connection.fetch(_SUPPRESSED, recipients)}


_SUPPRESS = """
INSERT INTO suppressions (recipient, reason, at) SELECT unnest($1::bytea[]), 'unsubscribed', $2
ON CONFLICT DO NOTHING RETURNING recipient
"""


async def suppress(connection: asyncpg.Connection, recipients: Sequence[bytes], now: datetime) -> list[bytes]:
    """Send no further mail to `recipients`, and end their consents; return those who could get mail until now."""
    if not recipients:
        return []
    await subscriptions.end_of_recipients(connection, recipients, now)
    return [row[0] for row in await connection.fetch(_SUPPRESS, sorted(recipients), now)]


_MARK_GONE = """
INSERT INTO gone_addresses (address, recipient, at)
SELECT address, recipient, $3 FROM unnest($1::bytea[], $2::bytea[]) AS gone (address, recipient) ON CONFLICT DO NOTHING
"""


async def mark_gone(connection: asyncpg.Connection, addresses: Mapping[bytes, bytes], now: datetime) -> None:
    """Send no further mail to `addresses`, given with the recipient of each, and end what was agreed to with them."""
    if addresses:
        await subscriptions.end_of_addresses(connection, addresses, now)
        await connection.execute(_MARK_GONE, *map(list, zip(*sorted(addresses.items()), strict=True)), now)


_GONE = "SELECT address FROM gone_addresses WHERE address = ANY($1)"


async def find_gone(connection: asyncpg.Connection, addresses: Sequence[bytes]) -> set[bytes]:
    """Return those of `addresses` to which nothing can be delivered."""
    return {row[0] for row in await connection.fetch(_GONE, addresses)}


_UNSUPPRESS = """
WITH allowed AS (DELETE FROM suppressions WHERE recipient = $1 RETURNING 1),
    restored AS (DELETE FROM gone_addresses WHERE recipient = $1 RETURNING 1)
SELECT EXISTS (SELECT FROM allowed) OR EXISTS (SELECT FROM restored)
"""


async def unsuppress(connection: asyncpg.Connection, recipient: bytes) -> bool:
    """Send mail to `recipient` again, at every spelling; return whether any spelling got none until now."""
    return bool(await connection.fetchval(_UNSUPPRESS, recipient))


class RecipientSummary(NamedTuple):
    """What is stored about a recipient: the number of unconfirmed acts, the time of the last mail, and whether they
    want no more.
    """

    unconfirmed: int
    mailed_at: datetime | None
    suppressed: bool


_SUMMARY = """
SELECT
    (SELECT count(*) FROM deliveries WHERE recipient = $1 AND mailing = ANY($2) AND state IN ('pending', 'mailed')),
    (SELECT max(mailed_at[cardinality(mailed_at)]) FROM recipients WHERE recipient = $1),
    EXISTS (SELECT FROM suppressions WHERE recipient = $1)
"""


async def load_summary(
    connection: asyncpg.Connection, recipient: bytes, until_confirmed: Sequence[str]
) -> RecipientSummary:
    """Load what is stored about `recipient`; deliveries of the mailings `until_confirmed` wait for a confirmation."""
    row = await connection.fetchrow(_SUMMARY, recipient, until_confirmed)
    assert row is not None  # noqa: S101  the statement has no FROM
    return RecipientSummary(*row)


_RECORD_PLANS = """
UPDATE recipients SET
    due_at = planned.due_at,
    mailed_at = CASE WHEN planned.mails > 0
        THEN (mailed_at || array_fill($6::timestamptz, ARRAY[planned.mails]))[
            greatest(1, cardinality(mailed_at) + planned.mails + 1 - planned.limited_to):]
        ELSE mailed_at END
FROM unnest($1::bytea[], $2::text[], $3::timestamptz[], $4::integer[], $5::integer[])
    AS planned (recipient, daily_limit, due_at, mails, limited_to)
WHERE recipients.recipient = planned.recipient AND recipients.daily_limit = planned.daily_limit
"""


async def record_plans(
    connection: asyncpg.Connection, planned: Sequence[tuple[DueRecipient, int]], now: datetime
) -> None:
    """Store for each recipient when to plan again and how many mails were planned at `now`; each comes with the number
    of last mails that its daily limit needs.
    """
    rows = [(due.recipient, due.daily_limit, due.replan_at, due.mails, limit) for due, limit in planned]
    if rows:
        await connection.execute(_RECORD_PLANS, *map(list, zip(*rows, strict=True)), now)


_RECORD_MAILED_CAMPAIGNS = """
INSERT INTO mailed_campaigns (recipient, mailing, campaign, mailed_at)
SELECT recipient, $3, campaign, $4 FROM unnest($1::bytea[], $2::text[]) AS mailed (recipient, campaign)
ON CONFLICT (recipient, mailing, campaign) DO UPDATE SET mailed_at = excluded.mailed_at
"""


async def record_mailed_campaigns(
    connection: asyncpg.Connection, mailing: str, campaigns: set[tuple[bytes, str]], now: datetime
) -> None:
    """Store that a mail of `mailing` about each (recipient, campaign) was planned at `now`."""
    if campaigns:
        columns = map(list, zip(*sorted(campaigns), strict=True))
        await connection.execute(_RECORD_MAILED_CAMPAIGNS, *columns, mailing, now)
