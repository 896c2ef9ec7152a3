"""Turns submissions into deliveries, and ends those that were confirmed or withdrawn."""

from __future__ import annotations

import asyncpg

from services.notifications.consumers.submission_decoder import DecodedBatch, skip_record
from services.notifications.domain.submissions import Submitted, decide
from services.notifications.storage import deliveries
from shared.clock import Clock, utc
from shared.kafka.records import PartitionBatch
from shared.metrics import MAIL_DELIVERIES


class SubmissionHandler:
    """Handles the batches of the loop that reads the topics of the intakes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def handle(self, connection: asyncpg.Connection, decoded: DecodedBatch) -> None:
        """Write the deliveries of a batch in the caller's transaction. The same batch again changes nothing."""
        submitted = [event for event in decoded.events if isinstance(event, Submitted)]
        existing = await deliveries.find_existing(connection, submitted) if submitted else []
        rows = [
            decoded.candidates[submission.key, submission.offset]._replace(other_data=other_data)
            for submission, other_data in decide(existing, decoded.events)
        ]
        await deliveries.insert(connection, rows, utc(self._clock.now()))
        await deliveries.confirm(connection, decoded.confirmed)
        await deliveries.withdraw(connection, decoded.withdrawn)
        MAIL_DELIVERIES.labels(outcome="made").inc(len(rows))
        MAIL_DELIVERIES.labels(outcome="repeat").inc(len(submitted) - len(rows))

    async def skip_poison(self, _connection: asyncpg.Connection, batch: PartitionBatch, _reason: str) -> None:
        """Skip a record of which processes died or errors came."""
        skip_record(batch, batch.records[0], "poison")
