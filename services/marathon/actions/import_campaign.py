"""Import a campaign file: campaigns, cases, keys and a first totals document, in one transaction with their events."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import asyncpg

from services.marathon.actions.outbox_records import outbox_record
from services.marathon.domain.campaign_changes import ImportPlan, conflicts, plan
from services.marathon.domain.campaign_file import CampaignFile, CampaignFileError, parse_campaign_file
from services.marathon.domain.cells import POLICY_CHANGED, TotalsUpdate
from services.marathon.domain.disclosure import disclosed_total
from services.marathon.domain.document import first_document
from services.marathon.domain.yaml_lines import Fault, ParsedYaml, Path
from services.marathon.storage import campaigns, cells, published
from services.marathon.storage.published import Published
from shared import topics
from shared.clock import rfc3339
from shared.events.marathon import CampaignChanged, CampaignKeysCreated
from shared.events.values import Purpose
from shared.kafka import outbox
from shared.kafka.outbox import OutboxRecord
from shared.privacy.keys import KeyWrapper

RECORDS_PER_STATEMENT: Final = 500
PURPOSES: Final[tuple[Purpose, ...]] = ("dedupe", "seal", "token")


async def import_campaign(connection: asyncpg.Connection, text: str, *, wrapper: KeyWrapper, now: float) -> ImportPlan:
    """Store the changes in the campaign file `text` and publish their events; `now` is in seconds since 1970.

    Importing the same file again changes nothing and publishes nothing.

    Raises:
        CampaignFileError: the file is faulty, or contradicts what is stored; every fault is listed.
    """
    file, parsed = parse_campaign_file(text)
    slug = file.campaign.slug
    petitions = [case.petition.slug for case in file.cases if case.petition is not None]
    async with connection.transaction():
        await campaigns.lock(connection)
        stored = await campaigns.load_stored(connection, slug, [case.slug for case in file.cases], petitions, now)
        if contradictions := list(conflicts(file, stored)):
            raise CampaignFileError([Fault(parsed.line(path), path, advice) for path, advice in contradictions])
        changes = plan(file, stored)
        if not changes.changed:
            return changes
        await campaigns.put_campaign(connection, changes.campaign)
        await campaigns.put_cases(connection, changes.cases)
        records = _encode(changes, file, parsed, now)
        if not await campaigns.has_keys(connection, slug):
            keys = [_create_key(slug, purpose, wrapper, now) for purpose in PURPOSES]
            await campaigns.put_keys(connection, keys)
            # Keys first: a service that knows a petition must find its keys.
            records = [*(outbox_record(key, now) for key in keys), *records]
        if stored.campaign is None:
            document = first_document(changes.campaign, now)
            await published.put_first(connection, Published(document, {}), now)
            records.append(outbox_record(document, now))
        elif not stored.closed:
            await _record_policy_change(connection, stored.campaign, changes.campaign, now)
        for start in range(0, len(records), RECORDS_PER_STATEMENT):
            await outbox.put_outbox(connection, records[start : start + RECORDS_PER_STATEMENT])
    return changes


def _create_key(campaign: str, purpose: Purpose, wrapper: KeyWrapper, now: float) -> CampaignKeysCreated:
    wrapped = b64encode(wrapper.create()).decode()
    return CampaignKeysCreated(campaign=campaign, purpose=purpose, version=1, wrapped=wrapped, created_at=rfc3339(now))


def _encode(changes: ImportPlan, file: CampaignFile, parsed: ParsedYaml, now: float) -> list[OutboxRecord]:
    """Return the events of `changes`: the campaign, then its cases.

    Raises:
        CampaignFileError: one is larger than its topic takes.
    """
    indexes = {part.slug: index for index, part in enumerate(file.cases)}
    located: list[tuple[Path, OutboxRecord]] = [
        (("campaign",), outbox_record(changes.campaign, now)),
        *((("cases", indexes[case.slug]), outbox_record(case, now)) for case in changes.cases),
    ]
    limit = f"more than the {topics.MAX_MESSAGE_BYTES // 1024} KiB that a topic takes: shorten its texts"
    faults = [
        Fault(parsed.line(path), path, f"takes {len(record.value or b'') // 1024} KiB as an event, {limit}")
        for path, record in located
        if not outbox.fits_topic(record)
    ]
    if faults:
        raise CampaignFileError(faults)
    return [record for _, record in located]


async def _record_policy_change(
    connection: asyncpg.Connection, before: CampaignChanged, after: CampaignChanged, now: float
) -> None:
    """Put on public record how a change of public evidence or safety mode changes the total."""
    (last_published,) = await published.documents(connection, [after.slug])
    totals = []
    for policies in (before.policies, after.policies):
        exact = await cells.exact_totals(connection, after.slug, policies.public_evidence)
        totals.append(disclosed_total(exact, policies, last_published.memory))
    if change := totals[1] - totals[0]:
        update = TotalsUpdate()
        update.add_correction(after.slug, int(now) // 60, "", POLICY_CHANGED, change, after_freeze=False)
        await cells.add_corrections(connection, update)
