"""The events that the parts of a campaign file become."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from pydantic import BaseModel

from services.marathon.domain.campaign_file import (
    AddressPart,
    CampaignFile,
    CampaignPart,
    CasePart,
    PetitionPart,
    PoliciesPart,
)
from services.marathon.domain.campaign_rules import CONFIRMATION_PERIOD_S
from shared.clock import parse_rfc3339, rfc3339
from shared.events.marathon import Address, CampaignChanged, CaseChanged, Petition, Policies
from shared.events.words import Evidence

Event = TypeVar("Event", CampaignChanged, CaseChanged, Petition, Policies, Address)
TALLY_PERIOD_S: Final = 60 * 24 * 60 * 60
"""How long after its end a campaign accepts offline tallies, unless its file sets a time."""
PUBLIC_EVIDENCE: Final[tuple[Evidence, ...]] = ("confirmed", "recorded", "offline")
PUBLIC_EVIDENCE_IF_REQUIRED: Final[tuple[Evidence, ...]] = ("confirmed", "offline")


def campaign_event(file: CampaignFile, before: CampaignChanged | None) -> CampaignChanged:
    """Return the campaign of `file`, without a version; `before` is the stored one."""
    part = file.campaign
    return _convert(
        part,
        CampaignChanged,
        version=0,
        opens=stored_time(part.opens),
        closes=stored_time(part.closes),
        confirmations_close=confirmations_close(part),
        tallies_close=_tallies_close(part),
        goal=part.goal,
        policies=policies_of(part.policies, before),
        cases=[case.slug for case in file.cases],
    )


def policies_of(part: PoliciesPart, before: CampaignChanged | None) -> Policies:
    """Return the policies of a campaign; `before` is the stored campaign."""
    default = PUBLIC_EVIDENCE_IF_REQUIRED if part.confirmation == "required" else PUBLIC_EVIDENCE
    policies = _convert(part, Policies, public_evidence=part.public_evidence or default)
    # Dedupe keys depend on the mailbox rules, so a campaign keeps those that it began with.
    return (
        policies if before is None else msgspec.structs.replace(policies, address_rules=before.policies.address_rules)
    )


def case_event(part: CasePart, campaign: str, before: CaseChanged | None) -> CaseChanged:
    """Return a case of `campaign`, without a version; `before` is the stored one."""
    petition = before.petition if before is not None else None
    return _convert(
        part,
        CaseChanged,
        version=0,
        campaign=campaign,
        facts=list(part.facts.items()),
        petition=None if part.petition is None else _petition(part.petition, petition),
        address=None if part.address is None else _address(part.address, part.country, before),
    )


def _address(part: AddressPart, country: str, before: CaseChanged | None) -> Address:
    """Return the stored address, or a new one with the case's next version."""
    version = 1 if before is None else before.version + 1
    address = _convert(part, Address, version=version, country=part.country or country)
    stored = before.address if before is not None else None
    same = stored is not None and msgspec.structs.replace(stored, version=version) == address
    return stored if same and stored is not None else address


def _petition(part: PetitionPart, before: Petition | None) -> Petition:
    """Return the petition; a text that differs from `before` is a new version, whether anyone has signed it or not.

    It is not known here which text an intake shows at the moment: a signature names the version that was signed.
    """
    if before is None or before.slug != part.slug:
        return _convert(part, Petition, version=part.version or 1)
    if part.version is not None:
        return _convert(part, Petition)
    return _convert(part, Petition, version=before.version + 1) if petition_differs(part, before) else before


def petition_differs(part: PetitionPart, before: Petition) -> bool:
    """Whether the text, title or targets of `part` are not those of `before`."""
    return _convert(part, Petition, version=before.version) != before


def _convert(part: BaseModel, event: type[Event], **changes: object) -> Event:
    """Return `part` as an event with `changes`; what the file leaves out has the event's default."""
    return msgspec.convert({**part.model_dump(exclude_none=True), **changes}, event)


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
