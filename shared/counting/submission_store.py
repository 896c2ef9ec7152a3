"""The SQL of what is kept beside the rows: further submissions of a key, and whose name may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from shared.counting.copy_format import SUBMISSION_COLUMNS, copy_rows
from shared.counting.counted_topic import CountedTopic

_STAGE: Final = "CREATE TEMPORARY TABLE IF NOT EXISTS staged_further (LIKE submissions) ON COMMIT DELETE ROWS"
_INSERT: Final = "INSERT INTO submissions SELECT * FROM staged_further ON CONFLICT DO NOTHING"


async def insert_further(connection: asyncpg.Connection, packed: Sequence[bytes]) -> None:
    """Keep packed rows of submissions with other data than the first of their key, each content once."""
    if packed:
        await connection.execute(_STAGE)
        await copy_rows(connection, "staged_further", SUBMISSION_COLUMNS, packed)
        await connection.execute(_INSERT)


def _meant(table: str) -> str:
    """Whose data a confirmation means: the submission of its digest, the first of the key or a further one."""
    return f"""
SELECT DISTINCT ON (meant.key) meant.key, submission.*, dimensions.subject
FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS meant (key, digest, place)
LEFT JOIN LATERAL (
    SELECT one.partition, one."offset", one.accepted_ms, one.public_name, one.dimensions
    FROM {table} AS held JOIN submissions AS one ON one.topic = $1 AND one.partition = held.partition
        AND one."offset" = held.first_offset
    WHERE held.key = meant.key AND one.digest = meant.digest
    UNION ALL
    SELECT one.partition, one."offset", one.accepted_ms, one.public_name, one.dimensions
    FROM submissions AS one WHERE one.further AND one.key = meant.key AND one.digest = meant.digest
    LIMIT 1
) AS submission ON true
LEFT JOIN dimensions ON dimensions.id = submission.dimensions
ORDER BY meant.key, meant.place DESC
"""  # noqa: S608  a table of ours


_SHOW: Final = """
INSERT INTO signatories (key, subject, topic, partition, "offset", accepted_ms)
SELECT key, subject, $1, partition, "offset", accepted_ms
FROM unnest($2::bytea[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[])
    AS shown (key, subject, partition, "offset", accepted_ms)
ON CONFLICT (key) DO UPDATE
SET partition = excluded.partition, "offset" = excluded."offset", accepted_ms = excluded.accepted_ms
"""
_HIDE: Final = "DELETE FROM signatories WHERE key = ANY($1::bytea[])"


async def show_names(
    connection: asyncpg.Connection, counted: CountedTopic, confirmed: Sequence[tuple[bytes, bytes]]
) -> None:
    """Show a name or not, as the submission that each of `confirmed` (key, digest) means says; the last one holds."""
    if not confirmed:
        return
    found = await connection.fetch(
        _meant(counted.table), counted.topic.name, [key for key, _ in confirmed], [digest for _, digest in confirmed]
    )
    shown = [row for row in found if row["public_name"]]
    if hidden := [row["key"] for row in found if not row["public_name"]]:
        await connection.execute(_HIDE, hidden)
    if shown:
        columns = ("key", "subject", "partition", "offset", "accepted_ms")
        await connection.execute(_SHOW, counted.topic.name, *([row[name] for row in shown] for name in columns))


def _erase_first(table: str) -> str:
    return f"""
DELETE FROM submissions USING {table} AS held
WHERE held.key = $2 AND submissions.topic = $1 AND submissions.partition = held.partition
    AND submissions."offset" = held.first_offset
"""  # noqa: S608  a table of ours


_ERASE_FURTHER: Final = "DELETE FROM submissions WHERE further AND topic = $1 AND key = $2"


async def erase(connection: asyncpg.Connection, counted: CountedTopic, key: bytes) -> None:
    """Erase what is kept of `key`: its sealed data and its shown name go, the key and its count stay.

    What the same person sends later is kept like new. The caller's transaction.
    """
    await connection.execute(_erase_first(counted.table), counted.topic.name, key)
    await connection.execute(_ERASE_FURTHER, counted.topic.name, key)
    await connection.execute(f"UPDATE {counted.table} SET digest = 0 WHERE key = $1", key)  # noqa: S608
    if counted.names:
        await connection.execute(_HIDE, [key])
