"""From records to what they mean for the mail. Done before the transaction, so that it holds nothing up."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from services.notifications.domain.recipients import Recipients
from services.notifications.domain.submissions import Submitted, Withdrawn
from services.notifications.storage.deliveries import NewDelivery
from shared.catalog import Catalog
from shared.clock import utc
from shared.errors import PermanentError, TransientError
from shared.events import cloudevents
from shared.events.actions import ActionConfirmed, ActionSubmitted
from shared.kafka.records import PartitionBatch, Record
from shared.logging import log
from shared.metrics import MAIL_SKIPPED
from shared.privacy.keys import CampaignKeys

KEY_BYTES: Final = 16
CATALOG_WAIT_S: Final = 10.0
"""How long a submission waits for its campaign: intake knew it, so it is on its way to us too."""
CATALOG_LOOK_S: Final = 0.1
YIELD_EVERY: Final = 500
UNKNOWN_KEPT: Final = 1_000

_submitted = msgspec.json.Decoder(ActionSubmitted).decode
_confirmed = msgspec.json.Decoder(ActionConfirmed).decode


@dataclass(slots=True)
class Read:
    """What one batch means: `events` decide which of `candidates` (by key and offset) become deliveries."""

    events: list[Submitted | Withdrawn] = field(default_factory=list)
    candidates: dict[tuple[bytes, int], NewDelivery] = field(default_factory=dict)
    confirmed: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    withdrawn: list[tuple[bytes, int]] = field(default_factory=list)


class Reader:
    """Reads batches of `petitions.signatures.v1` and `letters.messages.v1`; opens only what needs a mail."""

    def __init__(self, catalog: Catalog, recipients: Recipients) -> None:
        self._catalog = catalog
        self._recipients = recipients
        self._unknown: set[tuple[str, int]] = set()

    async def read(self, batches: Sequence[PartitionBatch]) -> Read:
        """What `batches` mean. A record that cannot be read is passed over and counted: its owner dead-letters it.

        Raises:
            TransientError: a campaign's keys cannot be opened, so no mail of it could ever be sent.
        """
        read = Read()
        count = 0
        for batch in batches:
            for record in batch.records:
                count += 1
                if count % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                try:
                    await self._take(read, batch, record)
                except PermanentError as error:
                    skip(batch, record, error.reason)
        return read

    async def _take(self, read: Read, batch: PartitionBatch, record: Record) -> None:
        event_type = cloudevents.event_type(record.headers)
        what = event_type.name.rpartition("-")[2]
        if what not in ("submitted", "confirmed", "withdrawn"):
            return
        if event_type.major != 1:
            raise PermanentError("unknown-version")
        if record.key is None or len(record.key) != KEY_BYTES or record.value is None:
            raise PermanentError("unreadable")
        partition, offset = _origin(batch, record)
        try:
            if what == "submitted":
                await self._submission(read, batch.topic, partition, offset, record)
            elif what == "confirmed":
                read.confirmed.append((record.key, _digest(_confirmed(record.value).digest), offset))
            else:
                read.events.append(Withdrawn(record.key, offset))
                read.withdrawn.append((record.key, offset))
        except (msgspec.MsgspecError, UnicodeError, ValueError):
            raise PermanentError("unreadable") from None

    async def _submission(self, read: Read, topic: str, partition: int, offset: int, record: Record) -> None:
        key, value = record.key or b"", record.value or b""
        event = _submitted(value)
        if event.evidence != "recorded":
            return
        keys = await self._keys(event)
        if keys is None:
            return
        person = keys.seal[event.seal_key].open(event.sealed, topic=topic, subject=event.subject, key=key)
        accepted_at = utc(record.timestamp_ms / 1000)
        digest = _digest(event.digest)
        read.candidates[key, offset] = NewDelivery(
            topic=topic,
            partition=partition,
            offset=offset,
            recipient=self._recipients.key(person.email),
            campaign=event.campaign,
            case=_text(event.case),
            subject=_text(event.subject),
            kind=event.kind,
            key=key,
            digest=digest,
            other_data=False,
            accepted_at=accepted_at,
            locale=_text(event.locale),
            sealed=event.sealed,
            seal_key=event.seal_key,
        )
        read.events.append(Submitted(key, digest, offset, accepted_at))

    async def _keys(self, event: ActionSubmitted) -> CampaignKeys | None:
        """The keys of the campaign; None where it asks for no confirmation."""
        if not self._knows(event) and (event.campaign, event.seal_key) not in self._unknown:
            await self._wait_for(event)
        campaign = self._catalog.campaigns.get(event.campaign)
        if campaign is None:
            raise PermanentError("unknown-campaign")
        if campaign.policies.confirmation == "none":
            return None
        keys = self._catalog.keys.get(event.campaign)
        if keys is None:
            raise TransientError(f"the keys of campaign {event.campaign} cannot be opened here")
        if event.seal_key not in keys.seal:
            raise PermanentError("unknown-seal-key")
        return keys

    def _knows(self, event: ActionSubmitted) -> bool:
        keys = self._catalog.keys.get(event.campaign)
        return event.campaign in self._catalog.campaigns and keys is not None and event.seal_key in keys.seal

    async def _wait_for(self, event: ActionSubmitted) -> None:
        for _ in range(int(CATALOG_WAIT_S / CATALOG_LOOK_S)):
            await asyncio.sleep(CATALOG_LOOK_S)
            if self._knows(event):
                return
        if len(self._unknown) < UNKNOWN_KEPT:
            self._unknown.add((event.campaign, event.seal_key))


def skip(batch: PartitionBatch, record: Record, reason: str) -> None:
    """Pass a record over, aloud."""
    MAIL_SKIPPED.labels(topic=batch.topic, reason=reason).inc()
    log.error("no mail for a record", topic=batch.topic, partition=batch.partition, offset=record.offset, reason=reason)


def _origin(batch: PartitionBatch, record: Record) -> tuple[int, int]:
    """Where the record stood first: a redriven one says so, and is the same submission."""
    for name, value in record.headers:
        if name == cloudevents.ORIGIN_HEADER:
            try:
                _topic, partition, offset = value.decode("ascii").rsplit("/", 2)
                return int(partition), int(offset)
            except ValueError:
                raise PermanentError("unreadable") from None
    return batch.partition, record.offset


def _digest(text: str) -> bytes:
    digest = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(digest) != KEY_BYTES:
        raise ValueError("not a digest")
    return digest


def _text(text: str) -> str:
    """`text` as PostgreSQL takes it.

    Raises:
        ValueError: it holds a NUL.
    """
    if "\x00" in text:
        raise ValueError("text with a NUL")
    return text
