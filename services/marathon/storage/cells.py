"""The totals as exact sums: cells, minutes and corrections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import asyncpg

from services.marathon.domain.cells import Changes
from services.marathon.domain.disclosure import NO_SECTION, Exact
from services.marathon.domain.document import MinuteChange, RecordedCorrection
from services.marathon.domain.history import StepChange

_LOCK_APPLYING = "SELECT pg_advisory_xact_lock_shared(hashtext('marathon freeze'))"
_FROZEN = "SELECT campaign FROM freezes WHERE frozen_at IS NOT NULL AND campaign = ANY($1)"


async def frozen_of(connection: asyncpg.Connection, campaigns: Collection[str]) -> set[str]:
    """Which of `campaigns` are frozen; none becomes so until the transaction ends."""
    await connection.execute(_LOCK_APPLYING)
    return {row["campaign"] for row in await connection.fetch(_FROZEN, list(campaigns))}


_ADD_CELLS = """
INSERT INTO cells (campaign, "case", section, kind, channel, country, language, evidence, count, withdrawn)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::bigint[], $10::bigint[])
ON CONFLICT (campaign, "case", section, kind, channel, country, language, evidence) DO UPDATE
SET count = cells.count + excluded.count, withdrawn = cells.withdrawn + excluded.withdrawn
"""
_ADD_MINUTES = """
INSERT INTO minutes (campaign, minute, "case", evidence, change)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (campaign, minute, "case", evidence) DO UPDATE SET change = minutes.change + excluded.change
"""
_ADD_CORRECTIONS = """
INSERT INTO corrections (campaign, day, reason, evidence, after_freeze, change, minute)
SELECT * FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::integer[])
ON CONFLICT (campaign, day, reason, evidence, after_freeze) DO UPDATE
SET change = corrections.change + excluded.change, minute = greatest(corrections.minute, excluded.minute)
"""
_MARK = """
INSERT INTO marks (campaign, mark) SELECT unnest($1::text[]), 1
ON CONFLICT (campaign) DO UPDATE SET mark = marks.mark + 1
"""


async def add(connection: asyncpg.Connection, changes: Changes) -> None:
    """Add `changes` to the stored sums, row by row in one order, so that two writers cannot deadlock."""
    cells = sorted(changes.cells.items(), key=lambda item: item[0]._replace(section=item[0].section or ""))
    minutes = sorted(changes.minutes.items())
    await connection.execute(
        _ADD_CELLS,
        *(_columns([cell for cell, _ in cells], 8)),
        [change.count for _, change in cells],
        [change.withdrawn for _, change in cells],
    )
    await connection.execute(
        _ADD_MINUTES, *_columns([minute for minute, _ in minutes], 4), [change for _, change in minutes]
    )
    await add_corrections(connection, changes)
    await connection.execute(_MARK, sorted(changes.campaigns))


async def add_corrections(connection: asyncpg.Connection, changes: Changes) -> None:
    """Put the corrections of `changes` on record."""
    corrections = sorted(changes.corrections.items(), key=lambda item: item[0])
    if corrections:
        await connection.execute(
            _ADD_CORRECTIONS,
            *(_columns([key for key, _ in corrections], 5)),
            [entry.change for _, entry in corrections],
            [entry.minute for _, entry in corrections],
        )


_END_COURSE = """
WITH final AS (
    SELECT place, next FROM unnest($2::text[], $3::text[]) AS published (place, head)
    LEFT JOIN ledger ON source || '/' || partition = place AND hash = decode(head, 'hex')
), later AS (
    SELECT delta.minute, delta."case", delta.evidence, sum(delta.change) AS change
    FROM ledger LEFT JOIN final ON source || '/' || partition = place
    CROSS JOIN unnest(ledger."values") AS part
    CROSS JOIN jsonb_to_recordset(convert_from(part, 'UTF8')::jsonb -> 'deltas')
        AS delta (campaign text, minute integer, "case" text, evidence text, change bigint)
    WHERE delta.campaign = $1 AND (place IS NULL OR ledger.next > final.next)
    GROUP BY 1, 2, 3
)
UPDATE minutes SET change = minutes.change - later.change
FROM later WHERE campaign = $1 AND (minutes.minute, minutes."case", minutes.evidence)
    = (later.minute, later."case", later.evidence)
