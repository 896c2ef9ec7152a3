"""How many messages each person has sent to a case on a day."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import asyncpg

PersonDay = tuple[bytes, int]
"""A person key and a day (whole days since 1970, UTC)."""

_SELECT: Final = """
SELECT person, day, opened FROM person_days
JOIN unnest($1::bytea[], $2::integer[]) AS requested (person, day) USING (person, day)
"""


async def load(connection: asyncpg.Connection, days: Collection[PersonDay]) -> dict[PersonDay, int]:
    """Return the stored counts of `days`."""
    rows = await connection.fetch(_SELECT, [person for person, _ in days], [day for _, day in days])
    return {(person, day): opened for person, day, opened in rows}


_UPSERT: Final = """
INSERT INTO person_days (person, day, opened) SELECT * FROM unnest($1::bytea[], $2::integer[], $3::integer[])
ON CONFLICT (person, day) DO UPDATE SET opened = excluded.opened
"""


async def write(connection: asyncpg.Connection, counts: Mapping[PersonDay, int]) -> None:
    """Insert or update counts."""
    await connection.execute(
        _UPSERT, [person for person, _ in counts], [day for _, day in counts], list(counts.values())
    )
