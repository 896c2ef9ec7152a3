"""Campaigns, cases and their wrapped keys."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import asyncpg
import msgspec

from services.marathon.domain.campaign_changes import StoredCampaign
from shared.clock import parse_rfc3339, rfc3339, utc
from shared.events.marathon import CampaignChanged, CampaignKeysCreated, CaseChanged

CASES_PER_STATEMENT: Final = 500
"""A case with its texts takes some kilobytes."""

_decode_campaign = msgspec.json.Decoder(CampaignChanged).decode
_decode_case = msgspec.json.Decoder(CaseChanged).decode


_LOCK = "SELECT pg_advisory_xact_lock(hashtext('marathon campaigns'))"


async def lock(connection: asyncpg.Connection) -> None:
    """Lock the campaigns against other changes until the transaction ends."""
    await connection.execute(_LOCK)


_CAMPAIGN = "SELECT document FROM campaigns WHERE slug = $1"
_AFFECTED_CASES = "SELECT document FROM cases WHERE campaign = $1 OR slug = ANY($2)"
_PETITIONS = "SELECT petition, slug FROM cases WHERE petition = ANY($1)"
_CASES_WITH_SIGNATURES = """SELECT DISTINCT "case" FROM cells WHERE campaign = $1 AND kind = 'signature'"""
_CLOSED = "SELECT EXISTS (SELECT FROM freezes WHERE campaign = $1)"


async def load_stored(
    connection: asyncpg.Connection, campaign: str, cases: Collection[str], petitions: Collection[str], now: float
) -> StoredCampaign:
    """Return the stored state for an import of `campaign` with these cases and petitions at `now` (seconds since
    1970).
    """
    document = await connection.fetchval(_CAMPAIGN, campaign)
    before = None if document is None else _decode_campaign(document)
    rows = await connection.fetch(_AFFECTED_CASES, campaign, list(cases))
    return StoredCampaign(
        campaign=before,
        cases={case.slug: case for case in (_decode_case(row["document"]) for row in rows)},
        petitions=dict(map(tuple, await connection.fetch(_PETITIONS, list(petitions)))),
        cases_with_actions={row["case"] for row in await connection.fetch(_CASES_WITH_SIGNATURES, campaign)},
        opened=before is not None and parse_rfc3339(before.opens) <= now,
        closed=await connection.fetchval(_CLOSED, campaign),
    )


_PUT_CAMPAIGN = """
INSERT INTO campaigns (slug, version, document) VALUES ($1, $2, $3)
ON CONFLICT (slug) DO UPDATE SET version = excluded.version, document = excluded.document
"""
_PUT_CASES = """
INSERT INTO cases (slug, campaign, petition, version, document)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::jsonb[])
ON CONFLICT (slug) DO UPDATE
SET petition = excluded.petition, version = excluded.version, document = excluded.document
"""


async def put_campaign(connection: asyncpg.Connection, campaign: CampaignChanged) -> None:
    """Store the current state of a campaign."""
    await connection.execute(_PUT_CAMPAIGN, campaign.slug, campaign.version, _json(campaign))


async def put_cases(connection: asyncpg.Connection, cases: Sequence[CaseChanged]) -> None:
    """Store the current state of `cases`."""
    for start in range(0, len(cases), CASES_PER_STATEMENT):
        portion = cases[start : start + CASES_PER_STATEMENT]
        await connection.execute(
            _PUT_CASES,
            [case.slug for case in portion],
            [case.campaign for case in portion],
            [case.petition.slug if case.petition else None for case in portion],
            [case.version for case in portion],
            [_json(case) for case in portion],
        )


_HAS_KEYS = "SELECT EXISTS (SELECT FROM campaign_keys WHERE campaign = $1)"


async def has_keys(connection: asyncpg.Connection, campaign: str) -> bool:
    """Whether `campaign` has keys."""
    return bool(await connection.fetchval(_HAS_KEYS, campaign))


_PUT_KEY = """
INSERT INTO campaign_keys (campaign, purpose, version, wrapped, created_at) VALUES ($1, $2, $3, $4, $5)
"""
_PUT_BACK_KEY = f"{_PUT_KEY} ON CONFLICT DO NOTHING"


async def put_keys(connection: asyncpg.Connection, keys: Iterable[CampaignKeysCreated]) -> None:
    """Store new wrapped keys.

    Raises:
        asyncpg.UniqueViolationError: the campaign has such a key, which must not differ from what services are told.
    """
    await connection.executemany(_PUT_KEY, _key_rows(keys))


async def put_back_keys(connection: asyncpg.Connection, keys: Iterable[CampaignKeysCreated]) -> None:
    """Store wrapped keys that were created before, unless they are stored already."""
    await connection.executemany(_PUT_BACK_KEY, _key_rows(keys))


def _key_rows(keys: Iterable[CampaignKeysCreated]) -> list[tuple[object, ...]]:
    return [
        (key.campaign, key.purpose, key.version, b64decode(key.wrapped), utc(parse_rfc3339(key.created_at)))
        for key in keys
    ]


_ALL_KEYS = "SELECT campaign, purpose, version, wrapped, created_at FROM campaign_keys ORDER BY 1, 2, 3"


async def all_keys(connection: asyncpg.Connection) -> list[CampaignKeysCreated]:
    """Return the wrapped keys of every campaign."""
    return [
        CampaignKeysCreated(
            campaign=campaign,
            purpose=purpose,
            version=version,
            wrapped=b64encode(wrapped).decode(),
            created_at=rfc3339(created_at.timestamp()),
        )
        for campaign, purpose, version, wrapped, created_at in await connection.fetch(_ALL_KEYS)
    ]


_ALL_CAMPAIGNS = "SELECT document FROM campaigns ORDER BY slug"


async def all_campaigns(connection: asyncpg.Connection) -> list[CampaignChanged]:
    """Return the current state of every campaign."""
    return [_decode_campaign(row["document"]) for row in await connection.fetch(_ALL_CAMPAIGNS)]


_CASES = "SELECT document FROM cases WHERE $1::text IS NULL OR campaign = $1 ORDER BY slug"


async def cases(connection: asyncpg.Connection, campaign: str | None = None) -> list[CaseChanged]:
    """Return the current state of the cases of `campaign`, or of all campaigns."""
    return [_decode_case(row["document"]) for row in await connection.fetch(_CASES, campaign)]


def _json(event: msgspec.Struct) -> str:
    return msgspec.json.encode(event).decode()
