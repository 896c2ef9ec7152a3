"""The totals as exact sums: cells, days, minutes and corrections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import asyncpg

from services.marathon.domain.cells import Cell, CellChange, TotalsUpdate
from services.marathon.domain.disclosure import NO_SECTION, ExactTotals
from services.marathon.domain.document import MinuteChange, RecordedCorrection
from services.marathon.domain.history import StepChange

_LOCK_APPLYING = "SELECT pg_advisory_xact_lock_shared(hashtext('marathon freeze'))"
_FROZEN = "SELECT campaign FROM freezes WHERE frozen_at IS NOT NULL AND campaign = ANY($1)"


async def frozen_campaigns(connection: asyncpg.Connection, campaigns: Collection[str]) -> set[str]:
    """Return which of `campaigns` are frozen; no other is frozen until the transaction ends."""
    await connection.execute(_LOCK_APPLYING)
    return {row["campaign"] for row in await connection.fetch(_FROZEN, list(campaigns))}


_ADD_CELLS = """
INSERT INTO cells (campaign, "case", section, kind, channel, country, language, evidence, count, withdrawn, held)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::bigint[], $10::bigint[], $11::bigint[])
ON CONFLICT (campaign, "case", section, kind, channel, country, language, evidence) DO UPDATE
SET count = cells.count + excluded.count, withdrawn = cells.withdrawn + excluded.withdrawn,
    held = cells.held + excluded.held
"""
_ADD_DAYS = """
INSERT INTO days (campaign, "case", section, kind, channel, country, language, evidence, change, withdrawn, held, day)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::integer[])
ON CONFLICT (campaign, day, "case", section, kind, channel, country, language, evidence) DO UPDATE
SET change = days.change + excluded.change, withdrawn = days.withdrawn + excluded.withdrawn,
    held = days.held + excluded.held
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
_RAISE_REVISION = """
INSERT INTO marks (campaign, mark) SELECT unnest($1::text[]), 1
ON CONFLICT (campaign) DO UPDATE SET mark = marks.mark + 1
"""


async def add(connection: asyncpg.Connection, update: TotalsUpdate) -> None:
    """Add `update` to the stored sums, row by row in a fixed order, so that two writers cannot deadlock."""
    cells = sorted(update.cells.items(), key=lambda item: _order(item[0]))
    days = sorted(update.days.items(), key=lambda item: (item[0].day, _order(item[0].cell)))
    minutes = sorted(update.minutes.items())
    await connection.execute(_ADD_CELLS, *_columns([(*cell, *_numbers(change)) for cell, change in cells], 11))
    await connection.execute(
        _ADD_DAYS, *_columns([(*key.cell, *_numbers(change), key.day) for key, change in days], 12)
    )
    await connection.execute(_ADD_MINUTES, *_columns([(*minute, change) for minute, change in minutes], 5))
    await add_corrections(connection, update)
    await connection.execute(_RAISE_REVISION, sorted(update.campaigns))


def _order(cell: Cell) -> Cell:
    return cell._replace(section=cell.section or "")


def _numbers(change: CellChange) -> tuple[int, int, int]:
    return change.count, change.withdrawn, change.held


async def add_corrections(connection: asyncpg.Connection, update: TotalsUpdate) -> None:
    """Add the corrections of `update` to the record."""
    if update.corrections:
        rows = sorted((*key, entry.change, entry.minute) for key, entry in update.corrections.items())
        await connection.execute(_ADD_CORRECTIONS, *_columns(rows, 7))


# One statement for both tables: the ledger is unpacked once.
_TRUNCATE_HISTORY = """
WITH final AS (
    SELECT source_partition, next FROM unnest($2::text[], $3::text[]) AS published (source_partition, head)
    LEFT JOIN ledger ON source || '/' || partition = source_partition AND hash = decode(head, 'hex')
), later AS MATERIALIZED (
    SELECT delta.* FROM ledger LEFT JOIN final ON source || '/' || partition = source_partition
    CROSS JOIN unnest(ledger."values") AS part
    CROSS JOIN jsonb_to_recordset(convert_from(part, 'UTF8')::jsonb -> 'deltas')
        AS delta (campaign text, minute integer, "case" text, section text, kind text, channel text, country text,
            language text, evidence text, change bigint, withdrawn bigint, held bigint)
    WHERE delta.campaign = $1 AND (source_partition IS NULL OR ledger.next > final.next)
), by_minute AS (
    SELECT minute, "case", evidence, sum(change) AS change FROM later GROUP BY 1, 2, 3
), by_day AS (
    SELECT minute / 1440 AS day, "case", section, kind, channel, country, language, evidence, sum(change) AS change,
        coalesce(sum(withdrawn), 0) AS withdrawn, coalesce(sum(held), 0) AS held
    FROM later GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
), truncated_days AS (
    UPDATE days SET change = days.change - by_day.change, withdrawn = days.withdrawn - by_day.withdrawn,
        held = days.held - by_day.held
    FROM by_day WHERE campaign = $1 AND days.section IS NOT DISTINCT FROM by_day.section
        AND (days.day, days."case", days.kind, days.channel, days.country, days.language, days.evidence)
        = (by_day.day, by_day."case", by_day.kind, by_day.channel, by_day.country, by_day.language, by_day.evidence)
)
UPDATE minutes SET change = minutes.change - by_minute.change
FROM by_minute WHERE campaign = $1 AND (minutes.minute, minutes."case", minutes.evidence)
    = (by_minute.minute, by_minute."case", by_minute.evidence)
"""


