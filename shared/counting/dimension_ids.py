"""Ids of combinations of dimensions: the few that occur are stored in one table, and rows refer to them by id."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import asyncpg

from shared.counting.event_decoder import SubmissionRecord
from shared.database import connected
from shared.events.values import Channel, Kind

MAX_COMBINATIONS: Final = 200_000
"""How many combinations a process may have in memory."""


class Combination(NamedTuple):
    """One combination of dimensions."""

    campaign: str
    case: str
    subject: str
    section: str | None
    kind: Kind
    channel: Channel
    country: str
    language: str


def combination_of(submission: SubmissionRecord) -> Combination:
    """The combination that `submission` counts under."""
    return Combination(
        submission.campaign, submission.case, submission.subject, submission.section,
        submission.kind, submission.channel, submission.country, submission.language,
    )  # fmt: skip


_INSERT = """
INSERT INTO dimensions (campaign, "case", subject, section, kind, channel, country, language)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
ON CONFLICT DO NOTHING
"""
_SELECT_IDS = """
SELECT id, campaign, "case", subject, dimensions.section, kind, channel, country, language FROM dimensions
JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS requested (campaign, "case", subject, section, kind, channel, country, language)
USING (campaign, "case", subject, kind, channel, country, language)
WHERE dimensions.section IS NOT DISTINCT FROM requested.section
"""
_SELECT_BY_ID = """
SELECT id, campaign, "case", subject, section, kind, channel, country, language FROM dimensions
WHERE id = ANY($1::integer[])
"""


IdByCombination = dict[tuple[str | None, ...], int]
"""Its keys are combinations, or plain tuples of their fields."""


class DimensionIds:
    """The combinations of one database and their ids. They are inserted in transactions of their own, never deleted."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.ids: IdByCombination = {}
        self._combinations: dict[int, Combination] = {}

    def clear_if_full(self) -> None:
        """Forget all combinations once there are too many. Call it before `ensure`, then ensure all that are needed."""
        if len(self.ids) > MAX_COMBINATIONS:
            self.ids = {}
            self._combinations = {}

    async def ensure(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""
        # In the same order everywhere: inserts of the same combination wait for each other, and must not deadlock.
        columns = [list(column) for column in zip(*sorted(combinations, key=repr), strict=True)]
        async with connected(self._pool) as connection:
            await connection.execute(_INSERT, *columns)
            self._add_rows(await connection.fetch(_SELECT_IDS, *columns))

    async def combinations(self, connection: asyncpg.Connection, ids: Iterable[int]) -> dict[int, Combination]:
        """The combinations of `ids`."""
        requested = set(ids)
        combinations = {number: self._combinations[number] for number in requested & self._combinations.keys()}
        if missing := requested - combinations.keys():
            combinations |= self._add_rows(await connection.fetch(_SELECT_BY_ID, list(missing)))
        return combinations

    def _add_rows(self, rows: Iterable[asyncpg.Record]) -> dict[int, Combination]:
        combinations = {}
        for number, *columns in rows:
            combinations[number] = combination = Combination(*columns)
            self.ids[combination] = number
        self._combinations |= combinations
        return combinations
