"""Events that `notifications` emits on `notifications.deliveries.v1`."""

from __future__ import annotations

import msgspec


class DeliverySent(msgspec.Struct, frozen=True, kw_only=True):
    """A mail was handed over. The record's key is the recipient key (keyed hash); `template` names its mailing."""

    campaign: str
    template: str
    sent_at: str
    acts: int


class DeliveryBounced(msgspec.Struct, frozen=True, kw_only=True):
    """A mail was refused for good, by the SMTP code `answer`, and is not tried again.

    `mailbox_gone` says that the address itself was refused: no further mail goes to it. `address` (from 1.1 on) is a
    keyed hash (base64url) of that address in the spelling that was used: another spelling, though it has the same
    mailbox and recipient key, still gets mail.
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
