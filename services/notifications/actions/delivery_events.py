"""The events of notifications, as records for its outbox. They name recipients by their keyed hash."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from services.notifications.storage.mails import LeasedMail
from shared import base64url, topics
from shared.clock import rfc3339
from shared.events.cloudevents import Envelope
from shared.events.notifications import DeliveryBounced, DeliveryResubscribed, DeliverySent, DeliveryUnsubscribed
from shared.kafka.outbox import OutboxRecord
from shared.kafka.partitions import partition_of

Event = DeliverySent | DeliveryBounced | DeliveryUnsubscribed | DeliveryResubscribed
_SOURCE: Final = "/notifications"
_ENVELOPES: Final[dict[type[Event], Envelope]] = {
    DeliverySent: Envelope("delivery-sent", source=_SOURCE),
    DeliveryBounced: Envelope("delivery-bounced", source=_SOURCE, version="1.1"),
    DeliveryUnsubscribed: Envelope("delivery-unsubscribed", source=_SOURCE),
    DeliveryResubscribed: Envelope("delivery-resubscribed", source=_SOURCE),
}


def outbox_record(recipient: bytes, event: Event, now: float) -> OutboxRecord:
    """Return the outbox record that publishes `event` about `recipient` at `now`, seconds since 1970."""
    return OutboxRecord(
        topic=topics.DELIVERIES.name,
        partition=partition_of(recipient, topics.DELIVERIES.fixed_partition_count),
        key=recipient,
        headers=_ENVELOPES[type(event)].headers(rfc3339(now).encode()),
        value=msgspec.json.encode(event),
    )


def sent_records(mail: LeasedMail, now: float) -> list[OutboxRecord]:
    """Return a `delivery-sent` for each campaign that `mail` was about, as of `now`, seconds since 1970."""
    return [
        outbox_record(
            mail.recipient,
            DeliverySent(campaign=campaign, template=mail.mailing, sent_at=rfc3339(now), acts=acts),
            now,
        )
        for campaign, acts in _acts_by_campaign(mail).items()
    ]


def bounced_records(mail: LeasedMail, now: float, *, answer: int, gone_address: bytes | None) -> list[OutboxRecord]:
    """Return a `delivery-bounced` likewise; `answer` is the SMTP code, `gone_address` the key of an address without a
    mailbox.
    """
    return [
        outbox_record(
            mail.recipient,
            DeliveryBounced(
                campaign=campaign,
                template=mail.mailing,
                bounced_at=rfc3339(now),
                acts=acts,
                answer=answer,
                mailbox_gone=gone_address is not None,
                address=base64url.encode(gone_address) if gone_address is not None else None,
            ),
            now,
        )
        for campaign, acts in _acts_by_campaign(mail).items()
    ]


def _acts_by_campaign(mail: LeasedMail) -> Counter[str]:
    return Counter(delivery.campaign for delivery in mail.deliveries)
