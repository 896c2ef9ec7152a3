"""Deletes what is no longer needed, and measures the backlog. Works on a few thousand rows at a time, so that no other
transaction waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

SEALED_RETENTION: Final = timedelta(days=8)
"""How long the sealed fields are kept after their mail: as long as the topic keeps them, and a day for later mails."""
ROW_RETENTION: Final = timedelta(days=40)
"""How long rows are kept without sealed fields: well beyond the topic, so that a replay makes none of them again."""
MAX_ROWS: Final = 5_000

_CLEAR_SEALED = """
UPDATE deliveries SET sealed = NULL, network = NULL WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM deliveries
    WHERE accepted_at < $1::timestamptz AND sealed IS NOT NULL AND state <> 'pending' LIMIT $2
))
"""
_END_CONSENTS = """
UPDATE subscriptions SET ended_at = $1::timestamptz, sealed = NULL WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM subscriptions
    WHERE ended_at IS NULL AND (campaign = ANY ($3) OR since IS NULL AND campaign = ANY ($4)) LIMIT $2
))
"""
_DELETE = tuple(
    f"DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} WHERE {old} LIMIT $2))"  # noqa: S608
    for table, old in (
        ("deliveries", "accepted_at < $1::timestamptz AND state <> 'pending'"),
        ("mails", "ended_at < $1::timestamptz"),
        ("subscriptions", "ended_at < $1::timestamptz"),
        ("mailed_campaigns", "mailed_at < $1::timestamptz"),
        # A recipient who never got a mail has no history; the next purge deletes the row.
        ("recipients", "due_at IS NULL AND coalesce(mailed_at[cardinality(mailed_at)] < $1::timestamptz, true)"),
    )
)


async def purge(
    connection: asyncpg.Connection, over: Sequence[str], unconfirmed_over: Sequence[str], now: datetime
) -> bool:
    """Clear and delete one chunk of what is too old at `now`, and end the consents to updates of the campaigns that are
    `over`, and the unconfirmed ones of `unconfirmed_over`. Return whether there may be more.
    """
    statuses = [await connection.execute(_CLEAR_SEALED, now - SEALED_RETENTION, MAX_ROWS)]
    statuses.append(await connection.execute(_END_CONSENTS, now, MAX_ROWS, over, unconfirmed_over))
    statuses += [await connection.execute(statement, now - ROW_RETENTION, MAX_ROWS) for statement in _DELETE]
    return any(int(status.rpartition(" ")[2]) == MAX_ROWS for status in statuses)


class Backlog(NamedTuple):
    """The numbers of deliveries without a mail and of unsent mails, and the age of the oldest of each in seconds."""

    deliveries: int
    oldest_delivery: float
    mails: int
    oldest_mail: float


_BACKLOG = """
SELECT
    (SELECT count(*) FROM deliveries WHERE state = 'pending'),
    (SELECT coalesce(extract(epoch FROM $1 - min(accepted_at)), 0)::float8 FROM deliveries WHERE state = 'pending'),
    (SELECT count(*) FROM mails WHERE due_at IS NOT NULL),
    (SELECT coalesce(extract(epoch FROM $1 - min(planned_at)), 0)::float8 FROM mails WHERE due_at IS NOT NULL)
"""


async def measure_backlog(connection: asyncpg.Connection, now: datetime) -> Backlog:
    """Measure the backlog at `now`."""
    row = await connection.fetchrow(_BACKLOG, now)
    assert row is not None  # noqa: S101  the statement has no FROM
    return Backlog(*row)
