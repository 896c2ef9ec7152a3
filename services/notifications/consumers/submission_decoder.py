"""From records to what they mean for the mail. Done before the transaction, so that it holds nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.notifications.domain.recipient_keys import RecipientKeys, written_address
from services.notifications.domain.submissions import Submitted, Withdrawn
from services.notifications.storage.deliveries import NewDelivery
from shared.catalog import Catalog
from shared.clock import utc
from shared.counting.event_decoder import EventDecoder, SubmissionRecord, check_shape, keyed_hash
from shared.errors import PermanentError, TransientError
from shared.events.cloudevents import UNREADABLE
from shared.kafka.records import PartitionBatch, Record
from shared.logging import log
from shared.metrics import MAIL_SKIPPED
from shared.privacy.keys import CampaignKeys
from shared.topics import Topic

CATALOG_WAIT_S: Final = 10.0
"""How long a submission waits for its campaign: intake knew it, so it is on its way to us too."""
CATALOG_LOOK_S: Final = 0.1
YIELD_EVERY: Final = 250
UNKNOWN_KEPT: Final = 1_000


@dataclass(slots=True)
class Read:
    """What one batch means: `events` decide which of `candidates` (by key and offset) become deliveries."""

    events: list[Submitted | Withdrawn] = field(default_factory=list)
    candidates: dict[tuple[bytes, int], NewDelivery] = field(default_factory=dict)
    confirmed: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    withdrawn: list[tuple[bytes, int]] = field(default_factory=list)


class Place(NamedTuple):
    """Where and when a submission was accepted first; a redriven record is what it was when it stood there."""

    topic: str
    partition: int
    offset: int
    key: bytes
    accepted_ms: int


class SubmissionDecoder:
    """Reads batches of `topics`, those of signatures and of messages; opens only what needs a mail.

    What it cannot read the counter of that topic cannot read either: it reads with the same eyes, and dead-letters it.
    """

    def __init__(self, catalog: Catalog, recipients: RecipientKeys, topics: Sequence[Topic]) -> None:
        self._catalog = catalog
        self._recipients = recipients
        self._readings = {topic.name: EventDecoder(topic) for topic in topics}
        self._unknown: set[tuple[str, int]] = set()

    async def read(self, batches: Sequence[PartitionBatch]) -> Read:
        """What `batches` mean. A record that cannot be read is passed over and counted.

        Raises:
            TransientError: a campaign's keys cannot be opened, so no mail of it could ever be sent.
        """
        read = Read()
        for batch in batches:
            reading = self._readings[batch.topic]
            for number, record in enumerate(batch.records):
                if number % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                try:
                    await self._take(read, reading, batch, record)
                except PermanentError as error:
                    skip(batch, record, error.reason)
        return read

    async def _take(self, read: Read, reading: EventDecoder, batch: PartitionBatch, record: Record) -> None:
        what, origin = reading.decode_headers(record, batch.partition)
        if what not in ("submitted", "confirmed", "withdrawn"):
            return
        check_shape(record.key, record.value)
        key, value = record.key or b"", record.value or b""
        offset, accepted_ms = origin or (record.offset, record.timestamp_ms)
        if what == "submitted":
            submission = reading.decode_submission(value)
            if submission.state == "r":
                place = Place(batch.topic, batch.partition, offset, key, accepted_ms)
                await self._submission(read, place, submission)
        elif what == "confirmed":
            read.confirmed.append((key, keyed_hash(reading.decode_reference(value).digest), offset))
        else:
            read.events.append(Withdrawn(key, offset))
            read.withdrawn.append((key, offset))

    async def _submission(self, read: Read, place: Place, submission: SubmissionRecord) -> None:
        keys = await self._keys(submission)
        if keys is None:
            return
        accepted_at = utc(place.accepted_ms / 1000)
        digest = keyed_hash(submission.digest)
        recipient, address = self._addressed(keys, place, submission)
        read.candidates[place.key, place.offset] = NewDelivery(
            topic=place.topic,
            partition=place.partition,
            offset=place.offset,
            recipient=recipient,
            address=address,
            campaign=submission.campaign,
            case=submission.case,
            subject=submission.subject,
            kind=submission.kind,
            key=place.key,
            digest=digest,
            other_data=False,
            accepted_at=accepted_at,
            locale=submission.locale,
            sealed=submission.sealed,
            seal_key=submission.seal_key,
            network=submission.network,
        )
        read.events.append(Submitted(place.key, digest, address, place.offset, accepted_at))

    def _addressed(self, keys: CampaignKeys, place: Place, submission: SubmissionRecord) -> tuple[bytes, bytes]:
        """The keys of the mailbox, and of the address as it was typed."""
        sealer = keys.seal[submission.seal_key]
        try:
            person = sealer.open(submission.sealed, topic=place.topic, subject=submission.subject, key=place.key)
            return self._recipients.key(person.email), self._recipients.address(written_address(person.email))
        except (ValueError, *UNREADABLE):
            raise PermanentError("cannot-be-opened") from None

    async def _keys(self, submission: SubmissionRecord) -> CampaignKeys | None:
        """The keys of the campaign; None where it asks for no confirmation."""
        if not self._knows(submission) and (submission.campaign, submission.seal_key) not in self._unknown:
            await self._wait_for(submission)
        campaign = self._catalog.campaigns.get(submission.campaign)
        if campaign is None:
            raise PermanentError("unknown-campaign")
        if campaign.policies.confirmation == "none":
            return None
        keys = self._catalog.keys.get(submission.campaign)
        if keys is None:
            raise TransientError(f"the keys of campaign {submission.campaign} cannot be opened here")
        if submission.seal_key not in keys.seal:
            raise PermanentError("unknown-seal-key")
        return keys

    def _knows(self, submission: SubmissionRecord) -> bool:
        keys = self._catalog.keys.get(submission.campaign)
        return submission.campaign in self._catalog.campaigns and keys is not None and submission.seal_key in keys.seal

    async def _wait_for(self, submission: SubmissionRecord) -> None:
        for _ in range(int(CATALOG_WAIT_S / CATALOG_LOOK_S)):
            await asyncio.sleep(CATALOG_LOOK_S)
            if self._knows(submission):
                return
        if len(self._unknown) < UNKNOWN_KEPT:
            self._unknown.add((submission.campaign, submission.seal_key))


def skip(batch: PartitionBatch, record: Record, reason: str) -> None:
    """Pass a record over, aloud."""
    MAIL_SKIPPED.labels(topic=batch.topic, reason=reason).inc()
    log.error("no mail for a record", topic=batch.topic, partition=batch.partition, offset=record.offset, reason=reason)
