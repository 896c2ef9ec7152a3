"""Deliveries as the consumer writes them: made by events, ended by confirmations and withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import asyncpg

from services.notifications.domain.deliveries import (
    REPEAT_PERIOD,
    ActEvent,
    ExistingDelivery,
    NewDelivery,
)
from shared.kafka.record_ref import RecordRef

# LATERAL with a LIMIT uses the index even where the server has no statistics of the table.
_FIND_EXISTING = """
WITH act AS (
    SELECT key, digest, address, min(accepted_at) AS first
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::timestamptz[]) AS act (key, digest, address, accepted_at)
    GROUP BY key, digest, address
)
SELECT same.* FROM act CROSS JOIN LATERAL (
    SELECT key, digest, address, "offset", accepted_at, withdrawn_offset, left_at FROM deliveries
    WHERE key = act.key AND digest = act.digest AND address = act.address AND mailing = $6
        AND accepted_at >= act.first - $5::interval AND (left_at IS NULL OR left_at > act.first)
    LIMIT 100
) AS same
UNION
SELECT other.* FROM (SELECT key, min(first) AS first FROM act GROUP BY key) AS act CROSS JOIN LATERAL (
    SELECT DISTINCT ON (digest, address) key, digest, address, "offset", accepted_at, withdrawn_offset, left_at
    FROM deliveries
    WHERE key = act.key AND mailing = $6 AND withdrawn_offset IS NULL AND (left_at IS NULL OR left_at > act.first)
    ORDER BY digest, address, left_at DESC NULLS FIRST LIMIT 2
) AS other
"""


async def find_existing(
    connection: asyncpg.Connection, mailing: str, candidates: Sequence[NewDelivery]
) -> list[ExistingDelivery]:
    """Find the deliveries of `mailing` that bear on `candidates`: those of the same content and address in the day
    before, and two active ones of any content or address.
    """
    acts = [(candidate.key, candidate.digest, candidate.address, candidate.accepted_at) for candidate in candidates]
    rows = await connection.fetch(_FIND_EXISTING, *map(list, zip(*acts, strict=True)), REPEAT_PERIOD, mailing)
    return [ExistingDelivery(*row) for row in rows]


_INSERT = """
WITH inserted AS (
    INSERT INTO deliveries (mailing, topic, partition, "offset", recipient, address, campaign, "case", subject, kind,
        key, digest, other_data, accepted_at, locale, sealed, seal_key, network)
    SELECT $1, * FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::bytea[], $12::bytea[], $13::boolean[], $14::timestamptz[], $15::text[],
        $16::bytea[], $17::integer[], $18::text[])
    ON CONFLICT DO NOTHING RETURNING recipient
)
INSERT INTO recipients (recipient, daily_limit, due_at)
SELECT DISTINCT recipient, $19, $20::timestamptz FROM inserted ORDER BY recipient
ON CONFLICT (recipient, daily_limit) DO UPDATE SET due_at = least(recipients.due_at, excluded.due_at)
"""


async def insert(
    connection: asyncpg.Connection, mailing: str, daily_limit: str, rows: Sequence[NewDelivery], now: datetime
) -> None:
    """Insert the `rows` of `mailing` that do not exist yet, and make the plans of their recipients due at `now`."""
    if rows:
        await connection.execute(_INSERT, mailing, *map(list, zip(*rows, strict=True)), daily_limit, now)


# Here and below one act or submission at a time, by an index: a join would read all waiting rows where the server has
# no statistics of the table yet.
_CONFIRM = """
UPDATE deliveries SET state = 'confirmed', sealed = NULL, network = NULL
WHERE key = $1 AND digest = $2 AND "offset" < $3 AND mailing = ANY($4) AND state IN ('pending', 'mailed')
"""


async def confirm(connection: asyncpg.Connection, mailings: Sequence[str], confirmations: Sequence[ActEvent]) -> None:
    """End the deliveries of `mailings` made before each confirmation."""
    if confirmations:
        await connection.executemany(
            _CONFIRM, [(event.key, event.digest, event.offset, mailings) for event in confirmations]
        )


_WITHDRAW = """
UPDATE deliveries SET
    withdrawn_offset = least(withdrawn_offset, $2),
    state = CASE WHEN state IN ('pending', 'mailed', 'confirmed') THEN 'withdrawn' ELSE state END,
    sealed = NULL, network = NULL
WHERE key = $1 AND "offset" < $2
"""


async def withdraw(connection: asyncpg.Connection, withdrawals: Sequence[ActEvent]) -> None:
    """End the deliveries made before each withdrawal, and store the first one after each."""
    if withdrawals:
        await connection.executemany(_WITHDRAW, [(event.key, event.offset) for event in withdrawals])


_END_UNMAILED = """
UPDATE deliveries SET state = $5, sealed = NULL, network = NULL, left_at = $6
WHERE mailing = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 AND state IN ('pending', 'mailed')
"""


async def end_unmailed(
    connection: asyncpg.Connection,
    mailing: str,
    records: Sequence[RecordRef],
    state: Literal["suppressed", "expired"],
    now: datetime,
) -> None:
    """End the deliveries of `mailing` that `records` made, without a mail."""
    if records:
        await connection.executemany(_END_UNMAILED, [(mailing, *record, state, now) for record in records])
