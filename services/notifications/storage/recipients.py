"""Addresses by their keyed hash: what waits for each, what it got, who wants or takes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import asyncpg

from services.notifications.domain.plan import Place

CONSIDERED: Final = 200
"""Deliveries of one address that one plan looks at: more than a mail can cover."""

Reason = Literal["unsubscribed"]

_DUE = """
SELECT recipient, mailed_at FROM recipients WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
"""


async def lock_due(connection: asyncpg.Connection, now: datetime, limit: int) -> dict[bytes, list[datetime]]:
    """Lock up to `limit` recipients whose plan is due, and return the times of their last three mails."""
    return {row[0]: row[1] for row in await connection.fetch(_DUE, now, limit)}


class Waiting(NamedTuple):
    """A delivery that waits for a confirmation.

    `turn` is its number among those of its recipient that came from the same network, what was mailed and the older
    first. `gone` says that nothing can be delivered to its `address`.
    """

    recipient: bytes
    place: Place
    address: bytes | None
    campaign: str
    accepted_at: datetime
    other_data: bool
    mailed: bool
    turn: int
    gone: bool


_WAITING = """
SELECT waiting.* FROM unnest($1::bytea[]) AS one (recipient) CROSS JOIN LATERAL (
    SELECT recipient, topic, partition, "offset", address, campaign, accepted_at, other_data,
        state = 'mailed' AS mailed,
        row_number() OVER (PARTITION BY network ORDER BY state <> 'mailed', other_data, accepted_at) AS turn,
        EXISTS (SELECT FROM gone_addresses WHERE gone_addresses.address = deliveries.address)
    FROM deliveries WHERE recipient = one.recipient AND state IN ('pending', 'mailed') AND sealed IS NOT NULL
    ORDER BY mailed, other_data, turn, accepted_at LIMIT $2
) AS waiting
"""


async def waiting(connection: asyncpg.Connection, recipients: Sequence[bytes]) -> list[Waiting]:
    """What waits for each of `recipients`, the new first, one of each network after the other, the older before the
    newer.
    """
    return [
        Waiting(recipient, Place(topic, partition, offset), *rest)
        for recipient, topic, partition, offset, *rest in await connection.fetch(_WAITING, recipients, CONSIDERED)
    ]


_CAMPAIGNS = "SELECT recipient, campaign, mailed_at FROM mailed_campaigns WHERE recipient = ANY($1)"


async def mailed_campaigns(
    connection: asyncpg.Connection, recipients: Sequence[bytes]
) -> dict[bytes, dict[str, datetime]]:
    """By recipient and campaign, when the last mail was planned."""
    found: dict[bytes, dict[str, datetime]] = {recipient: {} for recipient in recipients}
    for recipient, campaign, mailed_at in await connection.fetch(_CAMPAIGNS, recipients):
        found[recipient][campaign] = mailed_at
    return found


_SUPPRESSED = "SELECT recipient FROM suppressions WHERE recipient = ANY($1)"


async def suppressed(connection: asyncpg.Connection, recipients: Sequence[bytes]) -> set[bytes]:
    """Those of `recipients` who want no mail."""
    return {row[0] for row in await connection.fetch(_SUPPRESSED, recipients)}


_SUPPRESS = """
INSERT INTO suppressions (recipient, reason, at) SELECT unnest($1::bytea[]), $2, $3 ON CONFLICT DO NOTHING
RETURNING recipient
"""


async def suppress(
    connection: asyncpg.Connection, recipients: Sequence[bytes], reason: Reason, now: datetime
) -> list[bytes]:
    """Send no further mail to `recipients`; returns those who could get some until now."""
    if not recipients:
        return []
    return [row[0] for row in await connection.fetch(_SUPPRESS, sorted(recipients), reason, now)]


_FOUND_GONE = """
INSERT INTO gone_addresses (address, recipient, at)
SELECT address, recipient, $3 FROM unnest($1::bytea[], $2::bytea[]) AS gone (address, recipient) ON CONFLICT DO NOTHING
"""


async def found_gone(connection: asyncpg.Connection, addresses: Mapping[bytes, bytes], now: datetime) -> None:
    """Send no further mail to `addresses`, given with the recipient that each is taken for."""
    if addresses:
        await connection.execute(_FOUND_GONE, *map(list, zip(*sorted(addresses.items()), strict=True)), now)


_GONE = "SELECT address FROM gone_addresses WHERE address = ANY($1)"


async def gone(connection: asyncpg.Connection, addresses: Sequence[bytes]) -> set[bytes]:
    """Those of `addresses` to which nothing can be delivered."""
    return {row[0] for row in await connection.fetch(_GONE, addresses)}


_ALLOW = """
WITH wanted AS (DELETE FROM suppressions WHERE recipient = $1 RETURNING 1),
    back AS (DELETE FROM gone_addresses WHERE recipient = $1 RETURNING 1)
SELECT EXISTS (SELECT FROM wanted) OR EXISTS (SELECT FROM back)
"""


async def allow(connection: asyncpg.Connection, recipient: bytes) -> bool:
    """Send mail to `recipient` again, at every spelling; returns whether they could get none at one until now."""
    return bool(await connection.fetchval(_ALLOW, recipient))


class Kept(NamedTuple):
    """What is kept about an address: how many acts wait, when its last mail was planned, whether it wants no more."""

    waiting: int
    mailed_at: datetime | None
    suppressed: bool


_KEPT = """
SELECT
    (SELECT count(*) FROM deliveries WHERE recipient = $1 AND state IN ('pending', 'mailed')),
    (SELECT mailed_at[cardinality(mailed_at)] FROM recipients WHERE recipient = $1),
    EXISTS (SELECT FROM suppressions WHERE recipient = $1)
"""


async def kept(connection: asyncpg.Connection, recipient: bytes) -> Kept:
    """What is kept about `recipient`."""
    row = await connection.fetchrow(_KEPT, recipient)
    assert row is not None  # noqa: S101  the statement has no FROM
    return Kept(*row)


# Three times are enough for the daily limit.
_PLANNED = """
UPDATE recipients SET
    due_at = planned.due_at,
    mailed_at = CASE WHEN planned.mailed
        THEN (array_append(mailed_at, $4))[greatest(1, cardinality(mailed_at) - 1):] ELSE mailed_at END
FROM unnest($1::bytea[], $2::timestamptz[], $3::boolean[]) AS planned (recipient, due_at, mailed)
WHERE recipients.recipient = planned.recipient
"""


async def planned(
    connection: asyncpg.Connection, plans: Sequence[tuple[bytes, datetime | None, bool]], now: datetime
) -> None:
    """Note for each recipient when to plan again, and whether a mail was planned at `now`."""
    if plans:
        await connection.execute(_PLANNED, *map(list, zip(*plans, strict=True)), now)


_MAILED_CAMPAIGN = """
INSERT INTO mailed_campaigns (recipient, campaign, mailed_at)
SELECT recipient, campaign, $3 FROM unnest($1::bytea[], $2::text[]) AS mailed (recipient, campaign)
ON CONFLICT (recipient, campaign) DO UPDATE SET mailed_at = excluded.mailed_at
"""


async def mailed_to(connection: asyncpg.Connection, campaigns: set[tuple[bytes, str]], now: datetime) -> None:
    """Note that a mail about each (recipient, campaign) was planned at `now`."""
    if campaigns:
        await connection.execute(_MAILED_CAMPAIGN, *map(list, zip(*sorted(campaigns), strict=True)), now)
