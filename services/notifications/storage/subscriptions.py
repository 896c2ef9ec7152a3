"""Consents to a campaign's updates, with the sealed address for as long as something may be sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from services.notifications.domain.consents import GivenConsent
from services.notifications.domain.deliveries import ActEvent, NewDelivery

# A consent that has ended is given again only by what was accepted afterwards, so that a replay brings none back; what
# comes while its recipient or address gets no mail has ended at once.
_GIVE = """
INSERT INTO subscriptions AS old (topic, partition, "offset", recipient, address, campaign, "case", subject, kind, key,
    digest, accepted_at, locale, sealed, seal_key, since, ended_at)
SELECT topic, partition, "offset", recipient, address, campaign, "case", subject, kind, key, digest, accepted_at,
    locale, CASE WHEN NOT unwanted THEN sealed END, seal_key, since, CASE WHEN unwanted THEN accepted_at END
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[], $5::bytea[], $6::text[], $7::text[], $8::text[],
    $9::text[], $10::bytea[], $11::bytea[], $12::boolean[], $13::timestamptz[], $14::text[], $15::bytea[],
    $16::integer[], $17::text[], $18::timestamptz[])
    AS given (topic, partition, "offset", recipient, address, campaign, "case", subject, kind, key, digest, other_data,
        accepted_at, locale, sealed, seal_key, network, since)
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM suppressions WHERE suppressions.recipient = given.recipient)
        OR EXISTS (SELECT FROM gone_addresses WHERE gone_addresses.address = given.address) AS unwanted
) AS mail
ON CONFLICT (key, digest, address) DO UPDATE SET
    partition = excluded.partition, "offset" = excluded."offset", accepted_at = excluded.accepted_at,
    locale = excluded.locale, sealed = excluded.sealed, seal_key = excluded.seal_key, since = excluded.since,
    ended_at = excluded.ended_at
WHERE old.ended_at < excluded.accepted_at
    OR old.ended_at IS NULL AND old.since IS NULL AND excluded.since IS NOT NULL
"""


async def give(connection: asyncpg.Connection, consents: Sequence[GivenConsent]) -> None:
    """Store `consents`, unless they stand already."""
    if consents:
        rows = [(*submission, since) for submission, since in consents]
        await connection.execute(_GIVE, *map(list, zip(*rows, strict=True)))


_CONFIRM = """
UPDATE subscriptions SET since = $4
WHERE key = $1 AND digest = $2 AND "offset" < $3 AND since IS NULL AND ended_at IS NULL
"""


async def confirm(connection: asyncpg.Connection, confirmations: Sequence[ActEvent]) -> None:
    """Let the consents of confirmed submissions take effect."""
    if confirmations:
        await connection.executemany(
            _CONFIRM, [(event.key, event.digest, event.offset, event.at) for event in confirmations]
        )


_WITHDRAW = """
UPDATE subscriptions SET ended_at = $3, sealed = NULL WHERE key = $1 AND "offset" < $2 AND ended_at IS NULL
"""


async def withdraw(connection: asyncpg.Connection, withdrawals: Sequence[ActEvent]) -> None:
    """End the consents that came with acts which were withdrawn."""
    if withdrawals:
        await connection.executemany(_WITHDRAW, [(event.key, event.offset, event.at) for event in withdrawals])


# A consent does not end before it was given, even where the broker's clock is ahead of the database's.
_END_OF_RECIPIENTS = """
UPDATE subscriptions SET ended_at = greatest($2, accepted_at), sealed = NULL
WHERE recipient = ANY($1) AND ended_at IS NULL
"""


async def end_of_recipients(connection: asyncpg.Connection, recipients: Sequence[bytes], now: datetime) -> None:
    """End all consents of `recipients`."""
    await connection.execute(_END_OF_RECIPIENTS, recipients, now)


_END_OF_ADDRESSES = """
UPDATE subscriptions SET ended_at = greatest($3, accepted_at), sealed = NULL
FROM unnest($1::bytea[], $2::bytea[]) AS gone (address, recipient)
WHERE subscriptions.recipient = gone.recipient AND subscriptions.address = gone.address AND ended_at IS NULL
"""


async def end_of_addresses(connection: asyncpg.Connection, addresses: Mapping[bytes, bytes], now: datetime) -> None:
    """End the consents that came with `addresses`, given with the recipient of each."""
    await connection.execute(_END_OF_ADDRESSES, list(addresses), list(addresses.values()), now)


_FIND = """
SELECT event.topic, event.partition, event."offset", recipient, address, campaign, "case", subject, kind, event.act,
    event.content, false, event.at, locale, sealed, seal_key, NULL
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[], $5::timestamptz[], $6::bytea[])
    AS event (topic, partition, "offset", act, at, content)
CROSS JOIN LATERAL (
    SELECT * FROM subscriptions
    WHERE key = event.act AND digest = event.content AND since IS NOT NULL AND ended_at IS NULL
    ORDER BY "offset" LIMIT 1
) AS subscription
"""


async def find_deliveries(connection: asyncpg.Connection, events: Sequence[ActEvent]) -> list[NewDelivery]:
    """Return the deliveries that `events` may get, to the addresses of the consents that stand for their acts."""
    if not events:
        return []
    return [NewDelivery(*row) for row in await connection.fetch(_FIND, *map(list, zip(*events, strict=True)))]
