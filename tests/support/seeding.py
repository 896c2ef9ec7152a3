"""Campaigns published directly to marathon's compacted topics, for tests of services that only read them."""

from __future__ import annotations

import hashlib
import os
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec
from aiokafka import AIOKafkaProducer

from shared import topics
from shared.clock import rfc3339
from shared.events import marathon
from shared.events.cloudevents import Envelope
from shared.events.values import Purpose
from shared.privacy.keys import PublicKeyWrapper

TOPIC_BY_EVENT = {
    "campaign-changed": topics.CASES,
    "case-changed": topics.CASES,
    "campaign-keys-created": topics.KEYS,
    "access-changed": topics.ACCESS,
    "totals-changed": topics.TOTALS,
}


@dataclass
class Seed:
    """One campaign with one case and its petition, open since an hour ago and for another day by default."""

    slug: str
    now: float
    opens_in: float = -3600.0
    closes_in: float = 86_400.0
    policies: dict[str, Any] = field(default_factory=dict)
    sections: tuple[marathon.Section, ...] = ()
    with_keys: bool = True
    api_key: str | None = None
    scopes: tuple[str, ...] = ("signatures:batch",)
    section: str | None = None
    address: marathon.Address | None = None
    writing: marathon.Writing | None = None

    @property
    def petition(self) -> str:
        return f"free-{self.slug}"

    @property
    def case(self) -> str:
        return f"case-{self.slug}"

    def events(self, wrapper: PublicKeyWrapper) -> list[tuple[str, str, msgspec.Struct]]:
        """Return (event type, key, event) of everything that marathon publishes at import."""
        campaign = marathon.CampaignChanged(
            slug=self.slug,
            version=1,
            title={"en": self.slug},
            opens=rfc3339(self.now + self.opens_in),
            closes=rfc3339(self.now + self.closes_in),
            confirmations_close=rfc3339(self.now + self.closes_in + 7 * 86_400),
            goal=None,
            languages=("en", "fr"),
            policies=marathon.Policies(**self.policies),
            cases=(self.case,),
            sections=self.sections,
        )
        petition = marathon.Petition(
            slug=self.petition, version=3, title={"en": "Free them"}, text={"en": "Now."}, targets=()
        )
        case = marathon.CaseChanged(
            slug=self.case,
            version=1,
            campaign=self.slug,
            name="Somebody",
            country="DZ",
            status="detained",
            story={"en": "A story."},
            petition=petition,
            address=self.address,
            writing=self.writing,
        )
        events: list[tuple[str, str, msgspec.Struct]] = [
            ("campaign-changed", f"campaign/{self.slug}", campaign),
            ("case-changed", f"case/{self.case}", case),
            ("totals-changed", self.slug, self.totals()),
        ]
        if self.with_keys:
            events += [("campaign-keys-created", f"{self.slug}/{key.purpose}/1", key) for key in self._keys(wrapper)]
        if self.api_key is not None:
            key_hash = hashlib.sha256(self.api_key.encode()).hexdigest()
            access = marathon.AccessChanged(
                id=f"key-{self.slug}", hash=key_hash, campaign=self.slug, scopes=self.scopes, section=self.section
            )
            events.append(("access-changed", access.id, access))
        return events

    def totals(self) -> marathon.TotalsChanged:
        """Return the first totals, as marathon publishes them at import."""
        maps: dict[str, Any] = {
            name: {} for name in ("by_case", "by_country", "by_kind", "by_channel", "by_language", "by_evidence")
        }
        return marathon.TotalsChanged(
            campaign=self.slug,
            version=1,
            as_of=rfc3339(self.now),
            lag_seconds=0.0,
            state="live",
            total=0,
            public_total=0,
            goal=None,
            withdrawn=0,
            corrections=[],
            ledger={},
            **maps,
        )

    def _keys(self, wrapper: PublicKeyWrapper) -> list[marathon.CampaignKeysCreated]:
        return [
            marathon.CampaignKeysCreated(
                campaign=self.slug,
                purpose=purpose,
                version=1,
                wrapped=b64encode(wrapper.create()).decode(),
                created_at=rfc3339(self.now),
            )
            for purpose in get_args(Purpose)
        ]


async def publish(bootstrap_servers: str, public_key_file: Path, seeds: list[Seed]) -> None:
    """Publish the events of `seeds` and wait until they are stored."""
    wrapper = PublicKeyWrapper(public_key_file)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    try:
        for seed in seeds:
            for name, key, event in seed.events(wrapper):
                headers = Envelope(name, source="/marathon").headers(rfc3339(seed.now).encode())
                value = msgspec.json.encode(event)
                await producer.send_and_wait(
                    TOPIC_BY_EVENT[name].name, value=value, key=key.encode(), partition=0, headers=headers
                )
    finally:
        await producer.stop()


def unique(name: str) -> str:
    """A slug that no other run has used."""
    return f"{name}-{os.urandom(4).hex()}"
