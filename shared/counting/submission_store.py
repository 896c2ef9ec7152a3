"""The SQL of submissions: further ones of a key, the one that a confirmation is about, and erasure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

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
SELECT DISTINCT ON (confirmed.key) confirmed.key, submission.partition, submission."offset", submission.accepted_ms,
    submission.public_name, dimensions.subject
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


class ConfirmedSubmission(NamedTuple):
    """The submission that a confirmation is about; every field but `key` is None once its data is erased."""

    key: bytes
    partition: int | None
    offset: int | None
    accepted_ms: int | None
    public_name: bool | None
    subject: str | None


async def find_confirmed(
    connection: asyncpg.Connection, table: str, topic: str, confirmed: Sequence[tuple[bytes, bytes]]
) -> list[ConfirmedSubmission]:
    """Find the submissions that `confirmed`, pairs of key and digest, are about. The last pair of a key counts."""
    keys, digests = [key for key, _ in confirmed], [digest for _, digest in confirmed]
    return [ConfirmedSubmission(*row) for row in await connection.fetch(_select_confirmed(table), topic, keys, digests)]


def _delete_first(table: str) -> str:
    return f"""
DELETE FROM submissions USING {table} AS stored
WHERE stored.key = $2 AND submissions.topic = $1 AND submissions.partition = stored.partition
    AND submissions."offset" = stored.first_offset
"""  # noqa: S608  a table of ours


_DELETE_FURTHER: Final = "DELETE FROM submissions WHERE further AND topic = $1 AND key = $2"


async def erase_submissions(connection: asyncpg.Connection, counted: CountedTopic, key: bytes) -> None:
    """Delete the personal data of `key` in the caller's transaction; its row and its count remain.

    Later submissions of the same person are stored like new ones.
    """
    await connection.execute(_delete_first(counted.table), counted.topic.name, key)
    await connection.execute(_DELETE_FURTHER, counted.topic.name, key)
    await connection.execute(f"UPDATE {counted.table} SET digest = 0 WHERE key = $1", key)  # noqa: S608
    for projection in counted.projections:
        await projection.erase(connection, key)
