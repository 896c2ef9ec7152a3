"""Partners' API keys, hashed."""

from __future__ import annotations

import asyncpg

from shared.clock import utc
from shared.events.marathon import AccessChanged

_PUT = """
INSERT INTO access (id, hash, campaign, scopes, section, created_at) VALUES ($1, $2, $3, $4, $5, $6)
"""


async def put(connection: asyncpg.Connection, access: AccessChanged, now: float) -> None:
    """Store a new key's hash."""
    await connection.execute(
        _PUT, access.id, access.hash, access.campaign, list(access.scopes), access.section, utc(now)
    )


_REVOKE = """
UPDATE access SET revoked = true WHERE id = $1 RETURNING id, hash, campaign, scopes, section, revoked
"""


async def revoke(connection: asyncpg.Connection, key_id: str) -> AccessChanged | None:
    """Mark a key as revoked; return None if there is no key with this id. Repeating this changes nothing."""
    row = await connection.fetchrow(_REVOKE, key_id)
    return None if row is None else AccessChanged(**{**row, "scopes": tuple(row["scopes"])})


_OF_CAMPAIGN = """
SELECT id, hash, campaign, scopes, section, revoked FROM access WHERE campaign = $1 ORDER BY created_at, id
"""


async def of_campaign(connection: asyncpg.Connection, campaign: str) -> list[AccessChanged]:
    """Return all keys of a campaign, including revoked ones."""
    rows = await connection.fetch(_OF_CAMPAIGN, campaign)
    return [AccessChanged(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]


_ALL_KEYS = "SELECT id, hash, campaign, scopes, section, revoked FROM access ORDER BY id"


async def all_keys(connection: asyncpg.Connection) -> list[AccessChanged]:
    """Return all keys of all campaigns, including revoked ones."""
    return [AccessChanged(**{**row, "scopes": tuple(row["scopes"])}) for row in await connection.fetch(_ALL_KEYS)]


_PUT_BACK = """
INSERT INTO access (id, hash, campaign, scopes, section, revoked, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET revoked = access.revoked OR excluded.revoked
"""


async def put_back(connection: asyncpg.Connection, access: AccessChanged, now: float) -> None:
    """Store a key that was created or revoked before. A revoked key stays revoked."""
    await connection.execute(
        _PUT_BACK,
        access.id,
        access.hash,
        access.campaign,
        list(access.scopes),
        access.section,
        access.revoked,
        utc(now),
    )
