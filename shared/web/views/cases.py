"""The view of a case: its story, its count, and the form to sign or to write."""

from __future__ import annotations

from dataclasses import dataclass

from shared.events.marathon import Address, Petition, Target
from shared.web.views.catalog_view import (
    CampaignWindow,
    CatalogView,
    CountView,
    LocalizedList,
    LocalizedText,
    campaign_window,
    case_goal,
    count_view,
    localize,
    localize_list,
)
from shared.web.views.forms import FormState


@dataclass(frozen=True, slots=True)
class PetitionView:
    """A petition. Its text is frozen; `version` identifies the text."""

    slug: str
    version: int
    title: LocalizedText
    text: LocalizedText
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case as its page and its forms show it.

    `address` is the postal address for letters; `letter_languages` and `rules` are the restrictions of that place.
    """

    slug: str
    name: str
    country: str
    status: str
    summary: LocalizedText
    story: LocalizedText
    facts: tuple[tuple[str, str], ...]
    petition: PetitionView | None
    accepts_messages: bool
    address: Address | None
    letter_languages: tuple[str, ...]
    rules: LocalizedList
    count: CountView
    state: str
    campaign: str
    campaign_title: LocalizedText
    organisation: str
    confirmation: str
    safety_mode: bool
    window: CampaignWindow
    form: FormState
    country_guess: str


def case_view(
    catalog: CatalogView, slug: str, *, now: float, language: str, form: FormState | None = None, country: str = ""
) -> CaseView:
    """Return the case `slug` at `now` (seconds since 1970).

    `form` is a form with errors, or None for a fresh one; `country` is the preselected one, from a trusted proxy.

    Raises:
        KeyError: no such case exists, or its campaign is unknown.
    """
    case = catalog.cases[slug]
    campaign = catalog.campaigns[case.campaign]
    totals = catalog.totals.get(campaign.slug)
    count = totals.by_case.get(slug, 0) if totals else 0
    return CaseView(
        slug=slug,
        name=case.name,
        country=case.country,
        status=case.status,
        summary=localize(case.summary, language),
        story=localize(case.story, language),
        facts=case.facts,
        petition=_petition(case.petition, language),
        accepts_messages=case.accepts_messages,
        address=case.address if case.accepts_messages else None,
        letter_languages=case.writing.languages if case.writing else (),
        rules=localize_list(case.writing.rules if case.writing else {}, language),
        count=count_view(count, case_goal(campaign, case), totals.as_of if totals else None),
        state=totals.state if totals else "live",
        campaign=campaign.slug,
        campaign_title=localize(campaign.title, language),
        organisation=campaign.organisation,
        confirmation=campaign.policies.confirmation,
        safety_mode=campaign.policies.safety_mode,
        window=campaign_window(campaign, now),
        form=form or FormState(),
        country_guess=country,
    )


def _petition(petition: Petition | None, language: str) -> PetitionView | None:
    if petition is None:
        return None
    return PetitionView(
        slug=petition.slug,
        version=petition.version,
        title=localize(petition.title, language),
        text=localize(petition.text, language),
        targets=petition.targets,
    )
