"""Quotas: how many actions may be opened under one key in one period; further submissions are held."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

import asyncpg

from shared.counting.event_decoder import SubmissionRecord

QuotaCounter = tuple[bytes, int]
"""A key and the period in which actions are counted under it."""


class QuotaClaim(NamedTuple):
    """The counter that a submission falls under, and how many actions it may reach."""

    counter: QuotaCounter
    limit: int


class Quota(Protocol):
    """A service's quota. Its counters are read and written in the counting transaction."""

    def claim(self, submission: SubmissionRecord, accepted_ms: int) -> QuotaClaim | None:
        """The claim of `submission`, or None where no quota applies."""

    def period(self, accepted_ms: int) -> int:
        """The period of a time of acceptance (milliseconds since 1970)."""

    async def load(self, connection: asyncpg.Connection, counters: Collection[QuotaCounter]) -> dict[QuotaCounter, int]:
        """How many actions were opened under each of `counters`; a counter without any may be left out."""

    async def write(self, connection: asyncpg.Connection, counts: Mapping[QuotaCounter, int]) -> None:
        """Store how many actions were opened."""
