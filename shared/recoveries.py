"""The trail of what people did by hand to a service's truth: each recovery is a row that says what, where and why."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from shared.clock import utc

RECOVERIES_SCHEMA: Final = """
CREATE TABLE recoveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    what text NOT NULL,
    place text NOT NULL,
    found text NOT NULL,
    done text NOT NULL,
    reason text NOT NULL
);
"""
"""The table that a migration of each service makes. Rows are only ever added."""


class Recovery(NamedTuple):
    """One recovery. `what` is the command, `place` what it was done to, `found` what was wrong with it."""

    what: str
    place: str
    found: str
    done: str
    reason: str


_NOTE: Final = "INSERT INTO recoveries (at, what, place, found, done, reason) VALUES ($1, $2, $3, $4, $5, $6)"


async def note(connection: asyncpg.Connection, recovery: Recovery, now: float) -> None:
    """Write `recovery` at `now` (seconds since 1970), in the transaction that carries it out."""
    await connection.execute(_NOTE, utc(now), *recovery)


_ALL: Final = "SELECT at, what, place, found, done, reason FROM recoveries ORDER BY id"


async def noted(connection: asyncpg.Connection) -> list[tuple[datetime, Recovery]]:
    """Every recovery of this database, oldest first, with its time."""
    return [(row["at"], Recovery(*row[1:])) for row in await connection.fetch(_ALL)]
