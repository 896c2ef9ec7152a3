"""Recompute the ledger from its stored bytes: its chains, its sums, and the documents published from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import asyncpg

from deploy.audit.findings import Cell, Partition

# PostgreSQL itself hashes: nothing of marathon's code is used.
_BROKEN = """
SELECT * FROM (SELECT source, partition, first,
    first IS DISTINCT FROM coalesce(lag(next) OVER chain, 0) AS not_next,
    previous_hash IS DISTINCT FROM coalesce(lag(hash) OVER chain, decode(repeat('00', 32), 'hex')) AS not_chained,
    hash IS DISTINCT FROM sha256(convert_to(concat_ws(E'\\n', source || '/' || partition, epoch, first, next,
        (SELECT string_agg(encode(digest, 'hex'), ',' ORDER BY place)
         FROM unnest(digests) WITH ORDINALITY AS parts (digest, place)),
        encode(salt, 'hex'), encode(previous_hash, 'hex'), ''), 'UTF8')) AS not_its_hash,
    digests IS DISTINCT FROM (SELECT array_agg(sha256(part) ORDER BY place)
        FROM unnest("values") WITH ORDINALITY AS parts (part, place)) AS not_its_content
FROM ledger WINDOW chain AS (PARTITION BY source, partition ORDER BY first)) AS rows
WHERE not_next OR not_chained OR not_its_hash OR not_its_content ORDER BY source, partition, first
"""
_ROWS = "SELECT count(*) FROM ledger"
_FAULTS: Final = {
    "not_next": "does not begin where the row before it ends",
    "not_chained": "does not hold the hash of the row before it",
    "not_its_hash": "does not have the hash that it should",
    "not_its_content": "was changed: its digests are not those of its content",
}
_HEADS = """
SELECT sources.source, sources.partition, sources.halted,
    sources.next = last.next AND sources.hash = last.hash AS agrees
FROM sources LEFT JOIN LATERAL (
    SELECT next, hash FROM ledger WHERE (source, partition) = (sources.source, sources.partition)
    ORDER BY first DESC LIMIT 1
) AS last ON true
"""


async def verify_chains(connection: asyncpg.Connection, differences: list[str]) -> int:
    """Check every row against the one before it, its content and the heads; return the number of rows."""
    for row in await connection.fetch(_BROKEN):
        differences += [
            f"ledger of {row['source']}/{row['partition']}: the row from {row['first']} {fault}"
            for name, fault in _FAULTS.items()
            if row[name]
        ]
    for source, partition, halted, agrees in await connection.fetch(_HEADS):
        if halted is not None:
            differences.append(f"ledger of {source}/{partition}: halted ({halted})")
        if agrees is False:
            differences.append(f"ledger of {source}/{partition}: its head is not its last row")
    return int(await connection.fetchval(_ROWS))


_DECLARED = """
SELECT DISTINCT source, partition, first, next, convert_from(part, 'UTF8')::jsonb ->> 'recovered' AS recovered
FROM ledger CROSS JOIN unnest("values") AS part WHERE position('"recovered":"'::bytea IN part) > 0
ORDER BY source, partition, first
"""


async def declared_ranges(connection: asyncpg.Connection) -> list[str]:
    """Describe the ranges of which the ledger has only what a person declared."""
    return [
        f"{row['source']}/{row['partition']}: offsets {row['first']} to {row['next'] - 1} were declared by hand: "
        f"{row['recovered']}"
        for row in await connection.fetch(_DECLARED)
    ]


_EXPAND = """
CREATE TEMPORARY TABLE audited ON COMMIT DROP AS
SELECT ledger.source, ledger.partition, ledger.next, delta.campaign, delta."case", delta.section, delta.kind,
    delta.channel, delta.country, delta.language, delta.evidence, sum(delta.change)::bigint AS change,
    sum(delta.withdrawn)::bigint AS withdrawn, coalesce(sum(delta.held), 0)::bigint AS held, delta.minute / 1440 AS day,
    coalesce(delta.reason, '') AS reason
