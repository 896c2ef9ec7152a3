"""Views of the front page and of a campaign's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.events.marathon import CampaignChanged
from shared.web.formats import collation_key
from shared.web.strokes import milestone
from shared.web.views.catalog_view import (
    CampaignWindow,
    CatalogView,
    CountView,
    LocalizedText,
    campaign_window,
    case_goal,
    count_view,
    localize,
    sorted_campaigns,
)


@dataclass(frozen=True, slots=True)
class CaseCard:
    """A case in a list. `fewest` marks the one with the fewest acts so far."""

    slug: str
    name: str
    country: str
    summary: LocalizedText
    count: CountView
    fewest: bool = False


@dataclass(frozen=True, slots=True)
class CampaignView:
    """A campaign with its total and its cases in alphabetical order."""

    slug: str
    title: LocalizedText
    organisation: str
    languages: tuple[str, ...]
    window: CampaignWindow
    state: str
    count: CountView
    cases: tuple[CaseCard, ...]

    @property
    def common_goal(self) -> int | None:
        """The goal of every case, if all have the same."""
        goals = {card.count.goal for card in self.cases}
        return goals.pop() if len(goals) == 1 else None


def campaign_view(catalog: CatalogView, slug: str, *, now: float, language: str, strokes: int = 100) -> CampaignView:
    """Return the campaign `slug` at `now` (seconds since 1970), with `strokes` strokes for each case's count.

    Raises:
        KeyError: no such campaign exists.
    """
    campaign = catalog.campaigns[slug]
    totals = catalog.totals.get(slug)
    total = totals.public_total if totals else 0
    return CampaignView(
        slug=slug,
        title=localize(campaign.title, language),
        organisation=campaign.organisation,
        languages=campaign.languages,
        window=campaign_window(campaign, now),
        state=totals.state if totals else "live",
        count=count_view(total, campaign.goal, totals.as_of if totals else None),
        cases=case_cards(catalog, campaign, language, strokes),
    )


def home_view(catalog: CatalogView, *, now: float, language: str) -> list[CampaignView]:
    """Return every campaign at `now`, sorted."""
    campaigns = sorted_campaigns(catalog, now)
    return [campaign_view(catalog, campaign.slug, now=now, language=language) for campaign in campaigns]


def case_cards(
    catalog: CatalogView, campaign: CampaignChanged, language: str, total: int = 100
) -> tuple[CaseCard, ...]:
    """Return the campaign's cases by name; cases without a goal share one scale, so that their strokes compare."""
    totals = catalog.totals.get(campaign.slug)
    as_of = totals.as_of if totals else None
    cases = sorted(
        (catalog.cases[slug] for slug in campaign.cases if slug in catalog.cases),
        key=lambda case: collation_key(case.name),
    )
    counts = [totals.by_case.get(case.slug, 0) if totals else 0 for case in cases]
    scale = milestone(max(counts, default=0))
    fewest = _fewest(counts)
    return tuple(
        CaseCard(
            slug=case.slug,
            name=case.name,
            country=case.country,
            summary=localize(case.summary, language),
            count=count_view(count, case_goal(campaign, case), as_of, scale=scale, total=total),
            fewest=count == fewest,
        )
        for case, count in zip(cases, counts, strict=True)
    )


def _fewest(counts: Sequence[int]) -> int | None:
    """Return the smallest count, if only one of several cases has it."""
    minimum = min(counts, default=0)
    return minimum if len(counts) > 1 and counts.count(minimum) == 1 else None
