"""Deliveries as the consumer writes them: made by submissions, ended by confirmations and withdrawals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple

import asyncpg

from services.notifications.domain.plan import Place
from services.notifications.domain.submissions import REPEATED_WITHIN, Made, Submitted

CONFIRMATION: Final = "confirmation"
"""The template by which a person is asked to confirm."""


class NewDelivery(NamedTuple):
    """A row to insert; fields as in the table `deliveries`. `network` is kept as long as `sealed`."""

    topic: str
    partition: int
    offset: int
    recipient: bytes
    address: bytes
    campaign: str
    case: str
    subject: str
    kind: str
    key: bytes
    digest: bytes
    other_data: bool
    accepted_at: datetime
    locale: str
    sealed: bytes
    seal_key: int
    network: str


# LATERAL with a LIMIT keeps to the index however little the server knows about the table.
_MADE = """
WITH act AS (
    SELECT key, digest, address, min(accepted_at) AS first
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::timestamptz[]) AS act (key, digest, address, accepted_at)
    GROUP BY key, digest, address
)
SELECT same.* FROM act CROSS JOIN LATERAL (
    SELECT key, digest, address, "offset", accepted_at, withdrawn_offset, left_at FROM deliveries
    WHERE key = act.key AND digest = act.digest AND (address IS NULL OR address = act.address)
        AND accepted_at >= act.first - $5::interval AND (left_at IS NULL OR left_at > act.first)
    LIMIT 100
) AS same
UNION
SELECT other.* FROM (SELECT key, min(first) AS first FROM act GROUP BY key) AS act CROSS JOIN LATERAL (
    SELECT DISTINCT ON (digest, address) key, digest, address, "offset", accepted_at, withdrawn_offset, left_at
    FROM deliveries
    WHERE key = act.key AND withdrawn_offset IS NULL AND (left_at IS NULL OR left_at > act.first)
    ORDER BY digest, address, left_at DESC NULLS FIRST LIMIT 2
) AS other
"""


async def made(connection: asyncpg.Connection, submitted: Sequence[Submitted]) -> list[Made]:
    """The deliveries that bear on `submitted`: those of the same content and address in the day before, and two
    standing ones of any.
    """
    rows = await connection.fetch(
        _MADE,
        [one.key for one in submitted],
        [one.digest for one in submitted],
        [one.address for one in submitted],
        [one.accepted_at for one in submitted],
        REPEATED_WITHIN,
    )
    return [Made(*row) for row in rows]


_INSERT = """
WITH inserted AS (
    INSERT INTO deliveries (template, topic, partition, "offset", recipient, address, campaign, "case", subject, kind,
        key, digest, other_data, accepted_at, locale, sealed, seal_key, network)
    SELECT $1, * FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bytea[], $6::bytea[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::bytea[], $12::bytea[], $13::boolean[], $14::timestamptz[], $15::text[],
        $16::bytea[], $17::integer[], $18::text[])
    ON CONFLICT DO NOTHING RETURNING recipient
)
INSERT INTO recipients (recipient, due_at) SELECT DISTINCT recipient, $19::timestamptz FROM inserted ORDER BY recipient
ON CONFLICT (recipient) DO UPDATE SET due_at = least(recipients.due_at, excluded.due_at)
"""


async def insert(connection: asyncpg.Connection, rows: Sequence[NewDelivery], now: datetime) -> None:
    """Insert the `rows` that are not there yet, and have the mails of their recipients planned from `now` on."""
    if rows:
        await connection.execute(_INSERT, CONFIRMATION, *map(list, zip(*rows, strict=True)), now)


# Here and below one act or place at a time, by an index: joined with many, all that wait would be read where the server
# knows nothing of the table yet.
_CONFIRM = """
UPDATE deliveries SET state = 'confirmed', sealed = NULL, network = NULL
WHERE key = $1 AND digest = $2 AND "offset" < $3 AND state IN ('pending', 'mailed')
"""


async def confirm(connection: asyncpg.Connection, confirmed: Sequence[tuple[bytes, bytes, int]]) -> None:
    """End the deliveries made before each confirmation, given as (key, digest, offset)."""
    if confirmed:
        await connection.executemany(_CONFIRM, confirmed)


_WITHDRAW = """
UPDATE deliveries SET
    withdrawn_offset = least(withdrawn_offset, $2),
    state = CASE WHEN state IN ('pending', 'mailed', 'confirmed') THEN 'withdrawn' ELSE state END,
    sealed = NULL, network = NULL
WHERE key = $1 AND "offset" < $2
"""


async def withdraw(connection: asyncpg.Connection, withdrawn: Sequence[tuple[bytes, int]]) -> None:
    """End the deliveries made before each withdrawal, given as (key, offset), and remember the first one after each."""
    if withdrawn:
        await connection.executemany(_WITHDRAW, withdrawn)


_LEAVE = """
UPDATE deliveries SET state = $5, sealed = NULL, network = NULL, left_at = $6
WHERE template = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 AND state IN ('pending', 'mailed')
"""


async def leave(
    connection: asyncpg.Connection, places: Sequence[Place], state: Literal["suppressed", "expired"], now: datetime
) -> None:
    """End the deliveries at `places`: no mail will bring them."""
    if places:
        await connection.executemany(_LEAVE, [(CONFIRMATION, *place, state, now) for place in places])
