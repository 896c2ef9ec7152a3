"""The SQL of the tables beside the rows: further submissions of a key, and signatories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from shared.counting.copy_format import SUBMISSION_COLUMNS, copy_rows
from shared.counting.counted_topic import CountedTopic

_CREATE_STAGING_TABLE: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS staged_further (LIKE submissions) ON COMMIT DELETE ROWS"
)
_INSERT_FURTHER: Final = "INSERT INTO submissions SELECT * FROM staged_further ON CONFLICT DO NOTHING"


async def insert_further(connection: asyncpg.Connection, packed: Sequence[bytes]) -> None:
    """Insert packed rows of submissions with other data than the first of their key, each digest once."""
    if packed:
        await connection.execute(_CREATE_STAGING_TABLE)
        await copy_rows(connection, "staged_further", SUBMISSION_COLUMNS, packed)
        await connection.execute(_INSERT_FURTHER)


def _select_confirmed(table: str) -> str:
    """The submission that each confirmation refers to by its digest: the first of the key or a further one."""
    return f"""
SELECT DISTINCT ON (confirmed.key) confirmed.key, submission.*, dimensions.subject
FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS confirmed (key, digest, number)
LEFT JOIN LATERAL (
    SELECT s.partition, s."offset", s.accepted_ms, s.public_name, s.dimensions
    FROM {table} AS stored JOIN submissions AS s ON s.topic = $1 AND s.partition = stored.partition
        AND s."offset" = stored.first_offset
    WHERE stored.key = confirmed.key AND s.digest = confirmed.digest
    UNION ALL
    SELECT s.partition, s."offset", s.accepted_ms, s.public_name, s.dimensions
    FROM submissions AS s WHERE s.further AND s.key = confirmed.key AND s.digest = confirmed.digest
    LIMIT 1
) AS submission ON true
LEFT JOIN dimensions ON dimensions.id = submission.dimensions
ORDER BY confirmed.key, confirmed.number DESC
"""  # noqa: S608  a table of ours


_UPSERT_SIGNATORIES: Final = """
INSERT INTO signatories (key, subject, topic, partition, "offset", accepted_ms)
SELECT key, subject, $1, partition, "offset", accepted_ms
FROM unnest($2::bytea[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[])
    AS signatory (key, subject, partition, "offset", accepted_ms)
ON CONFLICT (key) DO UPDATE
SET partition = excluded.partition, "offset" = excluded."offset", accepted_ms = excluded.accepted_ms
"""
_DELETE_SIGNATORIES: Final = "DELETE FROM signatories WHERE key = ANY($1::bytea[])"


async def update_signatories(
    connection: asyncpg.Connection, counted: CountedTopic, confirmed: Sequence[tuple[bytes, bytes]]
) -> None:
    """Show or hide the name of each key, as its confirmed submission asks.

    `confirmed` are pairs of key and digest of the submission; the last pair of a key counts.
    """
    if not confirmed:
        return
    rows = await connection.fetch(
        _select_confirmed(counted.table),
        counted.topic.name,
        [key for key, _ in confirmed],
        [digest for _, digest in confirmed],
    )
    shown = [row for row in rows if row["public_name"]]
    if hidden := [row["key"] for row in rows if not row["public_name"]]:
        await connection.execute(_DELETE_SIGNATORIES, hidden)
    if shown:
        columns = ("key", "subject", "partition", "offset", "accepted_ms")
        await connection.execute(
            _UPSERT_SIGNATORIES, counted.topic.name, *([row[name] for row in shown] for name in columns)
        )


def _delete_first(table: str) -> str:
    return f"""
DELETE FROM submissions USING {table} AS stored
WHERE stored.key = $2 AND submissions.topic = $1 AND submissions.partition = stored.partition
    AND submissions."offset" = stored.first_offset
"""  # noqa: S608  a table of ours


_DELETE_FURTHER: Final = "DELETE FROM submissions WHERE further AND topic = $1 AND key = $2"


async def erase_submissions(connection: asyncpg.Connection, counted: CountedTopic, key: bytes) -> None:
    """Delete the sealed data and the shown name of `key` in the caller's transaction; its row and its count remain.

    Later submissions of the same person are stored like new ones.
    """
    await connection.execute(_delete_first(counted.table), counted.topic.name, key)
    await connection.execute(_DELETE_FURTHER, counted.topic.name, key)
    await connection.execute(f"UPDATE {counted.table} SET digest = 0 WHERE key = $1", key)  # noqa: S608
    if counted.shows_names:
        await connection.execute(_DELETE_SIGNATORIES, [key])
