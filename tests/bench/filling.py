"""Fills the tables with millions of rows by SQL, in the shape that the counter gives them.

A row that the counter wrote is the pattern; the keys are spread like hashes, offsets rise, and the four partitions take
turns. The primary key is built anew, as full as an index is that has grown by random keys. What is sealed differs in
length, as names do: were it all of one length, what is left of each page might just hold one row of those that come
later, and PostgreSQL would go back to every old page for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import asyncpg

CONNECTIONS: Final = 2
CHUNK: Final = 500_000
LIMIT_SECONDS: Final = 900.0
PAGES_FULL: Final = 69
"""Percent. A B-tree that grows by random keys settles at ln 2 (A. Yao, "On random 2-3 trees", 1978)."""
NAMES_DIFFER: Final = 40
"""Bytes between the shortest and the longest of what is sealed."""

_UNLOCK: Final = "ALTER TABLE signatures DROP CONSTRAINT IF EXISTS signatures_pkey"
_INDEX: Final = "CREATE UNIQUE INDEX signatures_filled ON signatures (key) WITH (fillfactor = {full})"
_LOCK: Final = "ALTER TABLE signatures ADD CONSTRAINT signatures_pkey PRIMARY KEY USING INDEX signatures_filled"
_SETTLE: Final = ("VACUUM (ANALYZE) signatures", "VACUUM (ANALYZE) submissions", "CHECKPOINT")

_DIMENSIONS: Final = """
INSERT INTO dimensions (campaign, "case", subject, section, kind, channel, country, language)
SELECT 'bench-filler', "case", subject, section, kind, channel, country, language FROM dimensions
ORDER BY id DESC LIMIT 1
ON CONFLICT (campaign, "case", subject, section, kind, channel, country, language)
DO UPDATE SET campaign = excluded.campaign
RETURNING id
"""
_ROWS: Final = """
INSERT INTO signatures (first_offset, applied_offset, opened, digest, dimensions, minute, partition, state, invalidated,
    key)
SELECT n / 4, n / 4, n / 4, ('x' || substr(encode(hash, 'hex'), 33, 16))::bit(64)::bigint, $3, minute, n % 4, state,
    invalidated, substr(hash, 1, length(pattern.key))
FROM (SELECT * FROM signatures LIMIT 1) AS pattern,
    LATERAL (SELECT n, sha256(int8send(n)) AS hash FROM generate_series($1::bigint, $2::bigint - 1) AS n) AS made
"""
_SUBMISSIONS: Final = """
INSERT INTO submissions ("offset", accepted_ms, partition, dimensions, seal_key, version, public_name, updates, further,
    topic, key, digest, locale, network, domain, sealed)
SELECT n / 4, accepted_ms, n % 4, $3, seal_key, version, public_name, updates, false, 'bench.filler',
    substr(hash, 1, length(pattern.key)), substr(hash, 17, length(pattern.digest)), locale, network, domain,
    substr(sealed || sealed, 1, greatest(1, length(sealed) - $4 / 2 + get_byte(hash, 31) % $4))
FROM (SELECT * FROM submissions LIMIT 1) AS pattern,
    LATERAL (SELECT n, sha256(int8send(n)) AS hash FROM generate_series($1::bigint, $2::bigint - 1) AS n) AS made
"""
_EMPTY: Final = "TRUNCATE signatures, submissions"


async def fill(url: str, start: int, end: int) -> None:
    """Add the rows numbered from `start` up to `end` of a filler that belongs to no campaign; then settle.

    `url` is of the database of petitions, as its administrator; the counters stand idle. At least one signature has
    been counted.
    """
    async with asyncio.timeout(LIMIT_SECONDS):
        await _on_one(url, (_UNLOCK,))
        chunks = [(first, min(first + CHUNK, end)) for first in range(start, end, CHUNK)]
        await asyncio.gather(*(_insert(url, chunks[place::CONNECTIONS]) for place in range(CONNECTIONS)))
        await _on_one(url, (_INDEX.format(full=PAGES_FULL), _LOCK, *_SETTLE))


async def keep_one_row(url: str, *, known: bool = False) -> None:
    """Empty the tables but for one row of each, the pattern for those to come.

    The server knows as little about them then as of new tables; or, if they are to be `known`, that they are tiny.
    """
    kept = ("signatures", "submissions")
    async with asyncio.timeout(LIMIT_SECONDS):
        await _on_one(
            url,
            (
                *(f"CREATE TEMPORARY TABLE kept_{table} AS SELECT * FROM {table} LIMIT 1" for table in kept),  # noqa: S608
                _EMPTY,
                *(f"INSERT INTO {table} SELECT * FROM kept_{table}" for table in kept),  # noqa: S608  tables of ours
                *(_SETTLE if known else _SETTLE[-1:]),
            ),
        )


async def _on_one(url: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute("SET maintenance_work_mem = '1GB'")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close(timeout=10)


async def _insert(url: str, chunks: Sequence[tuple[int, int]]) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        dimensions = await connection.fetchval(_DIMENSIONS)
        for first, end in chunks:
            await connection.execute(_ROWS, first, end, dimensions)
            await connection.execute(_SUBMISSIONS, first, end, dimensions, NAMES_DIFFER)
    finally:
        await connection.close(timeout=10)
