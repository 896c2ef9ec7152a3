"""The log of recoveries by hand, dismissed dead letters among them: a row for each, with the command, what it was
applied to and the reason.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from shared.clock import utc


class Recovery(NamedTuple):
    """A row of `recoveries`: `what` is the command, `place` its target, `found` the problem and `done` the remedy."""

    what: str
    place: str
    found: str
    done: str
    reason: str


_INSERT: Final = "INSERT INTO recoveries (at, what, place, found, done, reason) VALUES ($1, $2, $3, $4, $5, $6)"


async def record_recovery(connection: asyncpg.Connection, recovery: Recovery, now: float) -> None:
    """Insert `recovery` with the time `now` (seconds since 1970), in the transaction that carries it out."""
    await connection.execute(_INSERT, utc(now), *recovery)


_SELECT: Final = "SELECT at, what, place, found, done, reason FROM recoveries ORDER BY id"


async def read_recoveries(connection: asyncpg.Connection) -> list[tuple[datetime, Recovery]]:
    """Return every recovery of this database with its time, oldest first."""
    return [(row["at"], Recovery(*row[1:])) for row in await connection.fetch(_SELECT)]
