"""Decodes records about acts into consents and deliveries, before the transaction, so that it delays nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.notifications.domain.consents import GivenConsent, takes_effect
from services.notifications.domain.deliveries import ActEvent, NewDelivery
from services.notifications.domain.recipient_keys import RecipientKeys, smtp_address
from services.notifications.mailing import Event, Mailing
from shared.catalog import Catalog
from shared.clock import utc
from shared.counting.event_decoder import DecodedRecord, EventDecoder, SubmissionRecord, event_types
from shared.errors import PermanentError, TransientError
from shared.events.cloudevents import DECODE_ERRORS
from shared.events.marathon import CampaignChanged
from shared.kafka.records import PartitionBatch, Record
from shared.logging import log
from shared.metrics import MAIL_SKIPPED
from shared.topics import Topic

CATALOG_TIMEOUT_S: Final = 10.0
"""How long a submission waits for its campaign: the intake knew it, so it is on its way here too."""
CATALOG_POLL_S: Final = 0.1
YIELD_EVERY: Final = 250
MAX_UNKNOWN: Final = 1_000


@dataclass(slots=True)
class DecodedBatch:
    """One decoded batch.

    `candidates` are deliveries, by mailing, unless they repeat one that exists; `triggers` are events that make
    deliveries, by mailing, where a consent has the address.
    """

    consents: list[GivenConsent] = field(default_factory=list)
    confirmed: list[ActEvent] = field(default_factory=list)
    withdrawn: list[ActEvent] = field(default_factory=list)
    candidates: dict[str, list[NewDelivery]] = field(default_factory=dict)
    triggers: dict[str, list[ActEvent]] = field(default_factory=dict)


class SubmissionDecoder:
    """Decodes batches of `topics`, those of signatures and of messages; opens what needs a mail or gives a consent.

    It shares its decoder with the counter of each topic, which dead-letters every record that cannot be read here.
    """

    def __init__(
        self, mailings: Sequence[Mailing], catalog: Catalog, recipient_keys: RecipientKeys, topics: Sequence[Topic]
    ) -> None:
        self._mailings = mailings
        self._catalog = catalog
        self._recipient_keys = recipient_keys
        self._decoders = {topic.name: EventDecoder(topic) for topic in topics}
        self._names = {topic.name: {word: name for name, word in event_types(topic).items()} for topic in topics}
        self._unknown_keys: set[tuple[str, int]] = set()

    async def decode(self, batches: Sequence[PartitionBatch]) -> DecodedBatch:
        """Decode `batches`. A record that cannot be read is skipped and counted.

        Raises:
            TransientError: a campaign's keys cannot be opened, so no mail of it could ever be sent.
        """
        batch_decoded = DecodedBatch()
        for batch in batches:
            decode = self._decoders[batch.topic].decode
            for index, record in enumerate(batch.records):
                if index % YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                try:
                    await self._add_record(batch_decoded, batch.topic, decode(batch.partition, record))
                except PermanentError as error:
                    skip_record(batch, record, error.reason)
        return batch_decoded

    async def _add_record(self, batch_decoded: DecodedBatch, topic: str, decoded: DecodedRecord) -> None:
        if decoded.refusal:
            raise PermanentError(decoded.refusal)
        offset = decoded.origin.offset if decoded.origin else decoded.record.offset
        at = utc(decoded.accepted_ms / 1000)
        event = ActEvent(topic, decoded.partition, offset, decoded.key, at, decoded.digest)
        if decoded.submission is not None:
            await self._add_submission(batch_decoded, event, decoded.submission)
        elif decoded.follow_up == "confirmed":
            batch_decoded.confirmed.append(event)
            for mailing in self._triggered(Event(self._names[topic]["confirmed"])):
                batch_decoded.triggers.setdefault(mailing.name, []).append(event)
        elif decoded.follow_up == "withdrawn":
            batch_decoded.withdrawn.append(event._replace(digest=b""))

    def _triggered(self, event: Event) -> list[Mailing]:
        return [mailing for mailing in self._mailings if event.type in mailing.events and mailing.trigger(event)]

    async def _add_submission(self, batch_decoded: DecodedBatch, event: ActEvent, submission: SubmissionRecord) -> None:
        campaign = await self._find_campaign(submission)
        mailings = self._triggered(Event(self._names[event.topic]["submitted"], submission, campaign))
        effect = takes_effect(submission.evidence, campaign) if submission.updates else "never"
        if not mailings and effect == "never":
            return
        delivery = self._open(event, submission)
        if effect != "never":
            batch_decoded.consents.append(GivenConsent(delivery, event.at if effect == "at-once" else None))
        for mailing in mailings:
            if mailing.consent is None:
                batch_decoded.candidates.setdefault(mailing.name, []).append(delivery)
            else:
                batch_decoded.triggers.setdefault(mailing.name, []).append(event)

    def _open(self, event: ActEvent, submission: SubmissionRecord) -> NewDelivery:
        """Return the delivery that a submission may get."""
        keys = self._catalog.keys.get(submission.campaign)
        if keys is None:
            raise TransientError(f"the keys of campaign {submission.campaign} cannot be opened here")
        sealer = keys.seal.get(submission.seal_key)
        if sealer is None:
            raise PermanentError("unknown-seal-key")
        try:
            person = sealer.open(submission.sealed, topic=event.topic, subject=submission.subject, key=event.key)
            recipient = self._recipient_keys.recipient_key(person.email)
            address = self._recipient_keys.address_key(smtp_address(person.email))
        except (ValueError, *DECODE_ERRORS):
            raise PermanentError("cannot-be-opened") from None
        return NewDelivery(
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
            recipient=recipient,
            address=address,
            campaign=submission.campaign,
            case=submission.case,
            subject=submission.subject,
            kind=submission.kind,
            key=event.key,
            digest=event.digest,
            other_data=False,
            accepted_at=event.at,
            locale=submission.locale,
            sealed=submission.sealed,
            seal_key=submission.seal_key,
            network=submission.network,
        )

    async def _find_campaign(self, submission: SubmissionRecord) -> CampaignChanged:
        """Return the campaign, after waiting for it and its keys where they are not known yet."""
        wanted = submission.campaign, submission.seal_key
        for _ in range(int(CATALOG_TIMEOUT_S / CATALOG_POLL_S)):
            if self._has_keys(*wanted) or wanted in self._unknown_keys:
                break
            await asyncio.sleep(CATALOG_POLL_S)
        else:
            if len(self._unknown_keys) < MAX_UNKNOWN:
                self._unknown_keys.add(wanted)
        campaign = self._catalog.campaigns.get(submission.campaign)
        if campaign is None:
            raise PermanentError("unknown-campaign")
        return campaign

    def _has_keys(self, campaign: str, seal_key: int) -> bool:
        keys = self._catalog.keys.get(campaign)
        return campaign in self._catalog.campaigns and keys is not None and seal_key in keys.seal


def skip_record(batch: PartitionBatch, record: Record, reason: str) -> None:
    """Skip a record: count it and log it."""
    MAIL_SKIPPED.labels(topic=batch.topic, reason=reason).inc()
    log.error("no mail for a record", topic=batch.topic, partition=batch.partition, offset=record.offset, reason=reason)
