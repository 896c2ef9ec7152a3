"""The totals documents as last published, and the freezing of closed campaigns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import asyncpg
import msgspec

from services.marathon.domain.disclosure import Memory, Shown
from services.marathon.domain.ledger import SourcePartition
from shared.clock import utc
from shared.events.marathon import CampaignChanged, TotalsChanged

_document = msgspec.json.Decoder(TotalsChanged).decode
_memory = msgspec.json.Decoder(dict[str, Shown]).decode
_ends = msgspec.json.Decoder(list[tuple[str, int, int]]).decode


class Published(NamedTuple):
    """A document as last put in the outbox, and what was shown in it."""

    document: TotalsChanged
    memory: Memory


_PUT_FIRST = """
INSERT INTO published (campaign, version, document, memory, at) VALUES ($1, $2, $3, '{}', $4)
"""


async def put_first(connection: asyncpg.Connection, document: TotalsChanged, now: float) -> None:
    """Store the first document of a campaign."""
    await connection.execute(
        _PUT_FIRST, document.campaign, document.version, msgspec.json.encode(document).decode(), utc(now)
    )


_VERSIONS = "SELECT campaign, version FROM published"


async def versions(connection: asyncpg.Connection) -> dict[str, int]:
    """The version last published of every campaign."""
    return {row["campaign"]: row["version"] for row in await connection.fetch(_VERSIONS)}


_DOCUMENTS = "SELECT document, memory FROM published WHERE campaign = ANY($1)"


async def documents(connection: asyncpg.Connection, campaigns: Collection[str]) -> list[Published]:
    """What was last published of `campaigns`."""
    rows = await connection.fetch(_DOCUMENTS, list(campaigns))
    return [Published(_document(row["document"]), _memory(row["memory"])) for row in rows]


_LOCK_PUBLISHING = "SELECT pg_try_advisory_xact_lock(hashtext('marathon totals'), hashtext($1))"
_PUT = """
UPDATE published SET version = $2, document = $3, memory = $4, at = $5 WHERE campaign = $1 AND version = $2 - 1
"""


async def put(connection: asyncpg.Connection, published: Published, now: float) -> bool:
    """Store the next document of a campaign; False, and nothing stored, where somebody else publishes or has
    published.
    """
    document = published.document
    if not await connection.fetchval(_LOCK_PUBLISHING, document.campaign):
        return False
    status = await connection.execute(
        _PUT,
        document.campaign,
        document.version,
        msgspec.json.encode(document).decode(),
        msgspec.json.encode(published.memory).decode(),
        utc(now),
    )
    return bool(status == "UPDATE 1")


_PUT_BACK = """
INSERT INTO published (campaign, version, document, memory, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (campaign) DO UPDATE
SET version = excluded.version, document = excluded.document, memory = excluded.memory, at = excluded.at
"""


async def put_back(connection: asyncpg.Connection, published: Published, now: float) -> None:
    """Store a document that was published before, over whatever is there."""
    document = published.document
    await connection.execute(
        _PUT_BACK,
        document.campaign,
        document.version,
        msgspec.json.encode(document).decode(),
        msgspec.json.encode(published.memory).decode(),
        utc(now),
    )


class Freeze(NamedTuple):
    """The end of every source partition as read once after a campaign's end; `done` once the totals are final."""

    ends: Mapping[SourcePartition, int]
    done: bool


_FREEZES = "SELECT campaign, ends, frozen_at IS NOT NULL AS done FROM freezes"


async def freezes(connection: asyncpg.Connection) -> dict[str, Freeze]:
    """The campaigns that are frozen or about to be."""
    return {
        row["campaign"]: Freeze(
            {SourcePartition(source, partition): end for source, partition, end in _ends(row["ends"])}, row["done"]
        )
        for row in await connection.fetch(_FREEZES)
    }


_PUT_ENDS = """
INSERT INTO freezes (campaign, ends, read_at) SELECT slug, $3, $4 FROM campaigns WHERE slug = $1 AND version = $2
ON CONFLICT DO NOTHING
"""


async def put_ends(
    connection: asyncpg.Connection, campaign: CampaignChanged, ends: Mapping[SourcePartition, int], at: float
) -> None:
    """Remember the ends that the final tally of `campaign` waits for; nothing where it is another by now.

    Only the first call for a campaign counts. Comes after `campaigns.lock`, in its transaction.
    """
    listed = [(*place, end) for place, end in sorted(ends.items())]
    await connection.execute(_PUT_ENDS, campaign.slug, campaign.version, msgspec.json.encode(listed).decode(), utc(at))


_LOCK_FREEZE = "SELECT pg_advisory_xact_lock(hashtext('marathon freeze'))"
_FREEZE = "UPDATE freezes SET frozen_at = $2 WHERE campaign = $1 AND frozen_at IS NULL"


async def freeze(connection: asyncpg.Connection, campaign: str, now: float) -> bool:
    """Mark `campaign` as frozen; False where it was. Until the transaction ends no tally batch is added anywhere."""
    await connection.execute(_LOCK_FREEZE)
    return bool(await connection.execute(_FREEZE, campaign, utc(now)) == "UPDATE 1")


_FROZEN_BEFORE = """
INSERT INTO freezes (campaign, ends, read_at, frozen_at) VALUES ($1, '[]', $2, $2) ON CONFLICT (campaign) DO UPDATE
SET frozen_at = excluded.frozen_at WHERE freezes.frozen_at IS NULL
"""


async def frozen_before(connection: asyncpg.Connection, campaign: str, at: float) -> bool:
    """Mark `campaign` as one whose final tally was made, as of `at`, by a database that is no more; False where it was
    marked.
    """
    return bool(await connection.execute(_FROZEN_BEFORE, campaign, utc(at)) == "INSERT 0 1")
