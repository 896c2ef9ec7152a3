"""The events that the parts of a campaign file become."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from pydantic import BaseModel

from services.marathon.domain.campaign_file import AddressPart, CampaignFile, CasePart, PetitionPart, PoliciesPart
from services.marathon.domain.campaign_rules import CONFIRMATION_PERIOD_S
from shared.clock import parse_rfc3339, rfc3339
from shared.events.marathon import Address, CampaignChanged, CaseChanged, Petition, Policies
from shared.events.values import Evidence

Event = TypeVar("Event", CampaignChanged, CaseChanged, Petition, Policies, Address)
TALLY_PERIOD_S: Final = 60 * 24 * 60 * 60
"""How long after its end a campaign accepts offline tallies, unless its file sets a time."""
PUBLIC_EVIDENCE: Final[tuple[Evidence, ...]] = ("confirmed", "recorded", "offline")
PUBLIC_EVIDENCE_IF_REQUIRED: Final[tuple[Evidence, ...]] = ("confirmed", "offline")


def campaign_event(file: CampaignFile, before: CampaignChanged | None) -> CampaignChanged:
    """Return the campaign of `file`, without a version; `before` is the stored one."""
    part = file.campaign
    closes = parse_rfc3339(part.closes)
    confirmations_close = _time(part.confirmations_close, closes + CONFIRMATION_PERIOD_S)
    tallies_close = _time(part.tallies_close, max(closes + TALLY_PERIOD_S, confirmations_close))
    return _convert(
        part,
        CampaignChanged,
        version=0,
        opens=rfc3339(parse_rfc3339(part.opens)),
        closes=rfc3339(closes),
        confirmations_close=rfc3339(confirmations_close),
        tallies_close=rfc3339(tallies_close),
        goal=part.goal,
        policies=_policies(part.policies, before),
        cases=[case.slug for case in file.cases],
    )


def _time(text: str | None, by_default: float) -> float:
    return by_default if text is None else parse_rfc3339(text)


def _policies(part: PoliciesPart, before: CampaignChanged | None) -> Policies:
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
