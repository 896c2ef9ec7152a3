"""The events of notifications, as records for its outbox. They name recipients by their keyed hash."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

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

    def sent(self, mailing: str, recipient: bytes, campaigns: Iterable[str], now: float) -> list[OutboxRecord]:
        """Make a `delivery-sent` for each campaign; `campaigns` has one entry for every act that the mail was about."""
        at = rfc3339(now)
        return [
            _outbox_record(
                recipient, self._sent, DeliverySent(campaign=campaign, template=mailing, sent_at=at, acts=acts), at
            )
            for campaign, acts in _count_by_campaign(campaigns).items()
        ]

    def bounced(
        self,
        mailing: str,
        recipient: bytes,
        campaigns: Iterable[str],
        now: float,
        *,
        answer: int,
        gone_address: bytes | None,
    ) -> list[OutboxRecord]:
        """Make a `delivery-bounced` likewise; `answer` is the SMTP code, `gone_address` the key of an address without a
        mailbox.
        """
        at = rfc3339(now)
        return [
            _outbox_record(
                recipient,
                self._bounced,
                DeliveryBounced(
                    campaign=campaign,
                    template=mailing,
                    bounced_at=at,
                    acts=acts,
                    answer=answer,
                    mailbox_gone=gone_address is not None,
                    address=base64url.encode(gone_address) if gone_address is not None else None,
                ),
                at,
            )
            for campaign, acts in _count_by_campaign(campaigns).items()
        ]

    def unsubscribed(self, recipient: bytes, now: float) -> OutboxRecord:
        """Make a `delivery-unsubscribed`."""
        at = rfc3339(now)
        return _outbox_record(recipient, self._unsubscribed, DeliveryUnsubscribed(unsubscribed_at=at), at)

    def resubscribed(self, recipient: bytes, now: float) -> OutboxRecord:
        """Make a `delivery-resubscribed`."""
        at = rfc3339(now)
        return _outbox_record(recipient, self._resubscribed, DeliveryResubscribed(resubscribed_at=at), at)


def _count_by_campaign(campaigns: Iterable[str]) -> dict[str, int]:
    acts: dict[str, int] = {}
    for campaign in campaigns:
        acts[campaign] = acts.get(campaign, 0) + 1
    return acts


def _outbox_record(recipient: bytes, envelope: Envelope, event: msgspec.Struct, at: str) -> OutboxRecord:
    return OutboxRecord(
        topic=topics.DELIVERIES.name,
        partition=partition_of(recipient, topics.DELIVERIES.partitions),
        key=recipient,
        headers=envelope.headers(at.encode()),
        value=_encode(event),
    )
