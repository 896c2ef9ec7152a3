"""Compare marathon's compacted topics with its database, and publish again what a broker's lost disk took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from operator import ne
from typing import TypeVar

import asyncpg

from deploy.local.connections import connect
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

Key = TypeVar("Key")
Entry = TypeVar("Entry")
_Versioned = CampaignChanged | CaseChanged | TotalsChanged


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
    for topic in topics.COMPACTED:
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
            if is_newer(event, state.totals.get(event.campaign)):
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


def is_newer(entry: _Versioned, other: _Versioned | None) -> bool:
    """Whether `entry` has a higher version than `other`, or there is no other."""
    return other is None or entry.version > other.version


def select(
    entries: Mapping[Key, Entry], others: Mapping[Key, Entry], chosen: Callable[[Entry, Entry | None], bool]
) -> dict[Key, Entry]:
    """Select the entries that are `chosen` over the one of the same name in `others`, or None."""
    return {name: entry for name, entry in entries.items() if chosen(entry, others.get(name))}


def _reject_newer_topics(on_topics: MarathonState, stored: MarathonState) -> None:
    ahead = [
        *select(on_topics.campaigns, stored.campaigns, is_newer),
        *select(on_topics.cases, stored.cases, is_newer),
    ]
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
    return {kind.name: len(getattr(state, kind.name)) for kind in fields(state)}


async def examine(at: Endpoints) -> tuple[MarathonState, MarathonState]:
    """Read marathon's database, and find what the topics lack of it or hold in an older version. Changes nothing.

    Raises:
        SetupError: the topics are ahead of the database, or hold other keys: those must not be overwritten.
    """
    async with connect(at["databases"]["marathon"]) as connection:
        stored = await read_database(connection)
    on_topics = await read_topics(at["kafka"])
    _reject_newer_topics(on_topics, stored)
    return stored, MarathonState(
        campaigns=select(stored.campaigns, on_topics.campaigns, ne),
        cases=select(stored.cases, on_topics.cases, ne),
        keys=select(stored.keys, on_topics.keys, ne),
        access=select(stored.access, on_topics.access, ne),
        totals=select(stored.totals, on_topics.totals, is_newer),
    )


async def republish(at: Endpoints, missing: MarathonState, reason: str) -> None:
    """Publish `missing` again through marathon's outbox, and wait until it is on the topics."""
    async with connect(at["databases"]["marathon"]) as connection, connection.transaction():
        now = SystemClock().now()
        await outbox.put_outbox(connection, _records(missing, now))
        done = ", ".join(f"{count} {name}" for name, count in count_by_kind(missing).items() if count)
        recovery = Recovery("topics", "marathon's compacted topics", "incomplete", f"{done} told again", reason)
        await record_recovery(connection, recovery, now)
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
