"""Mails: planned in one transaction, leased to a sender, ended when the SMTP server has answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Literal, NamedTuple

import asyncpg

from shared.events.values import Kind
from shared.kafka.record_ref import RecordRef

FinalState = Literal["sent", "bounced", "failed", "dropped"]
DeliveryState = Literal["sent", "bounced", "failed", "suppressed"]


class NewMail(NamedTuple):
    """A mail to `recipient`, at the spelling `address`, that covers the deliveries of `mailing` that `records` made."""

    id: bytes
    mailing: str
    recipient: bytes
    address: bytes
    records: Sequence[RecordRef]


_INSERT = """
INSERT INTO mails (id, mailing, recipient, address, planned_at, due_at)
SELECT mail.*, $5, $5
FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::bytea[]) AS mail (id, mailing, recipient, address)
"""
_COVER = """
INSERT INTO mail_deliveries (mail, topic, partition, "offset")
SELECT * FROM unnest($1::bytea[], $2::text[], $3::integer[], $4::bigint[])
"""
# One row at a time, by its key: a join would read all waiting rows where the server has no statistics of the table yet.
_MARK_MAILED = """
UPDATE deliveries SET state = 'mailed', mails = mails + 1
WHERE mailing = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 AND state IN ('pending', 'mailed')
"""


async def insert(connection: asyncpg.Connection, mails: Sequence[NewMail], now: datetime) -> None:
    """Insert `mails`, due at once, and mark what they cover as mailed."""
    if not mails:
        return
    rows = [mail[:4] for mail in mails]
    await connection.execute(_INSERT, *map(list, zip(*rows, strict=True)), now)
    covered = [(mail.id, *record) for mail in mails for record in mail.records]
    await connection.execute(_COVER, *map(list, zip(*covered, strict=True)))
    await connection.executemany(_MARK_MAILED, [(mail.mailing, *record) for mail in mails for record in mail.records])


class CoveredDelivery(NamedTuple):
    """A delivery that a mail covers, unless it was confirmed or withdrawn meanwhile. `record` made it."""

    record: RecordRef
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


class LeasedMail(NamedTuple):
    """A mail that one sender leases until `lease_until`.

    `attempts` counts tries, the coming one included; a lease that expires untried adds none.
    """

    id: bytes
    mailing: str
    recipient: bytes
    planned_at: datetime
    attempts: int
    suppressed: bool
    lease_until: datetime
    deliveries: tuple[CoveredDelivery, ...]


# LATERAL with a LIMIT uses the indexes even where the server has no statistics of the tables.
_LEASE = """
WITH due AS (
    SELECT id FROM mails WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE mails SET due_at = $2 FROM due WHERE mails.id = due.id
    RETURNING mails.id, mailing, recipient, address, planned_at, attempts + 1 AS attempts
)
SELECT leased.id, leased.mailing, leased.recipient, planned_at, attempts,
    EXISTS (SELECT FROM suppressions WHERE suppressions.recipient = leased.recipient)
        OR EXISTS (SELECT FROM gone_addresses WHERE gone_addresses.address = leased.address) AS suppressed,
    waiting.*