"""


async def end_course(connection: asyncpg.Connection, campaign: str, heads: Mapping[str, str]) -> None:
    """Take out of the course of `campaign` what the ledger has behind `heads`, the hash of a row by source partition.

    A place that is not in `heads` had nothing yet. Where a head is no row, its place stays in the course as it is.
    """
    await connection.execute(_END_COURSE, campaign, list(heads), list(heads.values()))


_FORGET_CORRECTIONS = "DELETE FROM corrections WHERE campaign = $1 AND ($2::text IS NULL OR reason = $2)"


async def replace_corrections(
    connection: asyncpg.Connection, campaign: str, changes: Changes, reason: str | None = None
) -> None:
    """Put the corrections of `changes` on record in place of all others of `campaign`, or of those with `reason`."""
    await connection.execute(_FORGET_CORRECTIONS, campaign, reason)
    await add_corrections(connection, changes)


def _columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    return [[row[column] for row in rows] for column in range(width)]


_MARKS = "SELECT campaign, mark FROM marks"


async def marks(connection: asyncpg.Connection) -> dict[str, int]:
    """A number for each campaign that rises with every change of its totals."""
    return {row["campaign"]: row["mark"] for row in await connection.fetch(_MARKS)}


_SUMS = """
SELECT "case", country, kind, channel, language, section, evidence, sum(count) AS count, sum(withdrawn) AS withdrawn
FROM (SELECT "case", country, kind, channel, language, coalesce(section, $2) AS section, evidence, count, withdrawn
    FROM cells WHERE campaign = $1) AS named
GROUP BY GROUPING SETS ((evidence, "case"), (evidence, country), (evidence, kind), (evidence, channel),
    (evidence, language), (evidence, section))
HAVING sum(count) <> 0 OR sum(withdrawn) <> 0
"""
_DIMENSIONS = ("case", "country", "kind", "channel", "language", "section")


async def exact(connection: asyncpg.Connection, campaign: str, public: Collection[str]) -> Exact:
    """The true totals of `campaign`; the maps but `by_evidence` hold the evidence in `public`."""
    maps: dict[str, defaultdict[str, int]] = {name: defaultdict(int) for name in _DIMENSIONS}
    by_evidence: defaultdict[str, int] = defaultdict(int)
    by_case_and_evidence: dict[tuple[str, str], int] = {}
    withdrawn = withdrawn_public = 0
    for row in await connection.fetch(_SUMS, campaign, NO_SECTION):
        name = next(name for name in _DIMENSIONS if row[name] is not None)
        count = int(row["count"])
        if name == "case":
            by_evidence[row["evidence"]] += count
            withdrawn += int(row["withdrawn"])
            if row["evidence"] in public:
                by_case_and_evidence[row["case"], row["evidence"]] = count
                withdrawn_public += int(row["withdrawn"])
        if row["evidence"] in public and count:
            maps[name][row[name]] += count
    return Exact(
        by_evidence=by_evidence,
        by_case=maps["case"],
        by_country=maps["country"],
        by_kind=maps["kind"],
        by_channel=maps["channel"],
        by_language=maps["language"],
        by_section=maps["section"],
        withdrawn=withdrawn,
        by_case_and_evidence=by_case_and_evidence,
        withdrawn_public=withdrawn_public,
    )


_CORRECTIONS = """
SELECT reason, evidence, after_freeze, change, minute FROM corrections WHERE campaign = $1 ORDER BY day, reason,
evidence
"""


async def corrections(connection: asyncpg.Connection, campaign: str) -> list[RecordedCorrection]:
    """The public record of a campaign, oldest day first."""
    return [RecordedCorrection(*row) for row in await connection.fetch(_CORRECTIONS, campaign)]


_RECENT = """
SELECT campaign, evidence, minute, sum(change)::bigint AS change FROM minutes
WHERE campaign = ANY($1) AND minute >= $2 GROUP BY campaign, evidence, minute
"""


async def recent_minutes(
    connection: asyncpg.Connection, campaigns: Collection[str], since: int
) -> dict[str, list[MinuteChange]]:
    """What each minute from `since` on changed, by campaign."""
    found: dict[str, list[MinuteChange]] = {}
    for row in await connection.fetch(_RECENT, list(campaigns), since):
        found.setdefault(row["campaign"], []).append(MinuteChange(*row[1:]))
    return found


_COURSE = """
SELECT CASE WHEN minute < $5 THEN -1 ELSE (minute / $2) * $2 END AS begins, evidence, sum(change)::bigint AS change
FROM minutes WHERE campaign = $1 AND evidence = ANY($3) AND ($4::text IS NULL OR "case" = $4)
GROUP BY begins, evidence ORDER BY begins
"""


async def course(
    connection: asyncpg.Connection,
    campaign: str,
    step: int,
    public: Collection[str],
    *,
    case: str | None,
    since: int,
) -> list[StepChange]:
    """What each `step` minutes changed; all that lies before minute `since` is one change at minute -1."""
    rows = await connection.fetch(_COURSE, campaign, step, list(public), case, since)
    return [StepChange(*row) for row in rows]
