"""A case: the story, the count, and the form to sign or to write."""

from __future__ import annotations

from dataclasses import dataclass

from shared.events.marathon import Address, Petition, Target
from shared.web.views.catalog_view import (
    CatalogView,
    CountView,
    Window,
    Words,
    WordsList,
    count_of,
    goal_of,
    say,
    say_list,
    window_of,
)
from shared.web.views.forms import FormState


@dataclass(frozen=True, slots=True)
class PetitionView:
    """What is asked, of whom. The text is frozen; `version` says which text."""

    slug: str
    version: int
    title: Words
    text: Words
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case as its page and its forms show it.

    `address` is where letters may be posted, `letter_languages` and `rules` are what that place lets through.
    """

    slug: str
    name: str
    country: str
    status: str
    summary: Words
    story: Words
    facts: tuple[tuple[str, str], ...]
    petition: PetitionView | None
    accepts_messages: bool
    address: Address | None
    letter_languages: tuple[str, ...]
    rules: WordsList
    count: CountView
    state: str
    campaign: str
    campaign_title: Words
    organisation: str
    confirmation: str
    safety_mode: bool
    window: Window
    form: FormState
    country_guess: str


def case_view(
    known: CatalogView, slug: str, *, now: float, language: str, form: FormState | None = None, country: str = ""
) -> CaseView:
    """The case `slug` at `now` (seconds since 1970).

    `form` is one that came back, nothing for a fresh one; `country` is what a trusted proxy named, chosen beforehand.

    Raises:
        KeyError: there is no such case, or its campaign is not known.
    """
    case = known.cases[slug]
    campaign = known.campaigns[case.campaign]
    totals = known.totals.get(campaign.slug)
    count = totals.by_case.get(slug, 0) if totals else 0
    return CaseView(
        slug=slug,
        name=case.name,
        country=case.country,
        status=case.status,
        summary=say(case.summary, language),
        story=say(case.story, language),
        facts=case.facts,
        petition=_petition(case.petition, language),
        accepts_messages=case.accepts_messages,
        address=case.address if case.accepts_messages else None,
        letter_languages=case.writing.languages if case.writing else (),
        rules=say_list(case.writing.rules if case.writing else {}, language),
        count=count_of(count, goal_of(campaign, case), totals.as_of if totals else None),
        state=totals.state if totals else "live",
        campaign=campaign.slug,
        campaign_title=say(campaign.title, language),
        organisation=campaign.organisation,
        confirmation=campaign.policies.confirmation,
        safety_mode=campaign.policies.safety_mode,
        window=window_of(campaign, now),
        form=form or FormState(),
        country_guess=country,
    )


write_view = case_view
"""The page to write a letter or a message shows the same case with another form."""


def _petition(petition: Petition | None, language: str) -> PetitionView | None:
    if petition is None:
        return None
    return PetitionView(
        slug=petition.slug,
        version=petition.version,
        title=say(petition.title, language),
        text=say(petition.text, language),
        targets=petition.targets,
    )
