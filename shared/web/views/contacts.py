"""Who answers for the campaigns here, and how to reach them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.events.marathon import CampaignChanged, Contact, Texts
from shared.web.views.catalog_view import CatalogView, Words, say, window_of


@dataclass(frozen=True, slots=True)
class OrganisationView:
    """One organisation and its campaigns as (slug, title). `privacy` links to its data-protection text, if it has one;
    `reachable` is whether it says how.
    """

    name: str
    email: str
    address: tuple[str, ...]
    imprint: Words
    privacy: Words
    campaigns: tuple[tuple[str, Words], ...]

    @property
    def reachable(self) -> bool:
        return bool(self.email or self.address or self.imprint.text)


@dataclass(frozen=True, slots=True)
class ContactView:
    """Every organisation, those of open campaigns first."""

    organisations: tuple[OrganisationView, ...]


def contact_view(known: CatalogView, *, now: float, language: str) -> ContactView:
    """The organisations of all campaigns at `now` (seconds since 1970); campaigns of the same one stand together."""
    order = {"open": 0, "before": 1, "closed": 2}
    campaigns = sorted(
        known.campaigns.values(), key=lambda one: (order[window_of(one, now).phase], one.closes, one.slug)
    )
    together: dict[tuple[object, ...], list[CampaignChanged]] = {}
    for campaign in campaigns:
        together.setdefault(_identity(campaign), []).append(campaign)
    return ContactView(tuple(_organisation(group, language) for group in together.values()))


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
        imprint=say(contact.imprint, language),
        privacy=say(contact.privacy, language),
        campaigns=tuple((one.slug, say(one.title, language)) for one in (first, *rest)),
    )
