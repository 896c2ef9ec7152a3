"""The names that may be shown under a petition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from shared.counting.submission_store import ConfirmedSubmission


class SealedName(NamedTuple):
    """The stored submission of a confirmed signature, with its sealed name."""

    key: bytes
    topic: str
    seal_key: int
    sealed: bytes


# A withdrawn or invalidated signature shows no name; an erased one has no sealed data left.
_SIGNATORIES: Final = """
SELECT signatories.key, signatories.topic, submissions.seal_key, submissions.sealed
FROM signatories
JOIN signatures ON signatures.key = signatories.key
JOIN submissions ON submissions.topic = signatories.topic AND submissions.partition = signatories.partition
    AND submissions."offset" = signatories."offset"
WHERE signatories.subject = $1 AND signatures.state = 'c' AND NOT signatures.invalidated
ORDER BY signatories.accepted_ms, signatories.key
OFFSET $2 LIMIT $3
"""


async def sealed_names(connection: asyncpg.Connection, petition: str, start: int, limit: int) -> list[SealedName]:
    """Return the names under `petition` in the order of signing, from the `start`-th (from 0) on, at most `limit`."""
    rows = await connection.fetch(_SIGNATORIES, petition, start, limit)
    return [SealedName(*row) for row in rows]


_UPSERT: Final = """
INSERT INTO signatories (key, subject, topic, partition, "offset", accepted_ms)
SELECT key, subject, $1, partition, "offset", accepted_ms
FROM unnest($2::bytea[], $3::smallint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::text[])
    AS submission (key, partition, "offset", accepted_ms, public_name, subject)
ON CONFLICT (key) DO UPDATE
SET partition = excluded.partition, "offset" = excluded."offset", accepted_ms = excluded.accepted_ms
"""


async def show_names(connection: asyncpg.Connection, topic: str, submissions: Sequence[ConfirmedSubmission]) -> None:
    """Show the names in `submissions`, which stand on `topic`."""
    if submissions:
        await connection.execute(_UPSERT, topic, *map(list, zip(*submissions, strict=True)))


_DELETE: Final = "DELETE FROM signatories WHERE key = ANY($1::bytea[])"


async def hide_names(connection: asyncpg.Connection, keys: Sequence[bytes]) -> None:
    """Show no name for `keys`."""
    if keys:
        await connection.execute(_DELETE, keys)
