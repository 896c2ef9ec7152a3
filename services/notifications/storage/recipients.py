"""Recipients by their keyed hash: their unconfirmed deliveries, their mails, and who wants none or can get none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import asyncpg

from shared.kafka.record_ref import RecordRef

MAX_DELIVERIES_PER_PLAN: Final = 200
"""Deliveries of one recipient that one plan considers: more than a mail can cover."""

SuppressionReason = Literal["unsubscribed"]

_DUE = """
SELECT recipient, mailed_at FROM recipients WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""


async def lock_due(connection: asyncpg.Connection, now: datetime, limit: int) -> dict[bytes, list[datetime]]:
    """Lock up to `limit` recipients whose plan is due, and return the times of their last three mails."""
    return {row[0]: row[1] for row in await connection.fetch(_DUE, now, limit)}


class UnconfirmedRow(NamedTuple):
    """A delivery that waits for its confirmation.

    `network_rank` numbers the deliveries of a recipient that came from one network, the mailed ones first, then the
    older. `address_gone` says that nothing can be delivered to `address`.
    """

    recipient: bytes
    submission: RecordRef
    address: bytes | None
    campaign: str
    accepted_at: datetime
    other_data: bool
    mailed: bool
    network_rank: int
    address_gone: bool


_UNCONFIRMED = """
SELECT unconfirmed.* FROM unnest($1::bytea[]) AS due (recipient) CROSS JOIN LATERAL (
    SELECT recipient, topic, partition, "offset", address, campaign, accepted_at, other_data,
        state = 'mailed' AS mailed,
        row_number() OVER (PARTITION BY network ORDER BY state <> 'mailed', other_data, accepted_at) AS network_rank,
        EXISTS (SELECT FROM gone_addresses WHERE gone_addresses.address = deliveries.address)
    FROM deliveries WHERE recipient = due.recipient AND state IN ('pending', 'mailed') AND sealed IS NOT NULL
    ORDER BY mailed, other_data, network_rank, accepted_at LIMIT $2
) AS unconfirmed
"""


async def load_unconfirmed(connection: asyncpg.Connection, recipients: Sequence[bytes]) -> list[UnconfirmedRow]:
    """Load the unconfirmed deliveries of each of `recipients`: new ones first, one of each network in turn, older
    before newer.
    """
    return [
        UnconfirmedRow(recipient, RecordRef(topic, partition, offset), *rest)
        for recipient, topic, partition, offset, *rest in await connection.fetch(
            _UNCONFIRMED, recipients, MAX_DELIVERIES_PER_PLAN
        )
    ]


_CAMPAIGNS = "SELECT recipient, campaign, mailed_at FROM mailed_campaigns WHERE recipient = ANY($1)"


async def load_mailed_campaigns(
    connection: asyncpg.Connection, recipients: Sequence[bytes]
) -> dict[bytes, dict[str, datetime]]:
    """Load when the last mail was planned, by recipient and campaign."""
    by_recipient: dict[bytes, dict[str, datetime]] = {recipient: {} for recipient in recipients}
    for recipient, campaign, mailed_at in await connection.fetch(_CAMPAIGNS, recipients):
        by_recipient[recipient][campaign] = mailed_at
    return by_recipient


_SUPPRESSED = "SELECT recipient FROM suppressions WHERE recipient = ANY($1)"


async def find_suppressed(connection: asyncpg.Connection, recipients: Sequence[bytes]) -> set[bytes]:
    """Return those of `recipients` who want no mail."""
    return {row[0] for row in await connection.fetch(_SUPPRESSED, recipients)}


_SUPPRESS = """
INSERT INTO suppressions (recipient, reason, at) SELECT unnest($1::bytea[]), $2, $3 ON CONFLICT DO NOTHING
RETURNING recipient
"""


async def suppress(
    connection: asyncpg.Connection, recipients: Sequence[bytes], reason: SuppressionReason, now: datetime
) -> list[bytes]:
    """Send no further mail to `recipients`; return those who could get mail until now."""
    if not recipients:
        return []
    return [row[0] for row in await connection.fetch(_SUPPRESS, sorted(recipients), reason, now)]


_MARK_GONE = """
INSERT INTO gone_addresses (address, recipient, at)
SELECT address, recipient, $3 FROM unnest($1::bytea[], $2::bytea[]) AS gone (address, recipient) ON CONFLICT DO NOTHING
"""


async def mark_gone(connection: asyncpg.Connection, addresses: Mapping[bytes, bytes], now: datetime) -> None:
    """Send no further mail to `addresses`, given with the recipient of each."""
    if addresses:
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
    (SELECT count(*) FROM deliveries WHERE recipient = $1 AND state IN ('pending', 'mailed')),
    (SELECT mailed_at[cardinality(mailed_at)] FROM recipients WHERE recipient = $1),
    EXISTS (SELECT FROM suppressions WHERE recipient = $1)
"""


async def load_summary(connection: asyncpg.Connection, recipient: bytes) -> RecipientSummary:
    """Load what is stored about `recipient`."""
    row = await connection.fetchrow(_SUMMARY, recipient)
    assert row is not None  # noqa: S101  the statement has no FROM
    return RecipientSummary(*row)


# The daily limit needs no more than three times.
_RECORD_PLANS = """
UPDATE recipients SET
    due_at = planned.due_at,
    mailed_at = CASE WHEN planned.mailed
        THEN (array_append(mailed_at, $4))[greatest(1, cardinality(mailed_at) - 1):] ELSE mailed_at END
FROM unnest($1::bytea[], $2::timestamptz[], $3::boolean[]) AS planned (recipient, due_at, mailed)
WHERE recipients.recipient = planned.recipient
"""


async def record_plans(
    connection: asyncpg.Connection, plans: Sequence[tuple[bytes, datetime | None, bool]], now: datetime
) -> None:
    """Store for each recipient when to plan again, and whether a mail was planned at `now`."""
    if plans:
        await connection.execute(_RECORD_PLANS, *map(list, zip(*plans, strict=True)), now)


_RECORD_MAILED_CAMPAIGNS = """
INSERT INTO mailed_campaigns (recipient, campaign, mailed_at)
SELECT recipient, campaign, $3 FROM unnest($1::bytea[], $2::text[]) AS mailed (recipient, campaign)
ON CONFLICT (recipient, campaign) DO UPDATE SET mailed_at = excluded.mailed_at
"""


async def record_mailed_campaigns(
    connection: asyncpg.Connection, campaigns: set[tuple[bytes, str]], now: datetime
) -> None:
    """Store that a mail about each (recipient, campaign) was planned at `now`."""
    if campaigns:
        await connection.execute(_RECORD_MAILED_CAMPAIGNS, *map(list, zip(*sorted(campaigns), strict=True)), now)
