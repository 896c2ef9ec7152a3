"""The organisations responsible for the campaigns, and how to reach them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from shared.events.marathon import CampaignChanged, Contact
from shared.web.views.catalog_view import CatalogView, LocalizedText, localize, sorted_campaigns


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


def contact_view(catalog: CatalogView, *, now: float, language: str) -> tuple[OrganisationView, ...]:
    """Return the organisations of all campaigns at `now` (seconds since 1970), those of open campaigns first."""
    groups: dict[bytes, list[CampaignChanged]] = {}
    for campaign in sorted_campaigns(catalog, now):
        identity = (campaign.organisation, campaign.contact or Contact())
        groups.setdefault(msgspec.json.encode(identity, order="deterministic"), []).append(campaign)
    return tuple(_organisation(group, language) for group in groups.values())


def _organisation(campaigns: Sequence[CampaignChanged], language: str) -> OrganisationView:
    contact = campaigns[0].contact or Contact()
    return OrganisationView(
        name=campaigns[0].organisation,
        email=contact.email,
        address=contact.address,
        imprint=localize(contact.imprint, language),
        privacy=localize(contact.privacy, language),
        campaigns=tuple((campaign.slug, localize(campaign.title, language)) for campaign in campaigns),
    )
