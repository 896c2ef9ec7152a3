"""Decodes records of submissions into deliveries. This happens before the transaction, so that it delays nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from services.notifications.domain.recipient_keys import RecipientKeys, smtp_address
from services.notifications.domain.submissions import Submitted, Withdrawn
from services.notifications.storage.deliveries import NewDelivery
from shared.catalog import Catalog
from shared.clock import utc
from shared.counting.event_decoder import EventDecoder, SubmissionRecord, check_shape, decode_keyed_hash
from shared.errors import PermanentError, TransientError
from shared.events.cloudevents import DECODE_ERRORS
from shared.kafka.records import PartitionBatch, Record
from shared.logging import log
from shared.metrics import MAIL_SKIPPED
from shared.privacy.keys import CampaignKeys
from shared.topics import Topic

CATALOG_TIMEOUT_S: Final = 10.0
"""How long a submission waits for its campaign: the intake knew it, so it is on its way here too."""
CATALOG_POLL_S: Final = 0.1
YIELD_EVERY: Final = 250
MAX_UNKNOWN: Final = 1_000


@dataclass(slots=True)
class DecodedBatch:
    """One decoded batch: `events` decide which of `candidates` (by key and offset) become deliveries."""

    events: list[Submitted | Withdrawn] = field(default_factory=list)
    candidates: dict[tuple[bytes, int], NewDelivery] = field(default_factory=dict)
    confirmed: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    withdrawn: list[tuple[bytes, int]] = field(default_factory=list)


class SubmissionRef(NamedTuple):
    """The position and time at which a submission was first accepted; a redriven record keeps its original ones."""

    topic: str
    partition: int
    offset: int
    key: bytes
    accepted_ms: int


class SubmissionDecoder:
    """Decodes batches of `topics`, those of signatures and of messages; opens only what needs a mail.

    It shares its decoder with the counter of each topic, which dead-letters every record that cannot be read here.
    """

    def __init__(self, catalog: Catalog, recipient_keys: RecipientKeys, topics: Sequence[Topic]) -> None:
        self._catalog = catalog
        self._recipient_keys = recipient_keys
        self._decoders = {topic.name: EventDecoder(topic) for topic in topics}
        self._unknown_keys: set[tuple[str, int]] = set()

    async def decode(self, batches: Sequence[PartitionBatch]) -> DecodedBatch:
        """Decode `batches`. A record that cannot be read is skipped and counted.

        Raises:
            TransientError: a campaign's keys cannot be opened, so no mail of it could ever be sent.
        """
        decoded = DecodedBatch()
        for batch in batches:
            decoder = self._decoders[batch.topic]
            for index, record in enumerate(batch.records):
                if index % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                try:
                    await self._decode_record(decoded, decoder, batch, record)
                except PermanentError as error:
                    skip_record(batch, record, error.reason)
        return decoded

    async def _decode_record(
        self, decoded: DecodedBatch, decoder: EventDecoder, batch: PartitionBatch, record: Record
    ) -> None:
        event, origin = decoder.decode_headers(record, batch.partition)
        if event not in ("submitted", "confirmed", "withdrawn"):
            return
        check_shape(record.key, record.value)
        key, value = record.key or b"", record.value or b""
        offset, accepted_ms = origin or (record.offset, record.timestamp_ms)
        if event == "submitted":
            submission = decoder.decode_submission(value)
            if submission.state == "r":
                ref = SubmissionRef(batch.topic, batch.partition, offset, key, accepted_ms)
                await self._add_submission(decoded, ref, submission)
        elif event == "confirmed":
            decoded.confirmed.append((key, decode_keyed_hash(decoder.decode_reference(value).digest), offset))
        else:
            decoded.events.append(Withdrawn(key, offset))
            decoded.withdrawn.append((key, offset))

    async def _add_submission(self, decoded: DecodedBatch, ref: SubmissionRef, submission: SubmissionRecord) -> None:
        keys = await self._keys_for_confirmation(submission)
        if keys is None:
            return
        accepted_at = utc(ref.accepted_ms / 1000)
        digest = decode_keyed_hash(submission.digest)
        recipient, address = self._address_keys(keys, ref, submission)
        decoded.candidates[ref.key, ref.offset] = NewDelivery(
            topic=ref.topic,
            partition=ref.partition,
            offset=ref.offset,
            recipient=recipient,
            address=address,
            campaign=submission.campaign,
            case=submission.case,
            subject=submission.subject,
            kind=submission.kind,
            key=ref.key,
            digest=digest,
            other_data=False,
            accepted_at=accepted_at,
            locale=submission.locale,
            sealed=submission.sealed,
            seal_key=submission.seal_key,
            network=submission.network,
        )
        decoded.events.append(Submitted(ref.key, digest, address, ref.offset, accepted_at))

    def _address_keys(
        self, keys: CampaignKeys, ref: SubmissionRef, submission: SubmissionRecord
    ) -> tuple[bytes, bytes]:
        """Return the keys of the mailbox and of the address as it was typed."""
        sealer = keys.seal[submission.seal_key]
        try:
            person = sealer.open(submission.sealed, topic=ref.topic, subject=submission.subject, key=ref.key)
            return self._recipient_keys.recipient_key(person.email), self._recipient_keys.address_key(
                smtp_address(person.email)
            )
        except (ValueError, *DECODE_ERRORS):
            raise PermanentError("cannot-be-opened") from None

    async def _keys_for_confirmation(self, submission: SubmissionRecord) -> CampaignKeys | None:
        """Return the keys of the campaign, None where it asks for no confirmation."""
        if not self._has_keys(submission) and (submission.campaign, submission.seal_key) not in self._unknown_keys:
            await self._wait_for_keys(submission)
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

    def _has_keys(self, submission: SubmissionRecord) -> bool:
        keys = self._catalog.keys.get(submission.campaign)
        return submission.campaign in self._catalog.campaigns and keys is not None and submission.seal_key in keys.seal

    async def _wait_for_keys(self, submission: SubmissionRecord) -> None:
        for _ in range(int(CATALOG_TIMEOUT_S / CATALOG_POLL_S)):
            await asyncio.sleep(CATALOG_POLL_S)
            if self._has_keys(submission):
                return
        if len(self._unknown_keys) < MAX_UNKNOWN:
            self._unknown_keys.add((submission.campaign, submission.seal_key))


def skip_record(batch: PartitionBatch, record: Record, reason: str) -> None:
    """Skip a record: count it and log it."""
    MAIL_SKIPPED.labels(topic=batch.topic, reason=reason).inc()
    log.error("no mail for a record", topic=batch.topic, partition=batch.partition, offset=record.offset, reason=reason)
