"""The events that marathon publishes to other services, as outbox records."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import msgspec

from services.marathon.storage.campaigns import StoredKey, WrappedKey
from shared import topics
from shared.clock import rfc3339
from shared.events.cloudevents import Envelope
from shared.events.marathon import (
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    TotalsChanged,
)
from shared.kafka.outbox import OutboxRecord

_SOURCE: Final = "/marathon"


class EventEncoder:
    """Encodes marathon's events as outbox records; one per process, because it numbers the event ids."""

    def __init__(self) -> None:
        self._campaign = Envelope("campaign-changed", source=_SOURCE, version="1.2")
        self._case = Envelope("case-changed", source=_SOURCE, version="1.1")
        self._keys = Envelope("campaign-keys-created", source=_SOURCE)
        self._access = Envelope("access-changed", source=_SOURCE)
        self._totals = Envelope("totals-changed", source=_SOURCE)

    def campaign(self, event: CampaignChanged, now: float) -> OutboxRecord:
        """Encode `campaign-changed` at `now`, seconds since 1970."""
        return _record(topics.CASES, f"campaign/{event.slug}", self._campaign, event, now)

    def case(self, event: CaseChanged, now: float) -> OutboxRecord:
        """Encode `case-changed`."""
        return _record(topics.CASES, f"case/{event.slug}", self._case, event, now)

    def key(self, campaign: str, key: WrappedKey, now: float) -> OutboxRecord:
        """Encode `campaign-keys-created`."""
        return self.stored_key(StoredKey(campaign, *key, created_at=rfc3339(now)), now)

    def stored_key(self, key: StoredKey, now: float) -> OutboxRecord:
        """Encode `campaign-keys-created` for a key that already exists."""
        event = CampaignKeysCreated(
            campaign=key.campaign,
            purpose=key.purpose,
            version=key.version,
            wrapped=b64encode(key.wrapped).decode(),
            created_at=key.created_at,
        )
        return _record(topics.KEYS, f"{key.campaign}/{key.purpose}/{key.version}", self._keys, event, now)

    def access(self, event: AccessChanged, now: float) -> OutboxRecord:
        """Encode `access-changed`."""
        return _record(topics.ACCESS, event.id, self._access, event, now)

    def totals(self, event: TotalsChanged, now: float) -> OutboxRecord:
        """Encode `totals-changed`."""
        return _record(topics.TOTALS, event.campaign, self._totals, event, now)


def _record(topic: topics.Topic, key: str, envelope: Envelope, event: msgspec.Struct, now: float) -> OutboxRecord:
    headers = envelope.headers(rfc3339(now).encode())
    return OutboxRecord(topic.name, 0, key.encode(), headers, msgspec.json.encode(event))
