"""Turns events about acts into consents and deliveries, and ends those that were confirmed or withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import asyncpg

from services.notifications.consumers.submission_decoder import DecodedBatch, skip_record
from services.notifications.domain.consents import standing
from services.notifications.domain.deliveries import decide
from services.notifications.mailing import Mailing
from services.notifications.storage import deliveries, subscriptions
from shared.clock import Clock, utc
from shared.kafka.records import PartitionBatch
from shared.metrics import MAIL_DELIVERIES


class SubmissionHandler:
    """Handles the batches of the loop that reads the topics of the intakes."""

    def __init__(self, mailings: Sequence[Mailing], clock: Clock) -> None:
        self._mailings = mailings
        self._until_confirmed = [mailing.name for mailing in mailings if mailing.gathering.until_confirmed]
        self._clock = clock

    async def handle(self, connection: asyncpg.Connection, decoded: DecodedBatch) -> None:
        """Write the consents and deliveries of a batch in the caller's transaction. The same batch again changes
        nothing.
        """
        await subscriptions.withdraw(connection, decoded.withdrawn)
        await subscriptions.give(connection, standing(decoded.consents, decoded.withdrawn))
        await subscriptions.confirm(connection, decoded.confirmed)
        for mailing in self._mailings:
            await self._make_deliveries(connection, mailing, decoded)
        await deliveries.confirm(connection, self._until_confirmed, decoded.confirmed)
        await deliveries.withdraw(connection, decoded.withdrawn)

    async def _make_deliveries(self, connection: asyncpg.Connection, mailing: Mailing, decoded: DecodedBatch) -> None:
        candidates = decoded.candidates.get(mailing.name, [])
        if mailing.consent is not None:
            candidates = await subscriptions.find_deliveries(connection, decoded.triggers.get(mailing.name, []))
        if not candidates:
            return
        existing = await deliveries.find_existing(connection, mailing.name, candidates)
        rows = decide(existing, sorted((*candidates, *decoded.withdrawn), key=attrgetter("offset")))
        await deliveries.insert(
            connection, mailing.name, mailing.gathering.daily_limit.name, rows, utc(self._clock.now())
        )
        MAIL_DELIVERIES.labels(outcome="made").inc(len(rows))
        MAIL_DELIVERIES.labels(outcome="repeat").inc(len(candidates) - len(rows))

    async def skip_poison(self, _connection: asyncpg.Connection, batch: PartitionBatch, _reason: str) -> None:
        """Skip a record of which processes died or errors came."""
        skip_record(batch, batch.records[0], "poison")
