"""The organisations responsible for the campaigns, and how to reach them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.events.marathon import CampaignChanged, Contact, Texts
from shared.web.views.catalog_view import CatalogView, LocalizedText, campaign_window, localize


@dataclass(frozen=True, slots=True)
class OrganisationView:
    """One organisation and its campaigns as (slug, title). `privacy` links to its data-protection text, if it has one;
    `reachable` is whether it gives contact details.
    """

    name: str
    email: str
    address: tuple[str, ...]
    imprint: LocalizedText
    privacy: LocalizedText
    campaigns: tuple[tuple[str, LocalizedText], ...]

    @property
    def reachable(self) -> bool:
        return bool(self.email or self.address or self.imprint.text)


@dataclass(frozen=True, slots=True)
class ContactView:
    """Every organisation, those of open campaigns first."""

    organisations: tuple[OrganisationView, ...]


def contact_view(catalog: CatalogView, *, now: float, language: str) -> ContactView:
    """Return the organisations of all campaigns at `now` (seconds since 1970), each with its campaigns."""
    order = {"open": 0, "before": 1, "closed": 2}
    campaigns = sorted(
        catalog.campaigns.values(),
        key=lambda campaign: (order[campaign_window(campaign, now).phase], campaign.closes, campaign.slug),
    )
    groups: dict[tuple[object, ...], list[CampaignChanged]] = {}
    for campaign in campaigns:
        groups.setdefault(_identity(campaign), []).append(campaign)
    return ContactView(tuple(_organisation(group, language) for group in groups.values()))


def _identity(campaign: CampaignChanged) -> tuple[object, ...]:
    contact = campaign.contact or Contact()
    return campaign.organisation, contact.email, contact.address, _items(contact.imprint), _items(contact.privacy)


def _items(texts: Texts) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(texts.items()))


def _organisation(campaigns: Iterable[CampaignChanged], language: str) -> OrganisationView:
    first, *rest = campaigns
    contact = first.contact or Contact()
    return OrganisationView(
        name=first.organisation,
        email=contact.email,
        address=contact.address,
        imprint=localize(contact.imprint, language),
        privacy=localize(contact.privacy, language),
        campaigns=tuple((campaign.slug, localize(campaign.title, language)) for campaign in (first, *rest)),
    )
