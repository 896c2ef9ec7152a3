"""The names that may be shown under a petition."""

from __future__ import annotations

from typing import Final, NamedTuple

import asyncpg


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
