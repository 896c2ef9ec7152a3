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

_SOURCE: Final = "/notifications"
_encode = msgspec.json.Encoder().encode


class DeliveryEvents:
    """Makes the outbox records of notifications' events; one per process, because it numbers the event ids.

    `now` is in seconds since 1970.
    """

    def __init__(self) -> None:
        self._sent = Envelope("delivery-sent", source=_SOURCE)
        self._bounced = Envelope("delivery-bounced", source=_SOURCE, version="1.1")
        self._unsubscribed = Envelope("delivery-unsubscribed", source=_SOURCE)
        self._resubscribed = Envelope("delivery-resubscribed", source=_SOURCE)

    def sent(self, mail: LeasedMail, now: float) -> list[OutboxRecord]:
        """Make a `delivery-sent` for each campaign that `mail` was about."""
        at = rfc3339(now)
        return [
            _outbox_record(
                mail.recipient,
                self._sent,
                DeliverySent(campaign=campaign, template=mail.mailing, sent_at=at, acts=acts),
                at,
            )
            for campaign, acts in _acts_by_campaign(mail)
        ]

    def bounced(self, mail: LeasedMail, now: float, *, answer: int, gone_address: bytes | None) -> list[OutboxRecord]:
        """Make a `delivery-bounced` likewise; `answer` is the SMTP code, `gone_address` the key of an address without a
        mailbox.
        """
        at = rfc3339(now)
        return [
            _outbox_record(
                mail.recipient,
                self._bounced,
                DeliveryBounced(
                    campaign=campaign,
                    template=mail.mailing,
                    bounced_at=at,
                    acts=acts,
                    answer=answer,
                    mailbox_gone=gone_address is not None,
                    address=base64url.encode(gone_address) if gone_address is not None else None,
                ),
                at,
            )
            for campaign, acts in _acts_by_campaign(mail)
        ]

    def unsubscribed(self, recipient: bytes, now: float) -> OutboxRecord:
        """Make a `delivery-unsubscribed`."""
        at = rfc3339(now)
        return _outbox_record(recipient, self._unsubscribed, DeliveryUnsubscribed(unsubscribed_at=at), at)

    def resubscribed(self, recipient: bytes, now: float) -> OutboxRecord:
        """Make a `delivery-resubscribed`."""
        at = rfc3339(now)
        return _outbox_record(recipient, self._resubscribed, DeliveryResubscribed(resubscribed_at=at), at)


def _acts_by_campaign(mail: LeasedMail) -> list[tuple[str, int]]:
    return list(Counter(delivery.campaign for delivery in mail.deliveries).items())


def _outbox_record(recipient: bytes, envelope: Envelope, event: msgspec.Struct, at: str) -> OutboxRecord:
    return OutboxRecord(
        topic=topics.DELIVERIES.name,
        partition=partition_of(recipient, topics.DELIVERIES.partitions),
        key=recipient,
        headers=envelope.headers(at.encode()),
        value=_encode(event),
    )
