"""The in-memory catalog of the compacted topics."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import RequestTimedOutError

from shared import catalog as catalog_module
from shared import topics
from shared.catalog import Catalog
from shared.events.cloudevents import Envelope
from shared.events.marathon import (
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    Petition,
    Policies,
    TotalsChanged,
)
from shared.privacy.keys import DATA_KEY_BYTES

CAMPAIGN = CampaignChanged(
    slug="catalog-2026",
    version=1,
    title={"en": "Catalog"},
    opens="2026-11-20T00:00:00Z",
    closes="2027-01-01T00:00:00Z",
    confirmations_close="2027-01-08T00:00:00Z",
    goal=None,
    languages=("en",),
    policies=Policies(),
    cases=("azat",),
)
CASE = CaseChanged(
    slug="catalog-azat",
    version=1,
    campaign=CAMPAIGN.slug,
    name="Azat",
    country="BY",
    status="detained",
    story={"en": "A story."},
    petition=Petition(slug="catalog-free-azat", version=1, title={"en": "Free Azat"}, text={"en": "Free Azat."}),
)
TOTALS = TotalsChanged(
    campaign=CAMPAIGN.slug,
    version=5,
    as_of="2026-12-01T12:00:00.250Z",
    lag_seconds=0.4,
    state="live",
    total=1,
    public_total=1,
    goal=None,
    by_case={},
    by_country={},
    by_kind={},
    by_channel={},
    by_language={},
    by_evidence={},
    withdrawn=0,
    corrections=[],
    ledger={},
)


class PlainOpener:
    """An opener of keys that were never wrapped."""

    def open(self, wrapped: bytes) -> bytes:
        if len(wrapped) != DATA_KEY_BYTES:
            raise ValueError("wrapped")
        return wrapped


class Publisher:
    """A publisher of marathon's events, with the same headers and keys as marathon."""

    def __init__(self, producer: AIOKafkaProducer, bootstrap_servers: str) -> None:
        self._producer = producer
        self.bootstrap_servers = bootstrap_servers

    async def publish(self, topic: topics.Topic, key: str, event_type: str, event: object) -> None:
        await self._producer.send_and_wait(
            topic.name,
            key=key.encode(),
            value=msgspec.json.encode(event),
            headers=Envelope(event_type, source="/marathon").headers(b"2026-12-01T12:00:00.000Z"),
        )

    async def publish_tombstone(self, topic: topics.Topic, key: str) -> None:
        await self._producer.send_and_wait(topic.name, key=key.encode(), value=None)

    async def publish_unreadable(self, topic: topics.Topic) -> None:
        headers = Envelope("case-changed", source="/marathon").headers(b"2026-12-01T12:00:00.000Z")
        for value in (b"{", b'{"slug":"\xff"}', b'{"x":' + b"[" * 200_000):
            await self._producer.send_and_wait(topic.name, key=b"spoiled", value=value, headers=headers)
        await self._producer.send_and_wait(topic.name, key=b"spoiled", value=b"{", headers=[])
        await self._producer.send_and_wait(topic.name, key=b"spoiled \xff", value=None)


@pytest.fixture
async def publisher(platform: dict[str, Any]) -> AsyncIterator[Publisher]:
    async with AIOKafkaProducer(bootstrap_servers=platform["kafka"], enable_idempotence=True) as producer:
        yield Publisher(producer, platform["kafka"])


@asynccontextmanager
async def _running_catalog(publisher: Publisher) -> AsyncIterator[Catalog]:
    catalog = Catalog(publisher.bootstrap_servers, opener=PlainOpener())
    task = asyncio.create_task(catalog.run())
    try:
        await catalog.wait_ready(20)
        yield catalog
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)


async def _wait_until(catalog: Catalog, condition: Callable[[], bool]) -> None:
    changed = asyncio.Event()
    catalog.on_change(lambda _kind, _key: changed.set())
    async with asyncio.timeout(20):
        while not condition():
            await changed.wait()
            changed.clear()


async def test_a_ready_catalog_knows_all_that_stood_in_the_topics(publisher: Publisher) -> None:
    await publisher.publish(topics.CASES, f"campaign/{CAMPAIGN.slug}", "campaign-changed", CAMPAIGN)
    await publisher.publish(topics.CASES, f"case/{CASE.slug}", "case-changed", CASE)
    async with _running_catalog(publisher) as catalog:
        assert catalog.campaigns[CAMPAIGN.slug] == CAMPAIGN
        assert catalog.cases[CASE.slug] == CASE
        assert catalog.petitions["catalog-free-azat"] == CASE


async def test_a_changed_petition_slug_no_longer_answers_to_the_old_one(publisher: Publisher) -> None:
    old_petition = Petition(slug="catalog-azat-then", version=1, title={}, text={})
    case = msgspec.structs.replace(CASE, slug="catalog-renamed", petition=old_petition)
    await publisher.publish(topics.CASES, f"case/{case.slug}", "case-changed", case)
    renamed = msgspec.structs.replace(
        case, version=2, petition=Petition(slug="catalog-azat-now", version=1, title={}, text={})
    )
    async with _running_catalog(publisher) as catalog:
        await publisher.publish(topics.CASES, f"case/{case.slug}", "case-changed", renamed)
        await _wait_until(catalog, lambda: "catalog-azat-now" in catalog.petitions)
        assert "catalog-azat-then" not in catalog.petitions


