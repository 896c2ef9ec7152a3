"""The terms under which an intake takes actions for a campaign: dates, policies, sections, keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.catalog import Catalog
from shared.clock import parse_rfc3339
from shared.errors import TransientError
from shared.events.marathon import CampaignChanged, CaseChanged, Policies, TotalsChanged
from shared.privacy.addresses import canonical_address
from shared.privacy.keys import CampaignKeys
from shared.refusals import FieldError, Refusal, invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignTerms:
    """The terms of one campaign. Times are seconds since 1970; `sections` are by country."""

    campaign: str
    opens: float
    closes: float
    confirmations_close: float
    policies: Policies
    keys: CampaignKeys
    language: str
    sections: dict[str, str]


def _terms_of(campaign: CampaignChanged, keys: CampaignKeys) -> CampaignTerms:
    return CampaignTerms(
        campaign=campaign.slug,
        opens=parse_rfc3339(campaign.opens),
        closes=parse_rfc3339(campaign.closes),
        confirmations_close=parse_rfc3339(campaign.confirmations_close),
        policies=campaign.policies,
        keys=keys,
        language=campaign.languages[0] if campaign.languages else "en",
        sections={country: section.slug for section in campaign.sections for country in section.countries},
    )


class TermsCache:
    """Builds the terms of each campaign once. The catalog must report its changes to `on_catalog_change`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._terms: dict[str, CampaignTerms] = {}

    def get(self, slug: str) -> CampaignTerms:
        """Return the terms of the campaign `slug`.

        Raises:
            TransientError: the campaign or its keys have not arrived.
        """
        terms = self._terms.get(slug)
        if terms is None:
            campaign, keys = self._catalog.campaigns.get(slug), self._catalog.keys.get(slug)
            if campaign is None or keys is None:
                raise TransientError("campaign or keys have not arrived")
            terms = self._terms[slug] = _terms_of(campaign, keys)
        return terms

    def on_catalog_change(self, kind: str, _slug: str) -> None:
        """Drop the cached terms after a change of anything but totals."""
        if kind != "totals":
            self._terms.clear()


def check_ready(catalog: Catalog) -> None:
    """Make sure that the catalog is complete, so that a missing entry does not exist.

    Raises:
        TransientError: the compacted topics have not been read to their ends.
    """
    if not catalog.ready:
        raise TransientError("the catalog has not been read")


def find_case(catalog: Catalog, slug: str) -> CaseChanged:
    """Return the case `slug`.

    Raises:
        Refusal: 404, there is none. TransientError: the catalog has not been read.
    """
    check_ready(catalog)
    case = catalog.cases.get(slug)
    if case is None:
        raise Refusal(404, "unknown-case", "There is no such case.")
    return case


def check_open(terms: CampaignTerms, now: float, totals: Mapping[str, TotalsChanged]) -> None:
    """Make sure that an action may be taken at `now`: from `opens` on, and before `closes`. `totals` are by campaign.

    Raises:
        Refusal: 422 before, 410 after.
    """
    if terms.opens <= now < terms.closes:
        return
    if now < terms.opens:
        raise Refusal(422, "not-open", "The campaign has not opened yet.")
    raise campaign_closed(totals.get(terms.campaign))


def check_confirmations_open(terms: CampaignTerms, now: float, totals: Mapping[str, TotalsChanged]) -> None:
    """Make sure that a confirmation still counts at `now`.

    Raises:
        Refusal: 410.
    """
    if now >= terms.confirmations_close:
        raise campaign_closed(totals.get(terms.campaign))


def campaign_closed(totals: TotalsChanged | None) -> Refusal:
    """Return a 410 with the final totals."""
    members = {} if totals is None else {"total": totals.total, "as_of": totals.as_of, "state": totals.state}
    return Refusal(410, "closed", "The campaign has closed.", members=members)


def canonicalize(address: str, terms: CampaignTerms) -> str:
    """Return the canonical spelling of an address under the campaign's rules.

    Raises:
        Refusal: 422, its domain is not a domain name.
    """
    try:
        return canonical_address(address, terms.policies.address_rules)
    except ValueError:
        raise invalid([FieldError("/email", "email.invalid")]) from None