FROM ledger CROSS JOIN unnest(ledger."values") AS part CROSS JOIN jsonb_to_recordset(
    convert_from(part, 'UTF8')::jsonb -> 'deltas'
) AS delta (campaign text, "case" text, section text, kind text, channel text, country text, language text,
    evidence text, minute integer, change bigint, withdrawn bigint, held bigint, reason text)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, delta.minute / 1440, coalesce(delta.reason, '')
"""
_ANALYZE = "ANALYZE audited"


async def expand_deltas(connection: asyncpg.Connection) -> bool:
    """Unpack all deltas of the ledger into a temporary table for later queries; False if they are no tally batches."""
    try:
        async with connection.transaction():
            await connection.execute(_EXPAND)
    except asyncpg.DataError:
        return False
    await connection.execute(_ANALYZE)
    return True


_COUNT_REASONS = "SELECT count(DISTINCT reason) FROM audited WHERE campaign = $1 AND reason <> ''"


async def count_reasons(connection: asyncpg.Connection, campaign: str) -> int:
    """Return how many words decisions give for the changes of `campaign`."""
    return int(await connection.fetchval(_COUNT_REASONS, campaign))


_ENDS = "SELECT max(next) FROM ledger WHERE source = $1 AND partition = $2"


async def end_offset(connection: asyncpg.Connection, partition: Partition) -> int:
    """Return the offset up to which the ledger covers `partition`."""
    return int(await connection.fetchval(_ENDS, *partition) or 0)


_CELLS_UP_TO = """
SELECT campaign, "case", section, kind, channel, country, language, evidence, sum(change)::bigint AS change
FROM audited WHERE source = $1 AND partition = $2 AND next <= $3
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 HAVING sum(change) <> 0
"""


async def cells_up_to(connection: asyncpg.Connection, partition: Partition, next_: int) -> dict[Cell, int]:
    """Sum the tally batches of `partition` below offset `next_`, cell by cell."""
    return {Cell(*row[:8]): row["change"] for row in await connection.fetch(_CELLS_UP_TO, *partition, next_)}


_UNEQUAL = """
WITH stored AS (
    SELECT campaign, "case", coalesce(section, '') AS section, kind, channel, country, language, evidence,
        count, withdrawn, held
    FROM cells
), summed AS (
    SELECT campaign, "case", coalesce(section, '') AS section, kind, channel, country, language, evidence,
        sum(change) AS count, sum(withdrawn) AS withdrawn, sum(held) AS held
    FROM audited GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT concat_ws(', ', campaign, "case", section, kind, channel, country, language, evidence) AS cell,
    coalesce(stored.count, 0) AS stored, coalesce(summed.count, 0) AS summed
FROM stored FULL JOIN summed USING (campaign, "case", section, kind, channel, country, language, evidence)
WHERE coalesce(stored.count, 0) <> coalesce(summed.count, 0)
    OR coalesce(stored.withdrawn, 0) <> coalesce(summed.withdrawn, 0)
    OR coalesce(stored.held, 0) <> coalesce(summed.held, 0)
"""
# The history of a frozen campaign ends with its final tally.
_HISTORY: Final = """
WITH frozen AS (SELECT campaign, document -> 'ledger' AS heads FROM published WHERE document ->> 'state' = 'frozen'),
ends AS (
    SELECT frozen.campaign, ledger.source, ledger.partition, ledger.next
    FROM frozen CROSS JOIN jsonb_each_text(heads) AS head (place, hash)
    JOIN ledger ON source || '/' || partition = head.place AND ledger.hash = decode(head.hash, 'hex')
), history AS (
    SELECT audited.*, coalesce(frozen.campaign IS NULL OR audited.next <= ends.next, false) AS shown
    FROM audited LEFT JOIN frozen ON frozen.campaign = audited.campaign
    LEFT JOIN ends ON (ends.campaign, ends.source, ends.partition)
        = (audited.campaign, audited.source, audited.partition)
)
"""
_COURSES: Final = f"""{_HISTORY}
SELECT campaign, coalesce(course.count, 0) AS course, coalesce(expected, 0) AS expected,
    coalesce(summed.count, 0) AS summed
FROM (SELECT campaign, sum(change) AS count FROM minutes GROUP BY 1) AS course
FULL JOIN (
    SELECT campaign, sum(change) AS count, coalesce(sum(change) FILTER (WHERE shown), 0) AS expected
    FROM history GROUP BY 1
) AS summed USING (campaign)
"""  # noqa: S608  it begins with SQL of ours
_UNEQUAL_DAYS: Final = f"""{_HISTORY}
SELECT campaign, date '1970-01-01' + day AS day, sum(stored.change) AS stored, sum(summed.change) AS summed
FROM (
    SELECT *, coalesce(section, '') AS section_name FROM days
) AS stored FULL JOIN (
    SELECT campaign, day, "case", coalesce(section, '') AS section_name, kind, channel, country, language, evidence,
        sum(change) AS change, sum(withdrawn) AS withdrawn, sum(held) AS held
    FROM history WHERE shown GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
) AS summed USING (campaign, day, "case", section_name, kind, channel, country, language, evidence)
WHERE (coalesce(stored.change, 0), coalesce(stored.withdrawn, 0), coalesce(stored.held, 0))
    <> (coalesce(summed.change, 0), coalesce(summed.withdrawn, 0), coalesce(summed.held, 0))
GROUP BY 1, 2 ORDER BY 1, 2
"""  # noqa: S608


async def verify_sums(connection: asyncpg.Connection, differences: list[str]) -> dict[str, int]:
    """Compare the stored totals, courses and days with the sum of the ledger; return every campaign's total."""
    for cell, stored, summed in await connection.fetch(_UNEQUAL):
        differences.append(f"totals of {cell}: {stored} are stored, the ledger adds up to {summed}")
    totals = {}
    for campaign, course, expected, summed in await connection.fetch(_COURSES):
        totals[campaign] = int(summed)
        if course != expected:
            differences.append(f"course of {campaign}: {course} are stored, the ledger adds up to {expected}")
    for campaign, day, stored, summed in await connection.fetch(_UNEQUAL_DAYS):
        differences.append(f"days of {campaign}: {day} has cells of {stored or 0}, the ledger of {summed or 0}")
    return totals


_CAMPAIGNS = "SELECT slug, document::text FROM campaigns ORDER BY slug"
_PUBLISHED = "SELECT campaign, document::text FROM published ORDER BY campaign"


async def campaigns(connection: asyncpg.Connection) -> dict[str, Any]:
    """Return every campaign by its slug."""
    return {slug: json.loads(document) for slug, document in await connection.fetch(_CAMPAIGNS)}


async def published(connection: asyncpg.Connection) -> dict[str, Any]:
    """Return the last published document of every campaign."""
    return {slug: json.loads(document) for slug, document in await connection.fetch(_PUBLISHED)}


_HEAD = """
SELECT next FROM ledger WHERE source || '/' || partition = $1 AND hash = decode($2, 'hex')
"""
_SUMS_UP_TO = """
SELECT evidence, "case", country, sum(change)::bigint AS change
FROM audited JOIN unnest($2::text[], $3::bigint[]) AS head (place, next)
    ON audited.source || '/' || audited.partition = head.place AND audited.next <= head.next
WHERE campaign = $1 GROUP BY 1, 2, 3
"""


async def offsets_of_heads(
    connection: asyncpg.Connection, heads: Mapping[str, str], differences: list[str]
) -> dict[str, int]:
    """Return the offsets up to which a document with these `heads` counted.

    Heads that the ledger does not have are added to `differences`.
    """
    ends = {}
    for partition, head in heads.items():
        next_ = await connection.fetchval(_HEAD, partition, head)
        if next_ is None:
            differences.append(f"{partition}: its published head {head[:12]}... is no row of the ledger")
        else:
            ends[partition] = int(next_)
    return ends


async def sums_up_to(
    connection: asyncpg.Connection, campaign: str, ends: Mapping[str, int]
) -> Iterable[Mapping[str, Any]]:
    """Sum `campaign` by evidence, case and country, with each partition counted up to its end."""
    rows = await connection.fetch(_SUMS_UP_TO, campaign, list(ends), list(ends.values()))
    return [dict(row) for row in rows]
