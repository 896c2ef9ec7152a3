"""The totals documents as last published, and the freezing of closed campaigns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import asyncpg
import msgspec

from services.marathon.domain.disclosure import DisclosureMemory, MapMemory
from services.marathon.domain.ledger import SourcePartition
from shared.clock import utc
from shared.events.marathon import CampaignChanged, TotalsChanged

_decode_document = msgspec.json.Decoder(TotalsChanged).decode
_decode_memory = msgspec.json.Decoder(dict[str, MapMemory]).decode
_decode_end_offsets = msgspec.json.Decoder(list[tuple[str, int, int]]).decode


class Published(NamedTuple):
    """A document as last put in the outbox, and the memory of what it disclosed."""

    document: TotalsChanged
    memory: DisclosureMemory


_VERSIONS = "SELECT campaign, version FROM published"


async def versions(connection: asyncpg.Connection) -> dict[str, int]:
    """Return the version last published of every campaign."""
    return {row["campaign"]: row["version"] for row in await connection.fetch(_VERSIONS)}


_DOCUMENTS = "SELECT document, memory FROM published WHERE campaign = ANY($1)"


async def documents(connection: asyncpg.Connection, campaigns: Collection[str]) -> list[Published]:
    """Return what was last published of `campaigns`."""
    rows = await connection.fetch(_DOCUMENTS, list(campaigns))
    return [Published(_decode_document(row["document"]), _decode_memory(row["memory"])) for row in rows]


_LOCK_PUBLISHING = "SELECT pg_try_advisory_xact_lock(hashtext('marathon totals'), hashtext($1))"
_PUT = """
UPDATE published SET version = $2, document = $3, memory = $4, at = $5 WHERE campaign = $1 AND version = $2 - 1
"""


async def put(connection: asyncpg.Connection, published: Published, now: float) -> bool:
    """Store the next document of a campaign. Return False, and store nothing, if another process publishes or has
    published it.
    """
    if not await connection.fetchval(_LOCK_PUBLISHING, published.document.campaign):
        return False
    return bool(await connection.execute(_PUT, *_row(published, now)) == "UPDATE 1")


_PUT_FIRST = "INSERT INTO published (campaign, version, document, memory, at) VALUES ($1, $2, $3, $4, $5)"
_PUT_BACK = f"""{_PUT_FIRST}
ON CONFLICT (campaign) DO UPDATE
SET version = excluded.version, document = excluded.document, memory = excluded.memory, at = excluded.at
"""


async def put_first(connection: asyncpg.Connection, published: Published, now: float) -> None:
    """Store the first document of a campaign.

    Raises:
        asyncpg.UniqueViolationError: it has one.
    """
    await connection.execute(_PUT_FIRST, *_row(published, now))


async def put_back(connection: asyncpg.Connection, published: Published, now: float) -> None:
    """Store a document that was published before, replacing the current one."""
    await connection.execute(_PUT_BACK, *_row(published, now))


def _row(published: Published, now: float) -> tuple[object, ...]:
    document = published.document
    encoded, memory = (msgspec.json.encode(each).decode() for each in published)
    return document.campaign, document.version, encoded, memory, utc(now)


class Freeze(NamedTuple):
    """The end offset of every source partition, read once after a campaign's end; `done` once the totals are final."""

    end_offsets: Mapping[SourcePartition, int]
    done: bool


_FREEZES = "SELECT campaign, ends, frozen_at IS NOT NULL AS done FROM freezes"


async def freezes(connection: asyncpg.Connection) -> dict[str, Freeze]:
    """Return the campaigns that are frozen or about to be."""
    return {
        row["campaign"]: Freeze(
            {SourcePartition(source, partition): end for source, partition, end in _decode_end_offsets(row["ends"])},
            row["done"],
        )
        for row in await connection.fetch(_FREEZES)
    }


_PUT_END_OFFSETS = """
INSERT INTO freezes (campaign, ends, read_at) SELECT slug, $3, $4 FROM campaigns WHERE slug = $1 AND version = $2
ON CONFLICT DO NOTHING
"""


async def put_end_offsets(
    connection: asyncpg.Connection, campaign: CampaignChanged, end_offsets: Mapping[SourcePartition, int], at: float
) -> None:
    """Store the end offsets that the final tally of `campaign` waits for, unless the campaign has changed meanwhile.

    Only the first call for a campaign counts. Call it after `campaigns.lock`, in the same transaction.
    """
    rows = [(*source, end) for source, end in sorted(end_offsets.items())]
    await connection.execute(
        _PUT_END_OFFSETS, campaign.slug, campaign.version, msgspec.json.encode(rows).decode(), utc(at)
    )


_LOCK_FREEZE = "SELECT pg_advisory_xact_lock(hashtext('marathon freeze'))"
_FREEZE = "UPDATE freezes SET frozen_at = $2 WHERE campaign = $1 AND frozen_at IS NULL"


async def freeze(connection: asyncpg.Connection, campaign: str, now: float) -> bool:
    """Mark `campaign` as frozen; return False if it was already. No tally batch is added until the transaction ends."""
    await connection.execute(_LOCK_FREEZE)
    return bool(await connection.execute(_FREEZE, campaign, utc(now)) == "UPDATE 1")


_PUT_FROZEN = """
INSERT INTO freezes (campaign, ends, read_at, frozen_at) VALUES ($1, '[]', $2, $2) ON CONFLICT (campaign) DO UPDATE
SET frozen_at = excluded.frozen_at WHERE freezes.frozen_at IS NULL
"""


async def put_frozen(connection: asyncpg.Connection, campaign: str, at: float) -> bool:
    """Mark `campaign` as frozen at `at`, with a final tally made by a database that was lost. Return False if it was
    frozen already.
    """
    return bool(await connection.execute(_PUT_FROZEN, campaign, utc(at)) == "INSERT 0 1")
