"""Campaigns as an intake needs them: open or not, whose section, under which keys."""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import dataclass
from typing import Final, Protocol

from shared.clock import parse_rfc3339
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged, CaseChanged, Policies, TotalsChanged
from shared.intake.countries import UNKNOWN
from shared.privacy.addresses import canonical_address
from shared.privacy.keys import CampaignKeys
from shared.refusals import FieldError, Refusal, invalid

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class CatalogView(Protocol):
    """What an intake reads of the catalog."""

    campaigns: dict[str, CampaignChanged]
    cases: dict[str, CaseChanged]
    petitions: dict[str, CaseChanged]
    totals: dict[str, TotalsChanged]
    keys: dict[str, CampaignKeys]
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignTerms:
    """One campaign, prepared. Times are seconds since 1970; `sections` are by country."""

    campaign: str
    opens: float
    closes: float
    confirmations_close: float
    policies: Policies
    keys: CampaignKeys
    language: str
    sections: dict[str, str]

    def section_of(self, country: str) -> str | None:
        """The section that counts an action from `country`."""
        return self.sections.get(country)

    def comment(self, written: str) -> str:
        """What is kept of a comment: nothing in safety mode."""
        return "" if self.policies.safety_mode else written

    def names_count(self) -> bool:
        """Whether people who share an address count one by one."""
        return self.policies.one_per == "email_and_name"


def terms_of(known: CatalogView, slug: str) -> CampaignTerms:
    """The campaign `slug`.

    Raises:
        TransientError: it, or its keys, have not arrived.
    """
    campaign, keys = known.campaigns.get(slug), known.keys.get(slug)
    if campaign is None or keys is None:
        raise TransientError("campaign or keys have not arrived")
    return CampaignTerms(
        campaign=slug,
        opens=parse_rfc3339(campaign.opens),
        closes=parse_rfc3339(campaign.closes),
        confirmations_close=parse_rfc3339(campaign.confirmations_close),
        policies=campaign.policies,
        keys=keys,
        language=campaign.languages[0] if campaign.languages else "en",
        sections={country: section.slug for section in campaign.sections for country in section.countries},
    )


class TermsCache:
    """Prepares each campaign once; `changed` is to be told of changes of the catalog."""

    def __init__(self, known: CatalogView) -> None:
        self._known = known
        self._prepared: dict[str, CampaignTerms] = {}

    def of(self, slug: str) -> CampaignTerms:
        """The campaign `slug`.

        Raises:
            TransientError: it, or its keys, have not arrived.
        """
        opening = self._prepared.get(slug)
        if opening is None:
            opening = self._prepared[slug] = terms_of(self._known, slug)
        return opening

    def changed(self, what: str, _slug: str) -> None:
        """Something in the catalog has changed."""
        if what != "totals":
            self._prepared.clear()


def check_ready(known: CatalogView) -> None:
    """Make sure that what is unknown is unknown.

    Raises:
        TransientError: the compacted topics have not been read to their ends.
    """
    if not known.ready:
        raise TransientError("the catalog has not been read")


def check_open(opening: CampaignTerms, now: float, totals: TotalsChanged | None) -> None:
    """Make sure that an action may be taken at `now`: from `opens` on, and before `closes`.

    Raises:
        Refusal: 422 before, 410 after.
    """
    if opening.opens <= now < opening.closes:
        return
    if now < opening.opens:
        raise Refusal(422, "not-open", "The campaign has not opened yet.")
    raise closed(totals)


def check_confirmations_open(opening: CampaignTerms, now: float, totals: TotalsChanged | None) -> None:
    """Make sure that a confirmation still counts at `now`.

    Raises:
        Refusal: 410.
    """
    if now >= opening.confirmations_close:
        raise closed(totals)


def closed(totals: TotalsChanged | None) -> Refusal:
    """A 410 that says how it ended."""
    members = {} if totals is None else {"total": totals.total, "as_of": totals.as_of, "state": totals.state}
    return Refusal(410, "closed", "The campaign has closed.", members=members)


def country_of(stated: str | None, seen: str | None) -> str:
    """The country an action is counted in: what the person says, else what a trusted proxy saw, else unknown."""
    return stated or seen or UNKNOWN


def canonical(address: str, opening: CampaignTerms) -> str:
    """The one spelling of an address, by the campaign's rules.

    Raises:
        Refusal: 422, its domain is none after all.
    """
    try:
        return canonical_address(address, opening.policies.address_rules)
    except ValueError:
        raise invalid([FieldError("/email", "email.invalid")]) from None


def encode_hash(digest: bytes) -> str:
    """A keyed hash as events carry it."""
    return b2a_base64(digest, newline=False).translate(_URL_SAFE, b"=").decode("ascii")
