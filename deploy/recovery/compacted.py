"""What marathon's compacted topics hold, compared with its database, and told again where a broker's disk was lost."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import msgspec

from deploy.local.endpoints import Endpoints
from deploy.recovery.draining import drain
from services.marathon.actions.announce import Announcements
from services.marathon.storage import access, campaigns, published
from services.marathon.storage.campaigns import StoredKey
from shared import topics
from shared.clock import SystemClock
from shared.errors import PermanentError, SetupError
from shared.events import cloudevents
from shared.events.marathon import AccessChanged, CampaignChanged, CampaignKeysCreated, CaseChanged, TotalsChanged
from shared.kafka import outbox
from shared.kafka.outbox import OutboxRecord
from shared.kafka.topic_scan import open_scan
from shared.recoveries import Recovery, note

CONNECT_S: Final = 10.0
READ: Final = (topics.CASES, topics.KEYS, topics.ACCESS, topics.TOTALS)

_Event = CampaignChanged | CaseChanged | CampaignKeysCreated | AccessChanged | TotalsChanged
_DECODERS: Final[dict[str, msgspec.json.Decoder[_Event]]] = {
    "campaign-changed": msgspec.json.Decoder(CampaignChanged),
    "case-changed": msgspec.json.Decoder(CaseChanged),
    "campaign-keys-created": msgspec.json.Decoder(CampaignKeysCreated),
    "access-changed": msgspec.json.Decoder(AccessChanged),
    "totals-changed": msgspec.json.Decoder(TotalsChanged),
}


@dataclass(slots=True)
class Known:
    """Campaigns, cases, keys, access and totals, as the topics or a database know them."""

    campaigns: dict[str, CampaignChanged] = field(default_factory=dict)
    cases: dict[str, CaseChanged] = field(default_factory=dict)
    keys: dict[tuple[str, str, int], StoredKey] = field(default_factory=dict)
    access: dict[str, AccessChanged] = field(default_factory=dict)
    totals: dict[str, TotalsChanged] = field(default_factory=dict)


async def read_topics(bootstrap_servers: str) -> Known:
    """What the topics hold. Of totals the highest version counts, of everything else the last record.

    Raises:
        SetupError: there is no such topic.
    """
    known = Known()
    for topic in READ:
        async with open_scan(bootstrap_servers, topic.name) as scan, aclosing(scan.batches(0)) as batches:
            async for batch in batches:
                for record in batch.records:
                    if record.value is not None:
                        _take(known, record.headers, record.value)
    return known


def _take(known: Known, headers: cloudevents.Headers, value: bytes) -> None:
    try:
        event = _DECODERS[cloudevents.event_type(headers).name].decode(value)
    except (KeyError, PermanentError, *cloudevents.UNREADABLE):
        return
    match event:
        case CampaignChanged():
            known.campaigns[event.slug] = event
        case CaseChanged():
            known.cases[event.slug] = event
        case CampaignKeysCreated():
            key = StoredKey(event.campaign, event.purpose, event.version, b64decode(event.wrapped), event.created_at)
            known.keys[key.id] = key
        case AccessChanged():
            known.access[event.id] = event
        case TotalsChanged():
            before = known.totals.get(event.campaign)
            if before is None or before.version < event.version:
                known.totals[event.campaign] = event


async def read_database(connection: asyncpg.Connection) -> Known:
    """What marathon's database holds."""
    versions = await published.versions(connection)
    return Known(
        campaigns={each.slug: each for each in await campaigns.all_campaigns(connection)},
        cases={each.slug: each for each in await campaigns.all_cases(connection)},
        keys={each.id: each for each in await campaigns.all_keys(connection)},
        access={each.id: each for each in await access.everybody(connection)},
        totals={each.document.campaign: each.document for each in await published.documents(connection, versions)},
    )


def untold(there: Known, here: Known) -> Known:
    """Of what is `here` what the topics (`there`) lack, or hold an older state of.

    Raises:
        SetupError: the topics are ahead of the database, or hold other keys: nothing may be told over that.
    """
    _refuse(there, here)
    return Known(
        campaigns=_differing(here.campaigns, there.campaigns),
        cases=_differing(here.cases, there.cases),
        keys=_differing(here.keys, there.keys),
        access=_differing(here.access, there.access),
        totals={
            slug: document
            for slug, document in here.totals.items()
            if slug not in there.totals or there.totals[slug].version < document.version
        },
    )


def _differing(here: dict[Any, Any], there: dict[Any, Any]) -> dict[Any, Any]:
    return {name: event for name, event in here.items() if there.get(name) != event}


def _refuse(there: Known, here: Known) -> None:
    newer: Callable[[Any, Any], bool] = lambda theirs, ours: ours is None or theirs.version > ours.version  # noqa: E731
    ahead = [slug for slug, each in there.campaigns.items() if newer(each, here.campaigns.get(slug))]
    ahead += [slug for slug, each in there.cases.items() if newer(each, here.cases.get(slug))]
    if ahead:
        raise SetupError(
            f"the topics know a newer {ahead[0]} than marathon's database: was it restored? "
            "Then `mille recover database marathon` comes first"
        )
    for name, key in there.keys.items():
        if name not in here.keys or here.keys[name].wrapped != key.wrapped:
            raise SetupError(f"the topic of keys holds another {name[1]} key of {name[0]} than marathon's database")


def size(known: Known) -> dict[str, int]:
    """How many of each kind."""
    return {
        "campaigns": len(known.campaigns),
        "cases": len(known.cases),
        "keys": len(known.keys),
        "access": len(known.access),
        "totals": len(known.totals),
    }


async def examine(at: Endpoints) -> tuple[Known, Known]:
    """What marathon's database holds, and what of it the topics lack. Changes nothing.

    Raises:
        SetupError: the topics are ahead of the database.
    """
    connection = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)
    try:
        here = await read_database(connection)
    finally:
        await connection.close(timeout=CONNECT_S)
    return here, untold(await read_topics(at["kafka"]), here)


async def tell(at: Endpoints, missing: Known, reason: str) -> None:
    """Tell `missing` again through marathon's outbox, and wait until it is on the topics."""
    connection = await asyncpg.connect(at["databases"]["marathon"], timeout=CONNECT_S)
    try:
        async with connection.transaction():
            now = SystemClock().now()
            await outbox.put_outbox(connection, _records(missing, now))
            done = ", ".join(f"{count} {name}" for name, count in size(missing).items() if count)
            recovery = Recovery("topics", "marathon's compacted topics", "incomplete", f"{done} told again", reason)
            await note(connection, recovery, now)
    finally:
        await connection.close(timeout=CONNECT_S)
    await drain(at["databases"]["marathon"], at["kafka"], "marathon")


def _records(missing: Known, now: float) -> list[OutboxRecord]:
    """Keys first: whoever knows a petition should find its keys."""
    say = Announcements()
    return [
        *(say.stored_key(key, now) for key in missing.keys.values()),
        *(say.campaign(campaign, now) for campaign in missing.campaigns.values()),
        *(say.case(case, now) for case in missing.cases.values()),
        *(say.access(access, now) for access in missing.access.values()),
        *(say.totals(document, now) for document in missing.totals.values()),
    ]
