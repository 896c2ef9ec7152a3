"""The events that the parts of a campaign file become."""

from __future__ import annotations

from typing import Final

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
from services.marathon.domain.campaign_rules import CONFIRMATION_PERIOD_S
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
from shared.events.values import Evidence

TALLY_PERIOD_S: Final = 60 * 24 * 60 * 60
"""How long after its end a campaign accepts offline tallies, unless its file sets a time."""
PUBLIC_EVIDENCE: Final[tuple[Evidence, ...]] = ("confirmed", "recorded", "offline")
PUBLIC_EVIDENCE_IF_REQUIRED: Final[tuple[Evidence, ...]] = ("confirmed", "offline")


def campaign_event(file: CampaignFile, before: CampaignChanged | None) -> CampaignChanged:
    """Return the campaign of `file`, without a version; `before` is the stored one."""
    part = file.campaign
    return CampaignChanged(
        slug=part.slug,
        version=0,
        title=part.title,
        opens=stored_time(part.opens),
        closes=stored_time(part.closes),
        confirmations_close=confirmations_close(part),
        tallies_close=_tallies_close(part),
        sealed_until=part.sealed_until,
        goal=part.goal,
        languages=tuple(part.languages),
        policies=policies_of(part.policies, before),
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


def policies_of(part: PoliciesPart, before: CampaignChanged | None) -> Policies:
    """Return the policies of a campaign; `before` is the stored campaign."""
    default = PUBLIC_EVIDENCE_IF_REQUIRED if part.confirmation == "required" else PUBLIC_EVIDENCE
    policies = Policies(
        one_per=part.one_per,
        confirmation=part.confirmation,
        public_evidence=default if part.public_evidence is None else tuple(part.public_evidence),
        public_threshold=part.public_threshold,
        letters_per_person=part.letters_per_person,
        safety_mode=part.safety_mode,
    )
    # Dedupe keys depend on the mailbox rules, so a campaign keeps those that it began with.
    return (
        policies if before is None else msgspec.structs.replace(policies, address_rules=before.policies.address_rules)
    )


def case_event(part: CasePart, campaign: str, before: CaseChanged | None) -> CaseChanged:
    """Return a case of `campaign`, without a version; `before` is the stored one."""
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
    """Return the stored address, or a new one with the case's next version."""
    address = Address(
        version=1 if before is None else before.version + 1,
        lines=tuple(part.lines),
        language=part.language,
        country=part.country or country,
    )
    stored = before.address if before is not None else None
    same = stored is not None and msgspec.structs.replace(stored, version=address.version) == address
    return stored if same and stored is not None else address


def _writing(part: WritingPart) -> Writing:
    return Writing(languages=tuple(part.languages), rules={code: tuple(lines) for code, lines in part.rules.items()})


def _petition(part: PetitionPart, before: Petition | None) -> Petition:
    """Return the petition; a text that differs from `before` is a new version, whether anyone has signed it or not.

    It is not known here which text an intake shows at the moment: a signature names the version that was signed.
    """
    if before is None or before.slug != part.slug:
        return _petition_with_version(part, part.version or 1)
    if part.version is not None:
        return _petition_with_version(part, part.version)
    return _petition_with_version(part, before.version + 1) if petition_differs(part, before) else before


def petition_differs(part: PetitionPart, before: Petition) -> bool:
    """Whether the text, title or targets of `part` are not those of `before`."""
    return _petition_with_version(part, before.version) != before


def _petition_with_version(part: PetitionPart, version: int) -> Petition:
    return Petition(
        slug=part.slug,
        version=version,
        title=part.title,
        text=part.text,
        targets=tuple(Target(name=target.name, role=target.role) for target in part.targets),
    )


def stored_time(text: str) -> str:
    """Return a time as it is stored: in UTC."""
    return rfc3339(parse_rfc3339(text))


def confirmations_close(part: CampaignPart) -> str:
    """Return until when confirmations count."""
    if part.confirmations_close is not None:
        return stored_time(part.confirmations_close)
    return rfc3339(parse_rfc3339(part.closes) + CONFIRMATION_PERIOD_S)


def _tallies_close(part: CampaignPart) -> str:
    if part.tallies_close is not None:
        return stored_time(part.tallies_close)
    by_default = parse_rfc3339(part.closes) + TALLY_PERIOD_S
    return rfc3339(max(by_default, parse_rfc3339(confirmations_close(part))))
