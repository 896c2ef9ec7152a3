"""Plan the import of a campaign file: which changes it makes to the stored campaign.

Versions rise by one with each change; an import without changes changes no version. Texts that people may have acted on
stay as they were, or get a new version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from services.marathon.domain.campaign_events import (
    campaign_event,
    case_event,
    confirmations_close,
    petition_differs,
    policies_of,
    stored_time,
)
from services.marathon.domain.campaign_file import CampaignFile, CampaignPart, CasePart, PetitionPart
from services.marathon.domain.yaml_lines import Path
from shared.events.marathon import CampaignChanged, CaseChanged, Petition

Versioned = TypeVar("Versioned", CampaignChanged, CaseChanged)


@dataclass(frozen=True, slots=True)
class StoredCampaign:
    """The stored state before the import.

    `cases` are those of this campaign and any other whose slug the file names; `petitions` says which case each
    petition of the file belongs to. `cases_with_actions` have counted actions. `closed` says that the end offsets were
    read for the final tally, whether it is made yet or not. `opened` says that the campaign accepts actions or has
    accepted them: some may be accepted and not counted yet.
    """

    campaign: CampaignChanged | None = None
    cases: Mapping[str, CaseChanged] = field(default_factory=dict)
    petitions: Mapping[str, str] = field(default_factory=dict)
    cases_with_actions: Collection[str] = ()
    opened: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """The plan of an import: the new state of the campaign, and those of its cases that change."""

    campaign: CampaignChanged
    changed: bool
    cases: tuple[CaseChanged, ...]


def plan(file: CampaignFile, stored: StoredCampaign) -> ImportPlan:
    """Plan the import of a `file` without conflicts."""
    changed_cases = []
    for part in file.cases:
        before = stored.cases.get(part.slug)
        case = _next_version(case_event(part, file.campaign.slug, before), before)
        if case is not before:
            changed_cases.append(case)
    campaign = campaign_event(file, stored.campaign)
    if stored.campaign is not None and not changed_cases and _equal_except_version(campaign, stored.campaign):
        return ImportPlan(stored.campaign, changed=False, cases=())
    version = 1 if stored.campaign is None else stored.campaign.version + 1
    return ImportPlan(msgspec.structs.replace(campaign, version=version), changed=True, cases=tuple(changed_cases))


def conflicts(file: CampaignFile, stored: StoredCampaign) -> Iterator[tuple[Path, str]]:
    """Yield where `file` contradicts the stored state, with advice on each."""
    slugs = {part.slug for part in file.cases}
    for slug, case in stored.cases.items():
        if case.campaign == file.campaign.slug and slug not in slugs:
            yield ("cases",), f"lacks {slug}, which was imported before: a case stays in its campaign, put it back"
    for index, part in enumerate(file.cases):
        yield from _case_conflicts(part, ("cases", index), file.campaign.slug, stored)
    if stored.campaign is not None:
        yield from _campaign_conflicts(file.campaign, stored.campaign, stored)


def _campaign_conflicts(
    part: CampaignPart, before: CampaignChanged, stored: StoredCampaign
) -> Iterator[tuple[Path, str]]:
    if (stored.opened or stored.cases_with_actions) and part.policies.one_per != before.policies.one_per:
        yield (
            ("campaign", "policies", "one_per"),
            f"cannot change once people can act: put {before.policies.one_per} back",
        )
    if stored.closed:
        yield from _closed_conflicts(part, before)


def _closed_conflicts(part: CampaignPart, before: CampaignChanged) -> Iterator[tuple[Path, str]]:
    """Yield changes to what the final tally rests on: what it counts, and how it is shown."""
    dates = {
        "opens": (stored_time(part.opens), before.opens),
        "closes": (stored_time(part.closes), before.closes),
        "confirmations_close": (confirmations_close(part), before.confirmations_close),
    }
    for name, (after, stored_value) in dates.items():
        if after != stored_value:
            yield ("campaign", name), _put_back_advice(stored_value)
    policies = policies_of(part.policies, before)
    for name in ("public_evidence", "public_threshold", "safety_mode"):
        stored_value = getattr(before.policies, name)
        if getattr(policies, name) != stored_value:
            yield ("campaign", "policies", name), _put_back_advice(stored_value)


def _put_back_advice(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return f"cannot change once the end was read for the final tally, which rests on it: put {text} back"


def _case_conflicts(part: CasePart, at: Path, campaign: str, stored: StoredCampaign) -> Iterator[tuple[Path, str]]:
    before = stored.cases.get(part.slug)
    if before is not None and before.campaign != campaign:
        yield (*at, "slug"), f"is the slug of a case of {before.campaign}: choose another"
        return
    if part.petition is not None:
        owner = stored.petitions.get(part.petition.slug, part.slug)
        if owner != part.slug:
            yield (*at, "petition", "slug"), f"is the slug of the petition for {owner}: choose another"
            return
    if before is not None and before.petition is not None:
        yield from _petition_conflicts(
            part.petition,
            before.petition,
            (*at, "petition"),
            signable=stored.opened or part.slug in stored.cases_with_actions,
        )


def _petition_conflicts(
    part: PetitionPart | None, before: Petition, at: Path, *, signable: bool
) -> Iterator[tuple[Path, str]]:
    if part is None or part.slug != before.slug:
        if signable:
            yield at, f"cannot be taken away once people can sign it: put {before.slug} back"
        return
    if part.version is not None and part.version < before.version:
        yield (*at, "version"), f"is lower than the stored one: it is {before.version} now"
        return
    if petition_differs(part, before) and (part.version == before.version or (part.version is None and signable)):
        yield (
            (*at, "text"),
            f"has changed, and a version has one text for ever: put it back, or set `version: {before.version + 1}`",
        )


def _next_version(after: CaseChanged, before: CaseChanged | None) -> CaseChanged:
    if before is None:
        return msgspec.structs.replace(after, version=1)
    return (
        before if _equal_except_version(after, before) else msgspec.structs.replace(after, version=before.version + 1)
    )


def _equal_except_version(new: Versioned, other: Versioned) -> bool:
    return msgspec.structs.replace(new, version=other.version) == other
