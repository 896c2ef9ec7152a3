"""Partners' API keys, hashed."""

from __future__ import annotations

import asyncpg

from shared.clock import utc
from shared.events.marathon import AccessChanged

_PUT = """
INSERT INTO access (id, hash, campaign, scopes, section, revoked, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_PUT_BACK = f"{_PUT} ON CONFLICT (id) DO UPDATE SET revoked = access.revoked OR excluded.revoked"


async def put(connection: asyncpg.Connection, access: AccessChanged, now: float) -> None:
    """Store a new key's hash.

    Raises:
        asyncpg.UniqueViolationError: there is a key with this id.
    """
    await connection.execute(_PUT, *_row(access, now))


async def put_back(connection: asyncpg.Connection, access: AccessChanged, now: float) -> None:
    """Store a key that was created or revoked before. A revoked key stays revoked."""
    await connection.execute(_PUT_BACK, *_row(access, now))


def _row(access: AccessChanged, now: float) -> tuple[object, ...]:
    scopes = list(access.scopes)
    return access.id, access.hash, access.campaign, scopes, access.section, access.revoked, utc(now)


_REVOKE = """
UPDATE access SET revoked = true WHERE id = $1 RETURNING id, hash, campaign, scopes, section, revoked
"""


async def revoke(connection: asyncpg.Connection, key_id: str) -> AccessChanged | None:
    """Mark a key as revoked; return None if there is no key with this id. Repeating this changes nothing."""
    row = await connection.fetchrow(_REVOKE, key_id)
    return None if row is None else _access(row)


_KEYS = """
SELECT id, hash, campaign, scopes, section, revoked FROM access WHERE $1::text IS NULL OR campaign = $1
ORDER BY created_at, id
"""


async def keys(connection: asyncpg.Connection, campaign: str | None = None) -> list[AccessChanged]:
    """Return the keys of `campaign`, or of all campaigns, oldest first, including revoked ones."""
    return [_access(row) for row in await connection.fetch(_KEYS, campaign)]


def _access(row: asyncpg.Record) -> AccessChanged:
    return AccessChanged(**{**row, "scopes": tuple(row["scopes"])})
