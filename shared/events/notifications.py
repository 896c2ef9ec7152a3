"""Events that `notifications` emits on `notifications.deliveries.v1`."""

from __future__ import annotations

import msgspec


class DeliverySent(msgspec.Struct, frozen=True, kw_only=True):
    """A mail was handed over. The record's key is the recipient key (keyed hash); `template` names what was sent."""

    campaign: str
    template: str
    sent_at: str
    acts: int
