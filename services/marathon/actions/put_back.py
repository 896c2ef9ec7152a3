"""Put back into a restored database what the topics know and the backup did not."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from services.marathon.domain.cells import MINUTE_S, POLICY_CHANGED, Changes
from services.marathon.domain.disclosure import shown_in
from services.marathon.storage import access, campaigns, cells, published
from services.marathon.storage.campaigns import StoredKey
from services.marathon.storage.published import Published
from shared.clock import parse_rfc3339
from shared.events.marathon import AccessChanged, CampaignChanged, CaseChanged, Correction, TotalsChanged


async def put_back(
    connection: asyncpg.Connection,
    *,
    campaigns_: Iterable[CampaignChanged],
    cases: Iterable[CaseChanged],
    keys: Iterable[StoredKey],
    accesses: Iterable[AccessChanged],
    totals: Iterable[TotalsChanged],
    now: float,
) -> None:
    """Store all of these over what is there, in the caller's transaction; `now` is in seconds since 1970."""
    for campaign in campaigns_:
        await campaigns.put_campaign(connection, campaign)
    for case in cases:
        await campaigns.put_case(connection, case)
    for key in keys:
        await campaigns.put_stored_key(connection, key)
    for each in accesses:
        await access.put_back(connection, each, now)
    before = {
        one.document.campaign: one.memory
        for one in await published.documents(connection, await published.versions(connection))
    }
    for document in totals:
        memory = shown_in(document, before.get(document.campaign, {}))
        await published.put_back(connection, Published(document, memory), now)
        await _put_back_policy_changes(connection, document)


async def _put_back_policy_changes(connection: asyncpg.Connection, document: TotalsChanged) -> None:
    """Put on record what only imports knew; all other corrections come again with the tally batches."""
    lines = [one for one in document.corrections if one.reason == POLICY_CHANGED]
    record = _record(document.campaign, lines, after_freeze=False)
    await cells.replace_corrections(connection, document.campaign, record, POLICY_CHANGED)


async def freeze_again(connection: asyncpg.Connection, document: TotalsChanged) -> None:
    """Keep a final tally that was published, with its course and public record; in the caller's transaction.

    Comes after everything that was counted is in the ledger again: what comes later is a correction. Does nothing where
    the campaign is frozen, and its record and course therefore kept.
    """
    if not await published.frozen_before(connection, document.campaign, parse_rfc3339(document.as_of)):
        return
    record = _record(document.campaign, document.corrections, after_freeze=True)
    await cells.replace_corrections(connection, document.campaign, record)
    await cells.end_course(connection, document.campaign, document.ledger)


def _record(campaign: str, lines: Iterable[Correction], *, after_freeze: bool) -> Changes:
    record = Changes()
    for one in lines:
        minute = int(parse_rfc3339(one.at)) // MINUTE_S
        record.correct(campaign, minute, "", one.reason, one.change, after_freeze=after_freeze)
    return record
