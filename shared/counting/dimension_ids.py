"""Dimensions by number: the few combinations that occur stand in one table, rows hold their id."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

import asyncpg

from shared.counting.event_decoder import SubmissionRecord
from shared.database import connected
from shared.events.words import Channel, Kind

MAX_COMBINATIONS: Final = 200_000
"""As many combinations are remembered at most."""


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


def combination_of(of: SubmissionRecord) -> Combination:
    """The combination that `of` counts under."""
    return Combination(of.campaign, of.case, of.subject, of.section, of.kind, of.channel, of.country, of.language)


_MAKE = """
INSERT INTO dimensions (campaign, "case", subject, section, kind, channel, country, language)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
ON CONFLICT DO NOTHING
"""
_FIND = """
SELECT id, campaign, "case", subject, dimensions.section, kind, channel, country, language FROM dimensions
JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS wanted (campaign, "case", subject, section, kind, channel, country, language)
USING (campaign, "case", subject, kind, channel, country, language)
WHERE dimensions.section IS NOT DISTINCT FROM wanted.section
"""
_BY_ID = """
SELECT id, campaign, "case", subject, section, kind, channel, country, language FROM dimensions
WHERE id = ANY($1::integer[])
"""


Ids = dict[tuple[str | None, ...], int]
"""The ids of combinations."""


class DimensionIds:
    """The combinations of one database, both ways. They are made in transactions of their own and never go."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.ids: Ids = {}
        self._combinations: dict[int, Combination] = {}

    def clear_if_full(self) -> None:
        """Start anew once there are too many to remember. Whoever needs ids asks first, and then for all it needs."""
        if len(self.ids) > MAX_COMBINATIONS:
            self.ids = {}
            self._combinations = {}

    async def ensure(self, combinations: Collection[Combination]) -> None:
        """Make sure that `ids` has all of `combinations`."""
        # In one order everywhere: an insert waits for another of the same combination, and two must not wait mutually.
        columns = [list(column) for column in zip(*sorted(combinations, key=repr), strict=True)]
        async with connected(self._pool) as connection:
            await connection.execute(_MAKE, *columns)
            self._remember(await connection.fetch(_FIND, *columns))

    async def combinations(self, connection: asyncpg.Connection, ids: Iterable[int]) -> dict[int, Combination]:
        """The combinations of `ids`."""
        wanted = set(ids)
        found = {one: self._combinations[one] for one in wanted & self._combinations.keys()}
        if missing := wanted - found.keys():
            found |= self._remember(await connection.fetch(_BY_ID, list(missing)))
        return found

    def _remember(self, rows: Iterable[asyncpg.Record]) -> dict[int, Combination]:
        found = {}
        for row in rows:
            found[row["id"]] = made = Combination(
                row["campaign"], row["case"], row["subject"], row["section"],
                row["kind"], row["channel"], row["country"], row["language"],
            )  # fmt: skip
            self.ids[made] = row["id"]
        self._combinations |= found
        return found
