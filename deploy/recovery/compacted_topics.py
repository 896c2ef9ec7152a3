"""Compare marathon's compacted topics with its database, and publish again what a broker's lost disk took."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from deploy.local.endpoints import Endpoints
from deploy.recovery.outbox_drain import drain
from services.marathon.actions.outbox_records import outbox_record
from services.marathon.storage import access, campaigns, published
from shared import topics
from shared.clock import SystemClock
from shared.errors import PermanentError, SetupError
from shared.events import cloudevents
from shared.events.marathon import (
    DECODERS,
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    Event,
    TotalsChanged,
)
from shared.kafka import outbox
from shared.kafka.outbox import OutboxRecord
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, record_recovery

CONNECT_S: Final = 10.0
COMPACTED_TOPICS: Final = (topics.CASES, topics.KEYS, topics.ACCESS, topics.TOTALS)


@dataclass(slots=True)
class MarathonState:
    """Campaigns, cases, keys, access and totals, as the topics or a database hold them."""

    campaigns: dict[str, CampaignChanged] = field(default_factory=dict)
    cases: dict[str, CaseChanged] = field(default_factory=dict)
    keys: dict[tuple[str, str, int], CampaignKeysCreated] = field(default_factory=dict)
    access: dict[str, AccessChanged] = field(default_factory=dict)
    totals: dict[str, TotalsChanged] = field(default_factory=dict)


async def read_topics(bootstrap_servers: str) -> MarathonState:
    """Read the topics. Of totals the highest version counts, of everything else the last record.

    Raises:
        SetupError: there is no such topic.
    """
    state = MarathonState()
    for topic in COMPACTED_TOPICS:
        async with open_scan(bootstrap_servers, topic.name) as scan, aclosing(scan.batches(0)) as batches:
            async for batch in batches:
                for record in batch.records:
                    if record.value is not None:
                        _apply(state, record.headers, record.value)
    return state


def _apply(state: MarathonState, headers: cloudevents.Headers, value: bytes) -> None:
    try:
        event = DECODERS[cloudevents.parse_event_type(headers).name].decode(value)
    except (KeyError, PermanentError, *cloudevents.DECODE_ERRORS):
        return
    match event:
        case CampaignChanged():
            state.campaigns[event.slug] = event
        case CaseChanged():
            state.cases[event.slug] = event
        case CampaignKeysCreated():
            state.keys[_key_id(event)] = event
        case AccessChanged():
            state.access[event.id] = event
        case TotalsChanged():
            previous = state.totals.get(event.campaign)
            if previous is None or previous.version < event.version:
                state.totals[event.campaign] = event


def _key_id(key: CampaignKeysCreated) -> tuple[str, str, int]:
    return key.campaign, key.purpose, key.version


async def read_database(connection: asyncpg.Connection) -> MarathonState:
    """Read marathon's database."""
    versions = await published.versions(connection)
    return MarathonState(
        campaigns={each.slug: each for each in await campaigns.all_campaigns(connection)},
        cases={each.slug: each for each in await campaigns.cases(connection)},
        keys={_key_id(each): each for each in await campaigns.all_keys(connection)},
        access={each.id: each for each in await access.keys(connection)},
        totals={each.document.campaign: each.document for each in await published.documents(connection, versions)},
    )


def missing_on_topics(on_topics: MarathonState, stored: MarathonState) -> MarathonState:
    """Select what the topics lack of the database's state, or hold in an older version.

    Raises:
        SetupError: the topics are ahead of the database, or hold other keys: those must not be overwritten.
    """
    _reject_newer_topics(on_topics, stored)
    return MarathonState(
        campaigns=_differing(stored.campaigns, on_topics.campaigns),
        cases=_differing(stored.cases, on_topics.cases),
        keys=_differing(stored.keys, on_topics.keys),
        access=_differing(stored.access, on_topics.access),
        totals={
            slug: document
            for slug, document in stored.totals.items()
            if slug not in on_topics.totals or on_topics.totals[slug].version < document.version
        },
    )


def _differing(stored: dict[Any, Any], on_topics: dict[Any, Any]) -> dict[Any, Any]:
    return {name: event for name, event in stored.items() if on_topics.get(name) != event}


def _reject_newer_topics(on_topics: MarathonState, stored: MarathonState) -> None:
    newer: Callable[[Any, Any], bool] = lambda topic, database: database is None or topic.version > database.version  # noqa: E731
    ahead = [slug for slug, each in on_topics.campaigns.items() if newer(each, stored.campaigns.get(slug))]
    ahead += [slug for slug, each in on_topics.cases.items() if newer(each, stored.cases.get(slug))]
    if ahead:
        raise SetupError(
            f"the topics know a newer {ahead[0]} than marathon's database: was it restored? "
            "Then `mille recover database marathon` comes first"
        )
    for name, key in on_topics.keys.items():
        if name not in stored.keys or stored.keys[name].wrapped != key.wrapped:
            raise SetupError(f"the topic of keys holds another {name[1]} key of {name[0]} than marathon's database")


def count_by_kind(state: MarathonState) -> dict[str, int]:
    """Count the entries of each kind."""
    return {
        "campaigns": len(state.campaigns),
        "cases": len(state.cases),
        "keys": len(state.keys),
        "access": len(state.access),
        "totals": len(state.totals),
    }


async def examine(at: Endpoints) -> tuple[MarathonState, MarathonState]:
    """Read marathon's database, and find what the topics lack of it. Changes nothing.

    Raises:
        SetupError: the topics are ahead of the database.
    """
    connection = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)
    try:
        stored = await read_database(connection)
    finally:
        await connection.close(timeout=CONNECT_S)
    return stored, missing_on_topics(await read_topics(at["kafka"]), stored)


async def republish(at: Endpoints, missing: MarathonState, reason: str) -> None:
    """Publish `missing` again through marathon's outbox, and wait until it is on the topics."""
    connection = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)
    try:
        async with connection.transaction():
            now = SystemClock().now()
            await outbox.put_outbox(connection, _records(missing, now))
            done = ", ".join(f"{count} {name}" for name, count in count_by_kind(missing).items() if count)
            recovery = Recovery("topics", "marathon's compacted topics", "incomplete", f"{done} told again", reason)
            await record_recovery(connection, recovery, now)
    finally:
        await connection.close(timeout=CONNECT_S)
    await drain(at["databases"]["marathon"], at["kafka"], "marathon")


def _records(missing: MarathonState, now: float) -> list[OutboxRecord]:
    """Return the outbox records for `missing`; keys come first, so that a reader of a petition finds its keys."""
    events: list[Event] = [
        *missing.keys.values(),
        *missing.campaigns.values(),
        *missing.cases.values(),
        *missing.access.values(),
        *missing.totals.values(),
    ]
    return [outbox_record(event, now) for event in events]
