"""marathon's events as outbox records."""

from __future__ import annotations

from typing import Final

import msgspec

from shared import topics
from shared.clock import rfc3339
from shared.events.cloudevents import Envelope
from shared.events.marathon import (
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    Event,
    TotalsChanged,
)
from shared.kafka.outbox import OutboxRecord

_SOURCE: Final = "/marathon"
_ENVELOPES: Final[dict[type[Event], Envelope]] = {
    CampaignChanged: Envelope("campaign-changed", source=_SOURCE, version="1.2"),
    CaseChanged: Envelope("case-changed", source=_SOURCE, version="1.1"),
    CampaignKeysCreated: Envelope("campaign-keys-created", source=_SOURCE),
    AccessChanged: Envelope("access-changed", source=_SOURCE),
    TotalsChanged: Envelope("totals-changed", source=_SOURCE),
}


def outbox_record(event: Event, now: float) -> OutboxRecord:
    """Return the outbox record that publishes `event` at `now`, seconds since 1970."""
    match event:
        case CampaignChanged():
            topic, key = topics.CASES, f"campaign/{event.slug}"
        case CaseChanged():
            topic, key = topics.CASES, f"case/{event.slug}"
        case CampaignKeysCreated():
            topic, key = topics.KEYS, f"{event.campaign}/{event.purpose}/{event.version}"
        case AccessChanged():
            topic, key = topics.ACCESS, event.id
        case TotalsChanged():
            topic, key = topics.TOTALS, event.campaign
    headers = _ENVELOPES[type(event)].headers(rfc3339(now).encode())
    return OutboxRecord(topic.name, 0, key.encode(), headers, msgspec.json.encode(event))