async def truncate_history(connection: asyncpg.Connection, campaign: str, heads: Mapping[str, str]) -> None:
    """Remove from the history of `campaign` what the ledger has after `heads`, the hash of a row by source partition.

    A source partition that is not in `heads` had no rows yet. If a head matches no row, the history keeps all of its
    source partition.
    """
    await connection.execute(_TRUNCATE_HISTORY, campaign, list(heads), list(heads.values()))


_DELETE_CORRECTIONS = "DELETE FROM corrections WHERE campaign = $1 AND ($2::text IS NULL OR reason = $2)"


async def replace_corrections(
    connection: asyncpg.Connection, campaign: str, update: TotalsUpdate, reason: str | None = None
) -> None:
    """Replace the recorded corrections of `campaign`, or those with `reason`, by the corrections of `update`."""
    await connection.execute(_DELETE_CORRECTIONS, campaign, reason)
    await add_corrections(connection, update)


def _columns(rows: Sequence[Sequence[object]], width: int) -> list[list[object]]:
    return [[row[column] for row in rows] for column in range(width)]


_REVISIONS = "SELECT campaign, mark FROM marks"


async def revisions(connection: asyncpg.Connection) -> dict[str, int]:
    """Return the revision of each campaign, which rises with every change of its totals."""
    return {row["campaign"]: row["mark"] for row in await connection.fetch(_REVISIONS)}


_SUMS = """
SELECT "case", country, kind, channel, language, section, evidence, sum(count) AS count, sum(withdrawn) AS withdrawn
FROM (SELECT "case", country, kind, channel, language, coalesce(section, $2) AS section, evidence, count, withdrawn
    FROM cells WHERE campaign = $1) AS named
GROUP BY GROUPING SETS ((evidence, "case"), (evidence, country), (evidence, kind), (evidence, channel),
    (evidence, language), (evidence, section))
HAVING sum(count) <> 0 OR sum(withdrawn) <> 0
"""
_DIMENSIONS = ("case", "country", "kind", "channel", "language", "section")


async def exact_totals(connection: asyncpg.Connection, campaign: str, public: Collection[str]) -> ExactTotals:
    """Return the exact totals of `campaign`; all maps except `by_evidence` contain only the evidence in `public`."""
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
    return ExactTotals(
        by_evidence=by_evidence,
        withdrawn=withdrawn,
        by_case_and_evidence=by_case_and_evidence,
        withdrawn_public=withdrawn_public,
        **{f"by_{name}": counts for name, counts in maps.items()},
    )


_CORRECTIONS = """
SELECT reason, evidence, after_freeze, change, minute FROM corrections WHERE campaign = $1 ORDER BY day, reason,
evidence
"""


async def corrections(connection: asyncpg.Connection, campaign: str) -> list[RecordedCorrection]:
    """Return the corrections of a campaign, oldest day first."""
    return [RecordedCorrection(*row) for row in await connection.fetch(_CORRECTIONS, campaign)]


_RECENT_MINUTES = """
SELECT campaign, evidence, minute, sum(change)::bigint AS change FROM minutes
WHERE campaign = ANY($1) AND minute >= $2 GROUP BY campaign, evidence, minute
"""


async def recent_minutes(
    connection: asyncpg.Connection, campaigns: Collection[str], since: int
) -> dict[str, list[MinuteChange]]:
    """Return the changes of each minute from `since` on, by campaign."""
    changes: dict[str, list[MinuteChange]] = {}
    for row in await connection.fetch(_RECENT_MINUTES, list(campaigns), since):
        changes.setdefault(row["campaign"], []).append(MinuteChange(*row[1:]))
    return changes


_STEP_CHANGES = """
SELECT CASE WHEN minute < $5 THEN -1 ELSE (minute / $2) * $2 END AS begins, evidence, sum(change)::bigint AS change
FROM minutes WHERE campaign = $1 AND evidence = ANY($3) AND ($4::text IS NULL OR "case" = $4)
GROUP BY begins, evidence ORDER BY begins
"""


async def step_changes(
    connection: asyncpg.Connection,
    campaign: str,
    step: int,
    public: Collection[str],
    *,
    case: str | None,
    since: int,
) -> list[StepChange]:
    """Return the change of each `step` minutes; everything before minute `since` is one change at minute -1."""
    rows = await connection.fetch(_STEP_CHANGES, campaign, step, list(public), case, since)
    return [StepChange(*row) for row in rows]
