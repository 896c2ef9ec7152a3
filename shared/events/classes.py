"""The class of every event type."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.events import actions, letters, marathon, notifications, petitions, tallies

EVENTS: Final[dict[str, type[msgspec.Struct]]] = {
    "signature-submitted": petitions.SignatureSubmitted,
    "signature-confirmed": actions.ActionConfirmed,
    "signature-withdrawn": actions.ActionWithdrawn,
    "signature-invalidated": actions.ActionInvalidated,
    "signature-reinstated": actions.ActionReinstated,
    "signature-released": actions.ActionReleased,
    "act-submitted": petitions.ActSubmitted,
    "act-withdrawn": actions.ActionWithdrawn,
    "act-invalidated": actions.ActionInvalidated,
    "act-reinstated": actions.ActionReinstated,
    "act-released": actions.ActionReleased,
    "message-submitted": letters.MessageSubmitted,
    "message-confirmed": actions.ActionConfirmed,
    "message-withdrawn": actions.ActionWithdrawn,
    "message-invalidated": actions.ActionInvalidated,
    "message-reinstated": actions.ActionReinstated,
    "message-released": actions.ActionReleased,
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
