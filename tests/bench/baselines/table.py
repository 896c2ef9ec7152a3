"""The table of both baselines, and the one statement that fills it."""

from __future__ import annotations

import asyncpg

SCHEMA = """
CREATE TABLE IF NOT EXISTS signatures (
    key bytea PRIMARY KEY,
    petition text NOT NULL,
    country text NOT NULL,
    locale text NOT NULL,
    sealed text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
"""
INSERT = """
INSERT INTO signatures (key, petition, country, locale, sealed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""


Row = tuple[bytes, str, str, str, str]
"""Dedupe key, petition, country, locale, sealed."""


async def insert(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], row: Row) -> None:
    """Store a signature unless its key is there, in a transaction of its own."""
    async with connection.transaction():
        await connection.execute(INSERT, *row)