FROM leased
LEFT JOIN LATERAL (SELECT * FROM mail_deliveries WHERE mail = leased.id LIMIT 1000) AS covered ON true
LEFT JOIN LATERAL (
    SELECT topic, partition, "offset", campaign, "case", subject, kind, key, digest, other_data, accepted_at, locale,
        sealed, seal_key
    FROM deliveries
    WHERE mailing = leased.mailing AND topic = covered.topic AND partition = covered.partition
        AND "offset" = covered."offset" AND state IN ('pending', 'mailed') AND sealed IS NOT NULL
    LIMIT 1
) AS waiting ON true
ORDER BY planned_at, leased.id
"""
_MAIL_COLUMNS = 6


async def lease(connection: asyncpg.Connection, now: datetime, until: datetime, limit: int) -> list[LeasedMail]:
    """Lease up to `limit` due mails until `until`, without the deliveries that have been confirmed or withdrawn."""
    rows = await connection.fetch(_LEASE, now, until, limit)
    mails = []
    for _, group in groupby(rows, key=itemgetter(0)):
        mail_rows = [tuple(row) for row in group]
        mail_id, mailing, recipient, planned_at, attempts, suppressed = mail_rows[0][:_MAIL_COLUMNS]
        covered = [row[_MAIL_COLUMNS:] for row in mail_rows if row[_MAIL_COLUMNS] is not None]
        deliveries = tuple(CoveredDelivery(RecordRef(*columns[:3]), *columns[3:]) for columns in covered)
        mails.append(LeasedMail(mail_id, mailing, recipient, planned_at, attempts, suppressed, until, deliveries))
    return mails


class FinalOutcome(NamedTuple):
    """The final state of a mail; `answer` is the SMTP code, 0 if there was none. `tried` counts it as an attempt.

    Its deliveries that no other mail covers end in `deliveries`, or go on waiting where that is None.
    """

    id: bytes
    state: FinalState
    answer: int
    tried: bool
    deliveries: DeliveryState | None


_END = """
UPDATE mails SET state = ended.state, answer = ended.answer, attempts = attempts + ended.tried::integer, due_at = NULL,
    ended_at = $5
FROM unnest($1::bytea[], $2::text[], $3::integer[], $4::boolean[]) AS ended (id, state, answer, tried)
WHERE mails.id = ended.id AND mails.state = 'open'
RETURNING mails.id, mailing
"""
_COVERED_BY = """
SELECT mailing, topic, partition, "offset", count(*) AS mails, max(state) AS state
FROM unnest($1::bytea[], $2::text[], $3::text[]) AS ended (id, mailing, state)
CROSS JOIN LATERAL (SELECT * FROM mail_deliveries WHERE mail = ended.id LIMIT 1000) AS covered
GROUP BY mailing, topic, partition, "offset"
"""
# A delivery that another mail also covers still waits for its confirmation.
_END_DELIVERIES = """
UPDATE deliveries SET
    mails = mails - $5,
    state = CASE WHEN mails > $5 THEN state ELSE $6 END,
    sealed = CASE WHEN mails > $5 THEN sealed END,
    network = CASE WHEN mails > $5 THEN network END,
    left_at = CASE WHEN mails > $5 OR $6 = 'sent' THEN left_at ELSE $7 END
WHERE mailing = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 AND state = 'mailed'
"""


async def end(connection: asyncpg.Connection, outcomes: Sequence[FinalOutcome], now: datetime) -> set[bytes]:
    """End mails, and the deliveries that no other mail covers.

    Return the ids of the mails that were open until now.
    """
    if not outcomes:
        return set()
    columns = list(map(list, zip(*outcomes, strict=True)))
    mailings = {row[0]: row[1] for row in await connection.fetch(_END, *columns[:4], now)}
    ending = [
        (outcome.id, mailings[outcome.id], outcome.deliveries)
        for outcome in outcomes
        if outcome.id in mailings and outcome.deliveries is not None
    ]
    if ending:
        covered = await connection.fetch(_COVERED_BY, *map(list, zip(*ending, strict=True)))
        await connection.executemany(_END_DELIVERIES, [(*row, now) for row in covered])
    return set(mailings)


_RETRY = """
UPDATE mails SET due_at = retry.due_at, attempts = attempts + retry.tried::integer, answer = retry.answer
FROM unnest($1::bytea[], $2::timestamptz[], $3::integer[], $4::boolean[]) AS retry (id, due_at, answer, tried)
WHERE mails.id = retry.id AND mails.state = 'open'
"""


class Retry(NamedTuple):
    """A mail to try again at `due_at`; `answer` and `tried` as in `FinalOutcome`."""

    id: bytes
    due_at: datetime
    answer: int
    tried: bool


async def schedule_retries(connection: asyncpg.Connection, retries: Sequence[Retry]) -> None:
    """Store when to try mails again."""
    if retries:
        await connection.execute(_RETRY, *map(list, zip(*retries, strict=True)))
