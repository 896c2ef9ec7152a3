"""Mails: planned in one transaction, leased to a sender, ended when the SMTP server has answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, Literal, NamedTuple

import asyncpg

from services.notifications.domain.plan import Place
from services.notifications.storage.deliveries import CONFIRMATION
from shared.events.words import Kind

Ending = Literal["sent", "bounced", "failed", "dropped"]
_LEFT: Final[dict[Ending, str]] = {"bounced": "bounced", "failed": "failed", "dropped": "suppressed"}
"""What becomes of a delivery whose only mail ended so."""


class NewMail(NamedTuple):
    """A mail to `recipient`, at the spelling `address`, that covers the deliveries at `places`."""

    id: bytes
    recipient: bytes
    address: bytes | None
    places: Sequence[Place]


_INSERT = """
INSERT INTO mails (id, template, recipient, address, planned_at, due_at)
SELECT id, $4, recipient, address, $5, $5
FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS mail (id, recipient, address)
"""
_COVER = """
INSERT INTO mail_deliveries (mail, topic, partition, "offset")
SELECT * FROM unnest($1::bytea[], $2::text[], $3::integer[], $4::bigint[])
"""
# One row at a time, by its key: joined with many, all that wait would be read where the server knows nothing of the
# table yet.
_MARK = """
UPDATE deliveries SET state = 'mailed', mails = mails + 1
WHERE template = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 AND state IN ('pending', 'mailed')
"""


async def insert(connection: asyncpg.Connection, mails: Sequence[NewMail], now: datetime) -> None:
    """Insert `mails`, due at once, and mark what they cover as mailed."""
    if not mails:
        return
    named = [mail[:3] for mail in mails]
    await connection.execute(_INSERT, *map(list, zip(*named, strict=True)), CONFIRMATION, now)
    covers = [(mail.id, *place) for mail in mails for place in mail.places]
    await connection.execute(_COVER, *map(list, zip(*covers, strict=True)))
    await connection.executemany(_MARK, [(CONFIRMATION, *place) for _, *place in covers])


class Covered(NamedTuple):
    """A delivery that a mail covers and that still waits for its confirmation."""

    place: Place
    campaign: str
    case: str
    subject: str
    kind: Kind
    key: bytes
    digest: bytes
    other_data: bool
    accepted_at: datetime
    locale: str
    sealed: bytes
    seal_key: int


class Leased(NamedTuple):
    """A mail in the hands of one sender until `lease_until`. `attempts` includes the coming one."""

    id: bytes
    recipient: bytes
    planned_at: datetime
    attempts: int
    suppressed: bool
    lease_until: datetime
    covers: tuple[Covered, ...]


# LATERAL with a LIMIT keeps to the indexes however little the server knows about the tables.
_LEASE = """
WITH due AS (
    SELECT id FROM mails WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE mails SET due_at = $2, attempts = attempts + 1 FROM due WHERE mails.id = due.id
    RETURNING mails.id, recipient, address, planned_at, attempts
)
SELECT leased.id, leased.recipient, planned_at, attempts,
    EXISTS (SELECT FROM suppressions WHERE suppressions.recipient = leased.recipient)
        OR EXISTS (SELECT FROM gone_addresses WHERE gone_addresses.address = leased.address) AS suppressed,
    waiting.*
