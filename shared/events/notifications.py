"""Events that `notifications` emits on `notifications.deliveries.v1`."""

from __future__ import annotations

import msgspec


class DeliverySent(msgspec.Struct, frozen=True, kw_only=True):
    """A mail was handed over. The record's key is the recipient key (keyed hash); `template` names what was sent."""

    campaign: str
    template: str
    sent_at: str
    acts: int


class DeliveryBounced(msgspec.Struct, frozen=True, kw_only=True):
    """A mail was refused for good, by the SMTP code `answer`, and is not tried again.

    `mailbox_gone` says that the refusal was of the address itself: no further mail goes to it. `address` (from 1.1 on)
    names that address as it was written to, by a keyed hash (base64url): another spelling, though taken for the same
    mailbox and the same recipient key, still gets mail.
    """

    campaign: str
    template: str
    bounced_at: str
    acts: int
    answer: int
    mailbox_gone: bool
    address: str | None = None


class DeliveryUnsubscribed(msgspec.Struct, frozen=True, kw_only=True):
    """A person wants no more mail of any campaign."""

    unsubscribed_at: str


class DeliveryResubscribed(msgspec.Struct, frozen=True, kw_only=True):
    """A person takes mail again, after they had unsubscribed or their mailbox was gone."""

    resubscribed_at: str
