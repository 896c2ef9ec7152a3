"""Put back into a restored database the state that the topics hold and the backup lacks."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from services.marathon.domain.cells import MINUTE_S, POLICY_CHANGED, TotalsUpdate
from services.marathon.domain.disclosure import memory_of
from services.marathon.storage import access, campaigns, cells, published
from services.marathon.storage.published import Published
from shared.clock import parse_rfc3339
from shared.events.marathon import (
    AccessChanged,
    CampaignChanged,
    CampaignKeysCreated,
    CaseChanged,
    Correction,
    TotalsChanged,
)


async def put_back(
    connection: asyncpg.Connection,
    *,
    campaigns_: Iterable[CampaignChanged],
    cases: Iterable[CaseChanged],
    keys: Iterable[CampaignKeysCreated],
    accesses: Iterable[AccessChanged],
    totals: Iterable[TotalsChanged],
    now: float,
) -> None:
    """Store all of these over the existing rows, in the caller's transaction; `now` is in seconds since 1970."""
    for campaign in campaigns_:
        await campaigns.put_campaign(connection, campaign)
    await campaigns.put_cases(connection, list(cases))
    await campaigns.put_back_keys(connection, keys)
    for each in accesses:
        await access.put_back(connection, each, now)
    memories = {
        previous.document.campaign: previous.memory
        for previous in await published.documents(connection, await published.versions(connection))
    }
    for document in totals:
        memory = memory_of(document, memories.get(document.campaign, {}))
        await published.put_back(connection, Published(document, memory), now)
        await _put_back_policy_changes(connection, document)


async def _put_back_policy_changes(connection: asyncpg.Connection, document: TotalsChanged) -> None:
    """Put back the corrections that imports made; all others are restored by the tally batches."""
    lines = [line for line in document.corrections if line.reason == POLICY_CHANGED]
    update = _corrections(document.campaign, lines, after_freeze=False)
    await cells.replace_corrections(connection, document.campaign, update, POLICY_CHANGED)


async def freeze_again(connection: asyncpg.Connection, document: TotalsChanged) -> None:
    """Restore a final tally that was published, with its history and public record, in the caller's transaction.

    Call it once the ledger is complete again: whatever is counted later is a correction. Does nothing if the campaign
    is frozen already, since its record and history are intact then.
    """
    if not await published.put_frozen(connection, document.campaign, parse_rfc3339(document.as_of)):
        return
    update = _corrections(document.campaign, document.corrections, after_freeze=True)
    await cells.replace_corrections(connection, document.campaign, update)
    await cells.truncate_history(connection, document.campaign, document.ledger)


def _corrections(campaign: str, lines: Iterable[Correction], *, after_freeze: bool) -> TotalsUpdate:
    update = TotalsUpdate()
    for line in lines:
        minute = int(parse_rfc3339(line.at)) // MINUTE_S
        update.add_correction(campaign, minute, "", line.reason, line.change, after_freeze=after_freeze)
    return update
