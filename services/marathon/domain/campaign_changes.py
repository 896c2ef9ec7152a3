"""What importing a campaign file changes, given what is stored.

Versions rise by one with each change; an import that changes nothing changes no version. What people have already
acted on stays as it was, or gets a new version.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from services.marathon.domain.campaign_file import (
    AddressPart,
    CampaignFile,
    CampaignPart,
    CasePart,
    ContactPart,
    PetitionPart,
    PoliciesPart,
    WritingPart,
)
from services.marathon.domain.yaml_lines import Path
from shared.clock import parse_rfc3339, rfc3339
from shared.events.marathon import (
    Address,
    CampaignChanged,
    CaseChanged,
    Contact,
    Petition,
    Policies,
    Section,
    Target,
    Writing,
)
from shared.events.words import Evidence

CONFIRMATIONS_S: Final = 7 * 24 * 60 * 60
"""How long after its end a campaign takes confirmations, where its file does not say."""
PUBLIC: Final[tuple[Evidence, ...]] = ("confirmed", "recorded", "offline")
PUBLIC_IF_REQUIRED: Final[tuple[Evidence, ...]] = ("confirmed", "offline")

Versioned = TypeVar("Versioned", CampaignChanged, CaseChanged)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored before the import.

    `cases` are those of this campaign and any other whose slug the file names; `petitions` says which case each
    petition of the file belongs to. `acted` are the cases that have counted actions. `closed` says that the ends of the
    source partitions were read for the final tally, whether it is made yet or not. `opened` says that it takes
    actions or has taken them: some may be accepted and not counted yet.
    """

    campaign: CampaignChanged | None = None
    cases: Mapping[str, CaseChanged] = field(default_factory=dict)
    petitions: Mapping[str, str] = field(default_factory=dict)
    acted: Collection[str] = ()
    opened: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """What the import leads to: the campaign as it is to be, and those of its parts that change."""

    campaign: CampaignChanged
    changed: bool
    cases: tuple[CaseChanged, ...]

    @property
    def petitions(self) -> tuple[str, ...]:
        """Slugs of the petitions that are new or change."""
        return tuple(case.petition.slug for case in self.cases if case.petition is not None)


def plan(file: CampaignFile, stored: Stored) -> Import:
    """The import of a `file` that `conflicts` finds nothing wrong with."""
    changed_cases = []
    for part in file.cases:
        before = stored.cases.get(part.slug)
        case = _next_version(_case(part, file.campaign.slug, before), before)
        if case is not before:
            changed_cases.append(case)
    campaign = _campaign(file, stored.campaign)
    if stored.campaign is not None and not changed_cases and _same(campaign, stored.campaign):
        return Import(stored.campaign, changed=False, cases=())
    version = 1 if stored.campaign is None else stored.campaign.version + 1
    return Import(msgspec.structs.replace(campaign, version=version), changed=True, cases=tuple(changed_cases))


def conflicts(file: CampaignFile, stored: Stored) -> Iterator[tuple[Path, str]]:
    """What in `file` contradicts what is stored: where, and what to do about it."""
    known = {part.slug for part in file.cases}
    for slug, case in stored.cases.items():
        if case.campaign == file.campaign.slug and slug not in known:
            yield ("cases",), f"lacks {slug}, which was imported before: a case stays in its campaign, put it back"
    for place, part in enumerate(file.cases):
        yield from _case_conflicts(part, ("cases", place), file.campaign.slug, stored)
    if stored.campaign is not None:
        yield from _campaign_conflicts(file.campaign, stored.campaign, stored)


def _campaign_conflicts(part: CampaignPart, before: CampaignChanged, stored: Stored) -> Iterator[tuple[Path, str]]:
    if (stored.opened or stored.acted) and part.policies.one_per != before.policies.one_per:
        yield (
            ("campaign", "policies", "one_per"),
            f"cannot change once people can act: put {before.policies.one_per} back",
        )
    if stored.closed:
        yield from _closed_conflicts(part, before)


def _closed_conflicts(part: CampaignPart, before: CampaignChanged) -> Iterator[tuple[Path, str]]:
    """What the final tally rests on stays: what is counted in it, and how it is shown from then on."""
    dates = {
        "opens": (_time(part.opens), before.opens),
        "closes": (_time(part.closes), before.closes),
        "confirmations_close": (_confirmations_close(part), before.confirmations_close),
    }
    for name, (after, there) in dates.items():
        if after != there:
            yield ("campaign", name), _put_back(there)
    policies = _policies(part.policies, before)
    for name in ("public_evidence", "public_threshold", "safety_mode"):
        chosen = getattr(before.policies, name)
        if getattr(policies, name) != chosen:
            yield ("campaign", "policies", name), _put_back(chosen)


