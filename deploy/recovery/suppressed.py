"""A restored database of notifications: who has to be left alone since the backup, as the topic of deliveries says."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import msgspec

from deploy.local.endpoints import Endpoints
from services.notifications.storage import recipients
from shared import topics
from shared.clock import SystemClock, utc
from shared.counting.event_decoder import keyed_hash
from shared.errors import PermanentError
from shared.events import cloudevents
from shared.events.notifications import DeliveryBounced
from shared.kafka.records import Record
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, note

CONNECT_S: Final = 10.0

_bounced = msgspec.json.Decoder(DeliveryBounced).decode


@dataclass(slots=True)
class Found:
    """Whom to leave alone, by keyed hashes: `recipients` who want no mail, and by recipient the `addresses` without a
    mailbox.
    """

    recipients: set[bytes] = field(default_factory=set)
    addresses: dict[bytes, set[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.recipients) + sum(map(len, self.addresses.values()))

    def gone(self) -> dict[bytes, bytes]:
        """The recipient of each address."""
        return {address: recipient for recipient, some in self.addresses.items() for address in some}


async def examine(at: Endpoints) -> Found:
    """Whom the topic says to leave alone and the database does not. Changes nothing."""
    found = Found()
    async with open_scan(at["kafka"], topics.DELIVERIES.name) as scan:
        for partition in scan.ranges:
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        _take(found, record)
    connection = await asyncpg.connect(at["databases"]["notifications"], timeout=CONNECT_S)
    try:
        found.recipients -= await recipients.suppressed(connection, list(found.recipients))
        known = await recipients.gone(connection, list(found.gone()))
    finally:
        await connection.close(timeout=CONNECT_S)
    found.addresses = {recipient: some - known for recipient, some in found.addresses.items()}
    return found


def _take(found: Found, record: Record) -> None:
    try:
        name = cloudevents.event_type(record.headers).name
        recipient, value = record.key or b"", record.value or b""
        if name == "delivery-unsubscribed":
            found.recipients.add(recipient)
        elif name == "delivery-resubscribed":
            found.recipients.discard(recipient)
            found.addresses.pop(recipient, None)
        elif name == "delivery-bounced" and (address := _bounced(value).address) is not None:
            found.addresses.setdefault(recipient, set()).add(keyed_hash(address))
    except (PermanentError, *cloudevents.UNREADABLE):
        return


async def mend(at: Endpoints, found: Found, reason: str) -> None:
    """Leave those in `found` alone."""
    now = SystemClock().now()
    connection = await asyncpg.connect(at["databases"]["notifications"], timeout=CONNECT_S)
    try:
        async with connection.transaction():
            await recipients.suppress(connection, list(found.recipients), "unsubscribed", utc(now))
            await recipients.found_gone(connection, found.gone(), utc(now))
            done = f"{len(found.recipients)} recipients and {len(found.gone())} addresses are left alone again"
            await note(connection, Recovery("database", "notifications", "restored from a backup", done, reason), now)
    finally:
        await connection.close(timeout=CONNECT_S)
