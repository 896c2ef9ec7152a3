"""The class of every event type."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.events import letters, marathon, notifications, petitions, tallies

EVENTS: Final[dict[str, type[msgspec.Struct]]] = {
    "signature-submitted": petitions.SignatureSubmitted,
    "signature-confirmed": petitions.SignatureConfirmed,
    "signature-withdrawn": petitions.SignatureWithdrawn,
    "signature-invalidated": petitions.SignatureInvalidated,
    "signature-reinstated": petitions.SignatureReinstated,
    "signature-released": petitions.SignatureReleased,
    "act-submitted": petitions.ActSubmitted,
    "act-withdrawn": petitions.ActWithdrawn,
    "act-invalidated": petitions.ActInvalidated,
    "act-reinstated": petitions.ActReinstated,
    "act-released": petitions.ActReleased,
    "message-submitted": letters.MessageSubmitted,
    "message-confirmed": letters.MessageConfirmed,
    "message-withdrawn": letters.MessageWithdrawn,
    "message-invalidated": letters.MessageInvalidated,
    "message-reinstated": letters.MessageReinstated,
    "message-released": letters.MessageReleased,
    "actions-counted": tallies.ActionsCounted,
    "campaign-changed": marathon.CampaignChanged,
    "case-changed": marathon.CaseChanged,
    "campaign-keys-created": marathon.CampaignKeysCreated,
    "access-changed": marathon.AccessChanged,
    "totals-changed": marathon.TotalsChanged,
    "delivery-sent": notifications.DeliverySent,
    "delivery-bounced": notifications.DeliveryBounced,
    "delivery-unsubscribed": notifications.DeliveryUnsubscribed,
    "delivery-resubscribed": notifications.DeliveryResubscribed,
}
"""The class of every event type that a topic may carry."""