async def test_an_older_campaign_or_case_never_replaces_a_newer_one(publisher: Publisher) -> None:
    campaign = msgspec.structs.replace(CAMPAIGN, slug="catalog-repeated", version=2)
    case = msgspec.structs.replace(CASE, slug="catalog-repeated", version=2, status="released", petition=None)
    later = msgspec.structs.replace(case, slug="catalog-after")
    async with _running_catalog(publisher) as catalog:
        for version in (2, 1):
            changed_campaign = msgspec.structs.replace(campaign, version=version, goal=version)
            await publisher.publish(topics.CASES, f"campaign/{campaign.slug}", "campaign-changed", changed_campaign)
            changed_case = msgspec.structs.replace(
                case, version=version, status="released" if version == 2 else "detained"
            )
            await publisher.publish(topics.CASES, f"case/{case.slug}", "case-changed", changed_case)
        await publisher.publish(topics.CASES, f"case/{later.slug}", "case-changed", later)
        await _wait_until(catalog, lambda: later.slug in catalog.cases)
        assert (catalog.campaigns[campaign.slug].goal, catalog.cases[case.slug].status) == (2, "released")


async def test_older_totals_never_replace_newer_ones(publisher: Publisher) -> None:
    async with _running_catalog(publisher) as catalog:
        await publisher.publish(topics.TOTALS, CAMPAIGN.slug, "totals-changed", TOTALS)
        await publisher.publish(
            topics.TOTALS, CAMPAIGN.slug, "totals-changed", msgspec.structs.replace(TOTALS, version=4, total=0)
        )
        other = msgspec.structs.replace(TOTALS, campaign="catalog-other")
        await publisher.publish(topics.TOTALS, "catalog-other", "totals-changed", other)
        await _wait_until(catalog, lambda: "catalog-other" in catalog.totals)
        assert catalog.totals[CAMPAIGN.slug] == TOTALS


async def test_keys_open_once_all_three_purposes_are_there(publisher: Publisher) -> None:
    async with _running_catalog(publisher) as catalog:
        for purpose in ("dedupe", "token", "seal"):
            assert "catalog-keys" not in catalog.keys
            created = CampaignKeysCreated(
                campaign="catalog-keys",
                purpose=purpose,
                version=1,
                wrapped=b64encode(purpose.encode().ljust(32, b".")).decode(),
                created_at="2026-11-01T00:00:00.000Z",
            )
            await publisher.publish(topics.KEYS, f"catalog-keys/{purpose}/1", "campaign-keys-created", created)
        await _wait_until(catalog, lambda: "catalog-keys" in catalog.keys)
        keys = catalog.keys["catalog-keys"]
        assert (keys.dedupe[:6], keys.token[:5], keys.current_seal) == (b"dedupe", b"token", 1)


async def test_a_revoked_or_forgotten_api_key_is_unknown(publisher: Publisher) -> None:
    first = AccessChanged(id="catalog-1", hash="aa", campaign=CAMPAIGN.slug, scopes=("signatures:batch",))
    second = msgspec.structs.replace(first, id="catalog-2", hash="bb")
    async with _running_catalog(publisher) as catalog:
        for access in (first, second):
            await publisher.publish(topics.ACCESS, access.id, "access-changed", access)
        await _wait_until(catalog, lambda: {"aa", "bb"} <= catalog.access.keys())
        await publisher.publish(topics.ACCESS, first.id, "access-changed", msgspec.structs.replace(first, revoked=True))
        await publisher.publish_tombstone(topics.ACCESS, second.id)
        await _wait_until(catalog, lambda: not {"aa", "bb"} & catalog.access.keys())


async def test_a_revoked_api_key_stays_so_whatever_is_told_of_it_afterwards(publisher: Publisher) -> None:
    granted = AccessChanged(id="catalog-3", hash="cc", campaign=CAMPAIGN.slug, scopes=("signatures:batch",))
    other = msgspec.structs.replace(granted, id="catalog-4", hash="dd")
    async with _running_catalog(publisher) as catalog:
        for access in (granted, msgspec.structs.replace(granted, revoked=True), granted, other):
            await publisher.publish(topics.ACCESS, access.id, "access-changed", access)
        await _wait_until(catalog, lambda: "dd" in catalog.access)
        assert "cc" not in catalog.access


async def test_a_record_that_cannot_be_read_is_passed_by(publisher: Publisher) -> None:
    async with _running_catalog(publisher) as catalog:
        await publisher.publish_unreadable(topics.CASES)
        later = msgspec.structs.replace(CASE, slug="catalog-later", petition=None)
        await publisher.publish(topics.CASES, "case/catalog-later", "case-changed", later)
        await _wait_until(catalog, lambda: "catalog-later" in catalog.cases)


async def test_a_client_that_is_answered_no_more_is_replaced(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "PROBE_INTERVAL_S", 0.1)
    monkeypatch.setattr(catalog_module, "REQUEST_TIMEOUT_MS", 1_000)
    send: Any = AIOKafkaClient.send
    seen: set[AIOKafkaClient] = set()
    deaf: set[AIOKafkaClient] = set()

    async def send_unless_deaf(client: AIOKafkaClient, *request: Any, **options: Any) -> Any:
        seen.add(client)
        if client in deaf:
            raise RequestTimedOutError
        return await send(client, *request, **options)

    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaClient, "send", send_unless_deaf)
        async with _running_catalog(publisher) as catalog:
            deaf |= seen
            other = msgspec.structs.replace(TOTALS, campaign="catalog-heard")
            await publisher.publish(topics.TOTALS, "catalog-heard", "totals-changed", other)
            await _wait_until(catalog, lambda: "catalog-heard" in catalog.totals)
