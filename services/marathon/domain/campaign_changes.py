"""Plan the import of a campaign file: which changes it makes to the stored campaign.

Versions rise by one with each change; an import without changes changes no version. Texts that people may have acted on
stay as they were, or get a new version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from services.marathon.domain.campaign_events import campaign_event, case_event, petition_differs
from services.marathon.domain.campaign_file import CampaignFile, CasePart, PetitionPart
from services.marathon.domain.yaml_lines import Path
from shared.events.marathon import CampaignChanged, CaseChanged, Petition

Versioned = TypeVar("Versioned", CampaignChanged, CaseChanged)
_DATES: Final = ("opens", "closes", "confirmations_close")
_POLICIES: Final = ("public_evidence", "public_threshold", "safety_mode")


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
    campaign = _next_version(campaign_event(file, stored.campaign), stored.campaign)
    if campaign is not stored.campaign:
        return ImportPlan(campaign, changed=True, cases=tuple(changed_cases))
    # The version of a campaign rises with its cases, too.
    campaign = msgspec.structs.replace(campaign, version=campaign.version + bool(changed_cases))
    return ImportPlan(campaign, changed=bool(changed_cases), cases=tuple(changed_cases))


def conflicts(file: CampaignFile, stored: StoredCampaign) -> Iterator[tuple[Path, str]]:
    """Yield where `file` contradicts the stored state, with advice on each."""
    slugs = {part.slug for part in file.cases}
    for slug, case in stored.cases.items():
        if case.campaign == file.campaign.slug and slug not in slugs:
            yield ("cases",), f"lacks {slug}, which was imported before: a case stays in its campaign, put it back"
    for index, part in enumerate(file.cases):
        yield from _case_conflicts(part, ("cases", index), file.campaign.slug, stored)
    if stored.campaign is not None:
        yield from _campaign_conflicts(campaign_event(file, stored.campaign), stored.campaign, stored)


def _campaign_conflicts(
    after: CampaignChanged, before: CampaignChanged, stored: StoredCampaign
) -> Iterator[tuple[Path, str]]:
    policies: Path = ("campaign", "policies")
    if (stored.opened or stored.cases_with_actions) and after.policies.one_per != before.policies.one_per:
        yield (*policies, "one_per"), f"cannot change once people can act: put {before.policies.one_per} back"
    if stored.closed:
        yield from _changes_after_close(("campaign",), _DATES, after, before)
        yield from _changes_after_close(policies, _POLICIES, after.policies, before.policies)


def _changes_after_close(at: Path, names: Collection[str], after: object, before: object) -> Iterator[tuple[Path, str]]:
    """Yield changes to what the final tally rests on: what it counts, and how it is shown."""
    for name in names:
        if getattr(after, name) != (value := getattr(before, name)):
            text = msgspec.json.encode(value).decode()
            yield (
                (*at, name),
                f"cannot change once the end was read for the final tally, which rests on it: put {text} back",
            )


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


def _next_version(after: Versioned, before: Versioned | None) -> Versioned:
    """Return `after` with the version that follows that of `before`, or `before` where nothing else differs."""
    if before is None:
        return msgspec.structs.replace(after, version=1)
    same = msgspec.structs.replace(after, version=before.version) == before
    return before if same else msgspec.structs.replace(after, version=before.version + 1)
