"""What goes when it is no longer needed, and how much waits. A few thousand rows at a time, so that nobody waits for
it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

SEALED_FOR: Final = timedelta(days=8)
"""How long what a person typed is kept after its mail: as long as its topic keeps it, and a day for the mails after."""
ROWS_FOR: Final = timedelta(days=40)
"""How long a delivery without it is kept: well beyond the topic, so that a replay makes no new one."""
CHUNK: Final = 5_000

_FORGET = (
    """
    UPDATE deliveries SET sealed = NULL, network = NULL WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM deliveries
        WHERE accepted_at < $1::timestamptz AND sealed IS NOT NULL AND state <> 'pending' LIMIT $2
    ))
    """,
    SEALED_FOR,
)
_DELETE = tuple(
    f"DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} WHERE {old} LIMIT $2))"  # noqa: S608
    for table, old in (
        ("deliveries", "accepted_at < $1::timestamptz AND state <> 'pending'"),
        ("mails", "ended_at < $1::timestamptz"),
        ("mailed_campaigns", "mailed_at < $1::timestamptz"),
        # One who never got a mail has no history to keep: it goes with the next tidying.
        ("recipients", "due_at IS NULL AND coalesce(mailed_at[cardinality(mailed_at)] < $1::timestamptz, true)"),
    )
)


async def tidy(connection: asyncpg.Connection, now: datetime) -> bool:
    """Forget and delete one chunk of what is too old at `now`. Returns whether there may be more."""
    statement, age = _FORGET
    statuses = [await connection.execute(statement, now - age, CHUNK)]
    statuses += [await connection.execute(statement, now - ROWS_FOR, CHUNK) for statement in _DELETE]
    return any(int(status.rpartition(" ")[2]) == CHUNK for status in statuses)


class Backlog(NamedTuple):
    """Deliveries that no mail covers yet and mails that are not sent yet, with the age in seconds of the oldest of
    each.
    """

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


async def backlog(connection: asyncpg.Connection, now: datetime) -> Backlog:
    """How much waits at `now`."""
    row = await connection.fetchrow(_BACKLOG, now)
    assert row is not None  # noqa: S101  the statement has no FROM
    return Backlog(*row)
