"""Restore to a database of notifications the suppressions since its backup, from the topic of deliveries."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec

from deploy.local.connections import connect
from deploy.local.endpoints import Endpoints
from services.notifications.storage import recipients
from shared import topics
from shared.clock import SystemClock, utc
from shared.counting.event_decoder import decode_keyed_hash
from shared.errors import PermanentError
from shared.events import cloudevents
from shared.events.notifications import DeliveryBounced
from shared.kafka.records import Record
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, record_recovery

_bounced = msgspec.json.Decoder(DeliveryBounced).decode


@dataclass(slots=True)
class Suppressions:
    """Suppressions by keyed hashes: `recipients` who want no mail, and their `addresses` without a mailbox."""

    recipients: set[bytes] = field(default_factory=set)
    addresses: dict[bytes, set[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.recipients) + sum(map(len, self.addresses.values()))

    def recipients_by_address(self) -> dict[bytes, bytes]:
        """Return the recipient of each address."""
        return {address: recipient for recipient, addresses in self.addresses.items() for address in addresses}


async def examine(at: Endpoints) -> Suppressions:
    """Find the suppressions that the topic has and the database lacks. Changes nothing."""
    found = Suppressions()
    async with open_scan(at["kafka"], topics.DELIVERIES.name) as scan:
        for partition in scan.ranges:
            async with aclosing(scan.batches(partition)) as batches:
                async for batch in batches:
                    for record in batch.records:
                        _apply(found, record)
    async with connect(at["databases"]["notifications"]) as connection:
        found.recipients -= await recipients.find_suppressed(connection, list(found.recipients))
        known = await recipients.find_gone(connection, list(found.recipients_by_address()))
    found.addresses = {recipient: addresses - known for recipient, addresses in found.addresses.items()}
    return found


def _apply(found: Suppressions, record: Record) -> None:
    try:
        name = cloudevents.parse_event_type(record.headers).name
        recipient, value = record.key or b"", record.value or b""
        if name == "delivery-unsubscribed":
            found.recipients.add(recipient)
        elif name == "delivery-resubscribed":
            found.recipients.discard(recipient)
            found.addresses.pop(recipient, None)
        elif name == "delivery-bounced" and (address := _bounced(value).address) is not None:
            found.addresses.setdefault(recipient, set()).add(decode_keyed_hash(address))
    except (PermanentError, *cloudevents.DECODE_ERRORS):
        return


async def repair(at: Endpoints, found: Suppressions, reason: str) -> None:
    """Store the suppressions in `found`."""
    now = SystemClock().now()
    by_address = found.recipients_by_address()
    async with connect(at["databases"]["notifications"]) as connection, connection.transaction():
        await recipients.suppress(connection, list(found.recipients), utc(now))
        await recipients.mark_gone(connection, by_address, utc(now))
        done = f"{len(found.recipients)} recipients and {len(by_address)} addresses are left alone again"
        recovery = Recovery("database", "notifications", "restored from a backup", done, reason)
        await record_recovery(connection, recovery, now)
