"""The names that may be shown under a petition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from shared.counting.submission_store import ConfirmedSubmission


class SignedAt(NamedTuple):
    """The place of a signature in the order of signing: the time of its acceptance (milliseconds since 1970), and the
    position of its submission.
    """

    accepted_ms: int
    partition: int
    offset: int


FIRST: Final = SignedAt(0, 0, -1)
"""Before every signature."""


class SealedName(NamedTuple):
    """The stored submission of a confirmed signature, with its sealed name."""

    signed_at: SignedAt
    key: bytes
    topic: str
    seal_key: int
    sealed: bytes


# A withdrawn or invalidated signature shows no name; an erased one has no sealed data left.
_SIGNATORIES: Final = """
SELECT named.accepted_ms, named.partition, named."offset", named.key, named.topic, submissions.seal_key,
    submissions.sealed
FROM signatories AS named
JOIN signatures ON signatures.key = named.key
JOIN submissions ON submissions.topic = named.topic AND submissions.partition = named.partition
    AND submissions."offset" = named."offset"
WHERE named.subject = $1 AND (named.accepted_ms, named.partition, named."offset") > ($2, $3, $4)
    AND signatures.state = 'c' AND NOT signatures.invalidated
ORDER BY named.accepted_ms, named.partition, named."offset"
LIMIT $5
"""


async def sealed_names(connection: asyncpg.Connection, petition: str, after: SignedAt, limit: int) -> list[SealedName]:
    """Return the names under `petition` in the order of signing, those behind `after`, at most `limit`."""
    rows = await connection.fetch(_SIGNATORIES, petition, *after, limit)
    return [SealedName(SignedAt(*row[:3]), *row[3:]) for row in rows]


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
