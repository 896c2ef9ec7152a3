"""A restored database of notifications: who has to be left alone since the backup, as the topic of deliveries says."""

from __future__ import annotations

from contextlib import aclosing
from typing import Final

import asyncpg
import msgspec

from deploy.local.endpoints import Endpoints
from services.notifications.storage import recipients
from services.notifications.storage.recipients import Reason
from shared import topics
from shared.clock import SystemClock, utc
from shared.errors import PermanentError
from shared.events import cloudevents
from shared.events.notifications import DeliveryBounced
from shared.kafka.records import Record
from shared.kafka.scanning import scanning
from shared.recoveries import Recovery, note

CONNECT_S: Final = 10.0

_bounced = msgspec.json.Decoder(DeliveryBounced).decode


async def examine(at: Endpoints) -> dict[bytes, Reason]:
    """The recipients, by keyed hash, whom the topic says to leave alone and the database does not. Changes nothing."""
    found: dict[bytes, Reason] = {}
    async with scanning(at["kafka"], topics.DELIVERIES.name) as scan:
        for partition in scan.ranges:
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        _take(found, record)
    connection = await asyncpg.connect(at["databases"]["notifications"], timeout=CONNECT_S)
    try:
        known = await recipients.suppressed(connection, list(found))
    finally:
        await connection.close(timeout=CONNECT_S)
    return {recipient: reason for recipient, reason in found.items() if recipient not in known}


def _take(found: dict[bytes, Reason], record: Record) -> None:
    try:
        name = cloudevents.event_type(record.headers).name
        recipient, value = record.key or b"", record.value or b""
        if name == "delivery-unsubscribed":
            found[recipient] = "unsubscribed"
        elif name == "delivery-resubscribed":
            found.pop(recipient, None)
        elif name == "delivery-bounced" and _bounced(value).mailbox_gone:
            found.setdefault(recipient, "mailbox-gone")
    except (PermanentError, msgspec.MsgspecError):
        return


async def mend(at: Endpoints, found: dict[bytes, Reason], reason: str) -> None:
    """Leave the recipients in `found` alone."""
    now = SystemClock().now()
    connection = await asyncpg.connect(at["databases"]["notifications"], timeout=CONNECT_S)
    try:
        async with connection.transaction():
            for why in set(found.values()):
                some = [recipient for recipient, each in found.items() if each == why]
                await recipients.suppress(connection, some, why, utc(now))
            done = f"{len(found)} recipients are left alone again"
            await note(connection, Recovery("database", "notifications", "restored from a backup", done, reason), now)
    finally:
        await connection.close(timeout=CONNECT_S)
