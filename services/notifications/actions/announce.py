"""What notifications tells the other services, as records of its outbox. Recipients are named by their keyed hash."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Final

import msgspec

from services.notifications.storage.deliveries import CONFIRMATION
from shared import topics
from shared.clock import rfc3339
from shared.events.cloudevents import Envelope
from shared.events.notifications import DeliveryBounced, DeliveryResubscribed, DeliverySent, DeliveryUnsubscribed
from shared.kafka.outbox import OutboxRecord
from shared.kafka.partitions import partition_of

_SOURCE: Final = "/notifications"
_encode = msgspec.json.Encoder().encode


class Announcements:
    """Makes the records of notifications' events; one for a process, because event ids are counted in it.

    `now` is in seconds since 1970.
    """

    def __init__(self) -> None:
        self._sent = Envelope("delivery-sent", source=_SOURCE)
        self._bounced = Envelope("delivery-bounced", source=_SOURCE, version="1.1")
        self._unsubscribed = Envelope("delivery-unsubscribed", source=_SOURCE)
        self._resubscribed = Envelope("delivery-resubscribed", source=_SOURCE)

    def sent(self, recipient: bytes, campaigns: Iterable[str], now: float) -> list[OutboxRecord]:
        """`delivery-sent` for each of `campaigns`, which names the campaign of every act that the mail was about."""
        at = rfc3339(now)
        return [
            _record(recipient, self._sent, DeliverySent(campaign=one, template=CONFIRMATION, sent_at=at, acts=acts), at)
            for one, acts in _counted(campaigns).items()
        ]

    def bounced(
        self, recipient: bytes, campaigns: Iterable[str], now: float, *, answer: int, gone: bytes | None
    ) -> list[OutboxRecord]:
        """`delivery-bounced` likewise; `answer` is the SMTP code, `gone` the key of an address without a mailbox."""
        at = rfc3339(now)
        return [
            _record(
                recipient,
                self._bounced,
                DeliveryBounced(
                    campaign=one,
                    template=CONFIRMATION,
                    bounced_at=at,
                    acts=acts,
                    answer=answer,
                    mailbox_gone=gone is not None,
                    address=urlsafe_b64encode(gone).rstrip(b"=").decode("ascii") if gone is not None else None,
                ),
                at,
            )
            for one, acts in _counted(campaigns).items()
        ]

    def unsubscribed(self, recipient: bytes, now: float) -> OutboxRecord:
        """`delivery-unsubscribed`."""
        at = rfc3339(now)
        return _record(recipient, self._unsubscribed, DeliveryUnsubscribed(unsubscribed_at=at), at)

    def resubscribed(self, recipient: bytes, now: float) -> OutboxRecord:
        """`delivery-resubscribed`."""
        at = rfc3339(now)
        return _record(recipient, self._resubscribed, DeliveryResubscribed(resubscribed_at=at), at)


def _counted(campaigns: Iterable[str]) -> dict[str, int]:
    acts: dict[str, int] = {}
    for campaign in campaigns:
        acts[campaign] = acts.get(campaign, 0) + 1
    return acts


def _record(recipient: bytes, envelope: Envelope, event: msgspec.Struct, at: str) -> OutboxRecord:
    return OutboxRecord(
        topic=topics.DELIVERIES.name,
        partition=partition_of(recipient, topics.DELIVERIES.partitions),
        key=recipient,
        headers=envelope.headers(at.encode()),
        value=_encode(event),
    )
