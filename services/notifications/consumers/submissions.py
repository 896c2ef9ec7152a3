"""Turns submissions into deliveries, and ends those that were confirmed or withdrawn."""

from __future__ import annotations

import asyncpg

from services.notifications.consumers.submission_decoder import Read, skip
from services.notifications.domain.submissions import Submitted, decide
from services.notifications.storage import deliveries
from shared.clock import Clock, utc
from shared.kafka.records import PartitionBatch
from shared.metrics import MAIL_DELIVERIES


class Submissions:
    """The handler of the loop that reads intake topics."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def handle(self, connection: asyncpg.Connection, read: Read) -> None:
        """Write what a batch means, in the caller's transaction. The same batch again changes nothing."""
        submitted = [event for event in read.events if isinstance(event, Submitted)]
        made = await deliveries.made(connection, submitted) if submitted else []
        rows = [
            read.candidates[one.key, one.offset]._replace(other_data=other_data)
            for one, other_data in decide(made, read.events)
        ]
        await deliveries.insert(connection, rows, utc(self._clock.now()))
        await deliveries.confirm(connection, read.confirmed)
        await deliveries.withdraw(connection, read.withdrawn)
        MAIL_DELIVERIES.labels(outcome="made").inc(len(rows))
        MAIL_DELIVERIES.labels(outcome="repeat").inc(len(submitted) - len(rows))

    async def set_aside(self, _connection: asyncpg.Connection, batch: PartitionBatch) -> None:
        """Pass a record over on which processes died."""
        skip(batch, batch.records[0], "poison")