def _put_back(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return f"cannot change once the end was read for the final tally, which rests on it: put {text} back"


def _case_conflicts(part: CasePart, at: Path, campaign: str, stored: Stored) -> Iterator[tuple[Path, str]]:
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
            part.petition, before.petition, (*at, "petition"), signable=stored.opened or part.slug in stored.acted
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
    if _differs(part, before) and (part.version == before.version or (part.version is None and signable)):
        yield (
            (*at, "text"),
            f"has changed, and a version has one text for ever: put it back, or set `version: {before.version + 1}`",
        )


def _campaign(file: CampaignFile, before: CampaignChanged | None) -> CampaignChanged:
    part = file.campaign
    return CampaignChanged(
        slug=part.slug,
        version=0,
        title=part.title,
        opens=_time(part.opens),
        closes=_time(part.closes),
        confirmations_close=_confirmations_close(part),
        goal=part.goal,
        languages=tuple(part.languages),
        policies=_policies(part.policies, before),
        cases=tuple(case.slug for case in file.cases),
        sections=tuple(
            Section(slug=section.slug, name=section.name, countries=tuple(section.countries))
            for section in part.sections
        ),
        organisation=part.organisation,
        contact=None if part.contact is None else _contact(part.contact),
    )


def _contact(part: ContactPart) -> Contact:
    return Contact(
        email=part.email or "",
        address=tuple(part.address),
        imprint=part.imprint or {},
        privacy=part.privacy or {},
    )


def _policies(part: PoliciesPart, before: CampaignChanged | None) -> Policies:
    default = PUBLIC_IF_REQUIRED if part.confirmation == "required" else PUBLIC
    policies = Policies(
        one_per=part.one_per,
        confirmation=part.confirmation,
        public_evidence=default if part.public_evidence is None else tuple(part.public_evidence),
        public_threshold=part.public_threshold,
        letters_per_person=part.letters_per_person,
        safety_mode=part.safety_mode,
    )
    # Dedupe keys rest on them, so a campaign keeps the mailbox rules that it began with.
    return (
        policies if before is None else msgspec.structs.replace(policies, address_rules=before.policies.address_rules)
    )


def _case(part: CasePart, campaign: str, before: CaseChanged | None) -> CaseChanged:
    petition = before.petition if before is not None else None
    return CaseChanged(
        slug=part.slug,
        version=0,
        campaign=campaign,
        name=part.name,
        country=part.country,
        status=part.status,
        story=part.story,
        summary=part.summary or {},
        goal=part.goal,
        facts=tuple(part.facts.items()),
        petition=None if part.petition is None else _petition(part.petition, petition),
        accepts_messages=part.accepts_messages,
        address=None if part.address is None else _address(part.address, part.country, before),
        writing=None if part.writing is None else _writing(part.writing),
    )


def _address(part: AddressPart, country: str, before: CaseChanged | None) -> Address:
    """The address: the one that is there, or another one that comes with the case's next version."""
    address = Address(
        version=1 if before is None else before.version + 1,
        lines=tuple(part.lines),
        language=part.language,
        country=part.country or country,
    )
    known = before.address if before is not None else None
    same = known is not None and msgspec.structs.replace(known, version=address.version) == address
    return known if same and known is not None else address


def _writing(part: WritingPart) -> Writing:
    return Writing(languages=tuple(part.languages), rules={code: tuple(lines) for code, lines in part.rules.items()})


def _petition(part: PetitionPart, before: Petition | None) -> Petition:
    """The petition; another text than `before` is another version, whether anybody has signed yet or not.

    Nobody can tell here which text an intake shows at this moment: a signature names the version that it was under.
    """
    if before is None or before.slug != part.slug:
        return _petition_as(part, part.version or 1)
    if part.version is not None:
        return _petition_as(part, part.version)
    return _petition_as(part, before.version + 1) if _differs(part, before) else before


def _differs(part: PetitionPart, before: Petition) -> bool:
    return _petition_as(part, before.version) != before


def _petition_as(part: PetitionPart, version: int) -> Petition:
    return Petition(
        slug=part.slug,
        version=version,
        title=part.title,
        text=part.text,
        targets=tuple(Target(name=target.name, role=target.role) for target in part.targets),
    )


def _next_version(after: CaseChanged, before: CaseChanged | None) -> CaseChanged:
    if before is None:
        return msgspec.structs.replace(after, version=1)
    return before if _same(after, before) else msgspec.structs.replace(after, version=before.version + 1)


def _same(one: Versioned, other: Versioned) -> bool:
    return msgspec.structs.replace(one, version=other.version) == other


def _time(text: str) -> str:
    return rfc3339(parse_rfc3339(text))


def _confirmations_close(part: CampaignPart) -> str:
    if part.confirmations_close is not None:
        return _time(part.confirmations_close)
    return rfc3339(parse_rfc3339(part.closes) + CONFIRMATIONS_S)