FROM leased
LEFT JOIN LATERAL (SELECT * FROM mail_deliveries WHERE mail = leased.id LIMIT 1000) AS covered ON true
LEFT JOIN LATERAL (
    SELECT topic, partition, "offset", campaign, "case", subject, kind, key, digest, other_data, accepted_at, locale,
        sealed, seal_key
    FROM deliveries
    WHERE template = $4 AND topic = covered.topic AND partition = covered.partition AND "offset" = covered."offset"
        AND state IN ('pending', 'mailed') AND sealed IS NOT NULL
    LIMIT 1
) AS waiting ON true
ORDER BY planned_at, leased.id
"""
_MAIL_COLUMNS = 5


async def lease(connection: asyncpg.Connection, now: datetime, until: datetime, limit: int) -> list[Leased]:
    """Take up to `limit` due mails until `until`. What was confirmed or withdrawn meanwhile is no longer among their
    covers.
    """
    rows = await connection.fetch(_LEASE, now, until, limit, CONFIRMATION)
    mails = []
    for _, group in groupby(rows, key=itemgetter(0)):
        same = [tuple(row) for row in group]
        mail_id, recipient, planned_at, attempts, suppressed = same[0][:_MAIL_COLUMNS]
        covers = tuple(_covered(row[_MAIL_COLUMNS:]) for row in same if row[_MAIL_COLUMNS] is not None)
        mails.append(Leased(mail_id, recipient, planned_at, attempts, suppressed, until, covers))
    return mails


def _covered(columns: tuple[object, ...]) -> Covered:
    topic, partition, offset, *rest = columns
    return Covered(Place(topic, partition, offset), *rest)  # type: ignore[arg-type]  # columns of the query above


class Ended(NamedTuple):
    """How a mail ended; `answer` is the SMTP code, 0 if there was none."""

    id: bytes
    ending: Ending
    answer: int


_END = """
UPDATE mails SET state = ended.ending, answer = ended.answer, due_at = NULL, ended_at = $4
FROM unnest($1::bytea[], $2::text[], $3::integer[]) AS ended (id, ending, answer)
WHERE mails.id = ended.id AND mails.state = 'open'
RETURNING mails.id
"""
_BROUGHT_BY = """
SELECT topic, partition, "offset", count(*) AS mails, max(ending) AS ending
FROM unnest($1::bytea[], $2::text[]) AS ended (id, ending)
CROSS JOIN LATERAL (SELECT * FROM mail_deliveries WHERE mail = ended.id LIMIT 1000) AS covered
GROUP BY topic, partition, "offset"
"""
# What another mail has brought, or will, still waits for its button to be pressed.
_LEAVE = """
UPDATE deliveries SET
    mails = mails - $5,
    state = CASE WHEN mails > $5 THEN state ELSE $6 END,
    sealed = CASE WHEN mails > $5 THEN sealed END,
    network = CASE WHEN mails > $5 THEN network END,
    left_at = CASE WHEN mails > $5 THEN left_at ELSE $7 END
WHERE template = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 AND state = 'mailed'
"""


async def end(connection: asyncpg.Connection, endings: Sequence[Ended], now: datetime) -> set[bytes]:
    """End mails, and the deliveries that no other mail has brought.

    Returns the ids of those that were open until now.
    """
    if not endings:
        return set()
    ended = {row[0] for row in await connection.fetch(_END, *map(list, zip(*endings, strict=True)), now)}
    left = [(one.id, _LEFT[one.ending]) for one in endings if one.id in ended and one.ending != "sent"]
    if left:
        brought = await connection.fetch(_BROUGHT_BY, *map(list, zip(*left, strict=True)))
        await connection.executemany(_LEAVE, [(CONFIRMATION, *row, now) for row in brought])
    return ended


_RETRY = """
UPDATE mails SET due_at = again.at, attempts = attempts - again.uncounted::integer, answer = again.answer
FROM unnest($1::bytea[], $2::timestamptz[], $3::boolean[], $4::integer[]) AS again (id, at, uncounted, answer)
WHERE mails.id = again.id AND mails.state = 'open'
"""


class Again(NamedTuple):
    """A mail to try again `at` a later time; `uncounted` if it was given back unsent. `answer` is the SMTP code, 0 if
    none.
    """

    id: bytes
    at: datetime
    uncounted: bool
    answer: int


async def retry(connection: asyncpg.Connection, mails: Sequence[Again]) -> None:
    """Note when to try mails again."""
    if mails:
        await connection.execute(_RETRY, *map(list, zip(*mails, strict=True)))
